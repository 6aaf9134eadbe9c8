"""Divide the voxels of one object between seeds: flooding from the seeds through the thick parts.

The distance to the object's surface is the height of the flooded landscape, so that parts meet at
necks (Meyer 1992). A seed near the surface first climbs to the thick part it belongs to, and
nothing counts as deeper than the shallowest of these parts: where no neck separates two seeds their
fronts advance evenly and meet half way. Large objects are divided on a coarser grid, and only the
voxels near the cut, or too thin for that grid, are flooded at full resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod

import edt
import numpy as np
import numpy.typing as npt

from segmentation_backend.edits import flooding
from segmentation_backend.geometry import Coordinate, VoxelSize

__all__ = ["can_hold", "divide"]

Mask = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]
Depths = npt.NDArray[np.uint16]
Places = npt.NDArray[np.int64]
Squared = npt.NDArray[np.float32]
Groups = Sequence[Sequence[Coordinate]]

FINEST_LIMIT = 2_000_000
"""Voxels of the object's box that are flooded directly (some 50 ms on one core)."""

_DEEPEST = 2**16 - 1
"""What a depth can hold; nothing that can be split is thicker."""

_AROUND = np.array([s for s in product((-1, 0, 1), repeat=3) if any(s)], dtype=np.int64)
_BESIDE = np.array([s for s in _AROUND.tolist() if sum(map(abs, s)) == 1], dtype=np.int64)


def divide(
    mask: Mask | Bytes, groups: Groups, voxel_size: VoxelSize, limit: int = FINEST_LIMIT
) -> Bytes:
    """Return the side of each voxel of `mask`, uint8 z,y,x: 1 for the first group, 0 outside.

    `groups` are voxels of the mask (array coordinates), none in two groups. Every voxel of the mask
    gets a side and every group at least its own voxels. An array of more than `limit` voxels is
    divided on a coarser grid first. The same input always gives the same sides.
    """
    inside = np.ascontiguousarray(mask).view(np.uint8)
    factor = _coarsening(mask.shape, voxel_size, limit)
    while prod(factor) > 1:
        cells = flooding.majority_pool(inside, factor)
        if can_hold(cells, _down(groups, factor)):
            break
        factor = _halved(factor)
    if prod(factor) == 1:
        sides, left, _, _ = _flood(inside, groups, voxel_size, min(voxel_size))
    else:
        sides, left = _refine(inside, cells, groups, factor, voxel_size)
    if left.size:
        _give_islands(sides, left, groups, voxel_size)
    return sides


def _coarsening(shape: tuple[int, ...], voxel_size: VoxelSize, limit: int) -> Coordinate:
    """Return how many voxels per axis to join so that at most `limit` remain, near isotropic."""
    factor = [1, 1, 1]
    sides = list(shape)
    while prod(sides) > limit:
        edges = [
            e * f if n > 4 else np.inf for e, f, n in zip(voxel_size, factor, sides, strict=True)
        ]
        for axis in range(3):
            if edges[axis] <= 1.5 * min(edges) and sides[axis] > 4:
                factor[axis] *= 2
                sides[axis] = -(-sides[axis] // 2)
    return (factor[0], factor[1], factor[2])


def _halved(factor: Coordinate) -> Coordinate:
    z, y, x = (max(1, f // 2) for f in factor)
    return (z, y, x)


def _down(groups: Groups, factor: Coordinate) -> list[list[Coordinate]]:
    def cell(point: Coordinate) -> Coordinate:
        z, y, x = (p // f for p, f in zip(point, factor, strict=True))
        return (z, y, x)

    return [[cell(point) for point in group] for group in groups]


def can_hold(cells: Bytes, groups: Groups) -> bool:
    """Whether a coarse mask tells the groups apart and shows what each of their points is on."""
    places = [set(group) for group in groups]
    apart = sum(map(len, places)) == len(set().union(*places))
    return apart and all(cells[_around(point)].any() for group in places for point in group)


def _around(point: Coordinate) -> tuple[slice, slice, slice]:
    z, y, x = (slice(max(0, p - 1), p + 2) for p in point)
    return (z, y, x)


def _squared_distance(inside: Bytes, voxel_size: VoxelSize) -> Squared:
    """Return the squared distances to the surface.

    An object one voxel thick has no inside along that axis: only its outline counts there.
    """
    thick = [axis for axis in range(3) if inside.shape[axis] > 1] or [2]
    edges = [voxel_size[axis] for axis in thick]
    squared = edt.edtsq(
        inside.reshape([inside.shape[axis] for axis in thick]),
        anisotropy=edges if len(edges) > 1 else edges[0],
        black_border=True,
    )
    return np.asarray(squared, dtype=np.float32).reshape(inside.shape)


def _climb(squared: Squared, groups: Groups, unit: float) -> tuple[Bytes, Places, int]:
    """Let each seed climb to the nearest thick part; return the sides of their ways, and the ways.

    Also returns the depth that every group reached: the landscape is level above it.
    """
    sides = np.zeros(squared.shape, dtype=np.uint8)
    for side, group in enumerate(groups, start=1):
        sides[tuple(np.transpose(group))] = side
    ways: set[Coordinate] = set()
    reached = []
    for side, group in enumerate(groups, start=1):
        tops = []
        for point in sorted(group):
            way = _ascend(squared, sides, point, side)
            ways.update(way)
            tops.append(float(squared[way[-1]]))
        reached.append(round(max(tops) ** 0.5 / unit))
    places = np.ravel_multi_index(tuple(np.transpose(sorted(ways))), squared.shape)
    return sides, places, min(*reached, _DEEPEST)


def _ascend(squared: Squared, sides: Bytes, start: Coordinate, side: int) -> list[Coordinate]:
    """Mark and return the steepest way up from a voxel; it ends before another's way."""
    way = [start]
    while True:
        at = way[-1]
        window = squared[_around(at)]
        step = np.unravel_index(int(window.argmax()), window.shape)
        z, y, x = (int(s) + max(0, p - 1) for s, p in zip(step, at, strict=True))
        if squared[z, y, x] <= squared[at] or sides[z, y, x] not in (0, side):
            return way
        sides[z, y, x] = side
        way.append((z, y, x))


def _flood(
    inside: Bytes, groups: Groups, voxel_size: VoxelSize, unit: float
) -> tuple[Bytes, Places, Squared, int]:
    """Return sides, voxels left without one, squared distances, and the depth of the level part."""
    squared = _squared_distance(inside, voxel_size)
    sides, ways, level = _climb(squared, groups, unit)
    depth = flooding.rounded_depth(squared, unit, level)
    # Both arrays hold 0 and 1 only, so that they may be read as the other's type.
    left = np.flatnonzero(inside.view(np.bool_) & (sides == 0))
    return sides, _spread(inside, sides, depth, left, ways), squared, level


def _spread(inside: Bytes, sides: Bytes, depth: Depths, left: Places, sources: Places) -> Places:
    """Flood `left` from `sources`; return what touches neither by a face, an edge nor a corner."""
    flooding.flood(sides, inside, depth, left, sources, _BESIDE)
    left = left[sides.reshape(-1)[left] == 0]
    if left.size:
        # Parts that hang on by an edge or a corner only.
        seen = np.zeros(inside.shape, dtype=np.uint16)
        sources = flooding.sources_around(sides, left, _AROUND, seen)
        flooding.flood(sides, inside, depth, left, sources, _AROUND)
        left = left[sides.reshape(-1)[left] == 0]
    return left


def _refine(
    inside: Bytes, cells: Bytes, groups: Groups, factor: Coordinate, voxel_size: VoxelSize
) -> tuple[Bytes, Places]:
    """Divide the coarse `cells`, then the voxels near the cut or in no cell; see `_spread`."""
    coarse_groups = _down(groups, factor)
    for points in coarse_groups:
        cells[tuple(np.transpose(points))] = 1
    z, y, x = (edge * f for edge, f in zip(voxel_size, factor, strict=True))
    unit = min(voxel_size)
    coarse, _, squared, level = _flood(cells, coarse_groups, (z, y, x), unit)
    sides = np.zeros_like(inside)
    left = flooding.carry_down(inside, flooding.clear_cut(coarse), factor, sides)
    for side, group in enumerate(groups, start=1):
        sides[tuple(np.transpose(group))] = side
    left = left[sides.reshape(-1)[left] == 0]
    # Only the pages that the flood needs are ever touched.
    depth = np.zeros(inside.shape, dtype=np.uint16)
    sources = flooding.sources_around(sides, left, _BESIDE, depth)
    places = np.concatenate([left, sources])
    flooding.sampled_depth(squared, factor, unit, level, places, depth)
    return sides, _spread(inside, sides, depth, left, sources)


def _give_islands(sides: Bytes, left: Places, groups: Groups, voxel_size: VoxelSize) -> None:
    """Give parts of the object that touch nothing else to the side of the nearest seed."""
    seeds = sorted((tuple(p), side) for side, group in enumerate(groups, start=1) for p in group)
    places = np.array([point for point, _ in seeds], dtype=np.int64)
    of = np.array([side for _, side in seeds], dtype=np.uint8)
    flooding.give_islands(sides, left, places, of, np.array(voxel_size, dtype=np.float64), _AROUND)
