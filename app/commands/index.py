"""`mitoglance index VOLUME`: count the labels that a volume began from, once and for all."""

from __future__ import annotations

import argparse

from app.options import Subparsers, add_command, add_settings, config_of
from app.terminal import progress_bar, say
from segmentation_backend.workspace import Workspace

__all__ = ["add", "run"]


def add(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = add_command(
        subparsers,
        "index",
        "Count the labels that a volume began from, so that all objects are known with their size.",
        "mitoglance index cell",
        run,
    )
    parser.add_argument("volume", help="The volume's name.")
    add_settings(parser, ("data_dir", "database_url", "packs", "log_level"))


def run(args: argparse.Namespace) -> int:
    """Count what is left; interrupted, it carries on there the next time."""
    config = config_of(args)
    workspace = Workspace(config.data_dir, config.database_url, config.cloud, packs=config.packs)
    try:
        with progress_bar(f"Counting {args.volume}") as progress:
            workspace.count_base(args.volume, progress)
        share = workspace.counted_share(args.volume)
    finally:
        workspace.close()
    say(f"{args.volume}: {share:.0%} of the labels are counted")
    return 0
