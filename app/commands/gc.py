"""`mitoglance gc`: make room by removing what no branch, tag or share can reach."""

from __future__ import annotations

import argparse
import json
from typing import Any

from app.options import Subparsers, add_command, add_settings, config_of
from app.pinned import pinned_versions
from app.terminal import progress_bar, say
from segmentation_backend.workspace import Workspace
from segmentation_backend.workspace.maintenance import (
    ORPHAN_AGE_S,
    Garbage,
    WorkspaceGarbage,
    collect_workspace_garbage,
)

__all__ = ["add", "run"]


def add(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = add_command(
        subparsers,
        "gc",
        "Show what no branch, tag or share can reach, and with --delete remove it.",
        "mitoglance gc --data-dir /srv/mitoglance --delete",
        run,
    )
    parser.add_argument("--delete", action="store_true", help="Remove it; without, only say so.")
    parser.add_argument(
        "--min-age",
        type=float,
        default=ORPHAN_AGE_S / 3600,
        metavar="HOURS",
        help="Leave what is younger (1): an edit under way may need it. 0 only without a server.",
    )
    parser.add_argument("--json", action="store_true", help="Print JSON.")
    add_settings(parser, ("data_dir", "database_url", "packs", "log_level"))


def run(args: argparse.Namespace) -> int:
    """Collect, and say what there was."""
    config = config_of(args)
    workspace = Workspace(config.data_dir, config.database_url, config.cloud, packs=config.packs)
    try:
        with progress_bar("Looking") as progress:
            found = collect_workspace_garbage(
                workspace,
                pinned_versions,
                min_age_s=max(0.0, args.min_age) * 3600,
                delete=args.delete,
                progress=progress,
            )
    finally:
        workspace.close()
    if args.json:
        say(json.dumps(_document(found, args.delete)))
    else:
        _print(found, args.delete)
    return 0


def _document(found: WorkspaceGarbage, deleted: bool) -> dict[str, Any]:
    return {
        "deleted": deleted,
        "files": [str(path) for path in found.files],
        "volumes": {
            name: {
                "branches": list(garbage.branches),
                "operations": garbage.operations,
                "rows": garbage.rows,
                "packs": list(garbage.packs),
                "pending_packs": list(garbage.pending),
            }
            for name, garbage in found.volumes.items()
        },
    }


def _print(found: WorkspaceGarbage, deleted: bool) -> None:
    for name, garbage in found.volumes.items():
        for line in _lines(garbage):
            say(f"{name}: {line}")
    if found.files:
        say(f"{len(found.files)} expired previews and left-overs of killed processes")
    anything = found.files or any(list(_lines(g)) for g in found.volumes.values())
    if not anything:
        say("Nothing to remove")
    else:
        say("Removed" if deleted else "Nothing was removed; mitoglance gc --delete does it")


def _lines(garbage: Garbage) -> list[str]:
    lines = []
    if garbage.operations:
        names = ", ".join(garbage.branches)
        lines.append(
            f"{garbage.operations} operations ({garbage.rows} rows) of deleted branches: {names}"
        )
    if garbage.packs:
        lines.append(f"{len(garbage.packs)} packs that no version names")
    if garbage.pending:
        lines.append(
            f"{len(garbage.pending)} packs of these operations, for the first run an hour later"
        )
    return lines
