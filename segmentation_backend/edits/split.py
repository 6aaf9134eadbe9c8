"""Take one object apart between groups of points: by edges where that is enough, else by voxels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from segmentation_backend.edits.joints import cut_members, rejoin
from segmentation_backend.edits.recolour import cut_supervoxels
from segmentation_backend.edits.seeds import Seeds, locate_seeds
from segmentation_backend.edits.watershed import divide
from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.geometry import Coordinate, Roi
from segmentation_backend.labels import CHUNK_SIDE, Delta, LabelView
from segmentation_backend.labels.kernels import distinct_ids, translate

__all__ = ["LARGEST_BOX", "SplitPreview", "preview_split", "split"]

Points = Sequence[Sequence[Sequence[int]]]
"""Groups of level-0 voxels, z, y, x."""

LARGEST_BOX = 2**28
"""Voxels of an object's box that a split will look at (about 1 GB of memory)."""


@dataclass(frozen=True)
class SplitPreview:
    """How a split would fall, without a change."""

    root: int
    version: int
    roi: Roi
    """The object's box, level 0."""
    sides: npt.NDArray[np.uint8]
    """Shaped like `roi`: 1 for the first group's part, 2 for the second's, …; 0 elsewhere."""


def split(view: LabelView, groups: Points, reserve_ids: Callable[[int], int]) -> Delta:
    """Return the change that makes one object per group of points out of the object under them.

    Where the groups lie on different supervoxels, edges are removed and no voxel is written.
    Otherwise the object's voxels are divided (`watershed.divide`): pieces that are cut off a
    supervoxel get new ids from `reserve_ids(count)` (see `LabelRepository.reserve_ids`), the piece
    on the largest side keeps the old one. The new objects together are exactly the old one. See
    `locate_seeds` for what is refused.
    """
    seeds = locate_seeds(view, groups)
    found = view.object(seeds.root)
    members, edges = view.members(seeds.root), view.edges_of(seeds.root)
    if _share_supervoxel(seeds):
        index = _member_index(view, found.bbox, members)
        sides = _divide(view, seeds, found.bbox, index)
        return cut_supervoxels(view, found.bbox, members, index, sides, reserve_ids)
    side_of = cut_members(members, edges, seeds.supervoxels)
    added, removed = rejoin({(m, side): m for m, side in side_of.items()}, edges)
    return Delta(
        base_version=view.version, bbox=found.bbox, edges_added=added, edges_removed=removed
    )


def preview_split(view: LabelView, groups: Points) -> SplitPreview:
    """Return how `split` would divide the object; nothing is written and no id is used up."""
    seeds = locate_seeds(view, groups)
    roi = view.object(seeds.root).bbox
    members = view.members(seeds.root)
    index = _member_index(view, roi, members)
    if _share_supervoxel(seeds):
        sides = _divide(view, seeds, roi, index)
    else:
        side_of = cut_members(members, view.edges_of(seeds.root), seeds.supervoxels)
        table = np.array([0, *(side_of[member] for member in members)], dtype=np.uint8)
        sides = table[index]
    return SplitPreview(seeds.root, view.version, roi, sides)


def _share_supervoxel(seeds: Seeds) -> bool:
    together = set().union(*seeds.supervoxels)
    return sum(len(group) for group in seeds.supervoxels) > len(together)


def _member_index(
    view: LabelView, roi: Roi, members: Sequence[int]
) -> npt.NDArray[np.uint16] | npt.NDArray[np.uint32]:
    """Return which member each voxel of the object belongs to: 1 for the first, 0 for others."""
    if roi.size > LARGEST_BOX:
        raise InvalidInputError(
            f"The object's box {roi} has more than {LARGEST_BOX} voxels. Cut it at its joints "
            "first: put the points on parts that were merged.",
            ErrorKind.ROI_TOO_LARGE,
        )
    # Half the memory for all but the most fragmented objects.
    dtype = np.uint16 if len(members) < 2**16 - 1 else np.uint32
    out = np.zeros(roi.shape, dtype=dtype)
    sorted_members = np.array(members, dtype=np.uint64)
    for key, chunk in view.chunks_over(roi).items():
        ids = distinct_ids(chunk.block)
        at = np.searchsorted(sorted_members, ids)
        at[at == len(members)] = 0
        numbers = np.where(sorted_members[at] == ids, at + 1, 0).astype(np.uint64)
        if numbers.any():
            numbered = np.empty_like(chunk.block)
            none = ids[:0]
            translate(chunk.block.reshape(-1), none, none, ids, numbers, numbered.reshape(-1))
            corner = [p * CHUNK_SIDE + o for p, o in zip(key[1:], chunk.offset, strict=True)]
            place = chunk.box.shift([c - o for c, o in zip(corner, chunk.offset, strict=True)])
            common = place.intersect(roi)
            out[common.slices(roi.offset)] = numbered[common.slices(place.offset)]
    return out


def _divide(
    view: LabelView, seeds: Seeds, roi: Roi, index: npt.NDArray[np.unsignedinteger]
) -> npt.NDArray[np.uint8]:
    def local(point: Coordinate) -> Coordinate:
        z, y, x = (p - o for p, o in zip(point, roi.offset, strict=True))
        return (z, y, x)

    groups = [[local(point) for point in group] for group in seeds.groups]
    return divide(index > 0, groups, view.levels[0].voxel_size)
