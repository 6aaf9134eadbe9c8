"""Divide the voxels of one object between seeds: flooding from the seeds through the thick parts.

The distance to the object's surface is the height of the flooded landscape, so that parts meet at
necks (Meyer 1992; `skimage.segmentation.watershed`). A seed near the surface first climbs to the
thick part it belongs to, and nothing counts as deeper than the shallowest of these parts: where no
neck separates two seeds their fronts advance evenly and meet half way. Large objects are divided on
a coarser grid and only the voxels near the cut are divided again at full resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import edt
import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.segmentation import watershed

from segmentation_backend.geometry import Coordinate, VoxelSize

__all__ = ["divide"]

Mask = npt.NDArray[np.bool_]
Sides = npt.NDArray[np.uint8]
Groups = Sequence[Sequence[Coordinate]]

FINEST_LIMIT = 1_000_000
"""Voxels of the object's box that are flooded directly (about 0.15 s on one core)."""


def divide(mask: Mask, groups: Groups, voxel_size: VoxelSize, limit: int = FINEST_LIMIT) -> Sides:
    """Return the side of each voxel of `mask`, uint8 z,y,x: 1 for the first group, 0 outside.

    `groups` are voxels of the mask (array coordinates), none in two groups. Every voxel of the mask
    gets a side and every group at least its own voxels.
    """
    factor = _coarsening(mask.shape, voxel_size, limit)
    while prod(factor) > 1 and _collide(groups, factor):
        factor = _halved(factor)
    if prod(factor) == 1:
        return _flood(mask, _markers(mask.shape, groups), voxel_size)
    coarse_mask = _any_pool(mask, factor)
    coarse_groups = [[_down(p, factor) for p in group] for group in groups]
    z, y, x = (edge * f for edge, f in zip(voxel_size, factor, strict=True))
    coarse = _flood(coarse_mask, _markers(coarse_mask.shape, coarse_groups), (z, y, x))
    return _refine(mask, coarse, groups, factor, voxel_size)


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


def _down(point: Sequence[int], factor: Coordinate) -> Coordinate:
    z, y, x = (p // f for p, f in zip(point, factor, strict=True))
    return (z, y, x)


def _collide(groups: Groups, factor: Coordinate) -> bool:
    cells = [{_down(point, factor) for point in group} for group in groups]
    return sum(len(c) for c in cells) > len(set().union(*cells))


def _markers(shape: tuple[int, ...], groups: Groups) -> Sides:
    markers = np.zeros(shape, dtype=np.uint8)
    for side, group in enumerate(groups, start=1):
        for point in group:
            markers[point] = side
    return markers


def _any_pool(mask: Mask, factor: Coordinate) -> Mask:
    padding = [(0, -n % f) for n, f in zip(mask.shape, factor, strict=True)]
    padded = np.pad(mask, padding)
    cells = []
    for n, f in zip(padded.shape, factor, strict=True):
        cells += [n // f, f]
    return np.asarray(padded.reshape(cells).any(axis=(1, 3, 5)), dtype=np.bool_)


def _distance(mask: Mask, voxel_size: VoxelSize) -> npt.NDArray[np.float32]:
    """Return the distance to the surface in finest voxel edges.

    An object one voxel thick has no inside along that axis: only its outline counts there.
    """
    padding = [(1, 1) if n > 1 else (0, 0) for n in mask.shape]
    padded = np.pad(mask, padding)
    distance = edt.edt(padded, anisotropy=voxel_size, black_border=False)
    inner = tuple(slice(a, n - b) for (a, b), n in zip(padding, padded.shape, strict=True))
    return np.asarray(distance[inner] / min(voxel_size), dtype=np.float32)


def _depth(distance: npt.NDArray[np.float32]) -> npt.NDArray[np.int32]:
    """Return the distance rounded: noise becomes plateaus, on which fronts advance evenly."""
    return np.rint(distance).astype(np.int32)


def _climb(distance: npt.NDArray[np.float32], markers: Sides) -> tuple[Sides, int]:
    """Let each seed climb to the nearest thick part, and return the markers with their ways.

    Also returns the depth that every group reached: the landscape is level above it.
    """
    ways = markers.copy()
    reached: dict[int, int] = {}
    for seed in np.argwhere(markers):
        side = int(markers[tuple(seed)])
        top = _ascend(distance, ways, tuple(seed), side)
        reached[side] = max(reached.get(side, 0), round(float(distance[top])))
    return ways, min(reached.values())


def _ascend(
    distance: npt.NDArray[np.float32], ways: Sides, start: tuple[int, ...], side: int
) -> tuple[int, ...]:
    """Mark the steepest way up from a voxel, and return where it ends: never on another's way."""
    at = start
    while True:
        window = tuple(slice(max(0, p - 1), p + 2) for p in at)
        step = np.unravel_index(int(distance[window].argmax()), distance[window].shape)
        above = tuple(int(s) + max(0, p - 1) for s, p in zip(step, at, strict=True))
        if distance[above] <= distance[at] or ways[above] not in (0, side):
            return at
        ways[above] = side
        at = above


def _flood(mask: Mask, markers: Sides, voxel_size: VoxelSize) -> Sides:
    distance = _distance(mask, voxel_size)
    ways, level = _climb(distance, markers)
    landscape = -np.minimum(_depth(distance), level)
    sides = _watershed(landscape, ways, mask)
    if (mask & (sides == 0)).any():
        # Parts that hang on by an edge or a corner only.
        sides = _watershed(landscape, sides, mask, connectivity=3)
    return _give_islands(mask, sides, markers, voxel_size)


def _watershed(
    landscape: npt.NDArray[np.int32], markers: Sides, mask: Mask, connectivity: int = 1
) -> Sides:
    sides = watershed(landscape, markers, mask=mask, connectivity=connectivity)  # type: ignore[no-untyped-call]
    return np.asarray(sides, dtype=np.uint8)


def _give_islands(mask: Mask, sides: Sides, markers: Sides, voxel_size: VoxelSize) -> Sides:
    """Give parts of the object that touch nothing else to the side of the nearest seed."""
    islands, count = ndimage.label(mask & (sides == 0), structure=np.ones((3, 3, 3)))
    if count == 0:
        return sides
    seeds = np.argwhere(markers)
    centres = np.array(ndimage.center_of_mass(islands > 0, islands, range(1, count + 1)))
    distances = np.linalg.norm((centres[:, None] - seeds[None]) * np.array(voxel_size), axis=2)
    nearest = markers[tuple(seeds[distances.argmin(axis=1)].T)]
    table = np.concatenate([np.zeros(1, dtype=np.uint8), nearest])
    return np.where(islands > 0, table[islands], sides)


def _refine(
    mask: Mask, coarse: Sides, groups: Groups, factor: Coordinate, voxel_size: VoxelSize
) -> Sides:
    """Return the coarse division on the fine grid, flooded anew near the cut."""
    sides = np.where(mask, _up(coarse, factor, mask.shape), np.uint8(0))
    cut = ndimage.binary_dilation(_borders(coarse), np.ones((3, 3, 3), dtype=np.bool_))
    band = mask & _up(cut, factor, mask.shape)
    for side, group in enumerate(groups, start=1):
        for point in group:
            sides[point] = side
            band[point] = False
    if not band.any():
        return sides
    box = ndimage.find_objects(ndimage.binary_dilation(band).astype(np.uint8))[0]
    band, near = band[box], mask[box]
    near = near & ndimage.binary_dilation(band)
    markers = np.where(near & ~band, sides[box], np.uint8(0))
    again = _watershed(-_depth(_distance(mask[box], voxel_size)), markers, near)
    sides[box] = np.where(band & (again > 0), again, sides[box])
    return sides


def _up(
    coarse: npt.NDArray[np.uint8] | Mask, factor: Coordinate, shape: tuple[int, ...]
) -> npt.NDArray[np.uint8] | Mask:
    fine = coarse
    for axis, f in enumerate(factor):
        fine = fine.repeat(f, axis=axis)
    return fine[tuple(slice(0, n) for n in shape)]


def _borders(sides: Sides) -> Mask:
    """Return the voxels with a neighbour, along an axis, on another side."""
    border = np.zeros(sides.shape, dtype=np.bool_)
    for axis in range(3):
        low = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
        high = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
        differ = (sides[low] != sides[high]) & (sides[low] > 0) & (sides[high] > 0)
        border[low] |= differ
        border[high] |= differ
    return border
