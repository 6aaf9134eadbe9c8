"""How large supervoxels of a base are and where: counted block by block, when somebody asks.

Nobody counts a published segmentation of 10^12 voxels before the first edit. What is known is the
blocks that were counted (`base_index`), and everything said of a supervoxel is the sum over them:
never more than was seen, and more as more is counted. `locate` counts what an edit needs: the
blocks where an object was pointed at, is known, or is shown by a coarse level, and from there,
block by block, all that hangs together with it (26 neighbours, by the boxes of its parts). A piece
that lies apart and that the coarse levels do not show is found by `count_all` only.

An edit writes the statistics of a supervoxel of the base as far as it is counted, and how many
blocks that was (`label_base_marks`). What later blocks add was not touched by the edit, since the
blocks under the voxels that an edit changes are counted before its statistics are read
(`staging.stage`); so a reader adds them to the row, at every version and on every branch, and a
supervoxel that was deleted as far as it was known exists again with the voxels that are left.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from itertools import product
from math import prod
from threading import Lock

import numpy as np
import sqlalchemy as sa

from segmentation_backend.database import read, write
from segmentation_backend.errors import ConflictError, ErrorKind, InvalidInputError
from segmentation_backend.geometry import Coordinate, Roi
from segmentation_backend.labels import base_index, index
from segmentation_backend.labels.base import LabelBase
from segmentation_backend.labels.base_search import CoarseMaps
from segmentation_backend.labels.branches import Path
from segmentation_backend.labels.chunks import CHUNK_SIDE
from segmentation_backend.labels.delta import ChunkKey, Delta, StatisticsChange
from segmentation_backend.labels.kernels import distinct_ids
from segmentation_backend.labels.schema import BASES
from segmentation_backend.labels.statistics import (
    StatisticsTable,
    SupervoxelStatistics,
    joined_statistics,
)

__all__ = ["BaseStatistics", "block_sides", "open_statistics"]

_SMALLEST_BLOCK = 2**21
_LARGEST_BLOCK = 2**25
"""Voxels of a block: 128 a side, or what the base keeps together where that is more."""

_MOST_VOXELS = 2**30
"""Counted for the sake of one edit; a larger object takes several attempts, or `count_all`."""

_MOST_VOXELS_LISTED = 2**27
"""Counted for the sake of a list of the objects in a region."""

_BATCH = 8
"""Blocks that become known together."""

_THREADS = 4
_REMEMBERED = 1_000_000
_REMEMBERED_PLACES = 100_000


def block_sides(chunk: Coordinate, shape: Coordinate) -> Coordinate:
    """Return the sides of the blocks in which a base is counted: whole 64-voxel chunks."""
    sides = [-(-side // CHUNK_SIDE) * CHUNK_SIDE for side in chunk]
    limits = [-(-side // CHUNK_SIDE) * CHUNK_SIDE for side in shape]
    while prod(sides) < _SMALLEST_BLOCK and any(s < m for s, m in zip(sides, limits, strict=True)):
        smaller = [axis for axis in range(3) if sides[axis] < limits[axis]]
        sides[min(smaller, key=lambda axis: sides[axis])] *= 2
    while prod(sides) > _LARGEST_BLOCK:
        longest = max(range(3), key=lambda axis: sides[axis])
        sides[longest] = -(-sides[longest] // 2 // CHUNK_SIDE) * CHUNK_SIDE
    return (sides[0], sides[1], sides[2])


def open_statistics(
    engine: sa.Engine, volume_id: int, base: LabelBase | None
) -> BaseStatistics | None:
    """Return what is known of a volume's base; ConflictError NAME_TAKEN for another base."""
    query = sa.select(BASES.c.identity, BASES.c.block).where(BASES.c.volume_id == volume_id)
    with read(engine) as connection:
        recorded = connection.execute(query).one_or_none()
    if base is None:
        if recorded is not None:
            raise ConflictError(
                "The labels of this volume stand on base labels and cannot be read without them.",
                ErrorKind.NAME_TAKEN,
            )
        return None
    if recorded is None or recorded.identity != base.description.identity:
        block = block_sides(base.description.chunks[0], base.levels[0].shape)
        with write(engine) as connection:
            base_index.record_base(connection, volume_id, base.description.identity, block)
            base_index.reserve_below(connection, volume_id, base.first_new_id)
            recorded = connection.execute(query).one()
    z, y, x = recorded.block
    return BaseStatistics(engine, volume_id, base, (z, y, x))


class BaseStatistics:
    """What is counted of one volume's base; thread-safe, shared through SQL by all processes."""

    def __init__(
        self, engine: sa.Engine, volume_id: int, base: LabelBase, block: Coordinate
    ) -> None:
        """Know what SQL knows, and count more of `base`, `block` by block, where it is asked for.

        Made by `open_statistics`.
        """
        self.base = base
        self.block = block
        self._engine = engine
        self._volume_id = volume_id
        shape = base.levels[0].shape
        self._counted = np.zeros(
            [-(-n // s) for n, s in zip(shape, self.block, strict=True)], dtype=np.bool_
        )
        self._upto = 0
        self._closed: set[int] = set()
        self._pointed_at: dict[int, set[Coordinate]] = {}
        """Supervoxel → blocks in which somebody saw it; forgotten when they are counted."""
        self._lock = Lock()
        self._counting = Lock()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="label-base-count")
        self._maps = CoarseMaps(base, self._threads)

    # What is counted

    @property
    def share(self) -> float:
        """How much of the base is counted, 0 to 1; at 1 every number is final."""
        self._refresh()
        return float(self._counted.mean())

    def counted(self) -> int:
        """Return how many blocks are counted: the `upto` for questions that must agree."""
        with read(self._engine) as connection:
            return base_index.counted_so_far(connection, self._volume_id)

    def _refresh(self) -> None:
        with self._lock, read(self._engine) as connection:
            for row in base_index.counted_blocks(connection, self._volume_id, self._upto):
                self._counted[row.position] = True
                self._upto = row.number

    def _uncounted(self, positions: Iterable[Coordinate]) -> list[Coordinate]:
        wanted = sorted(set(positions))
        missing = [position for position in wanted if not self._counted[position]]
        if missing:
            self._refresh()
        return [position for position in missing if not self._counted[position]]

    # Counting

    def count_under(self, keys: Iterable[ChunkKey]) -> None:
        """Count the blocks under chunks of level 0."""
        self._count(
            self._uncounted(self._position([p * CHUNK_SIDE for p in key[1:]]) for key in keys)
        )

    def count_over(self, roi: Roi) -> None:
        """Count the blocks over a region of level 0, unless that is too much for one question."""
        missing = self._uncounted(self._positions(roi))
        if len(missing) * prod(self.block) <= _MOST_VOXELS_LISTED:
            self._count(missing)

    def count_all(self) -> Iterator[float]:
        """Count what is left of the base, yielding the share counted after every few blocks.

        May be stopped at any time, by a crash too, and carried on later, also by several processes.
        """
        missing = self._uncounted((z, y, x) for z, y, x in np.ndindex(*self._counted.shape))
        yield self.share
        for start in range(0, len(missing), _BATCH):
            self._count(self._uncounted(missing[start : start + _BATCH]))
            yield self.share

    def _position(self, point: Sequence[int]) -> Coordinate:
        z, y, x = (p // side for p, side in zip(point, self.block, strict=True))
        return (z, y, x)

    def _positions(self, roi: Roi) -> Iterator[Coordinate]:
        grid = roi.downscale(self.block)
        yield from product(*(range(a, b) for a, b in zip(grid.offset, grid.end, strict=True)))

    def _count(self, positions: Sequence[Coordinate]) -> None:
        for start in range(0, len(positions), _BATCH):
            with self._counting:
                # Another thread may have been faster.
                batch = self._uncounted(positions[start : start + _BATCH])
                pending = {p: self._threads.submit(self._measure, p) for p in batch}
                # Also after a failure: what is still being read must not fail the next attempt.
                wait(pending.values())
                found = {p: future.result() for p, future in pending.items()}
                if found:
                    # What a power cut takes back is counted again; a commit takes it along.
                    with write(self._engine, durable=False) as connection:
                        base_index.insert_blocks(connection, self._volume_id, found)
                    for position in found:
                        self._counted[position] = True

    def _measure(self, position: Coordinate) -> dict[int, SupervoxelStatistics]:
        roi = self._roi(position)
        ids = self.base.read_stored(roi, 0)
        table = StatisticsTable(distinct_ids(ids))
        table.add(ids, roi.offset)
        return table.found()

    def _roi(self, position: Coordinate) -> Roi:
        z, y, x = (p * side for p, side in zip(position, self.block, strict=True))
        return Roi((z, y, x), self.block).intersect(Roi((0, 0, 0), self.base.levels[0].shape))

    # Locating

    def point_out(self, supervoxel: int, point: Coordinate) -> None:
        """Remember that a supervoxel was seen at a level-0 voxel; nothing is counted yet."""
        position = self._position(point)
        if not self.holds(supervoxel) or self._counted[position]:
            return
        with self._lock:
            if len(self._pointed_at) > _REMEMBERED_PLACES:
                self._pointed_at.clear()
            self._pointed_at.setdefault(supervoxel, set()).add(position)
            self._closed.discard(supervoxel)

    def locate(self, supervoxels: Collection[int]) -> None:
        """Count what hangs together with supervoxels of the base, from wherever they are known.

        Afterwards those that are still without statistics are not known to exist. Raises
        InvalidInputError ROI_TOO_LARGE for an object that takes more than one attempt, and what
        `LabelBase.load` raises.
        """
        wanted = {s for s in supervoxels if self.holds(s)} - self._closed
        if not wanted or self.share == 1:
            return
        budget = _Budget(self.block)
        self._follow_hints(wanted, budget)
        open_ends = wanted
        while open_ends:
            with read(self._engine) as connection:
                parts = base_index.parts_of(connection, self._volume_id, open_ends)
            around = {s: self._uncounted(self._around(parts[s])) for s in parts}
            open_ends = {s for s, missing in around.items() if missing}
            self._close(parts.keys() - open_ends)
            self._spend({p for missing in around.values() for p in missing}, budget, open_ends)

    def holds(self, supervoxel: int) -> bool:
        """Whether an id may be one of the base's."""
        return 0 < supervoxel < self.base.first_new_id

    def _follow_hints(self, wanted: Collection[int], budget: _Budget) -> None:
        """Count where the supervoxels were pointed at and where the coarse levels show them."""
        with self._lock:
            seen = {s: self._pointed_at.get(s, set()) for s in wanted}
        self._spend(
            set(self._uncounted(p for places in seen.values() for p in places)), budget, wanted
        )
        with self._lock:
            for supervoxel in wanted:
                self._pointed_at.pop(supervoxel, None)
        with read(self._engine) as connection:
            none = dict.fromkeys(wanted, 0)
            known = base_index.totals(connection, self._volume_id, none).keys()
        unknown = set(wanted) - known
        boxes = self._maps.boxes_of(known, thoroughly=False)
        boxes += self._maps.boxes_of(unknown, thoroughly=True)
        positions = {p for box in boxes for p in self._positions(box)}
        if unknown and prod(self._counted.shape) <= budget.small:
            positions = {(z, y, x) for z, y, x in np.ndindex(*self._counted.shape)}
        self._spend(set(self._uncounted(positions)), budget, wanted)

    def _spend(
        self, positions: Collection[Coordinate], budget: _Budget, wanted: Collection[int]
    ) -> None:
        """Count blocks as far as the budget reaches; raise when it does not."""
        affordable = sorted(positions)[: budget.left]
        self._count(affordable)
        budget.left -= len(affordable)
        if len(affordable) < len(positions):
            raise InvalidInputError(
                f"Object {min(wanted)} reaches over more of the base labels than are counted at a "
                f"time ({budget.whole} blocks of {self.block} voxels). Try again to carry on from "
                "there, or have all of them counted once: mitoglance index.",
                ErrorKind.ROI_TOO_LARGE,
            )

    def _around(self, parts: Iterable[base_index.Part]) -> Iterator[Coordinate]:
        """Yield the blocks into which parts may go on: their boxes touch the block's side."""
        for part in parts:
            position = self._position(part.statistics.bbox.offset)
            block, box = self._roi(position), part.statistics.bbox
            steps = [
                [0] + [-1] * (low == a) + [1] * (high == b)
                for low, high, a, b in zip(
                    box.offset, box.end, block.offset, block.end, strict=True
                )
            ]
            for step in product(*steps):
                z, y, x = (p + d for p, d in zip(position, step, strict=True))
                sides = self._counted.shape
                if 0 <= z < sides[0] and 0 <= y < sides[1] and 0 <= x < sides[2]:
                    yield (z, y, x)

    def _close(self, supervoxels: Collection[int]) -> None:
        with self._lock:
            if len(self._closed) > _REMEMBERED:
                self._closed.clear()
            self._closed |= set(supervoxels)

    # Statistics

    def brought_up(
        self,
        connection: sa.Connection,
        path: Path,
        supervoxels: Collection[int],
        rows: Mapping[int, SupervoxelStatistics | None],
        upto: int | None = None,
    ) -> dict[int, SupervoxelStatistics]:
        """Return the statistics of supervoxels at the end of a path; unknown and gone are absent.

        `rows` is what edits wrote of them; the base adds what they did not know. With `upto`, only
        blocks up to this number do.
        """
        own = [s for s in supervoxels if self.holds(s)]
        written = [s for s in own if s in rows]
        after = dict.fromkeys(own, 0)
        after |= base_index.marks_of(connection, self._volume_id, path, written)
        found = {s: stats for s, stats in rows.items() if stats is not None}
        more = base_index.totals(connection, self._volume_id, after, upto)
        return found | {s: joined_statistics(rows.get(s), stats) for s, stats in more.items()}

    def statistics_over(
        self, connection: sa.Connection, path: Path, roi: Roi | None
    ) -> dict[int, SupervoxelStatistics]:
        """Return the statistics of supervoxels of the base at the end of a path.

        Of those with a counted part whose box overlaps `roi` and that still overlap it; all that
        are known without `roi`.
        """
        if roi is None:
            found = base_index.all_totals(connection, self._volume_id)
            own = base_index.written_below(connection, path, self.base.first_new_id)
        else:
            found = {}
            own = base_index.ids_over(connection, self._volume_id, roi, self.block)
            written = index.statistics_in(connection, path, roi)
            own |= {s for s in written if self.holds(s)}
        now = self.brought_up(connection, path, own, index.statistics_of(connection, path, own))
        unwritten = {s: stats for s, stats in found.items() if s not in own}
        return unwritten | {
            s: stats
            for s, stats in now.items()
            if roi is None or not stats.bbox.intersect(roi).is_empty
        }

    # Commit

    def settled(self, connection: sa.Connection, path: Path, delta: Delta) -> Delta:
        """Return a delta with the statistics as they are now that nobody can count (see `mark`).

        Blocks that were counted since the delta was made hold voxels that it does not change.
        `path` leads to the version it was made on; `connection` holds the volume's lock.
        """
        own = [s for s in delta.statistics if self.holds(s)]
        if not own:
            return delta
        rows = index.statistics_of(connection, path, own)
        now = self.brought_up(connection, path, own, rows)
        statistics = dict(delta.statistics)
        for supervoxel in own:
            before, after = statistics[supervoxel]
            present = now.get(supervoxel)
            if present is not None and present != before:
                more = present.voxels - (before.voxels if before is not None else 0)
                for part in base_index.newest_parts(connection, self._volume_id, supervoxel, more):
                    after = joined_statistics(after, part)
                statistics[supervoxel] = StatisticsChange(present, after)
        return replace(delta, statistics=statistics)

    def mark(self, connection: sa.Connection, operation_id: int, delta: Delta) -> None:
        """Record, with the rows of an operation, how much was counted when they were written."""
        if any(self.holds(s) for s in delta.statistics):
            base_index.insert_mark(connection, self._volume_id, operation_id)


class _Budget:
    """Blocks that may be counted for the sake of one edit."""

    def __init__(self, block: Coordinate) -> None:
        self.whole = self.left = max(1, _MOST_VOXELS // prod(block))
        self.small = max(1, _MOST_VOXELS_LISTED // prod(block))
        """A base of so few blocks is counted as a whole for an id whose place nobody knows."""
