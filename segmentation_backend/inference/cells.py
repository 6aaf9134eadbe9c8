"""Cells: the voxels to which three stacks give the same three labels, counted in one pass."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from segmentation_backend.compiled import njit

__all__ = ["collect_cells", "count_labels", "paint_cells"]

Volume: TypeAlias = npt.NDArray[Any]
Integers: TypeAlias = npt.NDArray[np.int64]

_BLOCK = 32
"""Side of the cubes in which volumes are read, since each may lie in memory along another axis."""


@njit(cache=True, nogil=True)
def count_labels(flat: Volume, count: int) -> Integers:
    """Return (count + 1,) the voxels of each label of a flat array."""
    voxels = np.zeros(count + 1, np.int64)
    i = 0
    while i < flat.size:
        first = i
        while i < flat.size and flat[i] == flat[first]:
            i += 1
        voxels[flat[first]] += i - first
    return voxels


@njit(cache=True, nogil=True)
def _slot(slots: Integers, cells: Integers, a: int, b: int, c: int) -> int:
    """Return the slot of a cell, or the empty one where it belongs."""
    code = np.uint64(a) * np.uint64(0x9E3779B97F4A7C15)
    code = (code ^ np.uint64(b)) * np.uint64(0xC2B2AE3D27D4EB4F)
    code = (code ^ np.uint64(c)) * np.uint64(0x165667B19E3779F9)
    at = np.int64((code >> np.uint64(20)) & np.uint64(slots.size - 1))
    while slots[at] >= 0:
        cell = cells[slots[at]]
        if cell[0] == a and cell[1] == b and cell[2] == c:
            break
        at = (at + 1) & (slots.size - 1)
    return int(at)


@njit(cache=True, nogil=True)
def _collect_block(
    a: Volume, b: Volume, c: Volume, least: int, cells: Integers, slots: Integers, n: int
) -> int:
    for z in range(a.shape[0]):
        for y in range(a.shape[1]):
            cell = -1
            for x in range(a.shape[2]):
                p, q, r = int(a[z, y, x]), int(b[z, y, x]), int(c[z, y, x])
                if (p > 0) + (q > 0) + (r > 0) < least:
                    continue
                if cell < 0 or cells[cell, 0] != p or cells[cell, 1] != q or cells[cell, 2] != r:
                    slot = _slot(slots, cells, p, q, r)
                    if slots[slot] < 0:
                        slots[slot] = n
                        cells[n, 0], cells[n, 1], cells[n, 2], cells[n, 3] = p, q, r, 0
                        n += 1
                    cell = slots[slot]
                cells[cell, 3] += 1
    return n


@njit(cache=True, nogil=True)
def _with_room(cells: Integers, slots: Integers, n: int) -> tuple[Integers, Integers]:
    """Return tables that hold as many more cells as a block may have voxels."""
    if n + _BLOCK**3 <= cells.shape[0]:
        return cells, slots
    more = np.empty((2 * cells.shape[0], 4), np.int64)
    for k in range(n):
        for column in range(4):
            more[k, column] = cells[k, column]
    wider = np.full(2 * slots.size, -1, np.int64)
    for k in range(n):
        wider[_slot(wider, more, more[k, 0], more[k, 1], more[k, 2])] = k
    return more, wider


@njit(cache=True, nogil=True)
def collect_cells(a: Volume, b: Volume, c: Volume, least: int) -> tuple[Integers, Integers]:
    """Return the cells of three labelled volumes (z, y, x), and the slots that find them.

    Cells are int64 (n, 4): the three labels and the number of voxels. Voxels with fewer than
    `least` (at least 1) labels that are not 0 are left out.
    """
    cells = np.empty((2 * _BLOCK**3, 4), np.int64)
    slots = np.full(4 * _BLOCK**3, -1, np.int64)
    n = 0
    side = _BLOCK
    for z in range(0, a.shape[0], side):
        for y in range(0, a.shape[1], side):
            for x in range(0, a.shape[2], side):
                cells, slots = _with_room(cells, slots, n)
                one = a[z : z + side, y : y + side, x : x + side]
                two = b[z : z + side, y : y + side, x : x + side]
                three = c[z : z + side, y : y + side, x : x + side]
                n = _collect_block(one, two, three, least, cells, slots, n)
    return cells[:n].copy(), slots


@njit(cache=True, nogil=True)
def _paint_block(
    a: Volume,
    b: Volume,
    c: Volume,
    least: int,
    cells: Integers,
    slots: Integers,
    numbers: npt.NDArray[np.uint32],
    out: npt.NDArray[np.uint32],
) -> None:
    for z in range(a.shape[0]):
        for y in range(a.shape[1]):
            cell = -1
            for x in range(a.shape[2]):
                p, q, r = int(a[z, y, x]), int(b[z, y, x]), int(c[z, y, x])
                if (p > 0) + (q > 0) + (r > 0) < least:
                    continue
                if cell < 0 or cells[cell, 0] != p or cells[cell, 1] != q or cells[cell, 2] != r:
                    cell = slots[_slot(slots, cells, p, q, r)]
                out[z, y, x] = numbers[cell]


@njit(cache=True, nogil=True)
def paint_cells(
    a: Volume,
    b: Volume,
    c: Volume,
    least: int,
    cells: Integers,
    slots: Integers,
    numbers: npt.NDArray[np.uint32],
) -> npt.NDArray[np.uint32]:
    """Return (z, y, x) the number of each voxel's cell, of volumes as they were collected."""
    out = np.zeros(a.shape, np.uint32)
    side = _BLOCK
    for z in range(0, a.shape[0], side):
        for y in range(0, a.shape[1], side):
            for x in range(0, a.shape[2], side):
                one = a[z : z + side, y : y + side, x : x + side]
                two = b[z : z + side, y : y + side, x : x + side]
                three = c[z : z + side, y : y + side, x : x + side]
                target = out[z : z + side, y : y + side, x : x + side]
                _paint_block(one, two, three, least, cells, slots, numbers, target)
    return out
