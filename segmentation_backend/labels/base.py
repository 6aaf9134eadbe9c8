"""A read-only base under the edits: somebody's label arrays, read chunk by chunk in place.

Ids of the base stay what they are. Ids made here are larger than any the base can hold
(`LabelBase.first_new_id`), so the two never collide. A chunk that cannot be read is an error, never
background, and is not remembered.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cached_property
from itertools import product
from math import prod
from pathlib import Path
from threading import Lock, RLock
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from segmentation_backend.errors import ErrorKind, FormatError
from segmentation_backend.geometry import Coordinate, Roi, ScaleLevel
from segmentation_backend.labels.base_cache import ComputedChunks
from segmentation_backend.labels.base_description import (
    BaseDescription,
    BaseReader,
    checked_ids,
    describe_base,
    first_new_id,
)
from segmentation_backend.labels.base_levels import BaseLevel, plan_base_levels
from segmentation_backend.labels.chunks import (
    CHUNK_SIDE,
    EMPTY_CHUNK,
    Chunk,
    chunk_roi,
    trim,
)
from segmentation_backend.labels.delta import ChunkKey
from segmentation_backend.labels.kernels import distinct_ids, mode_pool
from segmentation_backend.labels.recent import Recent

__all__ = ["LabelBase"]

Ids = npt.NDArray[np.uint64]

_LARGEST_TILE = 2**23
"""Voxels that are read at a time to fill chunks (64 MB as uint64)."""

_READERS = 4


class _Tile(NamedTuple):
    """Chunks that are read together, because the base keeps them together."""

    level: int
    z: int
    y: int
    x: int


class LabelBase:
    """The voxels of a base on the grid of a label pyramid; thread-safe, opened when first read."""

    def __init__(
        self,
        description: BaseDescription,
        open_reader: Callable[[], BaseReader],
        cache_bytes: int = 64 * 2**20,
        cache_dir: Path | None = None,
    ) -> None:
        """Read through `open_reader()`, which must find what `description` says.

        `cache_bytes` bounds the decoded chunks in memory. `cache_dir` keeps chunks of levels that
        the base does not hold.
        """
        self.description = description
        self.plan: tuple[BaseLevel, ...] = plan_base_levels(description.levels)
        self.levels = tuple(planned.level for planned in self.plan)
        """The label pyramid: the base's own levels and computed ones."""
        self.first_new_id = first_new_id(description.dtype)
        """Smaller ids are the base's, this and larger ones are made by edits."""
        self._open_reader = open_reader
        self._sides = tuple(_tile_side(chunk) for chunk in description.chunks)
        # Reentrant: a tile that was read already calls back at once.
        self._lock = RLock()
        self._opening = Lock()
        self._reading: dict[_Tile, Future[dict[ChunkKey, Chunk]]] = {}
        self._chunks = Recent[Chunk](cache_bytes, lambda chunk: chunk.block.nbytes + 256)
        self._pooled = ComputedChunks(cache_dir and cache_dir / description.identity)
        self._distinct = Recent[Ids](8 * 2**20, lambda ids: ids.nbytes + 256)

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(_READERS, thread_name_prefix="label-base")

    @property
    def reader(self) -> BaseReader:
        """The arrays, opened and recognised; FormatError BASE_CHANGED when they are others."""
        with self._opening:
            return self._opened

    @cached_property
    def _opened(self) -> BaseReader:
        reader = self._open_reader()
        found = describe_base(reader)
        if found != self.description:
            raise FormatError(
                f"The labels under this volume are not what they were when it was registered: "
                f"{_first_difference(self.description, found)}. Edits made on the old ones do not "
                "fit; bring the old labels back, or register the new ones under another name.",
                ErrorKind.BASE_CHANGED,
            )
        return reader

    # Chunks

    def load(self, keys: Collection[ChunkKey]) -> dict[ChunkKey, Chunk]:
        """Return chunks of any level.

        Raises ResourceError SOURCE_UNAVAILABLE for what cannot be fetched, FormatError
        (CORRUPT_CHUNK; UNSUPPORTED_DTYPE for ids that cannot be edited; BASE_CHANGED).
        """
        found = {key: chunk for key in keys if (chunk := self._chunks.get(key)) is not None}
        missing = [key for key in keys if key not in found]
        stored = [key for key in missing if self.plan[key.level].stored is not None]
        found |= self._read(stored)
        for key in missing:
            if key not in found:
                found[key] = self._pool(key)
        return found

    def distinct(self, key: ChunkKey) -> Ids:
        """Return the sorted ids in a chunk (no 0)."""
        known = self._distinct.get(key)
        if known is None:
            known = distinct_ids(self.load([key])[key].block)
            self._distinct.keep({key: known})
        return known

    def read_stored(self, roi: Roi, stored: int) -> Ids:
        """Return the ids of a region of an array of the base, past the caches; see `load`."""
        reader = self.reader
        ids = checked_ids(reader.read(roi, stored), f"{roi} at level {stored}")
        if not ids.any():
            # An array that is gone looks like one that was never written.
            reader.check_present(stored)
        return ids

    def _read(self, keys: Collection[ChunkKey]) -> dict[ChunkKey, Chunk]:
        """Return chunks of stored levels; neighbours that the base keeps together come together."""
        tiles = {self._tile_of(key) for key in keys}
        pending = [self._start(tile) for tile in tiles]
        # Also after a failure: what is still being read must not fail the next attempt.
        wait(pending)
        read: dict[ChunkKey, Chunk] = {}
        for future in pending:
            read |= future.result()
        return {key: read[key] for key in keys}

    def _tile_of(self, key: ChunkKey) -> _Tile:
        stored = self.plan[key.level].stored
        assert stored is not None
        z, y, x = (
            p * CHUNK_SIDE // side for p, side in zip(key[1:], self._sides[stored], strict=True)
        )
        return _Tile(key.level, z, y, x)

    def _start(self, tile: _Tile) -> Future[dict[ChunkKey, Chunk]]:
        """Return the reading of a tile, begun here or by another thread already."""
        with self._lock:
            known = self._reading.get(tile)
            if known is None:
                known = self._reading[tile] = self._threads.submit(self._read_tile, tile)
                known.add_done_callback(lambda _: self._finish(tile))
        return known

    def _finish(self, tile: _Tile) -> None:
        with self._lock:
            self._reading.pop(tile, None)

    def _read_tile(self, tile: _Tile) -> dict[ChunkKey, Chunk]:
        planned = self.plan[tile.level]
        assert planned.stored is not None
        side = self._sides[planned.stored]
        z, y, x = (p * s for p, s in zip(tile[1:], side, strict=True))
        whole = Roi((z, y, x), side).intersect(Roi((0, 0, 0), planned.level.shape))
        reader = self.reader
        # Rounding differs between writers: what is beyond the array is background.
        there = whole.intersect(Roi((0, 0, 0), reader.levels[planned.stored].shape))
        ids = np.zeros((0, 0, 0), dtype=np.uint64)
        if not there.is_empty:
            ids = self.read_stored(there, planned.stored)
        found = dict(_cut(ids, there, whole, tile.level))
        self._chunks.keep(found)
        return found

    def _pool(self, key: ChunkKey) -> Chunk:
        """Return a chunk of a level that the base does not hold: the mode of the level below."""
        known = self._pooled.get(key)
        if known is not None:
            return known
        fine, coarse = self.levels[key.level - 1], self.levels[key.level]
        factor = _factor(fine, coarse)
        roi = chunk_roi(key, coarse)
        below = Roi.from_bounds(
            [a * f for a, f in zip(roi.offset, factor, strict=True)],
            [min(b * f, s) for b, f, s in zip(roi.end, factor, fine.shape, strict=True)],
        )
        first = [p * f for p, f in zip(key[1:], factor, strict=True)]
        children = [
            ChunkKey(key.level - 1, *(p + d for p, d in zip(first, step, strict=True)))
            for step in product(*(range(f) for f in factor))
        ]
        chunks = self.load([c for c in children if not chunk_roi(c, fine).is_empty])
        pooled = EMPTY_CHUNK
        if any(chunk.block.size for chunk in chunks.values()):
            block = np.zeros(below.shape, dtype=np.uint64)
            for child, chunk in chunks.items():
                z, y, x = (b - p * CHUNK_SIDE for b, p in zip(below.offset, child[1:], strict=True))
                chunk.paste(block, (z, y, x))
            pooled = trim(mode_pool(block, *factor), (0, 0, 0))
        # The first computed level is quickly made again, and would be many files.
        self._pooled.keep(key, pooled, durably=self.plan[key.level - 1].stored is None)
        return pooled


def _cut(ids: Ids, there: Roi, whole: Roi, level: int) -> Iterable[tuple[ChunkKey, Chunk]]:
    """Yield the chunks of a region `whole`, of which only `there` holds voxels."""
    grid = [
        range(a // CHUNK_SIDE, -(-b // CHUNK_SIDE))
        for a, b in zip(whole.offset, whole.end, strict=True)
    ]
    for z, y, x in product(*grid):
        corner = (z * CHUNK_SIDE, y * CHUNK_SIDE, x * CHUNK_SIDE)
        part = Roi(corner, (CHUNK_SIDE,) * 3).intersect(there)
        chunk = EMPTY_CHUNK if part.is_empty else trim(ids[part.slices(there.offset)], (0, 0, 0))
        yield ChunkKey(level, z, y, x), chunk


def _factor(fine: ScaleLevel, coarse: ScaleLevel) -> Coordinate:
    z, y, x = (round(c / f) for f, c in zip(fine.voxel_size, coarse.voxel_size, strict=True))
    return (z, y, x)


def _tile_side(chunk: Coordinate) -> Coordinate:
    """Return the sides, in voxels, of what to read together for the sake of one chunk."""
    sides = [-(-side // CHUNK_SIDE) * CHUNK_SIDE for side in chunk]
    while prod(sides) > _LARGEST_TILE:
        longest = max(range(3), key=lambda axis: sides[axis])
        sides[longest] = -(-sides[longest] // 2 // CHUNK_SIDE) * CHUNK_SIDE
    return (sides[0], sides[1], sides[2])


def _first_difference(recorded: BaseDescription, found: BaseDescription) -> str:
    for name in ("levels", "dtype", "chunks"):
        before, now = getattr(recorded, name), getattr(found, name)
        if before != now:
            return f"their {name} were {before} and are {now}"
    return "labels in some places that were compared differ"
