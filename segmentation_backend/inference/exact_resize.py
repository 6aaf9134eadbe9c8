"""Bilinear shrinking with the rounding of OpenCV 5.0, which empanada-napari 1.2.4 calls.

Each result is interpolated between four pixels, however many lie between two results: strong
shrinking aliases. That is the point here; everything else in the program averages areas.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from segmentation_backend.errors import ErrorKind, InvalidInputError

__all__ = ["shrink"]

_FIXED = 2048
"""OpenCV weighs 8-bit pixels with whole multiples of 1/2048."""

Ends: TypeAlias = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]


def shrink(image: NDArray[Any], factor: int) -> NDArray[Any]:
    """Return an image (H, W) with sides of 1/factor, rounded up, in its own dtype.

    uint8, uint16, int16 and float32 are the original's to the last bit; float64 to 1 part in 10^7.
    InvalidInputError for other dtypes, which the original cannot shrink either.
    """
    if factor == 1:
        return image
    if image.dtype not in (np.uint8, np.uint16, np.int16, np.float32, np.float64):
        raise InvalidInputError(
            f"Images of {image.dtype} cannot be downsampled as empanada does; convert them to "
            "uint8, uint16, int16 or float32.",
            ErrorKind.INVALID_PARAMETER,
        )
    rows, columns = (_ends(side, -(-side // factor)) for side in image.shape)
    if image.dtype == np.uint8:
        return _fixed_point(image, rows, columns)
    across = _between(image[:, columns[0]], image[:, columns[1]], columns[2])
    result = _between(across[rows[0]], across[rows[1]], rows[2][:, None])
    if image.dtype.kind == "f":
        return result.astype(image.dtype)
    limits = np.iinfo(image.dtype)
    return np.clip(np.rint(result), limits.min, limits.max).astype(image.dtype)


def _ends(length: int, count: int) -> Ends:
    """Return the pixel before and after each result along an axis, and the share of the latter."""
    place = (np.arange(count) + 0.5) * (length / count) - 0.5
    before = np.floor(place).astype(np.intp)
    share = (place - before).astype(np.float32)
    outside = (before < 0) | (before >= length - 1)
    share[outside] = 0
    before = np.clip(before, 0, length - 1)
    return before, np.minimum(before + 1, length - 1), share


def _between(a: NDArray[Any], b: NDArray[Any], share: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a + share * (b - a) as a processor's fused multiply-add rounds it, once at the end.

    The product of two float32 is exact in float64.
    """
    a, b = a.astype(np.float32), b.astype(np.float32)
    between: NDArray[np.float32] = ((b - a).astype(np.float64) * share + a).astype(np.float32)
    return between


def _fixed_point(image: NDArray[Any], rows: Ends, columns: Ends) -> NDArray[np.uint8]:
    """Return 8-bit pixels, with OpenCV's shifts between the two passes."""
    (top, bottom, down), (left, right, along) = rows, columns
    wide = image.astype(np.int64)
    across = wide[:, left] * _weight(1 - along) + wide[:, right] * _weight(along)
    upper = (_weight(1 - down)[:, None] * (across[top] >> 4)) >> 16
    lower = (_weight(down)[:, None] * (across[bottom] >> 4)) >> 16
    result: NDArray[np.uint8] = np.clip((upper + lower + 2) >> 2, 0, 255).astype(np.uint8)
    return result


def _weight(share: NDArray[np.float32]) -> NDArray[np.int64]:
    return np.rint(share * _FIXED).astype(np.int64)
