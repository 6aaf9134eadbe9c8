"""`mitoglance backup`: a copy of everything that was done, while it goes on being done."""

from __future__ import annotations

import argparse
import json
from importlib.metadata import version
from pathlib import Path

from app.options import Subparsers, add_command, add_settings, config_of
from app.terminal import complain, progress_bar, say
from segmentation_backend.workspace import Workspace
from segmentation_backend.workspace.archive import create_archive
from segmentation_backend.workspace.backup import back_up

__all__ = ["add", "run"]


def add(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = add_command(
        subparsers,
        "backup",
        "Copy database and label packs while people edit; a folder gets only what is new.",
        "mitoglance backup /backup/mitoglance --data-dir /srv/mitoglance",
        run,
    )
    parser.add_argument(
        "target",
        type=Path,
        metavar="DIR|FILE.zip",
        help="A folder, which may hold earlier backups, or a new file.",
    )
    parser.add_argument(
        "--images", action="store_true", help="Also copy the images that were imported."
    )
    parser.add_argument("--json", action="store_true", help="Print JSON.")
    add_settings(parser, ("data_dir", "database_url", "packs", "log_level"))


def run(args: argparse.Namespace) -> int:
    """Back up, and say what was added; exit code 1 when a pack could not be read."""
    config = config_of(args)
    workspace = Workspace(config.data_dir, config.database_url, config.cloud, packs=config.packs)
    try:
        with create_archive(args.target) as archive, progress_bar("Backing up") as progress:
            report = back_up(
                workspace, archive, version("mitoglance"), images=args.images, progress=progress
            )
    finally:
        workspace.close()
    damaged = report.manifest.damaged
    if args.json:
        document = {
            "name": report.manifest.name,
            "files": report.all_files,
            "new_files": report.new_files,
            "new_bytes": report.new_bytes,
            "damaged": damaged,
        }
        say(json.dumps(document))
    else:
        say(
            f"Backup {report.manifest.name}: {report.all_files} files, {report.new_files} of them "
            f"new ({report.new_bytes / 1e6:.1f} MB), {sum(report.manifest.rows.values())} rows"
        )
    for line in damaged:
        complain(f"mitoglance: not in the backup: {line}")
    return 1 if damaged else 0
