"""An image in a file that is no chunk store, whatever the file: read by box, nothing kept open."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from segmentation_backend.errors import FormatError
from segmentation_backend.geometry import Coordinate, Roi, VoxelSize
from segmentation_backend.sources.grids import Corner, Grid, resolve_voxel_sizes

__all__ = ["BoxReader", "Stack", "check_plane", "declared_size", "plane_count", "read_raw"]

BoxReader: TypeAlias = Callable[[Roi], NDArray[np.generic]]
"""Returns the voxels of a box inside the image, z, y, x."""

_CHUNK_BYTES = 2**22
_WIDE_ROW = 2**16
_PLANES_BYTES = 2**24
_MAX_PLANE_BYTES = 2**31


@dataclass(frozen=True)
class Stack:
    """An image file: its grid, and how to read a box of it."""

    shape: Coordinate
    dtype: np.dtype[np.generic]
    voxel_size: VoxelSize | None
    """nm, z, y, x; None when the file does not say."""
    read: BoxReader
    """May be called from several threads; opens the file each time, so it survives a fork."""
    chunk: Coordinate
    """What is best read at once."""
    is_sequential: bool = False
    """Whether a box costs as much as everything before it (a compressed stream)."""
    translation: Corner | None = None
    """Where the middle of the first voxel is in the file's own coordinates, nm, z, y, x."""


def declared_size(scale: Callable[[], Sequence[float]], units: Sequence[str]) -> VoxelSize | None:
    """Return z, y, x in nm, or None where the file's numbers or units make no sense.

    A wrong tag must not keep a picture from being imported: its voxel size is then assumed.
    """
    try:
        z, y, x = scale()
        if not min(z, y, x) > 0:
            return None
        grid = Grid(("z", "y", "x"), (z, y, x), tuple(units))
        sizes, assumed = resolve_voxel_sizes([grid], [(1, 1, 1)], None)
    except (FormatError, ValueError, TypeError, ZeroDivisionError):
        return None
    return None if assumed else sizes[0]


def check_plane(sides: Coordinate, dtype: np.dtype[np.generic]) -> int:
    """Return the bytes of one plane, or raise ValueError for one that is too large to decode."""
    size = prod(sides[1:]) * dtype.itemsize
    if size > _MAX_PLANE_BYTES:
        raise ValueError(f"a plane of {sides[1]} x {sides[2]} is too large to be decoded whole")
    return size


def plane_count(plane_bytes: int) -> int:
    """Return how many planes are best decoded at once."""
    return max(1, min(64, _PLANES_BYTES // max(1, plane_bytes)))


def read_raw(
    path: Path,
    begin: int,
    dtype: np.dtype[np.generic],
    sides: Sequence[int],
    order: Sequence[int] = (0, 1, 2),
) -> tuple[BoxReader, Coordinate]:
    """Return how to read plain voxels that start at byte `begin` of a file, and the best chunk.

    `sides` is the shape as stored (the last axis is the fastest) and `order` says which of its
    axes are z, y and x. Nothing is mapped into memory: a file that shrinks is an error when it is
    read (ValueError), and does not end the process. Raises ValueError for a file that is too short.
    """
    needed, size = begin + prod(sides) * dtype.itemsize, path.stat().st_size
    if size < needed:
        raise ValueError(f"it ends {needed - size} bytes early")
    stored = (int(sides[0]), int(sides[1]), int(sides[2]))
    # Axis `order[i]` of the file is axis i of the image; `back` is the other way round.
    back = [list(order).index(axis) for axis in range(3)]

    def read(box: Roi) -> NDArray[np.generic]:
        begins = [box.offset[axis] for axis in back]
        shape = [box.shape[axis] for axis in back]
        voxels = _read_box(path, begin, dtype, stored, begins, shape)
        return voxels.transpose(order)

    best = _raw_chunk(stored, dtype.itemsize)
    z, y, x = (best[axis] for axis in order)
    return read, (z, y, x)


def _raw_chunk(stored: Coordinate, itemsize: int) -> Coordinate:
    """Return whole rows, so many that a chunk is worth a cache entry and stays small."""
    row = min(stored[2], _WIDE_ROW)
    rows = min(stored[1], 64)
    planes = max(1, min(stored[0], 64, _CHUNK_BYTES // max(1, rows * row * itemsize)))
    return (planes, rows, row)


def _read_box(
    path: Path,
    start: int,
    dtype: np.dtype[np.generic],
    stored: Coordinate,
    begins: Sequence[int],
    shape: Sequence[int],
) -> NDArray[np.generic]:
    """Return a box (in the file's axes), read in pieces that are contiguous in the file."""
    (a, b, c), (na, nb, nc) = begins, shape
    _, rows, row = stored
    step = dtype.itemsize
    with path.open("rb", buffering=0) as file:
        handle = file.fileno()
        if (nb, nc) == (rows, row):
            whole = np.empty((na, nb, nc), dtype)
            _fill_from(handle, whole, start + a * rows * row * step)
            return whole
        voxels = np.empty((na, nb, nc), dtype)
        # A few whole rows cost less than as many system calls; very wide ones do not.
        is_wide = row > 4 * nc and row * step > _WIDE_ROW
        for plane in range(na):
            first = start + ((a + plane) * rows + b) * row * step
            if is_wide:
                for line in range(nb):
                    _fill_from(handle, voxels[plane, line], first + (line * row + c) * step)
            else:
                strip = np.empty((nb, row), dtype)
                _fill_from(handle, strip, first)
                voxels[plane] = strip[:, c : c + nc]
    return voxels


def _fill_from(handle: int, target: NDArray[np.generic], offset: int) -> None:
    rest = target.reshape(-1).view(np.uint8).data
    while rest:
        count = os.preadv(handle, [rest], offset)
        if count == 0:
            raise ValueError(f"it ends {len(rest)} bytes early")
        rest, offset = rest[count:], offset + count
