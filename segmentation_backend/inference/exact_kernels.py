"""The loops of `exact` over pixels and runs, compiled.

A run is a first flat index and a length; the runs of an object are sorted by their first index.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from segmentation_backend.compiled import njit

__all__ = ["encode_rows", "fill_runs", "nearest_centres", "shared_voxels", "voted_runs"]

Integers: TypeAlias = NDArray[np.int64]

_CHUNK = 20
_FAR = np.float32(1e5)
"""With more than 20 centres, which empanada compares 20 at a time, a pixel that points further
away than this belongs to none."""


@njit(cache=True)
def nearest_centres(
    offsets: NDArray[np.float32], centres: NDArray[np.float32], step: int
) -> NDArray[np.int32]:
    """Return (h, w) int32: the first of the nearest centres to each pixel's place, from 1.

    `offsets` (2, h, w) float32 move the pixel (y, x) from (y, x) * step; `centres` (n, 2) float32.
    """
    height, width = offsets.shape[1], offsets.shape[2]
    cells = np.zeros((height, width), dtype=np.int32)
    limit = _FAR if centres.shape[0] > _CHUNK else np.float32(np.inf)
    for y in range(height):
        for x in range(width):
            place_y = np.float32(y * step) + offsets[0, y, x]
            place_x = np.float32(x * step) + offsets[1, y, x]
            square = np.float32(np.inf)
            nearest = limit
            for k in range(centres.shape[0]):
                dy = centres[k, 0] - place_y
                dx = centres[k, 1] - place_x
                # Roots are compared, not squares: rounding makes more of them equal.
                if dy * dy + dx * dx < square:
                    square = dy * dy + dx * dx
                    if np.sqrt(square) < nearest:
                        nearest = np.sqrt(square)
                        cells[y, x] = k + 1
    return cells


@njit(cache=True)
def encode_rows(labels: NDArray[np.int32]) -> Integers:
    """Return the runs of equal labels above 0 in rows (n, length): (runs, 4) int64.

    Columns are label, row, first index in the row, length.
    """
    runs = 0
    for row in range(labels.shape[0]):
        last = np.int32(0)
        for i in range(labels.shape[1]):
            runs += labels[row, i] != last and labels[row, i] != 0
            last = labels[row, i]
    table = np.empty((runs, 4), dtype=np.int64)
    at = 0
    for row in range(labels.shape[0]):
        i = 0
        while i < labels.shape[1]:
            label = labels[row, i]
            begin = i
            while i < labels.shape[1] and labels[row, i] == label:
                i += 1
            if label != 0:
                table[at, 0], table[at, 1] = label, row
                table[at, 2], table[at, 3] = begin, i - begin
                at += 1
    return table


@njit(cache=True)
def shared_voxels(
    starts_a: Integers, lengths_a: Integers, starts_b: Integers, lengths_b: Integers
) -> int:
    """Return how many voxels two objects share, as empanada sums it up.

    All runs are gone through by their first index (an object's own runs before the other's where
    equal); each is compared with one run only, the last of the other object before it. That is
    the intersection where an object's own runs do not overlap, and its own number otherwise.
    """
    a = 0
    b = 0
    shared = 0
    facing_end = np.int64(-1)
    last_end = np.int64(-1)
    last_side = -1
    while a < starts_a.size or b < starts_b.size:
        if b >= starts_b.size or (a < starts_a.size and starts_a[a] <= starts_b[b]):
            side, start, end = 0, starts_a[a], starts_a[a] + lengths_a[a]
            a += 1
        else:
            side, start, end = 1, starts_b[b], starts_b[b] + lengths_b[b]
            b += 1
        if last_side >= 0 and side != last_side:
            facing_end = last_end
        if facing_end > start:
            shared += min(facing_end, end) - start
        last_side, last_end = side, end
    return shared


@njit(cache=True)
def voted_runs(starts: Integers, ends: Integers, votes: int) -> Integers:
    """Return the runs (n, 2) begin, end where at least so many ranges overlap, none adjoining.

    `starts` and `ends` are those of all ranges, each sorted on its own.
    """
    table = np.empty((starts.size, 2), dtype=np.int64)
    found = 0
    s = 0
    e = 0
    open_ranges = 0
    begin = np.int64(-1)
    while e < ends.size:
        place = min(starts[s], ends[e]) if s < starts.size else ends[e]
        while s < starts.size and starts[s] == place:
            open_ranges += 1
            s += 1
        while e < ends.size and ends[e] == place:
            open_ranges -= 1
            e += 1
        if open_ranges >= votes and begin < 0:
            begin = place
        elif open_ranges < votes and begin >= 0:
            table[found, 0], table[found, 1] = begin, place
            found += 1
            begin = np.int64(-1)
    return table[:found]


@njit(cache=True)
def fill_runs(
    flat: NDArray[np.int32], starts: Integers, lengths: Integers, label: np.int32
) -> None:
    """Write a label to the runs of a flat volume; what lies past its end is left out."""
    for run in range(starts.size):
        flat[starts[run] : starts[run] + lengths[run]] = label
