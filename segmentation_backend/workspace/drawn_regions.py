"""Regions that are no box: a polygon drawn on a section, and sections named one by one."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, isfinite
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.geometry import Coordinate, Roi

__all__ = [
    "MOST_POINTS",
    "MOST_SECTIONS",
    "Polygon",
    "across",
    "check_polygon",
    "narrowed",
    "parse_sections",
    "polygon_box",
    "polygon_mask",
    "with_span",
]

Polygon: TypeAlias = tuple[tuple[float, float], ...]
"""Corners, without the first one again at the end: positions along the two axes (of z, y, x, in
this order) that a plane shows, in level-0 voxels; voxel i spans [i, i + 1)."""

MOST_POINTS = 4096
"""Corners of one polygon: far more than a hand draws."""

MOST_SECTIONS = 10_000
"""Sections of one job."""

_FARTHEST = 2**40
"""No volume reaches beyond; squares of what does would lose voxels."""


def check_polygon(points: Sequence[Sequence[float]]) -> Polygon:
    """Return the corners of a polygon, or refuse what is none.

    Edges may cross: what an odd number of them surrounds is inside. A last corner that repeats the
    first is dropped. InvalidInputError INVALID_PARAMETER; ROI_EMPTY where no voxel is inside.
    """
    corners = tuple((float(a), float(b)) for a, b in map(tuple, points))
    if len(corners) > 1 and corners[0] == corners[-1]:
        corners = corners[:-1]
    if not 3 <= len(corners) <= MOST_POINTS:
        raise InvalidInputError(
            f"A polygon has 3 to {MOST_POINTS:,} corners, not {len(corners):,}.",
            ErrorKind.INVALID_PARAMETER,
        )
    if not all(isfinite(v) and abs(v) < _FARTHEST for corner in corners for v in corner):
        raise InvalidInputError(
            "Every corner of a polygon must be two finite numbers, in voxels.",
            ErrorKind.INVALID_PARAMETER,
        )
    if len(set(corners)) < 3:
        raise InvalidInputError(
            f"The polygon has only {len(set(corners))} different corners; draw three or more.",
            ErrorKind.ROI_EMPTY,
        )
    return corners


def polygon_box(polygon: Polygon) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return (first, one after last) voxel of the box around a polygon, along both axes."""
    (low_a, high_a), (low_b, high_b) = (
        (floor(min(values)), ceil(max(values))) for values in zip(*polygon, strict=True)
    )
    return (low_a, high_a), (low_b, high_b)


def polygon_mask(
    polygon: Polygon, offset: tuple[int, int], shape: tuple[int, int]
) -> npt.NDArray[np.bool_]:
    """Return which voxels of a rectangle have their middle inside a polygon: bool (rows, columns).

    Even-odd rule, exact to the float: a middle on an edge belongs to what lies after it, so that
    polygons that share an edge share no voxel.
    """
    rows, columns = shape
    flips = np.zeros((rows, columns + 1), np.bool_)
    for (y0, x0), (y1, x1) in zip(polygon, (*polygon[1:], polygon[0]), strict=True):
        if y0 > y1:  # the same numbers whichever way the edge is drawn
            y0, x0, y1, x1 = y1, x1, y0, x0
        # Rows whose middle lies in [y0, y1): a corner counts for one of its two edges.
        first = max(0, ceil(y0 - 0.5) - offset[0])
        last = min(rows, ceil(y1 - 0.5) - offset[0])
        if first >= last:
            continue
        middles = np.arange(first, last) + (offset[0] + 0.5)
        crossing = x0 + (middles - y0) * ((x1 - x0) / (y1 - y0))
        column = np.clip(np.ceil(crossing - 0.5) - offset[1], 0, columns).astype(np.intp)
        flips[np.arange(first, last), column] ^= True
    inside: npt.NDArray[np.bool_] = np.logical_xor.accumulate(flips, axis=1)[:, :columns]
    return inside


def across(polygon: Polygon, axis: int, box: Roi) -> npt.NDArray[np.bool_]:
    """Return which voxels of a box lie inside a polygon extruded along an axis (0 = z).

    bool (z, y, x), 1 along the axis: broadcast it to the box.
    """
    a, b = (i for i in range(3) if i != axis)
    offset, shape = (box.offset[a], box.offset[b]), (box.shape[a], box.shape[b])
    return np.expand_dims(polygon_mask(polygon, offset, shape), axis)


def parse_sections(text: str) -> tuple[int, ...]:
    """Return the sections that a text such as `10, 20-30, 45` names, ascending, each once.

    Both ends of a range are meant. InvalidInputError INVALID_PARAMETER for anything else, and for
    more than `MOST_SECTIONS`.
    """
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = (word.strip() for word in part.partition("-"))
        ends = [first, last] if dash else [first, first]
        if not all(end.isascii() and end.isdecimal() and len(end) < 10 for end in ends):
            raise _not_sections(f"not {part.strip()[:40]!r}")
        low, high = map(int, ends)
        if low > high:
            raise _not_sections(f"and a range goes up, unlike {part.strip()!r}")
        if high - low >= MOST_SECTIONS or len(found) + high - low >= MOST_SECTIONS:
            raise _not_sections(f"{MOST_SECTIONS:,} of them at most")
        found.update(range(low, high + 1))
    return tuple(sorted(found))


def _not_sections(why: str) -> InvalidInputError:
    return InvalidInputError(
        f"Sections are numbers and ranges such as 10, 20-30, 45, {why}.",
        ErrorKind.INVALID_PARAMETER,
    )


def narrowed(roi: Roi, axis: int, polygon: Polygon | None, sections: Sequence[int] | None) -> Roi:
    """Return the box around what polygon and sections leave of a region; it may be empty.

    Sections lie across `axis`, and stand in for the region's own extent there.
    """
    begin, end = list(roi.offset), list(roi.end)
    if sections:
        begin[axis], end[axis] = min(sections), max(sections) + 1
    if polygon is not None:
        for a, (low, high) in zip(_others(axis), polygon_box(polygon), strict=True):
            begin[a], end[a] = max(begin[a], low), min(end[a], high)
    return Roi.from_bounds(begin, end)


def with_span(box: Roi, axis: int, first: int, length: int) -> Roi:
    """Return a box with another extent along one axis."""
    offset, shape = list(box.offset), list(box.shape)
    offset[axis], shape[axis] = first, length
    return Roi(_triple(offset), _triple(shape))


def _others(axis: int) -> tuple[int, int]:
    a, b = (i for i in range(3) if i != axis)
    return a, b


def _triple(values: Sequence[int]) -> Coordinate:
    z, y, x = values
    return (z, y, x)
