"""`mitoglance import PATH`: an image volume with a pyramid, in the data directory."""

from __future__ import annotations

import argparse

from app.commands.open_path import absolute_source, register_under_free_name
from app.options import Subparsers, add_command, add_settings, config_of, voxel_size
from app.terminal import say
from segmentation_backend.workspace import Workspace

__all__ = ["add", "run"]


def add(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = add_command(
        subparsers,
        "import",
        "Make an image volume with a pyramid in the data directory, from a file or an array.",
        "mitoglance import stack.npz --dataset em --name cell --voxel-size 8,8,8",
        run,
    )
    parser.add_argument(
        "source", metavar="PATH", help="TIFF, HDF5, MRC, NPZ, NPY, pictures, zarr or N5; zip."
    )
    parser.add_argument("--name", help="What to call the volume; made from the path without it.")
    parser.add_argument("--dataset", help="Which array, where the file holds several.")
    parser.add_argument(
        "--voxel-size", type=voxel_size, metavar="Z,Y,X", help="Edges in nm, if the data lie."
    )
    add_settings(parser)


def run(args: argparse.Namespace) -> int:
    """Import, and say what came of it."""
    config = config_of(args)
    workspace = Workspace(config.data_dir, config.database_url, config.cloud, packs=config.packs)
    try:
        info = register_under_free_name(
            workspace,
            args.name,
            absolute_source(args.source),
            args.dataset,
            args.voxel_size,
            in_place=False,
        )
    finally:
        workspace.close()
    shape = " x ".join(map(str, info.bounds.shape))
    edges = " x ".join(f"{edge:g}" for edge in info.voxel_size)
    assumed = " (assumed; name it with --voxel-size)" if info.voxel_size_is_assumed else ""
    say(f"{info.name}: {shape} voxels (z, y, x) of {edges} nm{assumed}, {info.dtype}")
    return 0
