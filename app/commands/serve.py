"""`mitoglance serve`: the server of a team, with the volumes it has."""

from __future__ import annotations

import argparse

from app.options import SERVER_SETTINGS, Subparsers, add_command, add_settings, config_of

__all__ = ["add", "run"]


def add(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = add_command(
        subparsers,
        "serve",
        "Serve every volume of a data directory, to many people.",
        "mitoglance serve --data-dir /srv/mitoglance --host 0.0.0.0 --port 8080 --workers 4",
        run,
    )
    add_settings(parser, SERVER_SETTINGS)
    parser.set_defaults(browser=False)


def run(args: argparse.Namespace) -> int:
    """Serve until stopped."""
    from app.launcher import serve

    return serve(config_of(args))
