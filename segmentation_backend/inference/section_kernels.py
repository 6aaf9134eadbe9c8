"""The loops over a stack's sections and voxels, compiled: overlaps, boxes, sizes, renumbering."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from segmentation_backend.compiled import njit

__all__ = [
    "most_below",
    "number_section",
    "object_boxes",
    "overlapping_runs",
    "replace_ids",
    "sum_by_label",
]

Ids: TypeAlias = npt.NDArray[np.uint32]
Integers: TypeAlias = npt.NDArray[np.int64]


@njit(cache=True, nogil=True)
def number_section(section: npt.NDArray[np.int32], before: int, out: Ids) -> Integers:
    """Write a section's labels to `out`, numbered from `before` + 1 in the order of first pixels.

    Return int64 (n, 5): area, first row and column, and the row and column after the last.
    """
    numbers = np.zeros(max(0, section.max()) + 1 if section.size else 1, np.int64)
    table = np.zeros((numbers.size, 5), np.int64)
    n = 0
    for y in range(section.shape[0]):
        x = 0
        while x < section.shape[1]:
            label = section[y, x]
            first = x
            while x < section.shape[1] and section[y, x] == label:
                x += 1
            if label <= 0:
                for k in range(first, x):
                    out[y, k] = 0
                continue
            if numbers[label] == 0:
                n += 1
                numbers[label] = n
                table[n - 1, 1], table[n - 1, 2] = y, first
            row = table[numbers[label] - 1]
            row[0] += x - first
            row[2] = min(row[2], first)
            row[3] = y + 1
            row[4] = max(row[4], x)
            for k in range(first, x):
                out[y, k] = before + numbers[label]
    return table[:n]


@njit(cache=True, nogil=True)
def _overlap_rows(a: Ids, b: Ids, runs: Integers, n: int) -> int:
    """Write the overlapping runs of a row of two sections behind the first `n`; return how many."""
    x = 0
    while x < a.size:
        one, other = a[x], b[x]
        first = x
        while x < a.size and a[x] == one and b[x] == other:
            x += 1
        if one != 0 and other != 0:
            runs[n, 0], runs[n, 1], runs[n, 2] = one, other, x - first
            n += 1
    return n


@njit(cache=True, nogil=True)
def overlapping_runs(a: Ids, b: Ids) -> Integers:
    """Return int64 (n, 3): the ids of both sections, neither 0, and the length of each run.

    A pair of ids may come again.
    """
    runs = np.empty((a.shape[1] + 256, 3), np.int64)
    n = 0
    for y in range(a.shape[0]):
        if runs.shape[0] < n + a.shape[1]:
            larger = np.empty((2 * runs.shape[0], 3), np.int64)
            for k in range(n):
                larger[k, 0], larger[k, 1], larger[k, 2] = runs[k, 0], runs[k, 1], runs[k, 2]
            runs = larger
        n = _overlap_rows(a[y], b[y], runs, n)
    return runs[:n]


@njit(cache=True, nogil=True)
def most_below(place: Ids, section: Ids, profile: int) -> tuple[int, int]:
    """Return the id of `section` that covers most of `place` == `profile`, and how many pixels.

    Both arrays are the same box (h, w) of two sections; (0, 0) where nothing covers it, the smaller
    id on a tie.
    """
    height, width = place.shape
    low, high = 2**32, 0
    for y in range(height):
        for x in range(width):
            if section[y, x] != 0:
                low, high = min(low, int(section[y, x])), max(high, int(section[y, x]))
    # The ids of one section follow each other, so there are few between any two.
    pixels = np.zeros(max(0, high - low + 1), np.int64)
    best, most = 0, 0
    for y in range(height):
        for x in range(width):
            if place[y, x] == profile and section[y, x] != 0:
                found = int(section[y, x])
                pixels[found - low] += 1
                count = int(pixels[found - low])
                if count > most or (count == most and found < best):
                    best, most = found, count
    return best, most


@njit(cache=True, nogil=True)
def object_boxes(labels: Ids, count: int) -> Integers:
    """Return int64 (count + 1, 7) of labels (z, y, x): voxels, box begin and box end, z, y, x."""
    table = np.zeros((count + 1, 7), np.int64)
    for axis in range(3):
        table[:, 1 + axis] = labels.shape[axis]
    for z in range(labels.shape[0]):
        for y in range(labels.shape[1]):
            x = 0
            while x < labels.shape[2]:
                first = x
                label = labels[z, y, x]
                while x < labels.shape[2] and labels[z, y, x] == label:
                    x += 1
                if label == 0:
                    continue
                row = table[label]
                row[0] += x - first
                row[1], row[4] = min(row[1], z), max(row[4], z + 1)
                row[2], row[5] = min(row[2], y), max(row[5], y + 1)
                row[3], row[6] = min(row[3], first), max(row[6], x)
    return table


@njit(cache=True, nogil=True)
def replace_ids(ids: npt.NDArray[Any], numbers: npt.NDArray[Any], out: npt.NDArray[Any]) -> None:
    """Write `numbers[id]` of each id to `out`; all are flat, and `out` may be `ids` itself."""
    for i in range(ids.size):
        out[i] = numbers[ids[i]]


@njit(cache=True, nogil=True)
def sum_by_label(
    labels: npt.NDArray[Any],
    values: npt.NDArray[Any],
    sums: npt.NDArray[np.float64],
    counts: npt.NDArray[np.float64],
) -> None:
    """Add each value to the sum of its label, and 1 to its count; all arrays are flat."""
    i = 0
    while i < labels.size:
        first = i
        total = 0.0
        while i < labels.size and labels[i] == labels[first]:
            total += values[i]
            i += 1
        sums[labels[first]] += total
        counts[labels[first]] += i - first
