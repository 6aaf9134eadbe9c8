"""`mitoglance models`: the networks one can choose."""

from __future__ import annotations

import argparse
import json

from app.options import Subparsers, add_command, add_settings, config_of
from app.terminal import say
from segmentation_backend.workspace import Workspace

__all__ = ["add", "run"]


def add(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = add_command(
        subparsers, "models", "List the models, the default first.", "mitoglance models", run
    )
    parser.add_argument("--json", action="store_true", help="Print JSON.")
    add_settings(parser)


def run(args: argparse.Namespace) -> int:
    """List the models."""
    config = config_of(args)
    workspace = Workspace(config.data_dir, config.database_url, config.cloud, packs=config.packs)
    specs = workspace.models()
    if args.json:
        say(json.dumps([{**spec.to_json(), "is_default": i == 0} for i, spec in enumerate(specs)]))
    else:
        for spec in specs:
            here = "" if spec.is_present(workspace.models_dir) else "; downloaded on first use"
            say(f"{spec.name}: {spec.description} ({spec.voxel_size_nm:g} nm{here})")
    workspace.close()
    return 0
