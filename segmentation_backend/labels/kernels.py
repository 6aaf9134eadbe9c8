"""The loops over voxels, compiled: boxes, distinct ids, look-ups, sums, the mode of 2x2x2.

All arrays are C-contiguous uint64 in z, y, x unless said otherwise, so that each kernel is compiled
once and found in numba's cache by every later process.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from segmentation_backend.compiled import njit

__all__ = [
    "accumulate",
    "changed_box",
    "distinct_ids",
    "from_numbers",
    "labelled_box",
    "mode_pool",
    "numbered",
    "run_values",
    "translate",
]

Ids: TypeAlias = npt.NDArray[np.uint64]
Integers: TypeAlias = npt.NDArray[np.int64]


@njit(cache=True)
def changed_box(a: Ids, b: Ids) -> Integers:
    """Return int64 (z0, y0, x0, z1, y1, x1) around the voxels where `a` and `b` differ.

    The box is half-open; with no difference z1 is 0.
    """
    box = np.array([a.shape[0], a.shape[1], a.shape[2], 0, 0, 0], dtype=np.int64)
    for z in range(a.shape[0]):
        for y in range(a.shape[1]):
            first = -1
            last = -1
            for x in range(a.shape[2]):
                if a[z, y, x] != b[z, y, x]:
                    if first < 0:
                        first = x
                    last = x
            if first >= 0:
                box[0] = min(box[0], z)
                box[1] = min(box[1], y)
                box[2] = min(box[2], first)
                box[3] = max(box[3], z + 1)
                box[4] = max(box[4], y + 1)
                box[5] = max(box[5], last + 1)
    return box


@njit(cache=True)
def _any_label(a: Ids, z0: int, z1: int, y0: int, y1: int, x0: int, x1: int) -> bool:
    for z in range(z0, z1):
        for y in range(y0, y1):
            for x in range(x0, x1):
                if a[z, y, x] != 0:
                    return True
    return False


@njit(cache=True)
def labelled_box(a: Ids) -> Integers:
    """Return the box around the labelled voxels of `a`, spelt like `changed_box`.

    Looks from the sides inwards, until a label is met: in a chunk full of labels that is at once.
    """
    z0, y0, x0 = 0, 0, 0
    z1, y1, x1 = a.shape
    while z0 < z1 and not _any_label(a, z0, z0 + 1, 0, y1, 0, x1):
        z0 += 1
    if z0 == z1:
        return np.array([a.shape[0], a.shape[1], a.shape[2], 0, 0, 0], dtype=np.int64)
    while not _any_label(a, z1 - 1, z1, 0, y1, 0, x1):
        z1 -= 1
    while not _any_label(a, z0, z1, y0, y0 + 1, 0, x1):
        y0 += 1
    while not _any_label(a, z0, z1, y1 - 1, y1, 0, x1):
        y1 -= 1
    while not _any_label(a, z0, z1, y0, y1, x0, x0 + 1):
        x0 += 1
    while not _any_label(a, z0, z1, y0, y1, x1 - 1, x1):
        x1 -= 1
    return np.array([z0, y0, x0, z1, y1, x1], dtype=np.int64)


@njit(cache=True)
def run_values(flat: Ids) -> Ids:
    """Return the first value of each run of equal values, in order (repeats possible)."""
    runs = 0
    for i in range(flat.size):
        if i == 0 or flat[i] != flat[i - 1]:
            runs += 1
    out = np.empty(runs, dtype=flat.dtype)
    n = 0
    for i in range(flat.size):
        if i == 0 or flat[i] != flat[i - 1]:
            out[n] = flat[i]
            n += 1
    return out


@njit(cache=True)
def _find(keys: Ids, value: np.uint64) -> int:
    low = 0
    high = keys.size
    while low < high:
        middle = (low + high) // 2
        if keys[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low if low < keys.size and keys[low] == value else -1


@njit(cache=True)
def translate(flat: Ids, new_keys: Ids, new_values: Ids, keys: Ids, values: Ids, out: Ids) -> None:
    """Write the translation of each id to `out`; ids in neither table stay as they are.

    Both tables are sorted by key; the first one wins. One look-up per run of equal ids.
    """
    last = np.uint64(0)
    translated = np.uint64(0)
    for i in range(flat.size):
        value = flat[i]
        if value != last:
            last = value
            at = _find(new_keys, value)
            if at >= 0:
                translated = new_values[at]
            else:
                at = _find(keys, value)
                translated = values[at] if at >= 0 else value
        out[i] = translated


@njit(cache=True)
def accumulate(block: Ids, oz: int, oy: int, ox: int, ids: Ids, table: Integers) -> None:
    """Add the voxels of a block at offset (oz, oy, ox) to the statistics of `ids` (sorted).

    `table` is int64 (len(ids), 10): voxels, sums of z, y, x, box begin z, y, x, box end z, y, x.
    Ids that are not in `ids` are passed over.
    """
    for z in range(block.shape[0]):
        for y in range(block.shape[1]):
            x = 0
            while x < block.shape[2]:
                value = block[z, y, x]
                begin = x
                while x < block.shape[2] and block[z, y, x] == value:
                    x += 1
                at = _find(ids, value)
                if at < 0:
                    continue
                row = table[at]
                run = x - begin
                row[0] += run
                row[1] += run * (z + oz)
                row[2] += run * (y + oy)
                row[3] += run * ox + (begin + x - 1) * run // 2
                row[4] = min(row[4], z + oz)
                row[5] = min(row[5], y + oy)
                row[6] = min(row[6], begin + ox)
                row[7] = max(row[7], z + oz + 1)
                row[8] = max(row[8], y + oy + 1)
                row[9] = max(row[9], x + ox)


@njit(cache=True)
def _mode(values: Ids, n: int) -> np.uint64:
    best: np.uint64 = values[0]
    best_count = 0
    for i in range(n):
        value = values[i]
        count = 0
        for j in range(n):
            if values[j] == value:
                count += 1
        # Ties: a label before background, then the smaller id (0 - 1 wraps to the largest).
        smaller = value - np.uint64(1) < best - np.uint64(1)
        if count > best_count or (count == best_count and smaller):
            best = value
            best_count = count
    return best


@njit(cache=True)
def mode_pool(block: Ids, fz: int, fy: int, fx: int) -> Ids:
    """Return the most frequent id of each cell of fz x fy x fx voxels (each factor 1 or 2).

    Cells at the far end may be incomplete: only voxels that exist count. On a tie a label wins
    over background, and the smaller of two labels wins.
    """
    nz = (block.shape[0] + fz - 1) // fz
    ny = (block.shape[1] + fy - 1) // fy
    nx = (block.shape[2] + fx - 1) // fx
    out = np.empty((nz, ny, nx), dtype=np.uint64)
    values = np.empty(8, dtype=np.uint64)
    for z in range(nz):
        for y in range(ny):
            for x in range(nx):
                n = 0
                same = True
                for k in range(z * fz, min(z * fz + fz, block.shape[0])):
                    for j in range(y * fy, min(y * fy + fy, block.shape[1])):
                        for i in range(x * fx, min(x * fx + fx, block.shape[2])):
                            values[n] = block[k, j, i]
                            same = same and values[n] == values[0]
                            n += 1
                out[z, y, x] = values[0] if same else _mode(values, n)
    return out


@njit(cache=True)
def _number(flat: Ids, ids: Ids, numbers: npt.NDArray[np.uint16]) -> int:
    """Number the distinct values of `flat` from 0 as they appear: `numbers` says which is where.

    Returns how many there are, with the values in `ids`; -1 when that is too short. Its length is a
    power of two.
    """
    slots = 4 * ids.size
    table = np.full(slots, -1, dtype=np.int32)
    count = 0
    number = 0
    for i in range(flat.size):
        value = flat[i]
        if i == 0 or value != flat[i - 1]:
            # Fibonacci hashing (Knuth, TAOCP 3, 6.4), then the next slot that is free.
            slot = np.int64((value * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(40)) & (slots - 1)
            while table[slot] >= 0 and ids[table[slot]] != value:
                slot = (slot + 1) & (slots - 1)
            if table[slot] < 0:
                if count == ids.size:
                    return -1
                ids[count] = value
                table[slot] = count
                count += 1
            number = table[slot]
        numbers[i] = number
    return count


def numbered(flat: Ids) -> tuple[Ids, npt.NDArray[np.unsignedinteger]] | None:
    """Return (ids, numbers) with `flat == ids[numbers]`: numbers as uint8 where that is enough.

    None: there are more than 2^16 different ids.
    """
    numbers = np.empty(flat.size, dtype=np.uint16)
    for most in (1024, 65536):
        ids = np.empty(most, dtype=np.uint64)
        count = _number(flat, ids, numbers)
        if count >= 0:
            few = count <= 256
            return ids[:count], numbers.astype(np.uint8) if few else numbers
    return None


@njit(cache=True)
def from_numbers(ids: Ids, numbers: npt.NDArray[np.unsignedinteger], out: Ids) -> bool:
    """Write `ids[numbers]` to `out` (all flat); False when a number has no id."""
    for i in range(numbers.size):
        number = numbers[i]
        if number >= ids.size:
            return False
        out[i] = ids[number]
    return True


def distinct_ids(block: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return the sorted distinct ids of a block, background left out."""
    values = np.unique(run_values(np.ascontiguousarray(block).reshape(-1)))
    labels: Ids = values[values != 0]
    return labels
