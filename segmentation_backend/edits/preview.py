"""How a split would fall, without a change: exactly for a small object, on coarse cells else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from segmentation_backend.edits.flooding import grown
from segmentation_backend.edits.joints import cut_members
from segmentation_backend.edits.members import overlaps, paint_members
from segmentation_backend.edits.seeds import Points, Seeds, locate_seeds
from segmentation_backend.edits.split import check_box
from segmentation_backend.edits.watershed import can_hold, divide
from segmentation_backend.geometry import Coordinate, Roi
from segmentation_backend.labels import LabelView

__all__ = ["SplitPreview", "preview_split", "voxel_sides"]

Sides = npt.NDArray[np.uint8]

LARGEST_GRID = 1_500_000
"""Cells that a preview looks at: a larger box is seen on a coarser scale level."""


@dataclass(frozen=True)
class SplitPreview:
    """How a split would fall, without a change."""

    root: int
    version: int
    roi: Roi
    """The object's box, level 0."""
    factor: Coordinate
    """Level-0 voxels per cell of `sides`; 1, 1, 1: this is the split, voxel for voxel."""
    sides: Sides
    """Shaped like `roi.downscale(factor)`: 1 for the first group's part, 2 for the second's, …; 0
    elsewhere."""
    voxels: tuple[int, ...]
    """The level-0 voxels of each part; with larger cells than voxels, estimated from them."""


class _Grid(NamedTuple):
    """The cells of a box on one scale level."""

    level: int
    factor: Coordinate
    box: Roi


def preview_split(view: LabelView, groups: Points) -> SplitPreview:
    """Return how `split` would divide the object; nothing is written and no id is used up.

    An object whose box has more than `LARGEST_GRID` voxels is divided on the first scale level
    where it has not: the cut is then right to about a cell. Refuses what `split` refuses.
    """
    seeds = locate_seeds(view, groups)
    found = view.object(seeds.root)
    members = view.members(seeds.root)
    if seeds.need_voxels:
        check_box(found.bbox)
        grid, mask = _look(view, found.bbox, seeds, dict.fromkeys(members, 1))
        points = seeds.cells(grid.factor, grid.box.offset)
        for group in points:
            mask[tuple(np.transpose(group))] = 1
        sides = divide(mask, points, view.levels[grid.level].voxel_size)
        total = found.voxels if grid.level else int(np.count_nonzero(sides))
        voxels = _shares(sides, len(groups), total)
    else:
        side_of = cut_members(members, view.edges_of(seeds.root), seeds.supervoxels)
        grid, sides = _look(view, found.bbox, seeds, side_of)
        voxels = _sizes(view, side_of, len(groups))
    return SplitPreview(seeds.root, view.version, found.bbox, grid.factor, sides, voxels)


def voxel_sides(preview: SplitPreview, roi: Roi) -> Sides:
    """Return the side of each level-0 voxel of a part of the preview's box, uint8 z,y,x.

    With larger cells than voxels, voxels in cells beside the object get a side as well: its surface
    runs through them, and which of their voxels are on it, only the labels tell.
    """
    whole = preview.roi.downscale(preview.factor)
    cells = roi.downscale(preview.factor).grow((1, 1, 1)).intersect(whole)
    sides = preview.sides[cells.slices(whole.offset)]
    if preview.factor != (1, 1, 1):
        sides = grown(np.ascontiguousarray(sides))
    for axis, (begin, n, f) in enumerate(zip(roi.offset, roi.shape, preview.factor, strict=True)):
        sides = sides.take(np.arange(begin, begin + n) // f - cells.offset[axis], axis=axis)
    return sides


def _grids(view: LabelView, roi: Roi) -> list[_Grid]:
    """Return the cells over a box on each scale level, finest first."""
    factors = accumulate(
        view.storage.factors,
        lambda below, step: (below[0] * step[0], below[1] * step[1], below[2] * step[2]),
        initial=(1, 1, 1),
    )
    return [_Grid(level, factor, roi.downscale(factor)) for level, factor in enumerate(factors)]


def _look(
    view: LabelView, roi: Roi, seeds: Seeds, values: Mapping[int, int]
) -> tuple[_Grid, Sides]:
    """Return the cells to preview a box on, with each member's value in its cells.

    They are finer than `LARGEST_GRID` asks for where the seeds fall together or on too thin parts.
    """
    members = np.array(sorted(values), dtype=np.uint64)
    numbers = np.array([values[m] for m in sorted(values)], dtype=np.uint8)
    grids = _grids(view, roi)
    coarse_enough = [grid.level for grid in grids if grid.box.size <= LARGEST_GRID]
    for grid in grids[coarse_enough[0] if coarse_enough else -1 :: -1]:
        cells = paint_members(overlaps(view, grid.box, grid.level), grid.box, members, numbers)
        if can_hold(cells, seeds.cells(grid.factor, grid.box.offset)):
            break
    return grid, cells


def _shares(sides: Sides, groups: int, total: int) -> tuple[int, ...]:
    """Return each side's share of the object's voxels, by the cells it has."""
    cells = np.array([np.count_nonzero(sides == side) for side in range(1, groups + 1)])
    ends = np.rint(np.cumsum(cells) * (total / cells.sum())).astype(int)
    return tuple(np.diff(ends, prepend=0).tolist())


def _sizes(view: LabelView, side_of: Mapping[int, int], groups: int) -> tuple[int, ...]:
    """Return the voxels of each side of an object cut between its supervoxels."""
    sizes = [0] * groups
    for member, statistics in view.statistics_of(side_of.keys()).items():
        sizes[side_of[member] - 1] += statistics.voxels
    return tuple(sizes)
