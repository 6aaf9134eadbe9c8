"""Objects made smaller, larger or whole at the end, none ever at the cost of a neighbour."""

from __future__ import annotations

from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
from numba import njit

from segmentation_backend.inference.filters import select_objects
from segmentation_backend.inference.parameters import InferenceParameters
from segmentation_backend.inference.section_kernels import object_boxes

__all__ = ["dilate_objects", "erode_objects", "fill_holes", "shape_and_number", "shape_objects"]

AnyLabels = TypeVar("AnyLabels", npt.NDArray[np.int32], npt.NDArray[np.uint32])
Volume: TypeAlias = npt.NDArray[Any]
Integers: TypeAlias = npt.NDArray[np.int64]


def shape_objects(labels: AnyLabels, parameters: InferenceParameters) -> AnyLabels:
    """Return labels (H, W) or (z, y, x) as the parameters want them: filled, eroded, dilated.

    Numbers stay as they are; an object may be eroded away.
    """
    shaped = fill_holes(labels) if parameters.fill_holes_in_segmentation else labels
    return dilate_objects(
        erode_objects(shaped, parameters.label_erosion), parameters.label_dilation
    )


def erode_objects(labels: AnyLabels, steps: int) -> AnyLabels:
    """Return labels, 2D or 3D, without what is within `steps` face steps of anything else.

    Anything else is the background or another object; the edge of the array is neither.
    """
    if steps <= 0:
        return labels
    return np.where(_steps_to_other(_as_volume(labels)).reshape(labels.shape) > steps, labels, 0)


def dilate_objects(labels: AnyLabels, steps: int) -> AnyLabels:
    """Return labels, 2D or 3D, with the background within `steps` face steps of an object added.

    What is as near to two objects goes to the one with the smaller number.
    """
    if steps <= 0:
        return labels
    volume = _as_volume(labels).copy()
    _spread(volume, steps)
    return volume.reshape(labels.shape).astype(labels.dtype, copy=False)


def fill_holes(labels: AnyLabels) -> AnyLabels:
    """Return labels with the background that an object encloses in a section added to it.

    Sections are labels (H, W), or each of (z, y, x). A hole is background from which no path over
    faces leaves the section without crossing the object. In a hole in a hole the inner object wins;
    what two objects enclose together is no hole of either.
    """
    volume = _as_volume(labels).copy()
    for section in volume:
        _fill_section(section)
    return volume.reshape(labels.shape).astype(labels.dtype, copy=False)


def _as_volume(labels: Volume) -> npt.NDArray[np.uint32]:
    volume = np.ascontiguousarray(labels).astype(np.uint32, copy=False)
    return volume if labels.ndim == 3 else volume[None]


def _fill_section(section: npt.NDArray[np.uint32]) -> None:
    """Fill the holes of a section in place, the objects with the largest boxes first."""
    boxes = object_boxes(section[None], int(section.max(initial=0)))
    sides = boxes[:, 5:7] - boxes[:, 2:4]
    areas = np.where(boxes[:, 0] > 0, sides.prod(1), 0)
    inner = section.copy()
    for label in np.argsort(-areas, kind="stable").tolist():
        # An object as large as its box has no hole, nor has one too thin for any.
        if areas[label] > boxes[label, 0] and sides[label].min() >= 3:
            top, left, bottom, right = boxes[label, [2, 3, 5, 6]].tolist()
            cut = np.s_[top:bottom, left:right]
            _fill_object(inner[cut], section[cut], label)


@njit(cache=True, nogil=True)
def _fill_object(
    before: npt.NDArray[np.uint32], section: npt.NDArray[np.uint32], label: int
) -> None:
    """Give an object the background within it; both arrays are its box (h, w)."""
    height, width = before.shape
    # One row and column more on each side, all of it outside.
    crossed = np.zeros((height + 2, width + 2), np.bool_)
    crossed[1:-1, 1:-1] = before == label
    waiting = np.empty(crossed.size + 1, np.int64)
    waiting[0] = 0
    n = 1
    flat = crossed.reshape(-1)
    flat[0] = True
    while n:
        n -= 1
        at = waiting[n]
        for step in (-1, 1, -width - 2, width + 2):
            # A row's end is next to the following row's begin; both are outside.
            near = at + step
            if 0 <= near < flat.size and not flat[near]:
                flat[near] = True
                waiting[n] = near
                n += 1
    for y in range(height):
        for x in range(width):
            if before[y, x] == 0 and not crossed[y + 1, x + 1]:
                section[y, x] = label


@njit(cache=True, nogil=True)
def _nearer(
    distance: npt.NDArray[np.int32], labels: Volume, here: tuple[int, int, int], side: int
) -> int:
    """Return the steps to another label by way of the three neighbours on one side."""
    z, y, x = here
    best = int(distance[here])
    for axis in range(3):
        near = (z + side * (axis == 0), y + side * (axis == 1), x + side * (axis == 2))
        if not 0 <= near[axis] < labels.shape[axis]:
            continue
        steps = 1 if labels[near] != labels[here] else int(distance[near]) + 1
        best = min(best, steps)
    return best


@njit(cache=True, nogil=True)
def _steps_to_other(labels: npt.NDArray[np.uint32]) -> npt.NDArray[np.int32]:
    """Return (z, y, x) the face steps from each voxel to the nearest with another label.

    Two passes are exact for this distance (Rosenfeld & Pfaltz, Pattern Recognition 1968).
    """
    distance = np.full(labels.shape, 2**30, np.int32)
    depth, height, width = labels.shape
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                distance[z, y, x] = _nearer(distance, labels, (z, y, x), -1)
    for z in range(depth - 1, -1, -1):
        for y in range(height - 1, -1, -1):
            for x in range(width - 1, -1, -1):
                distance[z, y, x] = _nearer(distance, labels, (z, y, x), 1)
    return distance


@njit(cache=True, nogil=True)
def _take_over(
    labels: Volume, distance: npt.NDArray[np.int32], here: tuple[int, int, int], side: int
) -> None:
    """Let a voxel take the label of the nearest of three neighbours, the smaller on a tie."""
    z, y, x = here
    if distance[here] == 0:
        return
    for axis in range(3):
        near = (z + side * (axis == 0), y + side * (axis == 1), x + side * (axis == 2))
        if not 0 <= near[axis] < labels.shape[axis] or labels[near] == 0:
            continue
        steps = distance[near] + 1
        tie = steps == distance[here] and labels[near] < labels[here]
        if steps < distance[here] or tie:
            distance[here] = steps
            labels[here] = labels[near]


@njit(cache=True, nogil=True)
def _spread(labels: npt.NDArray[np.uint32], steps: int) -> None:
    """Grow labels (z, y, x) into the background in place, by two passes as above."""
    depth, height, width = labels.shape
    distance = np.where(labels != 0, np.int32(0), np.int32(2**30))
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                _take_over(labels, distance, (z, y, x), -1)
    for z in range(depth - 1, -1, -1):
        for y in range(height - 1, -1, -1):
            for x in range(width - 1, -1, -1):
                _take_over(labels, distance, (z, y, x), 1)
                if distance[z, y, x] > steps:
                    # Too far; those that took their label from here are further still.
                    labels[z, y, x] = 0


def shape_and_number(
    labels: npt.NDArray[np.uint32], parameters: InferenceParameters
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.bool_]]:
    """Return the objects as the parameters want them, 1..m, and which of 1..n (n + 1,) are left."""
    kept = np.ones(int(labels.max(initial=0)) + 1, bool)
    kept[0] = False
    shaped = shape_objects(labels, parameters)
    if shaped is labels:
        return labels, kept
    kept[1:] = np.isin(np.arange(1, len(kept)), shaped)
    return select_objects(shaped, kept), kept
