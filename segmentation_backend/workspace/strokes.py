"""What a brush did: which voxels, to which object, over what."""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from segmentation_backend.edits import Over, Unit, brush_mask
from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.geometry import Coordinate, Roi, ScaleLevel

__all__ = ["Stroke", "axis_across", "decode_mask", "encode_mask"]

_AXES = {"xy": 0, "xz": 1, "yz": 2}
LARGEST_MASK = 2**26
"""Voxels of one painted region."""


@dataclass(frozen=True, slots=True)
class Stroke:
    """One stroke of a brush, or one painted region, and what it does."""

    target: int | None
    """The object that gets the voxels; 0 erases, None makes a new one."""
    over: Over = "all"
    """What gives way; see `edits.paint`."""
    points: Sequence[Coordinate] = ()
    """The way of the brush: level-0 voxels z, y, x."""
    radius: float = 1.0
    unit: Unit = "voxels"
    plane: str | None = None
    """"xy", "xz" or "yz": the brush is a disc in that plane. None: a ball."""
    region: tuple[Roi, npt.NDArray[np.bool_]] | None = None
    """A region and its painted voxels (bool z, y, x), instead of points."""

    def voxels(self, level: ScaleLevel) -> tuple[Roi, npt.NDArray[np.bool_]]:
        """Return the region and the voxels (bool z, y, x) of the stroke at level 0."""
        if (self.region is None) == (not self.points):
            raise InvalidInputError(
                "Paint either a stroke (points, radius) or a region (roi, mask).",
                ErrorKind.INVALID_PARAMETER,
            )
        if self.region is not None:
            return self.region
        return brush_mask(level, self.points, self.radius, self.unit, axis_across(self.plane))

    def record(self) -> dict[str, Any]:
        """Return the stroke as it is kept with the operation: no voxels, they are in the labels."""
        over = self.over if isinstance(self.over, str) else _texts(self.over)
        target = "new" if self.target is None else str(self.target)
        stroke: dict[str, Any] = {"target": target, "over": over}
        if self.region is not None:
            return stroke | {"roi": self.region[0].to_json()}
        brush = {"radius": self.radius, "unit": self.unit, "plane": self.plane}
        return stroke | {"points": [list(point) for point in self.points]} | brush


def _texts(ids: Collection[int]) -> list[str]:
    return [str(value) for value in sorted(ids)]


def axis_across(plane: str | None) -> int | None:
    """Return the axis (0, 1, 2 for z, y, x) across a plane, None for none."""
    if plane is not None and plane not in _AXES:
        raise InvalidInputError(
            f"plane must be one of {', '.join(_AXES)}, or left out, not {plane[:20]!r}.",
            ErrorKind.INVALID_PARAMETER,
        )
    return None if plane is None else _AXES[plane]


def encode_mask(mask: npt.NDArray[np.bool_]) -> str:
    """Return a mask as text: base64 of zlib of its bits (C order, the first the highest)."""
    return base64.b64encode(zlib.compress(np.packbits(mask).tobytes(), 1)).decode()


def decode_mask(text: str, roi: Roi) -> npt.NDArray[np.bool_]:
    """Return the mask (bool z, y, x, shaped like `roi`) that `encode_mask` made."""
    if roi.is_empty or roi.size > LARGEST_MASK:
        raise InvalidInputError(
            f"The region {roi} has {roi.size} voxels; one mask holds 1 to {LARGEST_MASK}. Paint "
            "smaller pieces.",
            ErrorKind.ROI_TOO_LARGE,
        )
    size = -(-roi.size // 8)
    try:
        unpacker = zlib.decompressobj()
        bits = unpacker.decompress(base64.b64decode(text, validate=True), size + 1)
    except (binascii.Error, zlib.error, ValueError) as err:
        raise InvalidInputError(
            f"mask must be base64 of zlib-compressed bits ({err}).", ErrorKind.INVALID_PARAMETER
        ) from err
    if len(bits) != size:
        raise InvalidInputError(
            f"The mask has {len(bits)} bytes of bits where the region {roi} needs {size}.",
            ErrorKind.INVALID_PARAMETER,
        )
    flat = np.unpackbits(np.frombuffer(bits, np.uint8), count=roi.size)
    return flat.reshape(roi.shape).astype(np.bool_)
