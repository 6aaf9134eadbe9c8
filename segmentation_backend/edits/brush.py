"""The voxels under a brush: balls or discs along the way of the pointer."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, isfinite
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from segmentation_backend.edits.kernels import draw_stroke
from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.geometry import Roi, ScaleLevel, VoxelSize

__all__ = ["LARGEST_STROKE", "Unit", "brush_mask", "edges_in"]

Unit: TypeAlias = Literal["nm", "voxels"]

LARGEST_STROKE = 2**26
"""Voxels of the box around a stroke (64 MB of mask, and up to 8 bytes each while it is written)."""

_MOST_POINTS = 10_000


def edges_in(unit: Unit, voxel_size: VoxelSize) -> VoxelSize:
    """Return a voxel's edge lengths z, y, x in `unit`: in voxels, every edge is 1."""
    if unit not in ("nm", "voxels"):
        raise InvalidInputError(
            f'Lengths are in "nm" or "voxels", not {unit!r}.', ErrorKind.INVALID_PARAMETER
        )
    return voxel_size if unit == "nm" else (1.0, 1.0, 1.0)


def brush_mask(
    level: ScaleLevel,
    points: Sequence[Sequence[float]],
    radius: float,
    unit: Unit = "nm",
    plane: int | None = None,
) -> tuple[Roi, npt.NDArray[np.bool_]]:
    """Return the region and the voxels (bool z,y,x shaped like it) that a stroke covers.

    The brush moves along the lines between `points` (level-0 voxels z, y, x; whole numbers are
    centres) and covers every voxel whose centre is within `radius`, in nm or, stretched with the
    voxels, in voxels. With `plane` (0, 1 or 2: the axis across it) it is a disc in the one slice
    that holds all points. At least the voxels under the points are covered; what lies outside the
    volume (`level` is its finest) is cut off.

    Raises InvalidInputError: INVALID_PARAMETER, ROI_TOO_LARGE beyond `LARGEST_STROKE`,
    ROI_OUT_OF_BOUNDS when the stroke misses the volume.
    """
    way = _checked(points, radius, plane)
    edges = edges_in(unit, level.voxel_size)
    reach = [radius / edge for edge in edges]
    if plane is not None:
        reach[plane] = 0.0
    roi = _region(way, reach).intersect(Roi((0, 0, 0), level.shape))
    if roi.is_empty:
        raise InvalidInputError(
            f"The stroke from {way[0].tolist()} lies outside the volume of {level.shape} voxels.",
            ErrorKind.ROI_OUT_OF_BOUNDS,
        )
    if roi.size > LARGEST_STROKE:
        raise InvalidInputError(
            f"The stroke's box {roi} has more than {LARGEST_STROKE} voxels; use a smaller brush or "
            "a shorter stroke.",
            ErrorKind.ROI_TOO_LARGE,
        )
    mask = np.zeros(roi.shape, dtype=np.bool_)
    draw_stroke(mask, way - np.array(roi.offset), np.array(edges, dtype=np.float64), float(radius))
    inside = np.rint(way).astype(np.int64) - np.array(roi.offset)
    inside = inside[((inside >= 0) & (inside < np.array(roi.shape))).all(axis=1)]
    mask[tuple(inside.T)] = True
    return roi, mask


def _checked(
    points: Sequence[Sequence[float]], radius: float, plane: int | None
) -> npt.NDArray[np.float64]:
    problem = None
    if not 1 <= len(points) <= _MOST_POINTS or any(len(point) != 3 for point in points):
        problem = f"A stroke has 1 to {_MOST_POINTS} points z, y, x, not {len(points)}."
    elif not all(isfinite(value) and abs(value) < 2**31 for point in points for value in point):
        problem = "Every coordinate of a stroke must be a number inside the volume."
    elif not (isfinite(radius) and radius > 0):
        problem = f"The brush's radius must be more than 0, not {radius}."
    elif plane not in (None, 0, 1, 2):
        problem = f"plane must be 0 (across z), 1 (y), 2 (x) or left out, not {plane!r}."
    elif plane is not None and len({floor(point[plane] + 0.5) for point in points}) > 1:
        problem = f"A stroke in a plane stays in one slice; its points differ along axis {plane}."
    if problem is not None:
        raise InvalidInputError(problem, ErrorKind.INVALID_PARAMETER)
    way = np.array(points, dtype=np.float64)
    if plane is not None:
        way[:, plane] = np.floor(way[:, plane] + 0.5)
    return way


def _region(way: npt.NDArray[np.float64], reach: Sequence[float]) -> Roi:
    """Return the box of all voxels whose centre may be within reach, and of those under points."""
    low, high = way.min(axis=0), way.max(axis=0)
    return Roi.from_bounds(
        [min(ceil(a - r - 1e-9), round(a)) for a, r in zip(low, reach, strict=True)],
        [max(floor(b + r + 1e-9), round(b)) + 1 for b, r in zip(high, reach, strict=True)],
    )
