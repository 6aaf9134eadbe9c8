"""The loops over one section's pixels, compiled: centres, grouping, connected pieces, medians.

Pieces are made of runs (a row, its first pixel, the pixel after its last, a group), so that only
two steps touch every pixel: finding the runs, and writing the result. Nothing here depends on the
number of objects.

Rows are copied by loops: of assignments to slices, and of sorting, numba compiles so much that a
new environment waits for it by the second.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from segmentation_backend.compiled import njit

__all__ = [
    "collect_borders",
    "find_runs",
    "group_by_votes",
    "join_runs",
    "median_of",
    "nearest_centre",
    "paint_runs",
    "window_maximum",
]

Floats: TypeAlias = npt.NDArray[np.float32]
Labels: TypeAlias = npt.NDArray[np.int32]
Integers: TypeAlias = npt.NDArray[np.int64]
Mask: TypeAlias = npt.NDArray[np.bool_]

_CHUNK = 2048
"""Pixels whose medians are found together: few enough to stay in the nearest cache."""


@njit(cache=True, nogil=True)
def _column_maximum(image: Floats, reach: int) -> Floats:
    """Return (H, W) the maximum of the pixels up to `reach` above and below.

    van Herk, Pattern Recognition Letters 1992: of blocks as high as the window, a window is the
    end of one and the beginning of the next, so two running maxima do for a window of any height.
    """
    height = image.shape[0]
    size = 2 * reach + 1
    begun = image.copy()
    ended = image.copy()
    for y in range(1, height):
        if y % size:
            _write_larger(begun[y], begun[y - 1], begun[y])
    for y in range(height - 2, -1, -1):
        if (y + 1) % size:
            _write_larger(ended[y], ended[y + 1], ended[y])
    out = np.empty_like(image)
    for y in range(height):
        first, last = max(0, y - reach), min(height - 1, y + reach)
        # A window within one block begins with it, or ends with it or with the image.
        one = begun[last] if first == 0 or first // size != last // size else ended[first]
        other = one if first // size == last // size else ended[first]
        _write_larger(one, other, out[y])
    return out


@njit(cache=True, nogil=True)
def _write_larger(one: Floats, other: Floats, out: Floats) -> None:
    for x in range(out.size):
        out[x] = max(one[x], other[x])


@njit(cache=True, nogil=True)
def window_maximum(image: Floats, reach: int) -> Floats:
    """Return (H, W) the maximum of the pixels up to `reach` away along both axes."""
    turned = np.ascontiguousarray(_column_maximum(image, reach).T)
    return np.ascontiguousarray(_column_maximum(turned, reach).T)


@njit(cache=True, nogil=True)
def _nearest_in_columns(centres: Integers, shape: tuple[int, int], none: int) -> Labels:
    """Return (h, w) for each place the row of the nearest centre in its column, or `none`."""
    height, width = shape
    rows = np.full((height, width), none, np.int32)
    for k in range(centres.shape[0]):
        rows[centres[k, 0], centres[k, 1]] = centres[k, 0]
    for y in range(1, height):
        for x in range(width):
            if rows[y, x] == none:
                rows[y, x] = rows[y - 1, x]
    for y in range(height - 2, -1, -1):
        for x in range(width):
            below = rows[y + 1, x]
            if below != none and abs(below - y) < abs(rows[y, x] - y):
                rows[y, x] = below
    return rows


@njit(cache=True, nogil=True)
def _overtakes(rows: npt.NDArray[np.int32], y: int, left: int, right: int) -> int:
    """Return from which x on the column `right` is strictly nearer to row y than `left` is.

    Each column stands for its own nearest centre.
    """
    a = left * left + (rows[left] - y) ** 2
    b = right * right + (rows[right] - y) ** 2
    begin: int = (b - a) // (2 * (right - left)) + 1
    return begin


@njit(cache=True, nogil=True)
def nearest_centre(centres: Integers, shape: tuple[int, int]) -> Labels:
    """Return (h, w) int32: 1 + the index of the centre nearest to each place, in O(h w).

    `centres` are (n, 2), n > 0, all different. First along columns, then the lower envelope of
    their parabolas along rows: Felzenszwalb & Huttenlocher, Theory of Computing 2012. Among equally
    near centres that of the column further left wins, then the upper one.
    """
    height, width = shape
    none = -4 * (height + width)
    rows = _nearest_in_columns(centres, shape, none)
    numbers = np.zeros((height, width), np.int32)
    for k in range(centres.shape[0]):
        numbers[centres[k, 0], centres[k, 1]] = k + 1
    columns = np.empty(width, np.int64)
    begins = np.empty(width, np.int64)
    out = np.empty((height, width), np.int32)
    for y in range(height):
        count = _lower_envelope(rows[y], y, none, columns, begins)
        k = 0
        for x in range(width):
            while k + 1 < count and begins[k + 1] <= x:
                k += 1
            out[y, x] = numbers[rows[y, columns[k]], columns[k]]
    return out


@njit(cache=True, nogil=True)
def _lower_envelope(
    rows: npt.NDArray[np.int32], y: int, none: int, columns: Integers, begins: Integers
) -> int:
    """Write which columns are the nearest along row y, and from which x on; return how many."""
    count = 0
    for x in range(rows.size):
        if rows[x] == none:
            continue
        begin = 0
        while count:
            begin = _overtakes(rows, y, columns[count - 1], x)
            if begin > begins[count - 1]:
                break
            count -= 1
            begin = 0
        columns[count] = x
        begins[count] = begin
        count += 1
    return count


@njit(cache=True, nogil=True)
def _nearest_index(place: np.float32, limit: int) -> int:
    """Return a place rounded to an index of 0..limit - 1; what is not a number becomes 0."""
    rounded = np.rint(place)
    if not rounded > 0:
        return 0
    return limit - 1 if rounded >= limit - 1 else int(rounded)


@njit(cache=True, nogil=True)
def group_by_votes(territory: Labels, offsets: Floats, stride: int) -> Labels:
    """Return (h, w) the territory at the place that each pixel points to."""
    height, width = territory.shape
    out = np.empty((height, width), np.int32)
    scale = np.float32(stride)
    for y in range(height):
        for x in range(width):
            to_y = _nearest_index(np.float32(y) + offsets[0, y, x] / scale, height)
            to_x = _nearest_index(np.float32(x) + offsets[1, y, x] / scale, width)
            out[y, x] = territory[to_y, to_x]
    return out


@njit(cache=True, nogil=True)
def _grown(table: Integers) -> Integers:
    larger = np.empty((2 * table.shape[0], table.shape[1]), np.int64)
    for row in range(table.shape[0]):
        for column in range(table.shape[1]):
            larger[row, column] = table[row, column]
    return larger


@njit(cache=True, nogil=True)
def _row_runs(
    mask: Mask, groups: npt.NDArray[np.int32], stride: int, runs: Integers, n: int
) -> int:
    """Write the runs of a row (first, after, group) behind the first `n`; return how many."""
    width = mask.size
    x = 0
    while x < width:
        if not mask[x]:
            x += 1
            continue
        first = x
        group = groups[x // stride]
        while x < width and groups[x // stride] == group and mask[x]:
            # To the end of the pixels that share a group without asking for it again.
            after = min(width, (x // stride + 1) * stride)
            while x < after and mask[x]:
                x += 1
        if group != 0:
            runs[n, 1], runs[n, 2], runs[n, 3] = first, x, group
            n += 1
    return n


@njit(cache=True, nogil=True)
def find_runs(mask: Mask, groups: Labels, stride: int) -> tuple[Integers, Integers]:
    """Return the runs of equal groups within the mask, and where each row's runs begin.

    `mask` is (H, W), `groups` (h, w) with one value for `stride` x `stride` pixels, 0 = none. Runs
    are int64 (n, 4): row, first, the pixel after the last, group. Rows are int64 (H + 1,).
    """
    height, width = mask.shape
    runs = np.empty((1024 + width, 4), np.int64)
    rows = np.zeros(height + 1, np.int64)
    n = 0
    for y in range(height):
        if runs.shape[0] < n + width:
            runs = _grown(runs)
        n = _row_runs(mask[y], groups[y // stride], stride, runs, n)
        for run in range(rows[y], n):
            runs[run, 0] = y
        rows[y + 1] = n
    return runs[:n], rows


@njit(cache=True, nogil=True)
def _root(parents: Integers, item: int) -> int:
    while parents[item] != item:
        parents[item] = parents[parents[item]]
        item = parents[item]
    return item


@njit(cache=True, nogil=True)
def join_runs(runs: Integers, rows: Integers) -> tuple[Integers, int]:
    """Return the piece 1..n of each run, and n: runs of one group that touch, corners included.

    Pieces are numbered in the order of their first pixels.
    """
    parents = np.arange(runs.shape[0])
    for y in range(1, rows.size - 1):
        above = rows[y - 1]
        for run in range(rows[y], rows[y + 1]):
            while above < rows[y] and runs[above, 2] < runs[run, 1]:
                above += 1
            other = above
            while other < rows[y] and runs[other, 1] <= runs[run, 2]:
                if runs[other, 3] == runs[run, 3]:
                    a, b = _root(parents, other), _root(parents, run)
                    parents[max(a, b)] = min(a, b)
                other += 1
    pieces = np.empty(runs.shape[0], np.int64)
    count = 0
    for run in range(runs.shape[0]):
        root = _root(parents, run)
        if root == run:
            count += 1
            pieces[run] = count
        else:
            pieces[run] = pieces[root]
    return pieces, count


@njit(cache=True, nogil=True)
def _touching(upper: Integers, lower: Integers) -> int:
    """Return how many pairs of pixels of two runs in neighbouring rows touch, corners included."""
    pairs = 0
    for shift in range(-1, 2):
        first = max(upper[1] + shift, lower[1])
        after = min(upper[2] + shift, lower[2])
        pairs += max(0, after - first)
    return pairs


@njit(cache=True, nogil=True)
def collect_borders(runs: Integers, rows: Integers, pieces: Integers) -> Integers:
    """Return int64 (n, 3): two pieces, the smaller first, and how many pairs of pixels touch.

    A pair of pieces may come several times.
    """
    borders = np.empty((1024, 3), np.int64)
    n = 0
    for y in range(rows.size - 1):
        above = rows[max(y - 1, 0)]
        for run in range(rows[y], rows[y + 1]):
            while borders.shape[0] < n + 1 + rows[y] - rows[max(y - 1, 0)]:
                borders = _grown(borders)
            if run > rows[y] and runs[run - 1, 2] == runs[run, 1]:
                n += _note(borders, n, pieces[run - 1], pieces[run], 1)
            while above < rows[y] and runs[above, 2] < runs[run, 1]:
                above += 1
            other = above
            while other < rows[y] and runs[other, 1] <= runs[run, 2]:
                touching = _touching(runs[other], runs[run])
                n += _note(borders, n, pieces[other], pieces[run], touching)
                other += 1
    return borders[:n]


@njit(cache=True, nogil=True)
def _note(borders: Integers, n: int, a: int, b: int, touching: int) -> int:
    """Write a border in row `n` unless there is none; return the rows written."""
    if a == b:
        return 0
    borders[n, 0], borders[n, 1], borders[n, 2] = min(a, b), max(a, b), touching
    return 1


@njit(cache=True, nogil=True)
def paint_runs(runs: Integers, labels: Integers, shape: tuple[int, int]) -> Labels:
    """Return (H, W) int32 with the label of each run, 0 elsewhere."""
    out = np.zeros(shape, np.int32)
    for run in range(runs.shape[0]):
        if labels[run]:
            for x in range(runs[run, 1], runs[run, 2]):
                out[runs[run, 0], x] = labels[run]
    return out


@njit(cache=True, nogil=True)
def _sort_pair(low: Floats, high: Floats, count: int) -> None:
    """Put the smaller of each pair of values into `low`, the larger into `high`."""
    for i in range(count):
        a = low[i]
        b = high[i]
        low[i] = a if a < b else b
        high[i] = b if a < b else a


@njit(cache=True, nogil=True)
def median_of(stack: Floats, rows: Integers) -> Floats:
    """Return (n,) the median of each column of some rows of (k, n), an odd number of rows.

    As many bubble passes as leave the middle value in its place, each over a chunk of columns at
    once, which the processor's vector units do; a median of three takes three comparisons.
    """
    count, length = rows.size, stack.shape[1]
    half = count // 2
    out = np.empty(length, np.float32)
    buffer = np.empty((count, _CHUNK), np.float32)
    for first in range(0, length, _CHUNK):
        width = min(_CHUNK, length - first)
        for k in range(count):
            row = stack[rows[k]]
            for x in range(width):
                buffer[k, x] = row[first + x]
        for settled in range(half + 1):
            for k in range(count - 1 - settled):
                _sort_pair(buffer[k], buffer[k + 1], width)
        for x in range(width):
            out[first + x] = buffer[half, x]
    return out
