"""The loop of `affinities` that has to be compiled: flooding."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = ["flood"]


def flood(
    labels: NDArray[np.uint32], levels: NDArray[np.uint16], inside: NDArray[np.bool_]
) -> NDArray[np.uint32]:
    """Return labels (z, y, x) spread over all of `inside`, from the highest level down.

    They spread over faces, on each level first come, first served; a place that is higher than the
    one it is reached from is flooded with it. Voxels that no label can reach keep 0.
    """
    # A frame of voxels that are not free saves asking where the block ends.
    spread, ground = np.pad(labels, 1), np.pad(levels, 1)
    free = np.pad(inside, 1) & (spread == 0)
    across = spread.strides[0] // spread.itemsize
    along = spread.strides[1] // spread.itemsize
    steps = np.array([-across, -along, -1, 1, along, across])
    _spread(spread.reshape(-1), ground.reshape(-1), free.reshape(-1), steps)
    return np.ascontiguousarray(spread[1:-1, 1:-1, 1:-1])


@numba.njit(cache=True)
def _spread(
    labels: NDArray[np.uint32],
    ground: NDArray[np.uint16],
    free: NDArray[np.bool_],
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
        for step in steps:
            other = place + step
            if free[other]:
                free[other] = False
                labels[other] = labels[place]
                _queue(ends, after, min(level, int(ground[other])), int(other))


@numba.njit(cache=True)
def _queue(ends: NDArray[np.int64], after: NDArray[np.int64], level: int, place: int) -> None:
    after[place] = -1
    if ends[level, 0] < 0:
        ends[level, 0] = place
    else:
        after[ends[level, 1]] = place
    ends[level, 1] = place
