"""Objects made whole, smaller or larger at the end, none ever at the cost of a neighbour.

What becomes of a voxel depends on the labels within `shape_reach` of it, and on no numbers: of
what is equally near or equally enclosed the place decides. So a region can be shaped after its
blocks were stitched, with that much around it, and comes out as it would as a part of a larger one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from segmentation_backend.compiled import njit
from segmentation_backend.geometry import Coordinate
from segmentation_backend.inference.parameters import InferenceParameters
from segmentation_backend.inference.section_kernels import object_boxes

__all__ = [
    "LARGEST_HOLE",
    "dilate_objects",
    "erode_objects",
    "fill_holes",
    "shape_objects",
    "shape_reach",
]

AnyLabels = TypeVar("AnyLabels", npt.NDArray[np.int32], npt.NDArray[np.uint32])
Volume: TypeAlias = npt.NDArray[Any]
Integers: TypeAlias = npt.NDArray[np.int64]

LARGEST_HOLE = 64
"""Pixels of the longer side of the largest hole that is filled. Without a bound all of a section
would have to be known to tell what is a hole."""

_SLAB = 2**22
"""Voxels that are shaped at a time, besides those around them: eight bytes for each are needed."""
_STEP = 1 << 40
"""Of a number that holds face steps, and below them the place that they lead to."""


def shape_reach(parameters: InferenceParameters, axis: int, *, is_flat: bool) -> Coordinate:
    """Return how far around a voxel, in voxels (z, y, x), its shaped label depends on labels.

    `axis` (0 = z) is across the sections; `is_flat` where each is for itself.
    """
    steps = parameters.label_erosion + parameters.label_dilation
    hole = LARGEST_HOLE + 1 if parameters.fill_holes_in_segmentation else 0
    z, y, x = ((0 if is_flat else steps) if across == axis else steps + hole for across in range(3))
    return (z, y, x)


def shape_objects(
    labels: AnyLabels, parameters: InferenceParameters, axis: int = 0, *, is_flat: bool = False
) -> AnyLabels:
    """Return labels (H, W) or (z, y, x) as the parameters want them: filled, eroded, dilated.

    Numbers stay as they are; an object may be eroded away. Sections of a volume lie across `axis`;
    flat ones know nothing of each other.
    """
    if labels.ndim == 3 and (axis != 0 or is_flat):
        moved = np.moveaxis(labels, axis, 0)
        if not is_flat:
            return np.moveaxis(shape_objects(moved, parameters), 0, axis)
        return np.moveaxis(np.stack([shape_objects(s, parameters) for s in moved]), 0, axis)
    shaped = fill_holes(labels) if parameters.fill_holes_in_segmentation else labels
    return dilate_objects(
        erode_objects(shaped, parameters.label_erosion), parameters.label_dilation
    )


def erode_objects(labels: AnyLabels, steps: int) -> AnyLabels:
    """Return labels, 2D or 3D, without what is within `steps` face steps of the background.

    The edge of the array is no background, and where two objects touch neither gives way (what is
    left is what empanada's erosion leaves, which moves such borders): which objects are one may be
    decided far away, and would otherwise change what is left here.
    """
    if steps <= 0:
        return labels

    def erode(part: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
        return np.where(_nearest(part == 0) // _STEP > steps, part, np.uint32(0))

    return _by_slabs(labels, steps, erode)


def dilate_objects(labels: AnyLabels, steps: int) -> AnyLabels:
    """Return labels, 2D or 3D, with the background within `steps` face steps of an object added.

    What is as near to two objects goes to the one whose nearest voxel comes first (in z, y, x).
    """
    if steps <= 0:
        return labels

    def dilate(part: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
        nearest = _nearest(part != 0)
        found = part.reshape(-1)[nearest % _STEP]
        return np.where(nearest // _STEP <= steps, found, np.uint32(0))

    return _by_slabs(labels, steps, dilate)


def fill_holes(labels: AnyLabels) -> AnyLabels:
    """Return labels with the background that an object encloses in a section added to it.

    Sections are labels (H, W), or each of (z, y, x). A hole is what no path over faces leads out
    of without crossing the object, at most `LARGEST_HOLE` long and wide. What lies in holes of two
    objects belongs to the smaller hole; what two objects enclose together is no hole of either.
    """
    volume = _as_volume(labels).copy()
    for section in volume:
        _fill_section(section)
    return volume.reshape(labels.shape).astype(labels.dtype, copy=False)


def _as_volume(labels: Volume) -> npt.NDArray[np.uint32]:
    volume = np.ascontiguousarray(labels).astype(np.uint32, copy=False)
    return volume if labels.ndim == 3 else volume[None]


def _by_slabs(
    labels: AnyLabels,
    reach: int,
    work: Callable[[npt.NDArray[np.uint32]], npt.NDArray[np.uint32]],
) -> AnyLabels:
    """Return what `work` makes of labels, given slabs with `reach` sections on both sides."""
    volume = _as_volume(labels)
    done = np.empty_like(volume)
    depth = max(reach, 1, _SLAB // max(1, volume[:1].size))
    for first in range(0, len(volume), depth):
        before = min(first, reach)
        part = work(np.ascontiguousarray(volume[first - before : first + depth + reach]))
        done[first : first + depth] = part[before : before + depth]
    return done.reshape(labels.shape).astype(labels.dtype, copy=False)


def _fill_section(section: npt.NDArray[np.uint32]) -> None:
    """Fill the holes of a section in place."""
    boxes = object_boxes(section[None], int(section.max(initial=0)))
    sides = boxes[:, 5:7] - boxes[:, 2:4]
    before = section.copy()
    holes = np.full(section.shape, np.iinfo(np.int64).max)
    # An object as large as its box has no hole, nor has one too thin for any.
    hollow = (boxes[:, 0] > 0) & (boxes[:, 0] < sides.prod(1)) & (sides.min(1) >= 3)
    for label in np.flatnonzero(hollow).tolist():
        top, left, bottom, right = boxes[label, [2, 3, 5, 6]].tolist()
        cut = np.s_[top:bottom, left:right]
        place = top * section.shape[1] + left
        _fill_object(before[cut], section[cut], holes[cut], (label, place, section.shape[1]))


@njit(cache=True, nogil=True)
def _flood(crossed: npt.NDArray[np.bool_], start: int, waiting: Integers) -> int:
    """Cross all that a flat place is joined to over faces; return how many, listed in `waiting`."""
    width = crossed.shape[1]
    flat = crossed.reshape(-1)
    flat[start] = True
    waiting[0] = start
    found = 1
    done = 0
    while done < found:
        at = waiting[done]
        done += 1
        for step in (-1, 1, -width, width):
            # A row's end is next to the following row's begin; both are outside.
            near = at + step
            if 0 <= near < flat.size and not flat[near]:
                flat[near] = True
                waiting[found] = near
                found += 1
    return found


@njit(cache=True, nogil=True)
def _fill_object(
    before: npt.NDArray[np.uint32],
    section: npt.NDArray[np.uint32],
    holes: Integers,
    which: tuple[int, int, int],
) -> None:
    """Give an object the background in its holes, unless another one has it in a smaller hole.

    All arrays are its box (h, w); `holes` says in which hole each pixel is: its size, and then its
    first place. `which` is its label, the box's place in the section and the section's width.
    """
    label, place, stride = which
    height, width = before.shape
    # One row and column more on each side, all of it outside.
    crossed = np.zeros((height + 2, width + 2), np.bool_)
    for y in range(height):
        for x in range(width):
            crossed[y + 1, x + 1] = before[y, x] == label
    waiting = np.empty(crossed.size, np.int64)
    _flood(crossed, 0, waiting)
    for start in range(crossed.size):
        if crossed.reshape(-1)[start]:
            continue
        found = _flood(crossed, start, waiting)
        ys, xs = waiting[:found] // (width + 2) - 1, waiting[:found] % (width + 2) - 1
        if max(ys.max() - ys.min(), xs.max() - xs.min()) >= LARGEST_HOLE:
            continue
        hole = found * _STEP + place + ys[0] * stride + xs[0]
        for y, x in zip(ys, xs):  # noqa: B905  (numba knows no strict)
            if before[y, x] == 0 and hole < holes[y, x]:
                holes[y, x] = hole
                section[y, x] = label


@njit(cache=True, nogil=True)
def _passed_on(nearest: Integers, here: tuple[int, int, int], side: int) -> int:
    """Return what is nearest by way of the three neighbours on one side."""
    z, y, x = here
    best = nearest[here]
    for axis in range(3):
        near = (z + side * (axis == 0), y + side * (axis == 1), x + side * (axis == 2))
        if 0 <= near[axis] < nearest.shape[axis]:
            best = min(best, nearest[near] + _STEP)
    return int(best)


@njit(cache=True, nogil=True)
def _nearest(wanted: npt.NDArray[np.bool_]) -> Integers:
    """Return (z, y, x) face steps (times `_STEP`) and flat place of what is nearest of the wanted.

    Of several places it is the first. Two passes are exact for this distance (Rosenfeld & Pfaltz,
    Pattern Recognition 1968), and for the place: what is the first of the nearest is so for the
    voxels on the way to it, too.
    """
    depth, height, width = wanted.shape
    nearest = np.empty(wanted.shape, np.int64)
    flat, values = nearest.reshape(-1), wanted.reshape(-1)
    for at in range(values.size):
        flat[at] = at if values[at] else (_STEP >> 20) * _STEP
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                nearest[z, y, x] = _passed_on(nearest, (z, y, x), -1)
    for z in range(depth - 1, -1, -1):
        for y in range(height - 1, -1, -1):
            for x in range(width - 1, -1, -1):
                nearest[z, y, x] = _passed_on(nearest, (z, y, x), 1)
    return nearest
