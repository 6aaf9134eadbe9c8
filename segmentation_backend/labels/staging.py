"""New level-0 voxels → changed chunks of every scale level, only around the change.

A coarse voxel is the most frequent supervoxel of the up to 2x2x2 voxels below it
(`kernels.mode_pool` says how ties fall). Chunks are 64 voxels wide and factors are 1 or 2, so each
chunk feeds exactly one chunk of the next level and needs no neighbour.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from segmentation_backend.geometry import Coordinate, Roi
from segmentation_backend.labels.chunks import CHUNK_SIDE, Chunk, chunk_roi, compose, encode
from segmentation_backend.labels.delta import ChunkChange, ChunkKey, ChunkReference
from segmentation_backend.labels.kernels import mode_pool
from segmentation_backend.labels.storage import LabelStorage

__all__ = ["Write", "Writes", "stage"]

Write: TypeAlias = tuple[Coordinate, npt.NDArray[np.uint64]]
"""Offset inside a chunk, and the dense new voxels from there (uint64 z,y,x)."""

Writes: TypeAlias = Mapping[ChunkKey, list[Write]]


class _Staged(NamedTuple):
    before: ChunkReference
    after: Chunk
    box: Roi
    """What changed, in voxels from the chunk's first voxel."""


def stage(storage: LabelStorage, version: int, writes: Writes) -> dict[ChunkKey, ChunkChange]:
    """Return the changed chunks of all levels when `writes` go over level 0 of `version`.

    Chunks that end as they were are left out. New chunks are inline: nothing is stored.
    """
    changes: dict[ChunkKey, ChunkChange] = {}
    for level in range(len(storage.levels)):
        staged = _apply(storage, version, writes)
        for key, (before, after, _) in staged.items():
            changes[key] = ChunkChange(before, encode(after))
        if level + 1 < len(storage.levels):
            writes = _pool(storage, level + 1, staged)
    return changes


def _apply(storage: LabelStorage, version: int, writes: Writes) -> dict[ChunkKey, _Staged]:
    """Return the chunks that really change, with the box of the writes that change them."""
    places = storage.places(writes.keys(), version)
    chunks = storage.load(places.values())
    staged = {}
    for key, blocks in writes.items():
        place = places.get(key)
        before = chunks[place]
        effective = [write for write in blocks if _differs(before, write)]
        if effective:
            box = _box(effective[0])
            for write in effective[1:]:
                box = box.union(_box(write))
            staged[key] = _Staged(place, compose(before, effective), box)
    return staged


def _box(write: Write) -> Roi:
    offset, block = write
    depth, height, width = block.shape
    return Roi(offset, (depth, height, width))


def _differs(before: Chunk, write: Write) -> bool:
    box = _box(write)
    if before.box.intersect(box).is_empty:
        return bool(write[1].any())
    return not np.array_equal(before.cut(box), write[1])


def _pool(
    storage: LabelStorage, level: int, staged: Mapping[ChunkKey, _Staged]
) -> dict[ChunkKey, list[Write]]:
    """Return what the changed chunks of the level below write at `level`."""
    factor = storage.factors[level - 1]
    fine_level = storage.levels[level - 1]
    writes: dict[ChunkKey, list[Write]] = defaultdict(list)
    for key, (_, after, box) in staged.items():
        inside = Roi((0, 0, 0), chunk_roi(key, fine_level).shape)
        cells = box.snap_out(factor).intersect(inside)
        pooled = mode_pool(after.cut(cells), *factor)
        position = (key.z, key.y, key.x)
        z, y, x = (
            p % f * (CHUNK_SIDE // f) + begin // f
            for p, f, begin in zip(position, factor, cells.offset, strict=True)
        )
        above = ChunkKey(level, *(p // f for p, f in zip(position, factor, strict=True)))
        writes[above].append(((z, y, x), pooled))
    return writes
