"""Take one object apart between groups of points: by edges where that is enough, else by voxels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from segmentation_backend.edits.joints import cut_members, rejoin
from segmentation_backend.edits.members import overlaps, paint_members
from segmentation_backend.edits.recolour import cut_supervoxels
from segmentation_backend.edits.seeds import Points, locate_seeds
from segmentation_backend.edits.watershed import divide
from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.geometry import Roi
from segmentation_backend.labels import Delta, LabelView

__all__ = ["LARGEST_BOX", "check_box", "split"]

LARGEST_BOX = 2**28
"""Voxels of an object's box that a split will look at (1 GB of memory and the box's own chunks)."""


def split(view: LabelView, groups: Points, reserve_ids: Callable[[int], int]) -> Delta:
    """Return the change that makes one object per group of points out of the object under them.

    Where the groups lie on different supervoxels, edges are removed and no voxel is written.
    Otherwise the object's voxels are divided (`watershed.divide`): pieces that are cut off a
    supervoxel get new ids from `reserve_ids(count)` (see `LabelRepository.reserve_ids`), the piece
    on the largest side keeps the old one. The new objects together are exactly the old one. See
    `locate_seeds` for what is refused.
    """
    seeds = locate_seeds(view, groups)
    roi = view.object(seeds.root).bbox
    members = view.members(seeds.root)
    if seeds.need_voxels:
        check_box(roi)
        ids = np.array(members, dtype=np.uint64)
        parts = overlaps(view, roi)
        mask = paint_members(parts, roi, ids, np.ones(len(ids), dtype=np.uint8))
        sides = divide(mask, seeds.cells((1, 1, 1), roi.offset), view.levels[0].voxel_size)
        return cut_supervoxels(view, roi, ids, parts, sides, reserve_ids)
    edges = view.edges_of(seeds.root)
    side_of = cut_members(members, edges, seeds.supervoxels)
    added, removed = rejoin({(m, side): m for m, side in side_of.items()}, edges)
    return Delta(base_version=view.version, bbox=roi, edges_added=added, edges_removed=removed)


def check_box(roi: Roi) -> None:
    """Raise InvalidInputError ROI_TOO_LARGE for an object that cannot be divided by voxels."""
    if roi.size > LARGEST_BOX:
        raise InvalidInputError(
            f"The object's box {roi} has more than {LARGEST_BOX} voxels. Cut it at its joints "
            "first: put the points on parts that were merged.",
            ErrorKind.ROI_TOO_LARGE,
        )
