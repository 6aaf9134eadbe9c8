"""A region chunk by chunk: read a few at a time, look ids up, write back what differs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from typing import NamedTuple, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from segmentation_backend.geometry import Coordinate, Roi
from segmentation_backend.labels import CHUNK_SIDE, ChunkKey, LabelView
from segmentation_backend.labels.chunks import EMPTY_CHUNK, Chunk, chunk_roi, keys_over
from segmentation_backend.labels.kernels import changed_box, translate
from segmentation_backend.labels.staging import Write

__all__ = [
    "Part",
    "corner_of",
    "difference_in",
    "look_up",
    "parts_over",
    "read_chunks",
    "read_parts",
]

Ids: TypeAlias = npt.NDArray[np.uint64]
Item = TypeVar("Item")

_BATCH = 16
"""Chunks that are decoded at a time (at most 2 MB each)."""

_NO_IDS: Ids = np.zeros(0, dtype=np.uint64)


class Part(NamedTuple):
    """What a region and one chunk of level 0 have in common."""

    key: ChunkKey
    roi: Roi
    """In voxels of the volume."""
    box: Roi
    """The same in voxels from the chunk's first voxel."""


def corner_of(key: ChunkKey, offset: Coordinate = (0, 0, 0)) -> Coordinate:
    """Return the voxel at `offset` in a chunk, in voxels of the chunk's level."""
    z, y, x = (p * CHUNK_SIDE + o for p, o in zip(key[1:], offset, strict=True))
    return (z, y, x)


def parts_over(roi: Roi, view: LabelView) -> Iterator[Part]:
    """Yield the parts of a level-0 region, one per chunk, z slowest."""
    for key in keys_over(roi, 0):
        part = chunk_roi(key, view.levels[0]).intersect(roi)
        yield Part(key, part, part.shift([-c for c in corner_of(key)]))


def read_chunks(view: LabelView, keys: Collection[ChunkKey]) -> Iterator[tuple[ChunkKey, Chunk]]:
    """Yield chunks that may hold labels, in order of their keys, a few in memory at a time."""
    for batch in _batches(sorted(keys)):
        yield from sorted(view.load_chunks(batch).items())


def read_parts(view: LabelView, parts: Iterable[Part]) -> Iterator[tuple[Part, Ids]]:
    """Yield each part with its supervoxels, uint64 z,y,x shaped like it."""
    for batch in _batches(parts):
        chunks = view.load_chunks([part.key for part in batch])
        for part in batch:
            yield part, chunks.get(part.key, EMPTY_CHUNK).cut(part.box)


def _batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    stream = iter(items)
    while batch := list(islice(stream, _BATCH)):
        yield batch


def look_up(block: Ids, keys: Ids, values: Ids) -> Ids:
    """Return a block with each id that is in `keys` (sorted, no 0) replaced by its value."""
    flat = np.ascontiguousarray(block).reshape(-1)
    out = np.empty_like(flat)
    translate(flat, _NO_IDS, _NO_IDS, keys, values, out)
    return out.reshape(block.shape)


def difference_in(
    key: ChunkKey, offset: Coordinate, old: Ids, new: Ids
) -> tuple[ChunkKey, list[Write]] | None:
    """Return the write that turns `old` into `new`, both at `offset` in a chunk; None if equal."""
    z0, y0, x0, z1, y1, x1 = changed_box(old, new).tolist()
    if z1 == 0:
        return None
    box = Roi.from_bounds((z0, y0, x0), (z1, y1, x1))
    return key, [(box.shift(offset).offset, np.ascontiguousarray(new[box.slices()]))]
