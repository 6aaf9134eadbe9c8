"""`mitoglance open PATH_OR_URL_OR_NAME`: data in the browser, with one command."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path

from app.options import (
    SERVER_SETTINGS,
    Subparsers,
    add_command,
    add_settings,
    config_of,
    voxel_size,
)
from app.terminal import complain, progress_bar
from segmentation_backend.errors import (
    ConflictError,
    ErrorKind,
    InvalidInputError,
    NotFoundError,
)
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
        "Open an EM volume in the browser: a published dataset by its name, or your own zarr, N5, "
        "TIFF, HDF5, MRC, NPZ; local or remote.",
        "mitoglance open jrc_mus-kidney",
        run,
    )
    parser.add_argument(
        "source",
        metavar="PATH_OR_URL_OR_NAME",
        help="Where the image is, or a dataset's name (`mitoglance catalogue` lists them).",
    )
    parser.add_argument("--name", help="What to call the volume; made from the path without it.")
    parser.add_argument("--dataset", help="Which array, where the file holds several.")
    parser.add_argument(
        "--labels",
        metavar="PATH_OR_URL",
        help="Labels to begin from; they are read in place. Of a dataset: the name of published "
        "ones, or none.",
    )
    parser.add_argument("--em", help="Which image of a dataset; its first without it.")
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

    def prepare(workspace: Workspace) -> str:
        if is_dataset_name(args.source):
            return f"/d/{_register_dataset(workspace, args).name}"
        _refuse_em(args.em)
        source = absolute_source(args.source)
        labels = None if args.labels is None else absolute_source(args.labels)
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


def is_dataset_name(source: str) -> bool:
    """Whether a dataset of the catalogue is meant: a bare name, and no file is called so."""
    is_bare = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", source) is not None
    return is_bare and not source.lower().endswith(_CONTAINERS) and not Path(source).exists()


def _refuse_em(em: str | None) -> None:
    if em is not None:
        raise InvalidInputError(
            "--em chooses an image of a dataset that is opened by its name; of a file or a URL, "
            "--dataset chooses the array.",
            ErrorKind.INVALID_PARAMETER,
        )


def _register_dataset(workspace: Workspace, args: argparse.Namespace) -> VolumeInfo:
    if args.dataset is not None or args.voxel_size is not None:
        raise InvalidInputError(
            f"{args.source} is the name of a dataset, which says itself where its image is and how "
            "large its voxels are; leave out --dataset and --voxel-size, or give a path or a URL.",
            ErrorKind.INVALID_PARAMETER,
        )
    try:
        dataset = workspace.catalogue.find(args.source).name
    except NotFoundError as err:
        raise NotFoundError(
            f"{err.message} (Nor is there a file or folder {args.source} here.)", err.kind
        ) from err
    labels = args.labels
    if labels is not None and ("/" in labels or Path(labels).exists()):
        labels = absolute_source(labels)
    info = under_free_name(
        args.name,
        dataset,
        lambda name: workspace.register_published(dataset, name=name, em=args.em, labels=labels),
    )
    for note in info.published.notes if info.published else ():
        complain(note)
    return info


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

    def register(candidate: str) -> VolumeInfo:
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

    return under_free_name(name, volume_name(source), register)


def under_free_name(
    name: str | None, stem: str, register: Callable[[str], VolumeInfo]
) -> VolumeInfo:
    """Register something under the name asked for, or under `stem`, with a number if need be."""
    for number in range(1, _MOST_NAMES + 1):
        candidate = name or (stem if number == 1 else f"{stem[:60]}-{number}")
        try:
            return register(candidate)
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
