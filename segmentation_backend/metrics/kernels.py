"""The one pass over two label volumes, compiled: how often each pair of labels meets, and where.

Runs of equal pairs are looked up once in a hash table with open addressing, so time goes with the
voxels and memory with the pairs.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from segmentation_backend.compiled import njit

__all__ = ["COLUMNS", "count_pairs"]

Ids: TypeAlias = NDArray[np.uint64]
Integers: TypeAlias = NDArray[np.int64]

COLUMNS = 4
"""Of a row of the tally: voxels counted, voxels ignored, length and middle of the longest run."""


@njit(cache=True)
def _home(a: np.uint64, b: np.uint64, mask: int) -> np.int64:
    """Return where a pair would like to be: Fibonacci hashing, the two ids mixed unevenly."""
    mixed = (a * np.uint64(0x9E3779B97F4A7C15)) ^ (b * np.uint64(0xC2B2AE3D27D4EB4F))
    mixed ^= mixed >> np.uint64(32)
    mixed *= np.uint64(0xD6E8FEB86659FD93)
    return np.int64(mixed >> np.uint64(32)) & np.int64(mask)


@njit(cache=True)
def _find(keys: Ids, tally: Integers, a: np.uint64, b: np.uint64) -> np.int64:
    """Return the row of a pair, or the free row that it shall have."""
    mask = keys.shape[0] - 1
    at = _home(a, b, mask)
    while tally[at, 2] > 0 and (keys[at, 0] != a or keys[at, 1] != b):
        at = (at + np.int64(1)) & np.int64(mask)
    return at


@njit(cache=True)
def _grown(keys: Ids, tally: Integers) -> tuple[Ids, Integers]:
    """Return the table in twice the space."""
    wider = np.zeros((2 * keys.shape[0], 2), dtype=np.uint64)
    counts = np.zeros((2 * keys.shape[0], tally.shape[1]), dtype=np.int64)
    for row in range(keys.shape[0]):
        if tally[row, 2] > 0:
            at = _find(wider, counts, keys[row, 0], keys[row, 1])
            wider[at] = keys[row]
            counts[at] = tally[row]
    return wider, counts


@njit(cache=True)
def _run_end(first: Ids, second: Ids, ignored: NDArray[np.uint8], begin: int) -> int:
    """Return where the run of the pair at `begin` ends."""
    a, b = first[begin], second[begin]
    i = begin + 1
    if ignored.size == 0:
        while i < first.size and first[i] == a and second[i] == b:
            i += 1
        return i
    hidden = ignored[begin]
    while i < first.size and first[i] == a and second[i] == b and ignored[i] == hidden:
        i += 1
    return i


@njit(cache=True)
def count_pairs(
    first: Ids,
    second: Ids,
    ignored: NDArray[np.uint8],
    start: int,
    keys: Ids,
    tally: Integers,
) -> tuple[Ids, Integers]:
    """Return the table (keys, tally) with two flat label arrays added.

    `ignored` is as long as they are, 0 or 1, or empty. `keys` (rows, 2) holds pairs of labels,
    `tally` (rows, COLUMNS) what is known of each; rows whose third column is 0 are free, and their
    number is a power of two. `start` is the place of the first voxel in the whole volume.
    """
    used = (tally[:, 2] > 0).sum()
    begin = 0
    while begin < first.size:
        a, b = first[begin], second[begin]
        end = _run_end(first, second, ignored, begin)
        at = _find(keys, tally, a, b)
        if tally[at, 2] == 0:
            used += 1
            keys[at, 0] = a
            keys[at, 1] = b
        tally[at, ignored[begin] if ignored.size else 0] += end - begin
        if end - begin > tally[at, 2]:
            tally[at, 2] = end - begin
            tally[at, 3] = start + (begin + end) // 2
        if 2 * used > keys.shape[0]:
            keys, tally = _grown(keys, tally)
        begin = end
    return keys, tally
