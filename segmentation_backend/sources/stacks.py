"""A stack of planes from a file, whatever the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segmentation_backend.errors import FormatError
from segmentation_backend.geometry import Coordinate, VoxelSize
from segmentation_backend.sources.grids import Grid, resolve_voxel_sizes

__all__ = ["Slabs", "Sliceable", "Stack", "cut_slabs", "declared_size"]


class Slabs(Protocol):
    """Returns all planes in order as arrays of (up to) the given depth, z, y, x."""

    def __call__(self, depth: int) -> Iterator[NDArray[np.generic]]:
        """Start again from the first plane."""


class Sliceable(Protocol):
    """What gives planes of (y, x) for a slice of z."""

    def __getitem__(self, wanted: slice, /) -> ArrayLike:
        """Return the planes, z, y, x."""


@dataclass(frozen=True)
class Stack:
    """An open image file: planes z of (y, x), read from first to last."""

    shape: Coordinate
    dtype: np.dtype[np.generic]
    voxel_size: VoxelSize | None
    """nm, z, y, x; None when the file does not say."""
    slabs: Slabs


def cut_slabs(array: Sliceable, planes: int) -> Slabs:
    """Return the slabs of anything that can be sliced."""

    def slabs(depth: int) -> Iterator[NDArray[np.generic]]:
        for begin in range(0, planes, depth):
            yield np.asarray(array[begin : min(begin + depth, planes)])

    return slabs


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
