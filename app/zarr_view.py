"""Labels as zarr v3: the documents of an OME-NGFF 0.5 group and the keys of its arrays' chunks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from segmentation_backend.errors import ErrorKind, NotFoundError
from segmentation_backend.geometry import Roi, ScaleLevel
from segmentation_backend.workspace.encoding import ZARR_CHUNK, ZSTD_LEVEL

__all__ = ["array_document", "chunk_region", "find_level", "group_document"]

_AXES = ("z", "y", "x")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,9}")


def group_document(
    name: str, levels: Sequence[ScaleLevel], origin: Sequence[float]
) -> dict[str, Any]:
    """Return the `zarr.json` of the group: OME-NGFF metadata, and the arrays' documents inline.

    `origin` is where the image's metadata put the first corner, nm, z, y, x: in another tool the
    labels lie on the image.
    A reader over HTTP cannot list what there is; the inline documents (zarr-python's
    `consolidated_metadata`, which others leave alone) tell it, in the same request.
    """
    return {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": {
            "ome": {
                "version": "0.5",
                "multiscales": [_multiscale(name, levels, origin)],
                # That there is an `image-label` is what makes these labels; 0 is background.
                "image-label": {"colors": [{"label-value": 0, "rgba": [0, 0, 0, 0]}]},
            }
        },
        "consolidated_metadata": {
            "kind": "inline",
            "must_understand": False,
            "metadata": {str(level.level): array_document(level) for level in levels},
        },
    }


def _multiscale(name: str, levels: Sequence[ScaleLevel], origin: Sequence[float]) -> dict[str, Any]:
    return {
        "name": name,
        "type": "mode",
        "axes": [{"name": axis, "type": "space", "unit": "nanometer"} for axis in _AXES],
        "datasets": [
            {
                "path": str(level.level),
                "coordinateTransformations": [
                    {"type": "scale", "scale": list(level.voxel_size)},
                    {"type": "translation", "translation": _translation(level, origin)},
                ],
            }
            for level in levels
        ],
    }


def _translation(level: ScaleLevel, origin: Sequence[float]) -> list[float]:
    """Return where the middle of a level's first voxel lies, in nm."""
    return [corner + edge / 2 for corner, edge in zip(origin, level.voxel_size, strict=True)]


def array_document(level: ScaleLevel) -> dict[str, Any]:
    """Return the `zarr.json` of one level: root ids, uint64, z, y, x."""
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(level.shape),
        "data_type": "uint64",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(ZARR_CHUNK)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [
            {"name": "bytes", "configuration": {"endian": "little"}},
            {"name": "zstd", "configuration": {"level": ZSTD_LEVEL, "checksum": False}},
        ],
        "attributes": {},
        "dimension_names": list(_AXES),
    }


def find_level(levels: Sequence[ScaleLevel], name: str) -> ScaleLevel:
    """Return the level that an array's name stands for, or raise NotFoundError."""
    if _NUMBER.fullmatch(name) and int(name) < len(levels):
        return levels[int(name)]
    raise NotFoundError(
        f"There is no array {name[:64]!r} here; the arrays are 0 to {len(levels) - 1}.",
        ErrorKind.ROUTE_NOT_FOUND,
    )


def chunk_region(level: ScaleLevel, position: Sequence[str]) -> Roi:
    """Return the voxels of the chunk with the key `c/<z>/<y>/<x>`, inside the level's shape.

    Any other key is a NotFoundError: there is nothing at that address.
    """
    if all(map(_NUMBER.fullmatch, position)):
        begin = [int(p) * side for p, side in zip(position, ZARR_CHUNK, strict=True)]
        end = [b + side for b, side in zip(begin, ZARR_CHUNK, strict=True)]
        region = Roi.from_bounds(begin, end).intersect(Roi((0, 0, 0), level.shape))
        if not region.is_empty:
            return region
    counts = [-(-s // side) for s, side in zip(level.shape, ZARR_CHUNK, strict=True)]
    raise NotFoundError(
        f"There is no chunk {'/'.join(position)[:100]!r} at level {level.level}; the chunks are "
        f"c/z/y/x with z, y, x below {counts[0]}, {counts[1]}, {counts[2]}.",
        ErrorKind.ROUTE_NOT_FOUND,
    )
