"""What views and commits of one volume share inside a process: database, packs and caches."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import pairwise
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from segmentation_backend.database import read
from segmentation_backend.errors import ErrorKind, InvalidInputError, NotFoundError
from segmentation_backend.geometry import Coordinate, Roi, ScaleLevel
from segmentation_backend.labels import index
from segmentation_backend.labels.agglomeration import Agglomeration
from segmentation_backend.labels.branches import Path, Versions
from segmentation_backend.labels.caches import ChunkCache
from segmentation_backend.labels.chunks import EMPTY_CHUNK, Chunk, decode
from segmentation_backend.labels.delta import (
    BaseChunk,
    ChunkKey,
    ChunkReference,
    InlineChunk,
    StoredChunk,
)
from segmentation_backend.labels.joins import RootCache, StoredJoins
from segmentation_backend.labels.kernels import distinct_ids
from segmentation_backend.labels.packs import PackStore
from segmentation_backend.labels.schema import OPERATIONS
from segmentation_backend.labels.statistics import SupervoxelStatistics

__all__ = ["LabelBase", "LabelStorage"]

Value = TypeVar("Value")


class LabelBase(Protocol):
    """A read-only label volume under the edits; its ids are supervoxels like any other."""

    def load(self, keys: Collection[ChunkKey]) -> dict[ChunkKey, Chunk]:
        """Return the chunks of the base; ResourceError or FormatError, never zeros instead."""
        ...

    def statistics_of(self, supervoxels: Collection[int]) -> dict[int, SupervoxelStatistics]:
        """Return the size and place of supervoxels as the base has them; unknown ones absent."""
        ...

    def statistics_in(self, roi: Roi | None) -> dict[int, SupervoxelStatistics]:
        """Return the known supervoxels whose box overlaps `roi` (None: all that are known)."""
        ...


class LabelStorage:
    """One volume's label data, read only; thread-safe."""

    def __init__(
        self,
        engine: sa.Engine,
        volume_id: int,
        main_id: int,
        packs: PackStore,
        levels: tuple[ScaleLevel, ...],
        cache_bytes: int,
        base: LabelBase | None = None,
    ) -> None:
        """Read from `engine` and `packs`; remember about `cache_bytes` of decoded chunks.

        `main_id` is the volume's first branch; chunks never written read through to `base`.
        """
        self.engine = engine
        self.volume_id = volume_id
        self.packs = packs
        self.levels = levels
        self.base = base
        self.factors = tuple(_factor(fine, coarse) for fine, coarse in pairwise(levels))
        """Per level above 0: how many voxels of the level below one voxel spans (1 or 2 each)."""
        self.chunks = ChunkCache(packs, cache_bytes)
        self.versions = Versions(volume_id, main_id)
        self._roots = RootCache(engine, self.versions)

    def level(self, level: int) -> ScaleLevel:
        """Return a scale level; raises InvalidInputError INVALID_PARAMETER."""
        if not 0 <= level < len(self.levels):
            raise InvalidInputError(
                f"There is no scale level {level}; choose 0 to {len(self.levels) - 1}.",
                ErrorKind.INVALID_PARAMETER,
            )
        return self.levels[level]

    def check_roi(self, roi: Roi, level: int = 0) -> None:
        """Raise InvalidInputError ROI_OUT_OF_BOUNDS unless the level holds the whole box."""
        bounds = Roi((0, 0, 0), self.level(level).shape)
        if not bounds.encloses(roi):
            raise InvalidInputError(
                f"The region {roi} is not inside the volume, which spans {bounds} at level "
                f"{level}.",
                ErrorKind.ROI_OUT_OF_BOUNDS,
            )

    # Versions

    def query(self, version: int, ask: Callable[[sa.Connection, Path], Value]) -> Value:
        """Return what `ask` reads of a version."""
        with read(self.engine) as connection:
            return ask(connection, self.versions.path(connection, version))

    def query_since(
        self, after: int, upto: int, ask: Callable[[sa.Connection, Path], Value]
    ) -> Value:
        """Return what `ask` reads of the operations between a version and a later one of it."""
        with read(self.engine) as connection:
            return ask(connection, self.versions.between(connection, after, upto))

    def is_ancestor(self, version: int, later: int) -> bool:
        """Whether `later` was made from `version` (or is it)."""
        with read(self.engine) as connection:
            return self.versions.is_ancestor(connection, version, later)

    def agglomeration(self, version: int) -> Agglomeration:
        """Return which supervoxels are joined at a version."""
        return Agglomeration(StoredJoins(self.engine, self.versions, self._roots, version))

    # Chunks

    def places(
        self, keys: Collection[ChunkKey], version: int
    ) -> dict[ChunkKey, StoredChunk | BaseChunk]:
        """Return where each chunk lies at a version; chunks never written, without base, absent."""
        rows = self.query(version, lambda c, path: index.current_chunks(c, path, keys))
        return self.referred(keys, rows)

    def referred(
        self, keys: Collection[ChunkKey], rows: Mapping[ChunkKey, index.ChunkRow]
    ) -> dict[ChunkKey, StoredChunk | BaseChunk]:
        """Return where chunks lie according to their newest rows; see `places`."""
        found: dict[ChunkKey, StoredChunk | BaseChunk] = {
            key: place for key, (_, place) in rows.items() if place is not None
        }
        if self.base is not None:
            found.update((key, BaseChunk(key)) for key in keys if key not in found)
        return found

    def load(self, references: Iterable[ChunkReference]) -> dict[ChunkReference, Chunk]:
        """Return decoded chunks, stored or not yet stored, by their references."""
        wanted = set(references)
        loaded: dict[ChunkReference, Chunk] = {None: EMPTY_CHUNK}
        stored = self.chunks.load([ref for ref in wanted if isinstance(ref, StoredChunk)])
        loaded.update(stored.items())
        loaded.update((r, decode(r.data)) for r in wanted if isinstance(r, InlineChunk))
        if self.base is not None:
            below = self.base.load([ref.key for ref in wanted if isinstance(ref, BaseChunk)])
            loaded.update((BaseChunk(key), chunk) for key, chunk in below.items())
        return loaded

    def distinct(self, place: StoredChunk | BaseChunk) -> npt.NDArray[np.uint64]:
        """Return the sorted supervoxel ids in a chunk (uint64, no 0)."""
        if isinstance(place, StoredChunk):
            return self.chunks.distinct(place)
        return distinct_ids(self.load([place])[place].block)

    # Supervoxels

    def statistics_of(
        self, supervoxels: Collection[int], version: int
    ) -> dict[int, SupervoxelStatistics]:
        """Return size and place of supervoxels; those that do not exist are absent."""
        rows = self.query(version, lambda c, path: index.statistics_of(c, path, supervoxels))
        found = {s: stats for s, stats in rows.items() if stats is not None}
        unwritten = [s for s in supervoxels if s not in rows]
        if self.base is not None and unwritten:
            found.update(self.base.statistics_of(unwritten))
        return found

    def statistics_in(self, roi: Roi | None, version: int) -> dict[int, SupervoxelStatistics]:
        """Return size and place of the supervoxels whose box overlaps `roi` (None: all)."""
        found = self.query(version, lambda c, path: index.statistics_in(c, path, roi))
        if self.base is not None:
            below = self.base.statistics_in(roi)
            rows = self.query(version, lambda c, path: index.statistics_of(c, path, below.keys()))
            found.update((s, stats) for s, stats in below.items() if s not in rows)
        return found

    def describe(self, operation_id: int) -> str:
        """Return "Operation 7 (merge by ann)", for messages."""
        o = OPERATIONS.c
        with read(self.engine) as connection:
            row = connection.execute(
                sa.select(o.kind, o.user_name).where(
                    o.volume_id == self.volume_id, o.operation_id == operation_id
                )
            ).one_or_none()
        if row is None:
            raise NotFoundError(
                f"There is no operation {operation_id}.", ErrorKind.OPERATION_NOT_FOUND
            )
        return f"Operation {operation_id} ({row[0]} by {row[1]})"


def _factor(fine: ScaleLevel, coarse: ScaleLevel) -> Coordinate:
    z, y, x = (int(np.rint(c / f)) for f, c in zip(fine.voxel_size, coarse.voxel_size, strict=True))
    halves_or_keeps = {z, y, x} <= {1, 2}
    if not halves_or_keeps or coarse.shape != tuple(
        -(-s // f) for s, f in zip(fine.shape, (z, y, x), strict=True)
    ):
        raise InvalidInputError(
            f"Level {coarse.level} ({coarse.shape}) does not halve or keep each axis of level "
            f"{fine.level} ({fine.shape}); label pyramids need factors of 1 or 2.",
            ErrorKind.INVALID_PARAMETER,
        )
    return (z, y, x)
