"""The loops of a division, compiled: coarser masks, flooding by depth, sides carried down a grid.

All arrays are C-contiguous in z, y, x; masks are uint8, 1 inside. A voxel is named by its flat
index (int64), so that work near a cut costs what the cut costs, not what the box costs. Other
threads go on meanwhile (`nogil`): the arrays belong to one split.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from segmentation_backend.compiled import njit
from segmentation_backend.geometry import Coordinate

__all__ = [
    "carry_down",
    "clear_cut",
    "flood",
    "give_islands",
    "grown",
    "majority_pool",
    "rounded_depth",
    "sampled_depth",
    "sources_around",
]

Bytes: TypeAlias = npt.NDArray[np.uint8]
Depths: TypeAlias = npt.NDArray[np.uint16]
Places: TypeAlias = npt.NDArray[np.int64]
Squared: TypeAlias = npt.NDArray[np.float32]
Edges: TypeAlias = npt.NDArray[np.float64]

_DEPTHS = 2**16
"""How many different depths there are."""


@njit(cache=True, nogil=True)
def majority_pool(mask: Bytes, factor: Coordinate) -> Bytes:
    """Return 1 for each cell of `factor` voxels of which more than half are in `mask`.

    Cells at the far end may be incomplete: only voxels that exist count.
    """
    fz, fy, fx = factor
    depth, height, width = mask.shape
    nz, ny, nx = (depth + fz - 1) // fz, (height + fy - 1) // fy, (width + fx - 1) // fx
    out = np.empty((nz, ny, nx), dtype=np.uint8)
    columns = np.empty(nx * fx, dtype=np.int32)
    for z in range(nz):
        z1 = min(z * fz + fz, depth)
        for y in range(ny):
            y1 = min(y * fy + fy, height)
            columns[:] = 0
            for k in range(z * fz, z1):
                for j in range(y * fy, y1):
                    for x in range(width):
                        columns[x] += mask[k, j, x]
            rows = (z1 - z * fz) * (y1 - y * fy)
            for x in range(nx):
                inside = 0
                for i in range(x * fx, x * fx + fx):
                    inside += columns[i]
                voxels = rows * (min(x * fx + fx, width) - x * fx)
                out[z, y, x] = 2 * inside > voxels
    return out


@njit(cache=True, nogil=True)
def rounded_depth(squared: Squared, unit: float, deepest: int) -> Depths:
    """Return the distances as whole units, at most `deepest`, from their squares."""
    out = np.zeros(squared.shape, dtype=np.uint16)
    flat, flat_out = squared.reshape(-1), out.reshape(-1)
    for at in range(flat.size):
        if flat[at] > 0:
            flat_out[at] = min(int(np.rint(np.sqrt(flat[at]) / unit)), deepest)
    return out


@njit(cache=True, nogil=True)
def _voxel(at: int, shape: Coordinate) -> Coordinate:
    row = at // shape[2]
    return row // shape[1], row % shape[1], at % shape[2]


@njit(cache=True, nogil=True)
def _neighbour(voxel: Coordinate, step: Places, shape: Coordinate) -> int:
    """Return the flat index of the voxel one step further, or -1 outside."""
    z, y, x = voxel[0] + step[0], voxel[1] + step[1], voxel[2] + step[2]
    inside = 0 <= z < shape[0] and 0 <= y < shape[1] and 0 <= x < shape[2]
    return (z * shape[1] + y) * shape[2] + x if inside else -1


@njit(cache=True, nogil=True)
def sampled_depth(
    squared: Squared, factor: Coordinate, unit: float, deepest: int, places: Places, depth: Depths
) -> None:
    """Write the depth of some voxels: as `rounded_depth`, but from squares on a coarser grid.

    The distance is interpolated linearly between the centres of cells of `factor` voxels.
    """
    last = squared.shape[0] - 1, squared.shape[1] - 1, squared.shape[2] - 1
    flat = depth.reshape(-1)
    for at in places:
        z, y, x = _voxel(at, depth.shape)
        pz = min(max((z + 0.5) / factor[0] - 0.5, 0.0), last[0])
        py = min(max((y + 0.5) / factor[1] - 0.5, 0.0), last[1])
        px = min(max((x + 0.5) / factor[2] - 0.5, 0.0), last[2])
        distance = 0.0
        for dz in range(2):
            for dy in range(2):
                for dx in range(2):
                    k, j, i = int(pz) + dz, int(py) + dy, int(px) + dx
                    weight = (1 - abs(pz - k)) * (1 - abs(py - j)) * (1 - abs(px - i))
                    if weight > 0:
                        distance += weight * np.sqrt(squared[k, j, i])
        flat[at] = min(int(np.rint(distance / unit)), deepest)


@njit(cache=True, nogil=True)
def flood(
    sides: Bytes, mask: Bytes, depth: Depths, left: Places, sources: Places, steps: Places
) -> None:
    """Give the voxels `left`, which have no side, that of whoever reaches them first; in place.

    The fronts start at `sources` (voxels with a side, each once) and go by `steps` (n, 3) to
    neighbours in `mask`, deepest first; of equally deep voxels the one reached first goes first, so
    that fronts advance evenly. `left` are all voxels of `mask` without a side. This is Meyer's
    flooding (1992) with one queue per depth.
    """
    shape = sides.shape
    flat_sides, flat_mask, flat_depth = sides.reshape(-1), mask.reshape(-1), depth.reshape(-1)
    heads = _queue_starts(flat_depth, left, sources)
    ends = heads.copy()
    queue = np.empty(left.size + sources.size, dtype=np.int64)
    for at in sources:
        queue[ends[flat_depth[at]]] = at
        ends[flat_depth[at]] += 1
    top = _DEPTHS - 1
    while top >= 0:
        if heads[top] == ends[top]:
            top -= 1
            continue
        here = queue[heads[top]]
        heads[top] += 1
        voxel = _voxel(here, shape)
        for s in range(len(steps)):
            near = _neighbour(voxel, steps[s], shape)
            if near >= 0 and flat_mask[near] != 0 and flat_sides[near] == 0:
                flat_sides[near] = flat_sides[here]
                queue[ends[flat_depth[near]]] = near
                ends[flat_depth[near]] += 1
                top = max(top, int(flat_depth[near]))


@njit(cache=True, nogil=True)
def _queue_starts(flat_depth: Depths, left: Places, sources: Places) -> Places:
    """Return where the queue of each depth begins when all of them lie in one array.

    Every voxel is queued once, and its depth is known beforehand.
    """
    counts = np.zeros(_DEPTHS + 1, dtype=np.int64)
    for places in (left, sources):
        for at in places:
            counts[flat_depth[at] + 1] += 1
    return np.cumsum(counts)


@njit(cache=True, nogil=True)
def sources_around(sides: Bytes, left: Places, steps: Places, seen: Depths) -> Places:
    """Return the voxels with a side that are one step from one of `left`, each once.

    `seen`, uint16 shaped like `sides`, is 0 before; the voxels found are marked 1 in it.
    """
    flat, flat_seen = sides.reshape(-1), seen.reshape(-1)
    found = np.empty(left.size * len(steps), dtype=np.int64)
    n = 0
    for at in left:
        voxel = _voxel(at, sides.shape)
        for s in range(len(steps)):
            near = _neighbour(voxel, steps[s], sides.shape)
            if near >= 0 and flat[near] != 0 and flat_seen[near] == 0:
                flat_seen[near] = 1
                found[n] = near
                n += 1
    return found[:n].copy()


@njit(cache=True, nogil=True)
def clear_cut(sides: Bytes) -> Bytes:
    """Return `sides` with 0 near every cut: within one cell of a cell that touches another side."""
    nz, ny, nx = sides.shape
    out = sides.copy()
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                side = sides[z, y, x]
                if side == 0:
                    continue
                for k, j, i in ((z + 1, y, x), (z, y + 1, x), (z, y, x + 1)):
                    other = sides[min(k, nz - 1), min(j, ny - 1), min(i, nx - 1)]
                    if other not in (np.uint8(0), side):
                        z0, y0, x0 = max(z - 1, 0), max(y - 1, 0), max(x - 1, 0)
                        out[z0 : k + 2, y0 : j + 2, x0 : i + 2] = 0
    return out


@njit(cache=True, nogil=True)
def grown(sides: Bytes) -> Bytes:
    """Return `sides` with that of a neighbour (corners too) for each cell that has none."""
    nz, ny, nx = sides.shape
    out = sides.copy()
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                if out[z, y, x] == 0:
                    z0, y0, x0 = max(z - 1, 0), max(y - 1, 0), max(x - 1, 0)
                    out[z, y, x] = sides[z0 : z + 2, y0 : y + 2, x0 : x + 2].max()
    return out


@njit(cache=True, nogil=True)
def carry_down(mask: Bytes, cells: Bytes, factor: Coordinate, sides: Bytes) -> Places:
    """Give each voxel of `mask` the side of its cell; return the voxels whose cell has none."""
    depth, height, width = mask.shape
    without = np.zeros((depth, height), dtype=np.int64)
    line = np.empty(cells.shape[2] * factor[2], dtype=np.uint8)
    for z in range(depth):
        for y in range(height):
            if y % factor[1] == 0:
                for c in range(cells.shape[2]):
                    side = cells[z // factor[0], y // factor[1], c]
                    line[c * factor[2] : (c + 1) * factor[2]] = side
            count = 0
            for x in range(width):
                # No branches: this is the loop over all voxels of the box.
                sides[z, y, x] = mask[z, y, x] * line[x]
                count += mask[z, y, x] * (line[x] == 0)
            without[z, y] = count
    return _voxels_without(mask, sides, without)


@njit(cache=True, nogil=True)
def _voxels_without(mask: Bytes, sides: Bytes, counts: Places) -> Places:
    """Return the voxels of `mask` that have no side; `counts` says how many per line."""
    depth, height, width = mask.shape
    places = np.empty(counts.sum(), dtype=np.int64)
    n = 0
    for z in range(depth):
        for y in range(height):
            for x in range(width if counts[z, y] else 0):
                if mask[z, y, x] != 0 and sides[z, y, x] == 0:
                    places[n] = (z * height + y) * width + x
                    n += 1
    return places


@njit(cache=True, nogil=True)
def give_islands(
    sides: Bytes, left: Places, seeds: Places, seed_sides: Bytes, edges: Edges, steps: Places
) -> None:
    """Give each component of `left` (voxels without a side) the side of the seed nearest to it.

    `seeds` (n, 3) are voxels, `seed_sides` their sides, `edges` the lengths of a voxel's edges;
    what counts is the distance to the component's centre.
    """
    flat = sides.reshape(-1)
    waiting = np.zeros(flat.size, dtype=np.uint8)
    for at in left:
        waiting[at] = 1
    component = np.empty(left.size, dtype=np.int64)
    for start in left:
        if waiting[start] != 0:
            n = _collect(start, waiting, steps, sides.shape, component)
            centre = np.zeros(3)
            for at in component[:n]:
                z, y, x = _voxel(at, sides.shape)
                centre += np.array([z, y, x]) / n
            nearest = (((seeds - centre) * edges) ** 2).sum(axis=1).argmin()
            for at in component[:n]:
                flat[at] = seed_sides[nearest]


@njit(cache=True, nogil=True)
def _collect(start: int, waiting: Bytes, steps: Places, shape: Coordinate, found: Places) -> int:
    """Write the waiting voxels that hang together with `start` to `found`; return how many."""
    waiting[start] = 0
    found[0] = start
    n, done = 1, 0
    while done < n:
        voxel = _voxel(found[done], shape)
        done += 1
        for s in range(len(steps)):
            near = _neighbour(voxel, steps[s], shape)
            if near >= 0 and waiting[near] != 0:
                waiting[near] = 0
                found[n] = near
                n += 1
    return n
