"""`mitoglance demo`: see the product at once, without data or network."""

from __future__ import annotations

import argparse

from app.config import user_data_folder
from app.options import SERVER_SETTINGS, Subparsers, add_command, add_settings, config_of
from segmentation_backend.workspace import Workspace

__all__ = ["add", "run"]


def add(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = add_command(
        subparsers,
        "demo",
        "Open a synthetic EM volume in the browser; needs no data and no network.",
        "mitoglance demo --port 9000",
        run,
    )
    add_settings(parser, SERVER_SETTINGS)


def run(args: argparse.Namespace) -> int:
    """Serve the demo volume until stopped."""
    from app.launcher import serve

    config = config_of(args, default_data_dir=user_data_folder() / "mitoglance" / "demo")
    return serve(config, _prepare)


def _prepare(workspace: Workspace) -> str:
    return f"/d/{workspace.register_demo().name}"
