"""`mitoglance restore`: a backup back into an empty data directory, on either database."""

from __future__ import annotations

import argparse
from pathlib import Path

from app.options import Subparsers, add_command, add_settings, config_of
from app.terminal import complain, progress_bar, say
from segmentation_backend.workspace import Workspace
from segmentation_backend.workspace.archive import Archive, open_archive
from segmentation_backend.workspace.backup import list_backups
from segmentation_backend.workspace.restore import Place, repair_packs, restore

__all__ = ["add", "run"]

_FORGOTTEN = ("web_instance", "web_dispatchers")
"""Tables that stay empty: a restored directory is another one to browsers, which keep what they saw
of the versions after the backup, and no server is running on it."""


def add(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = add_command(
        subparsers,
        "restore",
        "Restore a backup into an empty data directory and database, checking every byte.",
        "mitoglance restore /backup/mitoglance --data-dir /srv/restored",
        run,
    )
    parser.add_argument("source", type=Path, metavar="BACKUP", help="What mitoglance backup wrote.")
    parser.add_argument("--snapshot", metavar="NAME", help="Which backup; the newest without it.")
    parser.add_argument("--list", action="store_true", help="Only list the backups there are.")
    parser.add_argument(
        "--packs-only",
        action="store_true",
        help="Bring back missing and damaged label packs of a data directory that is in use.",
    )
    add_settings(parser, ("data_dir", "database_url", "packs", "log_level"))


def run(args: argparse.Namespace) -> int:
    """Restore, and say what came of it."""
    with open_archive(args.source) as archive:
        if args.list:
            return _list(archive)
        if args.packs_only:
            return _repair(archive, args)
        return _restore(archive, args)


def _list(archive: Archive) -> int:
    for manifest in list_backups(archive):
        say(
            f"{manifest.name}: {sum(manifest.rows.values())} rows, "
            f"{manifest.rows.get('label_operations', 0)} operations, Mitoglance {manifest.program}"
        )
    return 0


def _repair(archive: Archive, args: argparse.Namespace) -> int:
    config = config_of(args)
    workspace = Workspace(config.data_dir, config.database_url, config.cloud, packs=config.packs)
    try:
        with progress_bar("Repairing") as progress:
            repaired, looked_at = repair_packs(
                archive, workspace, snapshot=args.snapshot, progress=progress
            )
    finally:
        workspace.close()
    say(f"{repaired} of {looked_at} packs brought back")
    return 0


def _restore(archive: Archive, args: argparse.Namespace) -> int:
    config = config_of(args)
    place = Place(config.data_dir, config.database_url, config.packs, config.cloud)
    with progress_bar("Restoring") as progress:
        done = restore(archive, place, snapshot=args.snapshot, forget=_FORGOTTEN, progress=progress)
    say(
        f"Restored {done.manifest.name} into {place.data_dir}: {done.rows} rows, {done.packs} "
        f"packs, {done.images} files of images"
    )
    for line in done.manifest.damaged:
        complain(f"mitoglance: was not in the backup: {line}")
    return 1 if done.manifest.damaged else 0
