"""`mitoglance check`: whether everything that was ever done to labels is still there, and right."""

from __future__ import annotations

import argparse
import json
from collections import Counter

from app.options import Subparsers, add_command, add_settings, config_of
from app.terminal import progress_bar, say
from segmentation_backend.workspace import Workspace
from segmentation_backend.workspace.maintenance import Finding, Severity, check_workspace

__all__ = ["add", "run"]

_SHOWN = 20
"""Findings of one kind that are printed; a damaged disk makes thousands."""


def add(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = add_command(
        subparsers,
        "check",
        "Check every byte of the labels, and every promise of the store; exit code 1 when broken.",
        "mitoglance check --data-dir /srv/mitoglance",
        run,
    )
    parser.add_argument(
        "--all-versions",
        action="store_true",
        help="Check every version, not only the newest of each branch and the tagged ones.",
    )
    parser.add_argument("--json", action="store_true", help="Print one JSON object per finding.")
    add_settings(parser, ("data_dir", "database_url", "packs", "log_level"))


def run(args: argparse.Namespace) -> int:
    """Check, and say what is wrong."""
    config = config_of(args)
    workspace = Workspace(config.data_dir, config.database_url, config.cloud, packs=config.packs)
    seen: Counter[tuple[str, Severity]] = Counter()
    try:
        with progress_bar("Checking") as progress:
            for finding in check_workspace(
                workspace, all_versions=args.all_versions, progress=progress
            ):
                seen[finding.invariant, finding.severity] += 1
                _show(finding, seen[finding.invariant, finding.severity], as_json=args.json)
    finally:
        workspace.close()
    errors = sum(count for (_, severity), count in seen.items() if severity == Severity.ERROR)
    if not args.json:
        for (invariant, severity), count in seen.items():
            if count > _SHOWN:
                say(f"{severity}: {count - _SHOWN} more [{invariant}]")
        notes = seen.total() - errors
        say(f"{errors or 'no'} errors, {notes or 'no'} notes")
    return 1 if errors else 0


def _show(finding: Finding, number: int, *, as_json: bool) -> None:
    if as_json:
        say(json.dumps(finding.to_json()))
    elif number <= _SHOWN:
        say(str(finding))
