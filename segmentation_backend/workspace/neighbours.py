"""Which of the objects that were found go on as something that is in the labels already."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from segmentation_backend.geometry import Roi

__all__ = ["Within", "alike", "beside", "cut", "going_on"]

_SAME = 0.5
"""Overlap (intersection over union) beside a face of the region from which an object there is the
one that was found."""

_COVERED = 0.5
"""Share of what is there from which an object that was found covers it."""

Within: TypeAlias = npt.NDArray[np.bool_] | None
"""Where voxels may change: (z, y, x) of a box, 1 along the axis it was extruded along; None:
everywhere."""

Labels: TypeAlias = npt.NDArray[np.uint32]
Ids: TypeAlias = npt.NDArray[np.uint64]


def cut(within: Within, around: Roi, roi: Roi) -> Within:
    """Return the part of a mask of `around` that is about a box inside of it."""
    if within is None:
        return None
    parts = zip(roi.slices(around.offset), within.shape, strict=True)
    return within[tuple(part if side > 1 else slice(None) for part, side in parts)]


def beside(
    around: Roi, roi: Roi, within: Within
) -> Iterator[tuple[Roi, npt.NDArray[np.bool_] | bool]]:
    """Yield boxes beside the region, inside a larger box, and which of their voxels are meant.

    A box has a slab beside each face, as thick as the larger box allows; what is extruded has two
    of these along its axis, and a band of one voxel around its outline.
    """
    if within is None:
        for _, slab in _slabs(around, roi):
            yield slab, True
        return
    along = [side == 1 for side in within.shape]
    for axis, slab in _slabs(around, roi):
        where = cut(within, around, slab)
        if along[axis] and where is not None:
            yield slab, where
    begin = [
        r if is_along else a
        for r, a, is_along in zip(roi.offset, around.offset, along, strict=True)
    ]
    end = [r if is_along else a for r, a, is_along in zip(roi.end, around.end, along, strict=True)]
    yield Roi.from_bounds(begin, end), ndimage.binary_dilation(within) & ~within


def alike(found: Labels, there: Ids) -> Iterator[tuple[int, int]]:
    """Yield (object, supervoxel) that cover the same voxels for the most part."""
    overlap = _Overlap.of(found, there)
    union = overlap.found_sizes + overlap.there_sizes - overlap.shared
    yield from overlap.chosen(overlap.shared / union >= _SAME)


def going_on(found: Labels, there: Ids) -> Iterator[tuple[int, int]]:
    """Yield (object, supervoxel) where the object is the supervoxel and more.

    It covers the supervoxel for the most part, and where there is something already, that is for
    the most part this one: so nothing that is apart now becomes one.
    """
    overlap = _Overlap.of(found, there)
    known = overlap.there != 0
    occupied = np.bincount(
        overlap.found[known], overlap.shared[known], minlength=int(overlap.found.max(initial=0)) + 1
    )
    covers = overlap.shared >= _COVERED * overlap.there_sizes
    yield from overlap.chosen(covers & (overlap.shared > 0.5 * occupied[overlap.found]))


class _Overlap(NamedTuple):
    """Every pair of an object and a supervoxel that share voxels; background is 0."""

    found: npt.NDArray[np.int64]
    there: Ids
    shared: npt.NDArray[np.int64]
    found_sizes: npt.NDArray[np.int64]
    there_sizes: npt.NDArray[np.int64]

    @classmethod
    def of(cls, found: Labels, there: Ids) -> _Overlap:
        """Count two arrays of one shape."""
        ids, numbers = np.unique(there, return_inverse=True)
        numbers = numbers.reshape(-1).astype(np.int64)
        flat = found.reshape(-1).astype(np.int64)
        pairs, shared = np.unique(flat * len(ids) + numbers, return_counts=True)
        one, other = pairs // len(ids), pairs % len(ids)
        sizes, others = np.bincount(flat), np.bincount(numbers)
        return cls(one, ids[other], shared, sizes[one], others[other])

    def chosen(self, which: npt.NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
        """Yield the chosen pairs in which both are something."""
        for a, b in zip(self.found[which].tolist(), self.there[which].tolist(), strict=True):
            if a and b:
                yield a, b


def _slabs(around: Roi, roi: Roi) -> Iterator[tuple[int, Roi]]:
    """Yield what lies beside each face of a region, inside a larger box, and the axis across it."""
    for axis in range(3):
        for low, high in (
            (around.offset[axis], roi.offset[axis]),
            (roi.end[axis], around.end[axis]),
        ):
            if low < high:
                begin, end = list(roi.offset), list(roi.end)
                begin[axis], end[axis] = low, high
                yield axis, Roi.from_bounds(begin, end)
