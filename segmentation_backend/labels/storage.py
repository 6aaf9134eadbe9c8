"""What views and commits of one volume share inside a process: database, packs and caches."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import pairwise

import numpy as np
import sqlalchemy as sa

from segmentation_backend.database import read
from segmentation_backend.errors import ErrorKind, InvalidInputError, NotFoundError
from segmentation_backend.geometry import Coordinate, Roi, ScaleLevel
from segmentation_backend.labels import index
from segmentation_backend.labels.agglomeration import Agglomeration
from segmentation_backend.labels.caches import AgglomerationCache, ChunkCache, EdgeEvents
from segmentation_backend.labels.chunks import EMPTY_CHUNK, Chunk, decode
from segmentation_backend.labels.delta import ChunkKey, ChunkReference, InlineChunk, StoredChunk
from segmentation_backend.labels.packs import PackStore
from segmentation_backend.labels.schema import OPERATIONS

__all__ = ["LabelStorage"]


class LabelStorage:
    """One volume's label data, read only; thread-safe."""

    def __init__(
        self,
        engine: sa.Engine,
        volume_id: int,
        packs: PackStore,
        levels: tuple[ScaleLevel, ...],
        cache_bytes: int,
    ) -> None:
        """Read from `engine` and `packs`; remember about `cache_bytes` of decoded chunks."""
        self.engine = engine
        self.volume_id = volume_id
        self.packs = packs
        self.levels = levels
        self.factors = tuple(_factor(fine, coarse) for fine, coarse in pairwise(levels))
        """Per level above 0: how many voxels of the level below one voxel spans (1 or 2 each)."""
        self.chunks = ChunkCache(packs, cache_bytes)
        self._agglomerations = AgglomerationCache(self._edge_events)

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

    def agglomeration(self, version: int) -> Agglomeration:
        """Return which supervoxels are joined at a version."""
        return self._agglomerations.at(version)

    def _edge_events(self, after: int, upto: int) -> EdgeEvents:
        with read(self.engine) as connection:
            return index.edge_events(connection, self.volume_id, after, upto)

    def places(self, keys: Collection[ChunkKey], version: int) -> dict[ChunkKey, StoredChunk]:
        """Return where each chunk lies at a version; chunks never written are absent."""
        with read(self.engine) as connection:
            rows = index.current_chunks(connection, self.volume_id, keys, version)
        return {key: place for key, (_, place) in rows.items() if place is not None}

    def load(self, references: Iterable[ChunkReference]) -> dict[ChunkReference, Chunk]:
        """Return decoded chunks, stored or not yet stored, by their references."""
        wanted = set(references)
        loaded: dict[ChunkReference, Chunk] = {None: EMPTY_CHUNK}
        stored = self.chunks.load([ref for ref in wanted if isinstance(ref, StoredChunk)])
        for ref in wanted:
            if isinstance(ref, InlineChunk):
                loaded[ref] = decode(ref.data)
            elif ref is not None:
                loaded[ref] = stored[ref]
        return loaded

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
