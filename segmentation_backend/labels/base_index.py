"""What SQL knows about a base: which blocks were counted, and what they hold of each supervoxel."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from segmentation_backend.errors import ConflictError, ErrorKind
from segmentation_backend.geometry import Coordinate, Roi
from segmentation_backend.labels.branches import Path, within
from segmentation_backend.labels.schema import (
    BASE_BLOCKS,
    BASE_MARKS,
    BASE_STATISTICS,
    BASES,
    SUPERVOXELS,
    VOLUMES,
)
from segmentation_backend.labels.statistics import SupervoxelStatistics

__all__ = [
    "BlockRow",
    "Part",
    "all_totals",
    "counted_blocks",
    "counted_so_far",
    "ids_over",
    "insert_blocks",
    "insert_mark",
    "marks_of",
    "newest_parts",
    "parts_of",
    "record_base",
    "reserve_below",
    "totals",
    "written_below",
]

_BATCH = 4096

_NUMBERS = ("voxels", "z0", "y0", "x0", "z1", "y1", "x1", "sum_z", "sum_y", "sum_x")


class BlockRow(NamedTuple):
    """A counted block: its position on the grid of blocks, and its number."""

    position: Coordinate
    number: int


class Part(NamedTuple):
    """What one block holds of one supervoxel."""

    number: int
    statistics: SupervoxelStatistics


def record_base(
    connection: sa.Connection, volume_id: int, identity: str, block: Coordinate
) -> None:
    """Record which base a new volume stands on, or refuse another one than was recorded.

    `connection` may write. Raises ConflictError NAME_TAKEN.
    """
    here = VOLUMES.c.volume_id == volume_id
    head, next_id = connection.execute(
        sa.select(VOLUMES.c.head, VOLUMES.c.next_id).where(here).with_for_update()
    ).one()
    known = connection.scalar(sa.select(BASES.c.identity).where(BASES.c.volume_id == volume_id))
    if known == identity:
        return
    if known is not None or head > 0 or next_id > 1:
        begun = "other base labels" if known is not None else "nothing, not on base labels"
        raise ConflictError(
            f"The labels of this volume were begun on {begun}; register these base labels under "
            "another name.",
            ErrorKind.NAME_TAKEN,
        )
    row = {"volume_id": volume_id, "identity": identity, "block": list(block)}
    connection.execute(BASES.insert(), row)


def reserve_below(connection: sa.Connection, volume_id: int, first_new_id: int) -> None:
    """Let new ids begin at `first_new_id`: smaller ones are the base's."""
    v = VOLUMES.c
    here = (v.volume_id == volume_id) & (v.next_id < first_new_id)
    connection.execute(VOLUMES.update().where(here).values(next_id=first_new_id))


def counted_so_far(connection: sa.Connection, volume_id: int) -> int:
    """Return how many blocks were counted, which is the number of the newest."""
    query = sa.select(sa.func.max(BASE_BLOCKS.c.number))
    found = connection.scalar(query.where(BASE_BLOCKS.c.volume_id == volume_id))
    return 0 if found is None else int(found)


def counted_blocks(connection: sa.Connection, volume_id: int, after: int) -> Iterator[BlockRow]:
    """Yield the blocks that were counted after a number, in order."""
    b = BASE_BLOCKS.c
    query = (
        sa.select(b.z, b.y, b.x, b.number)
        .where(b.volume_id == volume_id, b.number > after)
        .order_by(b.number)
    )
    for z, y, x, number in connection.execute(query):
        yield BlockRow((z, y, x), number)


def insert_blocks(
    connection: sa.Connection,
    volume_id: int,
    blocks: Mapping[Coordinate, Mapping[int, SupervoxelStatistics]],
) -> None:
    """Record what blocks hold; those that somebody else recorded first are left as they are."""
    here = VOLUMES.c.volume_id == volume_id
    # Commits hold the same lock: while it is held, what was counted stays as it is.
    connection.execute(sa.select(VOLUMES.c.head).where(here).with_for_update()).one()
    number = counted_so_far(connection, volume_id)
    present = _present(connection, volume_id, blocks.keys())
    block_rows, statistics_rows = [], []
    for (z, y, x), found in blocks.items():
        if (z, y, x) in present:
            continue
        number += 1
        ids = {"volume_id": volume_id, "number": number}
        block_rows.append(ids | {"z": z, "y": y, "x": x})
        for supervoxel, stats in found.items():
            numbers = (stats.voxels, *stats.bbox.offset, *stats.bbox.end, *stats.sums)
            values = dict(zip(_NUMBERS, numbers, strict=True))
            statistics_rows.append(ids | {"supervoxel": supervoxel} | values)
    if block_rows:
        connection.execute(BASE_BLOCKS.insert(), block_rows)
    if statistics_rows:
        connection.execute(BASE_STATISTICS.insert(), statistics_rows)


def _present(
    connection: sa.Connection, volume_id: int, positions: Collection[Coordinate]
) -> set[Coordinate]:
    b = BASE_BLOCKS.c
    found = set()
    for z, y, x in positions:
        query = sa.select(b.number).where(b.volume_id == volume_id)
        if connection.scalar(query.where(b.z == z, b.y == y, b.x == x)) is not None:
            found.add((z, y, x))
    return found


def totals(
    connection: sa.Connection, volume_id: int, after: Mapping[int, int], upto: int | None = None
) -> dict[int, SupervoxelStatistics]:
    """Return what the counted blocks hold of supervoxels, each from the block after a number on.

    `after` maps each supervoxel to that number; with `upto`, later blocks are left out.
    """
    result: dict[int, SupervoxelStatistics] = {}
    wanted = sorted(after.items())
    end = "" if upto is None else f"AND s.number <= {int(upto)} "
    for start in range(0, len(wanted), _BATCH):
        # Only integers go into the text: one index seek per supervoxel.
        values = ",".join(f"({int(s)},{int(n)})" for s, n in wanted[start : start + _BATCH])
        rows = connection.exec_driver_sql(
            f"WITH k(supervoxel, number) AS (VALUES {values}) "
            "SELECT k.supervoxel, SUM(s.voxels), MIN(s.z0), MIN(s.y0), MIN(s.x0), MAX(s.z1), "
            "MAX(s.y1), MAX(s.x1), SUM(s.sum_z), SUM(s.sum_y), SUM(s.sum_x) "
            "FROM k CROSS JOIN label_base_statistics s "
            f"WHERE s.volume_id = {int(volume_id)} AND s.supervoxel = k.supervoxel "
            f"AND s.number > k.number {end}"
            "GROUP BY k.supervoxel"
        )
        result.update((int(row[0]), _statistics(row[1:])) for row in rows)
    return result


def all_totals(connection: sa.Connection, volume_id: int) -> dict[int, SupervoxelStatistics]:
    """Return what the counted blocks hold of every supervoxel."""
    rows = connection.exec_driver_sql(
        "SELECT s.supervoxel, SUM(s.voxels), MIN(s.z0), MIN(s.y0), MIN(s.x0), MAX(s.z1), "
        "MAX(s.y1), MAX(s.x1), SUM(s.sum_z), SUM(s.sum_y), SUM(s.sum_x) "
        f"FROM label_base_statistics s WHERE s.volume_id = {int(volume_id)} GROUP BY s.supervoxel"
    )
    return {int(row[0]): _statistics(row[1:]) for row in rows}


def written_below(connection: sa.Connection, path: Path, first_new_id: int) -> set[int]:
    """Return the supervoxels of a base of which operations of a path wrote statistics."""
    s = SUPERVOXELS.c
    here = within(path, s.branch_id, s.operation_id) & (s.supervoxel < first_new_id)
    return set(connection.scalars(sa.select(s.supervoxel).distinct().where(here)))


def parts_of(
    connection: sa.Connection, volume_id: int, supervoxels: Collection[int]
) -> dict[int, list[Part]]:
    """Return what each counted block holds of supervoxels; those in none are absent."""
    s = BASE_STATISTICS.c
    query = sa.select(s.supervoxel, s.number, *(s[n] for n in _NUMBERS))
    result: dict[int, list[Part]] = defaultdict(list)
    ordered = sorted(supervoxels)
    for start in range(0, len(ordered), _BATCH):
        batch = ordered[start : start + _BATCH]
        rows = connection.execute(
            query.where(s.volume_id == volume_id, s.supervoxel.in_(batch)).order_by(s.number)
        )
        for row in map(tuple, rows):
            result[row[0]].append(Part(row[1], _statistics(row[2:])))
    return dict(result)


def newest_parts(
    connection: sa.Connection, volume_id: int, supervoxel: int, voxels: int
) -> list[SupervoxelStatistics]:
    """Return what the blocks counted last hold of a supervoxel: as many as hold `voxels`."""
    s = BASE_STATISTICS.c
    query = (
        sa.select(*(s[n] for n in _NUMBERS))
        .where(s.volume_id == volume_id, s.supervoxel == supervoxel)
        .order_by(s.number.desc())
    )
    found: list[SupervoxelStatistics] = []
    for row in connection.execute(query):
        if sum(part.voxels for part in found) >= voxels:
            break
        found.append(_statistics(tuple(row)))
    return found


def ids_over(
    connection: sa.Connection, volume_id: int, roi: Roi | None, block: Coordinate
) -> set[int]:
    """Return the supervoxels of which a counted block holds voxels whose box overlaps `roi`."""
    s, b = BASE_STATISTICS.c, BASE_BLOCKS.c
    query = sa.select(s.supervoxel).distinct().where(s.volume_id == volume_id)
    if roi is not None:
        query = query.join(BASE_BLOCKS, (b.volume_id == s.volume_id) & (b.number == s.number))
        grid = roi.downscale(block)
        for at, first, stop in zip((b.z, b.y, b.x), grid.offset, grid.end, strict=True):
            query = query.where(at >= first, at < stop)
        for low, high, begin, end in zip(
            (s.z0, s.y0, s.x0), (s.z1, s.y1, s.x1), roi.offset, roi.end, strict=True
        ):
            query = query.where(low < end, high > begin)
    return {int(supervoxel) for supervoxel in connection.scalars(query)}


def _statistics(row: Sequence[Any]) -> SupervoxelStatistics:
    # PostgreSQL sums whole numbers as decimals.
    voxels, z0, y0, x0, z1, y1, x1, sum_z, sum_y, sum_x = map(int, row)
    box = Roi((z0, y0, x0), (z1 - z0, y1 - y0, x1 - x0))
    return SupervoxelStatistics(voxels, box, (sum_z, sum_y, sum_x))


def marks_of(
    connection: sa.Connection, volume_id: int, path: Path, supervoxels: Collection[int]
) -> dict[int, int]:
    """Return how many blocks were counted when the newest row of each supervoxel was written."""
    s, m = SUPERVOXELS.c, BASE_MARKS.c
    writers: dict[int, int] = {}
    ordered = sorted(supervoxels)
    for start in range(0, len(ordered), _BATCH):
        batch = ordered[start : start + _BATCH]
        rows = connection.execute(
            sa.select(s.supervoxel, sa.func.max(s.operation_id))
            .where(within(path, s.branch_id, s.operation_id), s.supervoxel.in_(batch))
            .group_by(s.supervoxel)
        )
        writers.update((row[0], row[1]) for row in rows)
    counted: dict[int, int] = {}
    operations = sorted(set(writers.values()))
    for start in range(0, len(operations), _BATCH):
        batch = operations[start : start + _BATCH]
        query = sa.select(m.operation_id, m.counted).where(m.volume_id == volume_id)
        counted.update(
            (row[0], row[1]) for row in connection.execute(query.where(m.operation_id.in_(batch)))
        )
    return {supervoxel: counted[writer] for supervoxel, writer in writers.items()}


def insert_mark(connection: sa.Connection, volume_id: int, operation_id: int) -> None:
    """Record how many blocks are counted while an operation is written."""
    counted = counted_so_far(connection, volume_id)
    row = {"volume_id": volume_id, "operation_id": operation_id, "counted": counted}
    connection.execute(BASE_MARKS.insert(), row)
