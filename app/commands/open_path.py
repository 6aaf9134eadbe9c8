"""`mitoglance open PATH_OR_URL`: one's own data in the browser, with one command."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from app.options import (
    SERVER_SETTINGS,
    Subparsers,
    add_command,
    add_settings,
    config_of,
    voxel_size,
)
from app.terminal import progress_bar
from segmentation_backend.errors import ConflictError
from segmentation_backend.geometry import VoxelSize
from segmentation_backend.workspace import VolumeInfo, Workspace

__all__ = ["absolute_source", "add", "register_under_free_name", "run", "volume_name"]

_CONTAINERS = (
    ".zarr", ".n5", ".npz", ".npy", ".tif", ".tiff", ".h5", ".hdf5", ".hdf", ".zarr.zip", ".n5.zip",
    ".zip", ".mrc", ".rec", ".map", ".st", ".png", ".jpg", ".jpeg", ".bmp",
)  # fmt: skip
_MOST_NAMES = 100


def add(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = add_command(
        subparsers,
        "open",
        "Open an EM volume of your own in the browser: zarr, N5, TIFF, HDF5, MRC; local or remote.",
        "mitoglance open s3://janelia-cosem-datasets/jrc_hela-2/jrc_hela-2.n5/em/fibsem-uint16",
        run,
    )
    parser.add_argument("source", metavar="PATH_OR_URL", help="Where the image is.")
    parser.add_argument("--name", help="What to call the volume; made from the path without it.")
    parser.add_argument("--dataset", help="Which array, where the file holds several.")
    parser.add_argument(
        "--labels", metavar="PATH_OR_URL", help="Labels to begin from; they are read in place."
    )
    parser.add_argument(
        "--voxel-size", type=voxel_size, metavar="Z,Y,X", help="Edges in nm, if the data lie."
    )
    parser.add_argument(
        "--in-place", action="store_true", help="Read a file where it is; else it is imported."
    )
    add_settings(parser, SERVER_SETTINGS)


def run(args: argparse.Namespace) -> int:
    """Serve the volume until stopped."""
    from app.launcher import serve

    source = absolute_source(args.source)
    labels = None if args.labels is None else absolute_source(args.labels)

    def prepare(workspace: Workspace) -> str:
        info = register_under_free_name(
            workspace,
            args.name,
            source,
            args.dataset,
            args.voxel_size,
            labels,
            in_place=args.in_place or None,
        )
        return f"/d/{info.name}"

    return serve(config_of(args), prepare)


def register_under_free_name(
    workspace: Workspace,
    name: str | None,
    source: str,
    dataset: str | None,
    size: VoxelSize | None,
    labels: str | None = None,
    *,
    in_place: bool | None = None,
) -> VolumeInfo:
    """Register a volume; a name made from the path gets a number when another volume has it."""
    stem = name or volume_name(source)
    for number in range(1, _MOST_NAMES + 1):
        candidate = stem if number == 1 else f"{stem[:60]}-{number}"
        try:
            with progress_bar(f"Importing {candidate}") as progress:
                return workspace.register(
                    candidate,
                    source,
                    dataset=dataset,
                    voxel_size=size,
                    labels=labels,
                    in_place=in_place,
                    progress=progress,
                )
        except ConflictError:
            # A name that was asked for is not changed behind the user's back.
            if name is not None or number == _MOST_NAMES:
                raise
    raise AssertionError("unreachable: the last attempt returned or raised")


def absolute_source(source: str) -> str:
    """Return a path as an absolute one (it is kept with the volume), and a URL as it is."""
    return source if "://" in source or "|" in source else str(Path(source).expanduser().absolute())


def volume_name(source: str) -> str:
    """Return a name for the volume at a path or URL: its container's, without the suffix."""
    parts = [part for part in re.split(r"[/\\|]", source.partition("?")[0]) if part]
    containers = [part for part in parts if part.lower().endswith(_CONTAINERS)]
    chosen = (containers or parts or ["volume"])[-1]
    for suffix in _CONTAINERS:
        if chosen.lower().endswith(suffix):
            chosen = chosen[: -len(suffix)]
            break
    cleaned = re.sub(r"[^A-Za-z0-9_.-]+", "-", chosen).strip("-._")
    return cleaned[:64] or "volume"
