"""Neuroglancer's precomputed format: `info` documents and chunk names; x, y, z lives only here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from segmentation_backend.errors import ErrorKind, NotFoundError
from segmentation_backend.geometry import Coordinate, Roi, ScaleLevel

__all__ = [
    "CHUNK",
    "LABEL_CHUNK",
    "level_of",
    "named_roi",
    "parse_chunk",
    "volume_info",
]

CHUNK: Coordinate = (64, 64, 64)
"""The chunks of images and previews, voxels z, y, x."""

LABEL_CHUNK: Coordinate = (64, 128, 128)
"""The chunks of labels. They compress to a few kB, and a page reads all that are on screen again
after each edit: the time is that of the number of requests, so each brings four stored chunks."""

_NUMBER = "(0|[1-9][0-9]{0,14})"
_NAME = re.compile("_".join([f"{_NUMBER}-{_NUMBER}"] * 3))


def volume_info(
    kind: str,
    dtype: str,
    levels: Sequence[ScaleLevel],
    key_stem: str,
    encoding: str,
    offset: Coordinate = (0, 0, 0),
    chunk: Coordinate = CHUNK,
) -> dict[str, Any]:
    """Return an `info` document; the key of each scale is `<key_stem>/<level>`.

    `offset` (z, y, x) is where level 0 begins; pass more than one level only without it.
    """
    extra = {"compressed_segmentation_block_size": [8, 8, 8]}
    return {
        "@type": "neuroglancer_multiscale_volume",
        "type": kind,
        "data_type": dtype,
        "num_channels": 1,
        "scales": [
            {
                "key": f"{key_stem}/{level.level}",
                "size": list(level.shape[::-1]),
                "resolution": list(level.voxel_size[::-1]),
                "voxel_offset": list(offset[::-1]),
                "chunk_sizes": [list(chunk[::-1])],
                "encoding": encoding,
                **(extra if encoding == "compressed_segmentation" else {}),
            }
            for level in levels
        ],
    }


def parse_chunk(name: str, whole: Roi, chunk: Coordinate = CHUNK) -> Roi:
    """Return the region (z, y, x) of a chunk `x0-x1_y0-y1_z0-z1` of the grid over `whole`.

    Any other name, or a chunk outside, is a NotFoundError: there is nothing at that address.
    """
    named = named_roi(name)
    if named is not None and whole.contains(named.offset):
        steps = zip(named.offset, whole.offset, chunk, strict=True)
        if all((begin - first) % side == 0 for begin, first, side in steps):
            region = Roi(named.offset, chunk).intersect(whole)
            if region == named:
                return region
    raise NotFoundError(
        f"{name[:100]!r} is not a chunk of this volume; chunks are x0-x1_y0-y1_z0-z1 on a grid of "
        f"{chunk[2]} x {chunk[1]} x {chunk[0]} voxels.",
        ErrorKind.ROUTE_NOT_FOUND,
    )


def named_roi(name: str) -> Roi | None:
    """Return the box (z, y, x) that `x0-x1_y0-y1_z0-z1` names, or None; whether it is a chunk
    of some volume is not looked at."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    x0, x1, y0, y1, z0, z1 = map(int, match.groups())
    return Roi((z0, y0, x0), (z1 - z0, y1 - y0, x1 - x0))


def level_of(levels: Sequence[ScaleLevel], number: int) -> ScaleLevel:
    """Return a level by its number, or raise NotFoundError."""
    if number >= len(levels):
        raise NotFoundError(
            f"There is no level {number}; the levels are 0 to {len(levels) - 1}.",
            ErrorKind.ROUTE_NOT_FOUND,
        )
    return levels[number]
