"""Mitochondria in EM volumes: read, segment, edit and version them, without the web."""

from segmentation_backend.errors import (
    ConflictError,
    ErrorKind,
    FormatError,
    InvalidInputError,
    NotFoundError,
    ReadOnlyError,
    ResourceError,
    SegmentationError,
)
from segmentation_backend.geometry import Coordinate, Roi, ScaleLevel, VoxelSize

__all__ = [
    "ConflictError",
    "Coordinate",
    "ErrorKind",
    "FormatError",
    "InvalidInputError",
    "NotFoundError",
    "ReadOnlyError",
    "ResourceError",
    "Roi",
    "ScaleLevel",
    "SegmentationError",
    "VoxelSize",
]
