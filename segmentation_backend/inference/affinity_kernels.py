"""The loop of `affinities` that has to be compiled: flooding."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segmentation_backend.compiled import njit

__all__ = ["flood"]


def flood(
    labels: NDArray[np.uint32],
    levels: NDArray[np.uint16],
    inside: NDArray[np.bool_],
    open_faces: NDArray[np.bool_],
) -> NDArray[np.uint32]:
    """Return labels (z, y, x) spread over `inside`, from the highest level down.

    They spread over faces that are open, on each level first come, first served; a place that is
    higher than the one it is reached from is flooded with it. `open_faces` (3, z, y, x) says
    whether one may pass between a voxel and the one before it along z, y, x. Voxels that no label
    can reach keep 0.
    """
    # A frame of voxels that are not free saves asking where the block ends.
    spread, ground = np.pad(labels, 1), np.pad(levels, 1)
    free = np.pad(inside, 1) & (spread == 0)
    doors = np.pad(open_faces, ((0, 0), (1, 1), (1, 1), (1, 1)))
    steps = np.array([spread.strides[axis] // spread.itemsize for axis in range(3)])
    _spread(spread.reshape(-1), ground.reshape(-1), free.reshape(-1), doors.reshape(3, -1), steps)
    return np.ascontiguousarray(spread[1:-1, 1:-1, 1:-1])


@njit(cache=True)
def _spread(
    labels: NDArray[np.uint32],
    ground: NDArray[np.uint16],
    free: NDArray[np.bool_],
    doors: NDArray[np.bool_],
    steps: NDArray[np.int64],
) -> None:
    # One queue for each level: where it begins and ends, and who comes after whom.
    ends = np.full((int(ground.max()) + 1, 2), -1, np.int64)
    after = np.full(labels.size, -1, np.int64)
    for place in np.flatnonzero(labels):
        _queue(ends, after, int(ground[place]), int(place))
    level = len(ends) - 1
    while level >= 0:
        place = ends[level, 0]
        if place < 0:
            level -= 1
            continue
        ends[level, 0] = after[place]
        for axis in range(3):
            for side in range(2):
                # The face before a voxel is its own, the one after it is its neighbour's.
                other = place + (2 * side - 1) * steps[axis]
                if free[other] and doors[axis, max(place, other)]:
                    free[other] = False
                    labels[other] = labels[place]
                    _queue(ends, after, min(level, int(ground[other])), int(other))


@njit(cache=True)
def _queue(ends: NDArray[np.int64], after: NDArray[np.int64], level: int, place: int) -> None:
    after[place] = -1
    if ends[level, 0] < 0:
        ends[level, 0] = place
    else:
        after[ends[level, 1]] = place
    ends[level, 1] = place
