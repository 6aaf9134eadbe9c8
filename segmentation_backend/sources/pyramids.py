"""Arrays of one image laid over one another: right way round, finest first, corners together."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import ceil, copysign, prod

import tensorstore as ts

from segmentation_backend.errors import ErrorKind, FormatError
from segmentation_backend.geometry import Coordinate, ScaleLevel, VoxelSize
from segmentation_backend.sources.discovery import LevelSource
from segmentation_backend.sources.grids import (
    Corner,
    Grid,
    broken,
    first_corners,
    pick_spatial_axes,
    resolve_voxel_sizes,
)
from segmentation_backend.sources.stores import open_array

__all__ = ["OpenLevel", "Pyramid", "StoredLevel", "build_pyramid", "open_spatial"]

_MAX_SIDE = 2**31 - 1
"""What viewers count voxels in."""
_MAX_CHUNK_BYTES = 2**30
_MAX_PUBLIC_CHUNK_BYTES = 2**26
"""Of what anybody may name, so that many chunks at once fit into memory."""
_SMALLEST_NM, _FARTHEST_NM = 1e-6, 1e12


@dataclass(frozen=True)
class OpenLevel:
    """An array as z, y, x from (0, 0, 0), and what is known of its place."""

    array: ts.TensorStore
    offset: Coordinate
    """Where the array's own index space begins (precomputed's `voxel_offset`)."""
    grid: Grid | None


@dataclass(frozen=True)
class StoredLevel:
    """Where a level comes from."""

    source: LevelSource
    is_turned: bool
    """Whether it is stored in reverse along an axis."""


@dataclass(frozen=True)
class Pyramid:
    """Levels that share their first corner to half a voxel of their own."""

    arrays: tuple[ts.TensorStore, ...]
    levels: tuple[ScaleLevel, ...]
    sources: tuple[int, ...]
    """Which of the given arrays each level is."""
    is_turned: tuple[bool, ...]
    """Whether it is stored in reverse along an axis."""
    voxel_size_is_assumed: bool
    corners: tuple[Corner, ...]
    """Where the first corner may lie, nm, the likeliest first (see `grids.first_corners`)."""

    def stored_levels(self, sources: Sequence[LevelSource]) -> tuple[StoredLevel, ...]:
        """Return where each level comes from, of the given sources."""
        kept = zip(self.sources, self.is_turned, strict=True)
        return tuple(StoredLevel(sources[index], turned) for index, turned in kept)


def build_pyramid(
    opened: Sequence[OpenLevel], wanted: VoxelSize | None, flipped: Collection[str] = ()
) -> Pyramid:
    """Return the levels finest first, whatever their order, axes reversed where scales are below 0.

    So are those of `flipped` (z, y, x) whose scale does not say it: all levels are mirrored about
    the middle of the finest, which stays where it is. A level that begins before the finest one
    loses the voxels that stick out; one that begins later, by more than half of its own voxel,
    cannot be laid over it and is left out.
    """
    shapes = [_sides(level.array) for level in opened]
    sizes, assumed = resolve_voxel_sizes([level.grid for level in opened], shapes, wanted)
    # The sort is stable.
    order = sorted(range(len(opened)), key=lambda i: (prod(sizes[i]), i))
    corners = [
        first_corners(level.grid, level.offset, size, shape)
        for level, size, shape in zip(opened, sizes, shapes, strict=True)
    ]
    first = order[0]
    _check_places(sizes, corners)
    turned = [_turned(level, flipped) for level in opened]
    arrays: list[ts.TensorStore] = []
    levels: list[ScaleLevel] = []
    sources: list[int] = []
    for index in order:
        level = opened[index]
        away = (0.0, 0.0, 0.0)
        if _is_placed(level) and _is_placed(opened[first]):
            away = _minus(corners[index][0], corners[first][0])
        ends = _minus(_extent(sizes[first], shapes[first]), _extent(sizes[index], shapes[index]))
        away = _chosen(turned[index], _minus(ends, away), away)
        shift = _shift(away, sizes[index])
        if max(shift) > 0 or any(-s >= n for s, n in zip(shift, shapes[index], strict=True)):
            continue
        array = _from(_right_way_round(level, turned[index]), shift)
        levels.append(ScaleLevel(len(levels), sizes[index], _sides(array)))
        arrays.append(array)
        sources.append(index)
    reverse = tuple(any(turned[i]) or _says_reverse(opened[i]) for i in sources)
    return Pyramid(tuple(arrays), tuple(levels), tuple(sources), reverse, assumed, corners[first])


def _turned(level: OpenLevel, flipped: Collection[str]) -> tuple[bool, bool, bool]:
    """Return which of z, y, x are stored in reverse without the metadata's saying so."""
    own = level.grid.flips() if level.grid else (False, False, False)
    z, y, x = (name in flipped and not said for name, said in zip("zyx", own, strict=True))
    return (z, y, x)


def _says_reverse(level: OpenLevel) -> bool:
    return level.grid is not None and any(level.grid.flips())


def _extent(size: VoxelSize, shape: Coordinate) -> Corner:
    z, y, x = (edge * side for edge, side in zip(size, shape, strict=True))
    return (z, y, x)


def _minus(one: Corner, other: Corner) -> Corner:
    z, y, x = (a - b for a, b in zip(one, other, strict=True))
    return (z, y, x)


def _chosen(where: Sequence[bool], one: Corner, other: Corner) -> Corner:
    z, y, x = (a if is_so else b for is_so, a, b in zip(where, one, other, strict=True))
    return (z, y, x)


def _check_places(sizes: Sequence[VoxelSize], corners: Sequence[Sequence[Corner]]) -> None:
    for size in sizes:
        if not all(_SMALLEST_NM <= edge <= _FARTHEST_NM for edge in size):
            raise broken("the voxel size", list(size), "three lengths between 1e-6 and 1e12 nm")
    for corner in (corner for several in corners for corner in several):
        if not all(abs(value) <= _FARTHEST_NM for value in corner):
            raise broken("the translation", list(corner), "at most 1e12 nm")


def _is_placed(level: OpenLevel) -> bool:
    """Whether the metadata say where the array lies, rather than nothing."""
    grid = level.grid
    return grid is not None and (grid.translation is not None or grid.is_from_corner)


def _shift(away: Corner, size: VoxelSize) -> Coordinate:
    """Return how many voxels a level begins later than the finest, which is `away` nm.

    Up to half a voxel is none, with some slack for rounded metadata: writers that leave out the
    shift of a coarse level are off by almost half a voxel, and right.
    """
    voxels = [a / edge for a, edge in zip(away, size, strict=True)]
    z, y, x = (int(copysign(max(0, ceil(abs(value) - 0.501)), value)) for value in voxels)
    return (z, y, x)


def _right_way_round(level: OpenLevel, turned: Sequence[bool]) -> ts.TensorStore:
    array = level.array
    own = level.grid.flips() if level.grid else (False, False, False)
    for axis in range(3):
        if own[axis] or turned[axis]:
            array = array[ts.d[axis][::-1]]
    return array[ts.d[:].translate_to[0]]


def _from(array: ts.TensorStore, shift: Coordinate) -> ts.TensorStore:
    if not any(shift):
        return array
    cut = tuple(slice(-s, None) for s in shift)
    return array[cut][ts.d[:].translate_to[0]]


def open_spatial(level: LevelSource, context: ts.Context) -> OpenLevel:
    """Return the array of a level; raises what `open_array` does and FormatError for its rank."""
    what = level.location.url
    array = open_array(level.location, level.driver, context, dict(level.extra))
    if level.is_transposed:
        array = array.T
    order = pick_spatial_axes(level.level.axes, array.shape, what)
    z, y, x = (int(array.domain.origin[axis]) for axis in order)
    others = [axis for axis in range(array.rank) if axis not in order]
    array = array[ts.d[:].translate_to[0]][ts.d[:].mark_bounds_implicit[False]]
    array = array[ts.d[others][0]] if others else array
    left = [axis for axis in range(len(order) + len(others)) if axis not in others]
    array = array.transpose([left.index(axis) for axis in order])
    if 0 in array.shape:
        raise FormatError(
            f"{what} holds no voxel: its shape is {array.shape}.", ErrorKind.UNSUPPORTED_RANK
        )
    _check_sizes(array, what, is_public=level.location.is_public)
    return OpenLevel(array, (z, y, x), level.level.grid)


def _check_sizes(array: ts.TensorStore, what: str, *, is_public: bool) -> None:
    """Refuse what no image is, before it takes the memory of everybody."""
    if max(array.shape) > _MAX_SIDE:
        raise FormatError(
            f"{what} says that its shape is {array.shape}; a side has at most {_MAX_SIDE} voxels.",
            ErrorKind.UNSUPPORTED_FORMAT,
        )
    chunk = array.chunk_layout.read_chunk.shape or ()
    most = _MAX_PUBLIC_CHUNK_BYTES if is_public else _MAX_CHUNK_BYTES
    if prod(side or 1 for side in chunk) * array.dtype.numpy_dtype.itemsize > most:
        hint = (
            "or ask whoever runs the server to list the place in its setting `sources`"
            if is_public
            else "for they are decoded whole"
        )
        raise FormatError(
            f"{what} has chunks of {chunk} voxels; at most {most // 2**20} MB can be read at once. "
            f"Write it again in smaller ones, {hint}.",
            ErrorKind.UNSUPPORTED_FORMAT,
        )


def _sides(array: ts.TensorStore) -> Coordinate:
    z, y, x = (int(side) for side in array.shape)
    return (z, y, x)
