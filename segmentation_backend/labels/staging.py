"""New level-0 voxels → changed chunks of every scale level, only around the change.

A coarse voxel is the most frequent supervoxel of the up to 2x2x2 voxels below it
(`kernels.mode_pool` says how ties fall). Chunks are 64 voxels wide and factors are 1 or 2, so each
chunk feeds exactly one chunk of the next level and needs no neighbour.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from segmentation_backend.geometry import Coordinate, Roi
from segmentation_backend.labels.chunks import CHUNK_SIDE, Chunk, chunk_roi, compose, encode
from segmentation_backend.labels.delta import BaseChunk, ChunkChange, ChunkKey, ChunkReference
from segmentation_backend.labels.kernels import mode_pool
from segmentation_backend.labels.storage import LabelStorage

__all__ = ["Watch", "Write", "WriteStream", "Writes", "stage"]

Write: TypeAlias = tuple[Coordinate, npt.NDArray[np.uint64]]
"""Offset inside a chunk, and the dense new voxels from there (uint64 z,y,x)."""

Writes: TypeAlias = Mapping[ChunkKey, list[Write]]

WriteStream: TypeAlias = Iterable[tuple[ChunkKey, list[Write]]]
"""The same, each chunk once; made while it is consumed, so that it need not fit into memory."""

Watch: TypeAlias = Callable[[ChunkKey, Chunk, Chunk, Roi], None]
"""Called with a changed chunk: key, before, after, and the box (in the chunk) that was written."""

_BATCH = 16
"""Chunks that are decoded at a time (at most 2 MB each, before and after)."""

_SLAB = 8
"""Planes of a chunk that are compared at a time."""


class _Staged(NamedTuple):
    place: ChunkReference
    """Where `before` lies."""
    before: Chunk
    after: Chunk
    box: Roi
    """What changed, in voxels from the chunk's first voxel."""


def stage(
    storage: LabelStorage, version: int, writes: Writes | WriteStream, watch: Watch | None = None
) -> dict[ChunkKey, ChunkChange]:
    """Return the changed chunks of all levels when `writes` go over level 0 of `version`.

    Chunks that end as they were are left out. New chunks are inline: nothing is stored. `watch`
    sees every changed chunk of level 0. Ask for statistics afterwards: by then those of a base take
    account of every voxel that changes.
    """
    changes: dict[ChunkKey, ChunkChange] = {}
    places = _Places(storage, version)
    stream = writes.items() if isinstance(writes, Mapping) else writes
    for level in range(len(storage.levels)):
        above: dict[ChunkKey, list[Write]] = defaultdict(list)
        for key, staged in _apply(storage, places, stream):
            changes[key] = ChunkChange(staged.place, encode(staged.after))
            if watch is not None and level == 0:
                watch(key, staged.before, staged.after, staged.box)
            if level + 1 < len(storage.levels):
                target, pooled = _pool(storage, key, staged)
                above[target].append(pooled)
        stream = above.items()
    storage.count_under(
        key
        for key, change in changes.items()
        if key.level == 0 and isinstance(change.before, BaseChunk)
    )
    return changes


class _Places:
    """Where chunks lie, looked up together with those above them: one query serves all levels."""

    def __init__(self, storage: LabelStorage, version: int) -> None:
        self._storage = storage
        self._version = version
        self._known: dict[ChunkKey, ChunkReference] = {}

    def of(self, keys: Iterable[ChunkKey]) -> dict[ChunkKey, ChunkReference]:
        wanted: set[ChunkKey] = set()
        for key in keys:
            while key not in self._known and key not in wanted:
                wanted.add(key)
                if key.level + 1 < len(self._storage.levels):
                    key = _above(self._storage, key)
        if wanted:
            found = self._storage.places(wanted, self._version)
            self._known.update((key, found.get(key)) for key in wanted)
        return {key: self._known[key] for key in keys}


def _above(storage: LabelStorage, key: ChunkKey) -> ChunkKey:
    """Return the chunk of the next level that a chunk feeds."""
    z, y, x = (p // f for p, f in zip(key[1:], storage.factors[key.level], strict=True))
    return ChunkKey(key.level + 1, z, y, x)


def _apply(
    storage: LabelStorage, places: _Places, writes: WriteStream
) -> Iterator[tuple[ChunkKey, _Staged]]:
    """Yield the chunks that really change, with the box of the writes that change them."""
    stream = iter(writes)
    while batch := dict(islice(stream, _BATCH)):
        here = places.of(batch.keys())
        chunks = storage.load(here.values())
        for key, blocks in batch.items():
            place = here[key]
            before = chunks[place]
            effective = [write for write in blocks if _differs(before, write)]
            if effective:
                box = _box(effective[0])
                for write in effective[1:]:
                    box = box.union(_box(write))
                yield key, _Staged(place, before, compose(before, effective), box)


def _box(write: Write) -> Roi:
    offset, block = write
    depth, height, width = block.shape
    return Roi(offset, (depth, height, width))


def _differs(before: Chunk, write: Write) -> bool:
    box = _box(write)
    if before.box.intersect(box).is_empty:
        return bool(write[1].any())
    present, wanted = before.look(box), write[1]
    # Slab by slab: what differs is seen before all of it was looked at.
    return any(
        not np.array_equal(present[z : z + _SLAB], wanted[z : z + _SLAB])
        for z in range(0, len(wanted), _SLAB)
    )


def _pool(storage: LabelStorage, key: ChunkKey, staged: _Staged) -> tuple[ChunkKey, Write]:
    """Return what a changed chunk writes to which chunk of the level above."""
    factor = storage.factors[key.level]
    inside = Roi((0, 0, 0), chunk_roi(key, storage.levels[key.level]).shape)
    cells = staged.box.snap_out(factor).intersect(inside)
    pooled = mode_pool(staged.after.cut(cells), *factor)
    z, y, x = (
        p % f * (CHUNK_SIDE // f) + begin // f
        for p, f, begin in zip(key[1:], factor, cells.offset, strict=True)
    )
    return _above(storage, key), ((z, y, x), pooled)
