"""MRC files (also .rec, .map, .st), as cryo-EM and IMOD write them."""

from __future__ import annotations

import warnings
from pathlib import Path

import mrcfile
import numpy as np
from mrcfile.utils import data_dtype_from_header, data_shape_from_header

from segmentation_backend.errors import ErrorKind, FormatError
from segmentation_backend.sources.choosing import refuse_dataset, spatial_sides
from segmentation_backend.sources.stacks import Stack, declared_size, read_raw

__all__ = ["MRC_SUFFIXES", "open_mrc"]

MRC_SUFFIXES = (".mrc", ".rec", ".map", ".st")

_HEADER_BYTES = 1024
_IMOD_STAMP = 1146047817
_SIGNED_FLAG = 1


def open_mrc(path: Path, dataset: str | None) -> Stack:
    """Open an MRC volume in the order in which it is stored; ValueError for what is none.

    Voxels are Ångström in the header and nm here. The header's origin is not used: programs
    disagree about its sign and its unit.
    """
    refuse_dataset(dataset, path)
    with warnings.catch_warnings():
        # It warns of what it reads all the same.
        warnings.simplefilter("ignore")
        with mrcfile.open(path, mode="r", header_only=True) as file:
            header = file.header
            edges = [float(file.voxel_size[axis]) for axis in ("z", "y", "x")]
            axes = [int(header.maps), int(header.mapr), int(header.mapc)]
            dtype = _dtype(header)
            shape = data_shape_from_header(header)
            begin = _HEADER_BYTES + int(header.nsymbt)
    if begin < _HEADER_BYTES or any(side < 1 for side in shape):
        raise ValueError(f"its header names {shape} voxels from byte {begin}")
    sides = spatial_sides((1, *shape) if len(shape) == 2 else shape, path)
    order = _order(axes, path)
    read, chunk = read_raw(path, begin, dtype, sides, order)
    z, y, x = (sides[axis] for axis in order)
    size = declared_size(lambda: edges, ["angstrom"] * 3)
    return Stack((z, y, x), dtype, size, read, chunk)


def _order(axes: list[int], path: Path) -> tuple[int, int, int]:
    """Return which stored axis is z, y and x; 1, 2, 3 stand for x, y, z in the header."""
    if axes == [0, 0, 0]:
        return (0, 1, 2)
    if sorted(axes) != [1, 2, 3]:
        raise FormatError(
            f"{path} says that its axes are {axes}; they must be 1, 2 and 3 in some order.",
            ErrorKind.UNSUPPORTED_FORMAT,
        )
    return (axes.index(3), axes.index(2), axes.index(1))


def _dtype(header: np.recarray[tuple[int, ...], np.dtype[np.void]]) -> np.dtype[np.generic]:
    """Return the type of voxels; IMOD's bytes are unsigned unless it says otherwise."""
    dtype: np.dtype[np.generic] = data_dtype_from_header(header)
    order = header.nx.dtype.byteorder
    stamp, flags = np.frombuffer(header.tobytes(), f"{order}i4", 2, offset=152)
    if dtype.name == "int8" and stamp == _IMOD_STAMP and not flags & _SIGNED_FLAG:
        return np.dtype("uint8")
    return dtype
