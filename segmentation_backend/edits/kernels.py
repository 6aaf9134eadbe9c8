"""The loops over voxels that only edits need, compiled: pairs, strokes, and growing by faces."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from segmentation_backend.compiled import njit

__all__ = ["draw_stroke", "paired_runs", "spread"]

Ids: TypeAlias = npt.NDArray[np.uint64]
Mask: TypeAlias = npt.NDArray[np.bool_]
Vector: TypeAlias = npt.NDArray[np.float64]


@njit(cache=True)
def paired_runs(a: Ids, b: Ids) -> Ids:
    """Return uint64 (n, 3): value in `a`, value in `b` and length of each run of equal pairs.

    `a` and `b` are flat and equally long; pairs with a 0 are left out, and a pair may come again.
    """
    runs = 0
    for i in range(a.size):
        new = i == 0 or a[i] != a[i - 1] or b[i] != b[i - 1]
        if new and a[i] != 0 and b[i] != 0:
            runs += 1
    out = np.zeros((runs, 3), dtype=np.uint64)
    n = -1
    for i in range(a.size):
        if a[i] == 0 or b[i] == 0:
            continue
        if i == 0 or a[i] != a[i - 1] or b[i] != b[i - 1]:
            n += 1
            out[n, 0] = a[i]
            out[n, 1] = b[i]
        out[n, 2] += np.uint64(1)
    return out


@njit(cache=True)
def _squared_distance(point: Vector, a: Vector, b: Vector, edges: Vector) -> float:
    """Return the squared distance of a point to the segment from `a` to `b`."""
    along = 0.0
    length = 0.0
    for d in range(3):
        along += (point[d] - a[d]) * (b[d] - a[d]) * edges[d] ** 2
        length += ((b[d] - a[d]) * edges[d]) ** 2
    t = min(1.0, max(0.0, along / length)) if length > 0 else 0.0
    distance = 0.0
    for d in range(3):
        distance += ((point[d] - a[d] - t * (b[d] - a[d])) * edges[d]) ** 2
    return distance


@njit(cache=True)
def _draw_segment(mask: Mask, a: Vector, b: Vector, edges: Vector, radius: float) -> None:
    low = np.empty(3, dtype=np.int64)
    high = np.empty(3, dtype=np.int64)
    for d in range(3):
        reach = radius / edges[d] + 1e-9
        low[d] = max(0, int(np.ceil(min(a[d], b[d]) - reach)))
        high[d] = min(mask.shape[d], int(np.floor(max(a[d], b[d]) + reach)) + 1)
    # A centre at exactly the radius is inside, whatever the rounding.
    limit = radius * radius * (1 + 1e-9)
    point = np.empty(3, dtype=np.float64)
    for z in range(low[0], high[0]):
        point[0] = z
        for y in range(low[1], high[1]):
            point[1] = y
            for x in range(low[2], high[2]):
                point[2] = x
                if _squared_distance(point, a, b, edges) <= limit:
                    mask[z, y, x] = True


@njit(cache=True)
def draw_stroke(mask: Mask, points: Vector, edges: Vector, radius: float) -> None:
    """Set the voxels of `mask` (z, y, x) whose centre is within `radius` of a line of points.

    `points` are (n, 3) in voxels of `mask`, whole numbers being centres; `edges` are a voxel's edge
    lengths in the unit of `radius`.
    """
    for k in range(max(1, points.shape[0] - 1)):
        _draw_segment(mask, points[k], points[min(k + 1, points.shape[0] - 1)], edges, radius)


@njit(cache=True)
def _across(at: int, face: int, shape: tuple[int, int, int]) -> int:
    """Return the flat position across one of a voxel's six faces, or -1 outside the array."""
    place = np.empty(3, dtype=np.int64)
    place[0] = at // (shape[1] * shape[2])
    place[1] = at // shape[2] % shape[1]
    place[2] = at % shape[2]
    axis = face // 2
    place[axis] += 1 if face % 2 else -1
    if not 0 <= place[axis] < shape[axis]:
        return -1
    position: int = (place[0] * shape[1] + place[1]) * shape[2] + place[2]
    return position


@njit(cache=True)
def spread(index: npt.NDArray[np.uint32], wanted: Mask, last: int) -> None:
    """Fill the `wanted` voxels of `index` (both z, y, x) from its voxels 1 to `last`, in place.

    Wanted voxels are 0 at first. Each takes the value from which it is reached in the fewest steps
    across faces through wanted voxels; those that cannot be reached stay 0.
    """
    shape = index.shape
    flat = index.reshape(-1)
    free = wanted.reshape(-1)
    queue = np.empty(int(wanted.sum()), dtype=np.int64)
    ring = np.empty(queue.size, dtype=np.uint32)
    end = 0
    for at in range(flat.size):
        found = np.uint32(0)
        for face in range(6 if free[at] else 0):
            near = _across(at, face, shape)
            if found == 0 and near >= 0 and 1 <= flat[near] <= last:
                found = flat[near]
        if found != 0:
            queue[end] = at
            ring[end] = found
            end += 1
    # Filled only now: a ring that is filled while it is sought would grow along the scan.
    for k in range(end):
        flat[queue[k]] = ring[k]
    _flood(flat, free, shape, queue, end)


@njit(cache=True)
def _flood(
    flat: npt.NDArray[np.uint32],
    free: Mask,
    shape: tuple[int, int, int],
    queue: npt.NDArray[np.int64],
    end: int,
) -> None:
    """Carry on breadth first from the first `end` voxels of `queue`."""
    begin = 0
    while begin < end:
        at = queue[begin]
        begin += 1
        for face in range(6):
            near = _across(at, face, shape)
            if near >= 0 and free[near] and flat[near] == 0:
                flat[near] = flat[at]
                queue[end] = near
                end += 1
