"""What views and commits of one volume share inside a process: database, packs and caches."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import pairwise
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from segmentation_backend.database import read
from segmentation_backend.errors import ErrorKind, InvalidInputError, NotFoundError
from segmentation_backend.geometry import Coordinate, Roi, ScaleLevel
from segmentation_backend.labels import index
from segmentation_backend.labels.agglomeration import Agglomeration
from segmentation_backend.labels.base import LabelBase
from segmentation_backend.labels.base_statistics import open_statistics
from segmentation_backend.labels.branches import Path, Versions
from segmentation_backend.labels.caches import ChunkCache, Remembered
from segmentation_backend.labels.chunks import EMPTY_CHUNK, Chunk, decode
from segmentation_backend.labels.delta import (
    BaseChunk,
    ChunkKey,
    ChunkReference,
    Delta,
    InlineChunk,
    StoredChunk,
)
from segmentation_backend.labels.joins import RootCache, StoredJoins
from segmentation_backend.labels.object_pages import Page, ordered, page_of
from segmentation_backend.labels.objects import ObjectSize, sizes_of
from segmentation_backend.labels.packs import PackStore
from segmentation_backend.labels.schema import OPERATIONS
from segmentation_backend.labels.statistics import ObjectStats, SupervoxelStatistics

__all__ = ["LabelStorage"]

Value = TypeVar("Value")

_REMEMBERED = 8192
"""Small answers, of less than a kilobyte each."""


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
        self.base_statistics = open_statistics(engine, volume_id, base)
        """What is counted of the base so far; None without one."""
        self.factors = tuple(_factor(fine, coarse) for fine, coarse in pairwise(levels))
        """Per level above 0: how many voxels of the level below one voxel spans (1 or 2 each)."""
        self.chunks = ChunkCache(packs, cache_bytes)
        self.versions = Versions(volume_id, main_id)
        self.etags = Remembered[tuple[int, int, Roi], str](_REMEMBERED)
        """Tags of chunks by version, level and region; none of these ever changes."""
        self._roots = RootCache(engine, self.versions)
        self._sizes = Remembered[tuple[int, int], ObjectSize](_REMEMBERED)

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
        if version == later:
            return True
        with read(self.engine) as connection:
            return self.versions.is_ancestor(connection, version, later)

    def agglomeration(self, version: int) -> Agglomeration:
        """Return which supervoxels are joined at a version."""
        return Agglomeration(StoredJoins(self.engine, self.versions, self._roots, version))

    def advance(self, version: int, later: int, changed_roots: Mapping[int, int]) -> None:
        """Know that an operation made `later` of a version, and what it did to the roots."""
        self._roots.advance(version, later, changed_roots)

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
        if self.base is None:
            return np.zeros(0, dtype=np.uint64)
        return self.base.distinct(place.key)

    # Supervoxels

    def statistics_of(
        self, supervoxels: Collection[int], version: int, counted: int | None = None
    ) -> dict[int, SupervoxelStatistics]:
        """Return size and place of supervoxels; those that do not exist are absent.

        Over a base: as far as it is counted, and nothing is counted here. With `counted`, only the
        blocks up to this number are taken into account, so that two answers can be compared.
        """

        def ask(connection: sa.Connection, path: Path) -> dict[int, SupervoxelStatistics]:
            rows = index.statistics_of(connection, path, supervoxels)
            if self.base_statistics is None:
                return {s: stats for s, stats in rows.items() if stats is not None}
            return self.base_statistics.brought_up(connection, path, supervoxels, rows, counted)

        return self.query(version, ask)

    def statistics_in(self, roi: Roi | None, version: int) -> dict[int, SupervoxelStatistics]:
        """Return size and place of the supervoxels whose box overlaps `roi` (None: all).

        Over a base: of those that have a voxel in a counted block, and there a box, near `roi`.
        """

        def ask(connection: sa.Connection, path: Path) -> dict[int, SupervoxelStatistics]:
            found = index.statistics_in(connection, path, roi)
            if self.base_statistics is None:
                return found
            below = self.base_statistics.statistics_over(connection, path, roi)
            new = {s: stats for s, stats in found.items() if not self.base_statistics.holds(s)}
            return below | new

        return self.query(version, ask)

    # The base

    def point_out(self, supervoxel: int, point: Coordinate) -> None:
        """Remember where an object of the base was seen, for `locate`."""
        if self.base_statistics is not None:
            self.base_statistics.point_out(supervoxel, point)

    def locate(self, supervoxels: Collection[int]) -> None:
        """See to it that objects of the base are counted as far as they hang together."""
        if self.base_statistics is not None:
            self.base_statistics.locate(supervoxels)

    def hint(self, supervoxel: int) -> str:
        """Return how a message ends that says an object is not there, with the way out."""
        base = self.base_statistics
        if base is None or not base.holds(supervoxel) or base.share == 1:
            return "; refresh the view and pick it again."
        return (
            f", as far as is known: {base.share:.0%} of the base labels are counted. Point at it "
            "(points instead of ids, or both), or have all of them counted once: mitoglance index."
        )

    def count_under(self, keys: Iterable[ChunkKey]) -> None:
        """See to it that the base is counted under chunks of level 0."""
        if self.base_statistics is not None:
            self.base_statistics.count_under(keys)

    def settled(self, connection: sa.Connection, delta: Delta) -> Delta:
        """Return a delta with statistics that take account of all that is counted by now.

        `connection` holds the volume's lock, so that nobody counts until it is committed.
        """
        if self.base_statistics is None:
            return delta
        path = self.versions.path(connection, delta.base_version)
        return self.base_statistics.settled(connection, path, delta)

    def mark(self, connection: sa.Connection, operation_id: int, delta: Delta) -> None:
        """Record with an operation how much of the base its statistics take account of."""
        if self.base_statistics is not None:
            self.base_statistics.mark(connection, operation_id, delta)

    def counted(self) -> int | None:
        """Return how much of the base is counted now, for `statistics_of`."""
        return None if self.base_statistics is None else self.base_statistics.counted()

    # Objects

    def sizes_of(self, roots: Collection[int], version: int) -> dict[int, ObjectSize]:
        """Return size and place of objects, by their roots; those that do not exist are absent."""
        # What SQL cannot hold was never given out.
        wanted = [root for root in roots if 0 < root < 2**63]
        if self.base is not None:
            return self._summed(wanted, version)
        known = {root: self._sizes.get((version, root)) for root in wanted}
        found = {root: size for root, size in known.items() if size is not None}
        missing = [root for root in wanted if root not in found]
        if missing:
            fresh = self.query(version, lambda c, path: sizes_of(c, path, missing))
            self._sizes.keep({(version, root): size for root, size in fresh.items()})
            found |= fresh
        return found

    def _summed(self, roots: Collection[int], version: int) -> dict[int, ObjectSize]:
        """Return the sizes of objects from those of their supervoxels.

        Over a base, what an operation recorded of an object lacks what was counted since.
        """
        groups = self.agglomeration(version).members_of(roots)
        members = {member for group in groups.values() for member in group}
        statistics = self.statistics_of(members, version)
        sums = {
            root: ObjectSize.of_parts(statistics[m] for m in group if m in statistics)
            for root, group in groups.items()
        }
        return {root: size for root, size in sums.items() if size is not None}

    def objects(self, roi: Roi | None, version: int, page: Page) -> list[ObjectStats]:
        """Return a page of the objects with a supervoxel whose box overlaps `roi` (None: all)."""
        if self.base is None and roi is None:
            return self.query(version, lambda c, path: page_of(c, path, page))
        inside: Collection[int]
        if self.base is not None or roi is None:
            inside = self.statistics_in(roi, version)
        else:
            inside = self.query(version, lambda c, path: index.supervoxels_in(c, path, roi))
        roots = set(self.agglomeration(version).roots_of(inside).values())
        sizes = self.sizes_of(roots, version)
        return ordered((size.stats(root) for root, size in sizes.items()), page)

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
