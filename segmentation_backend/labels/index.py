"""What SQL knows about a version: places of chunks, sizes of supervoxels, active edges."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from segmentation_backend.database.statements import run, values
from segmentation_backend.geometry import Roi
from segmentation_backend.labels.branches import Path, within
from segmentation_backend.labels.confidence import Confidence
from segmentation_backend.labels.delta import ChunkKey, Edge, StoredChunk
from segmentation_backend.labels.newest import KeyedTable, Row, newest_rows, standing
from segmentation_backend.labels.schema import (
    CHUNKS,
    CONFIDENCE,
    EDGES,
    MEMBERS,
    OPERATIONS,
    SIZES,
    SUPERVOXELS,
)
from segmentation_backend.labels.statistics import SupervoxelStatistics

__all__ = [
    "ChunkRow",
    "active_edges",
    "changed_chunks",
    "changed_roots",
    "changed_statistics",
    "chunk_history",
    "current_chunks",
    "edge_events",
    "edited_supervoxels",
    "last_edge_writer",
    "last_statistics_writer",
    "last_toucher",
    "members_of",
    "roots_of",
    "rows_written",
    "size_of",
    "statistics_in",
    "statistics_of",
    "supervoxels_in",
    "written",
    "written_chunks",
]

_BATCH = 4096
"""Keys per statement."""

ChunkRow = tuple[int, StoredChunk | None]
"""The operation that wrote a chunk, and where it lies (None: back to never written)."""

_PLACES = KeyedTable(
    "label_chunks", ("level", "z", "y", "x"), ("operation_id", "pack", "start", "length")
)
_STATISTICS = KeyedTable("label_supervoxels", ("supervoxel",), (*SIZES, *CONFIDENCE))
_ROOTS = KeyedTable("label_members", ("supervoxel",), ("root",))


def _batches(keys: Collection[Any]) -> Iterator[Sequence[Any]]:
    ordered = sorted(keys)
    for start in range(0, len(ordered), _BATCH):
        yield ordered[start : start + _BATCH]


def written(table: sa.Table, *columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
    """Select what the operations of a segment wrote, oldest first; for `rows_written`."""
    c = table.c
    return (
        sa.select(*columns)
        .where(c.branch_id == sa.bindparam("branch_id"))
        .where(c.operation_id > sa.bindparam("after"), c.operation_id <= sa.bindparam("upto"))
        .order_by(c.operation_id)
    )


def rows_written(
    connection: sa.Connection, path: Path, query: sa.Select[Any], **numbers: int
) -> Iterator[Row]:
    """Yield the rows of a query made by `written`, oldest first."""
    for segment in reversed(path):
        yield from connection.execute(query, segment._asdict() | numbers)


# Chunks


def current_chunks(
    connection: sa.Connection, path: Path, keys: Collection[ChunkKey]
) -> dict[ChunkKey, ChunkRow]:
    """Return the newest row on a path of each chunk; never written ones are absent."""
    return {
        ChunkKey(*key): (operation_id, _place(pack, start, length))
        for key, (operation_id, pack, start, length) in newest_rows(
            connection, path, _PLACES, keys
        ).items()
    }


def _place(pack: str | None, start: int, length: int) -> StoredChunk | None:
    return None if pack is None else StoredChunk(pack, start, length)


_c = CHUNKS.c
_CHUNK_HISTORY = written(CHUNKS, _c.operation_id, _c.pack, _c.start, _c.length).where(
    *(_c[name] == sa.bindparam(name) for name in ChunkKey._fields)
)
_CHANGED_CHUNKS = written(CHUNKS, _c.level, _c.z, _c.y, _c.x)
_WRITTEN_CHUNKS = _CHANGED_CHUNKS.limit(sa.bindparam("most", type_=sa.Integer))


def chunk_history(connection: sa.Connection, path: Path, key: ChunkKey) -> list[ChunkRow]:
    """Return the rows of one chunk written by the operations of a path, oldest first."""
    rows = rows_written(connection, path, _CHUNK_HISTORY, **key._asdict())
    return [(row[0], _place(row[1], row[2], row[3])) for row in rows]


def changed_chunks(connection: sa.Connection, path: Path) -> set[ChunkKey]:
    """Return the chunks written by the operations of a path."""
    return {ChunkKey(*row) for row in rows_written(connection, path, _CHANGED_CHUNKS)}


def written_chunks(connection: sa.Connection, path: Path, most: int) -> set[ChunkKey] | None:
    """Return the chunks that operations of a path wrote, emptied ones included.

    None: they did so more than `most` times.
    """
    rows = list(rows_written(connection, path, _WRITTEN_CHUNKS, most=most + 1))
    return None if len(rows) > most else {ChunkKey(*row) for row in rows}


# Supervoxels

_CHANGED_STATISTICS = written(SUPERVOXELS, SUPERVOXELS.c.supervoxel)


def changed_statistics(connection: sa.Connection, path: Path) -> set[int]:
    """Return the supervoxels whose statistics were written by the operations of a path."""
    return {row[0] for row in rows_written(connection, path, _CHANGED_STATISTICS)}


def size_of(row: Row) -> SupervoxelStatistics | None:
    """Return what the columns `SIZES`, and `CONFIDENCE` if they follow, say; None: no voxel."""
    voxels, z0, y0, x0, z1, y1, x1, sum_z, sum_y, sum_x, *sure = row
    if not voxels:
        return None
    box = Roi((z0, y0, x0), (z1 - z0, y1 - y0, x1 - x0))
    confidence = Confidence(*sure) if sure and None not in sure else None
    return SupervoxelStatistics(voxels, box, (sum_z, sum_y, sum_x), confidence)


def statistics_of(
    connection: sa.Connection, path: Path, supervoxels: Collection[int]
) -> dict[int, SupervoxelStatistics | None]:
    """Return what is on record of supervoxels at the end of a path; no record: absent."""
    rows = newest_rows(connection, path, _STATISTICS, supervoxels)
    return {supervoxel: size_of(row) for supervoxel, row in rows.items()}


def statistics_in(
    connection: sa.Connection, path: Path, roi: Roi | None
) -> dict[int, SupervoxelStatistics]:
    """Return the supervoxels whose box overlaps `roi` (None: all of them) at the end of a path."""
    if roi is not None:
        found = statistics_of(connection, path, supervoxels_in(connection, path, roi)).items()
        return {supervoxel: size for supervoxel, size in found if size is not None}
    columns = ", ".join(f"r.{name}" for name in ("supervoxel", *SIZES, *CONFIDENCE))
    rows = _standing_rows(connection, path, columns, "r.voxels > 0", ())
    sizes = ((row[0], size_of(row[1:])) for row in rows)
    return {supervoxel: size for supervoxel, size in sizes if size is not None}


def supervoxels_in(connection: sa.Connection, path: Path, roi: Roi) -> list[int]:
    """Return the supervoxels whose box overlaps `roi` at the end of a path."""
    # No box of those that are gone overlaps anything: all that is asked is in one index.
    overlaps = " AND ".join(f"r.{a}0 < ? AND r.{a}1 > ?" for a in "zyx")
    limits = [n for pair in zip(roi.end, roi.offset, strict=True) for n in pair]
    rows = _standing_rows(connection, path, "r.supervoxel", overlaps, limits)
    return [row[0] for row in rows]


def _standing_rows(
    connection: sa.Connection, path: Path, columns: str, condition: str, bound: Sequence[int]
) -> Iterator[Row]:
    for at in range(len(path)):
        newest, numbers = standing(path, at, "label_supervoxels", "supervoxel")
        text = f"SELECT {columns} FROM label_supervoxels r WHERE {newest} AND {condition}"
        yield from run(connection, text, [*numbers, *bound])


# Joins

_e = EDGES.c
_EDGE_EVENTS = written(EDGES, _e.a, _e.b, _e.added)
_CHANGED_ROOTS = written(MEMBERS, MEMBERS.c.supervoxel, MEMBERS.c.root).limit(
    sa.bindparam("most", type_=sa.Integer)
)


def edge_events(
    connection: sa.Connection, path: Path
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.bool_]]:
    """Return edges (uint64 (n, 2)) and whether each was added or removed, oldest first."""
    parts = [
        np.array([tuple(row) for row in part], dtype=np.uint64)
        for segment in reversed(path)
        for part in connection.execute(_EDGE_EVENTS, segment._asdict()).partitions(50_000)
    ]
    rows = np.concatenate(parts) if parts else np.zeros((0, 3), dtype=np.uint64)
    return np.ascontiguousarray(rows[:, :2]), rows[:, 2] != 0


@lru_cache(maxsize=32)
def _events_text(count: int) -> str:
    # Each edge is found in an index that holds no more than its key, then looked up by that: asked
    # for everything at once, SQLite would rather go through the whole table.
    sides = (
        "SELECT e.operation_id, e.a, e.b, e.added "
        "FROM k CROSS JOIN label_edges i CROSS JOIN label_edges e "
        f"WHERE i.branch_id = ? AND i.{end} = k.s "
        "AND +i.operation_id > ? AND +i.operation_id <= ? AND e.branch_id = i.branch_id "
        "AND e.operation_id = i.operation_id AND e.a = i.a AND e.b = i.b"
        for end in "ab"
    )
    return f"WITH k(s) AS (VALUES {values(count)}) " + " UNION ALL ".join(sides)


def active_edges(connection: sa.Connection, path: Path, supervoxels: Collection[int]) -> set[Edge]:
    """Return the edges with an end among supervoxels that are active at the end of a path."""
    events: list[tuple[int, int, int, bool]] = []
    for batch in _batches(supervoxels):
        text = _events_text(len(batch))
        for segment in path:
            rows = run(connection, text, (*batch, *segment, *segment))
            events += ((at, a, b, added) for at, a, b, added in rows)
    events.sort()
    last = {(a, b): added for _, a, b, added in events}
    return {edge for edge, is_active in last.items() if is_active}


def roots_of(connection: sa.Connection, path: Path, supervoxels: Collection[int]) -> dict[int, int]:
    """Return the roots on record at the end of a path; without record a supervoxel is its own."""
    rows = newest_rows(connection, path, _ROOTS, supervoxels)
    return {supervoxel: row[0] for supervoxel, row in rows.items()}


def members_of(
    connection: sa.Connection, path: Path, roots: Collection[int]
) -> dict[int, list[int]]:
    """Return the supervoxels of each root at the end of a path; lone roots are absent."""
    found: dict[int, set[int]] = {}
    for batch in _batches(roots):
        for at in range(len(path)):
            newest, numbers = standing(path, at, "label_members", "supervoxel")
            text = (
                f"WITH k(s) AS (VALUES {values(len(batch))}) SELECT r.root, r.supervoxel "
                f"FROM k CROSS JOIN label_members r WHERE r.root = k.s AND {newest}"
            )
            for root, supervoxel in run(connection, text, [*batch, *numbers]):
                # A root that was always one has no row that says so.
                found.setdefault(root, {root}).add(supervoxel)
    return {root: sorted(group) for root, group in found.items() if len(group) > 1}


def changed_roots(connection: sa.Connection, path: Path, most: int) -> dict[int, int] | None:
    """Return the newest root of each supervoxel that a path's operations gave one.

    None: they did so more than `most` times.
    """
    rows = list(rows_written(connection, path, _CHANGED_ROOTS, most=most + 1))
    return None if len(rows) > most else {row[0]: row[1] for row in rows}


# Who was it


def last_edge_writer(connection: sa.Connection, path: Path, edge: Edge) -> int | None:
    """Return the operation of a path that last added or removed an edge."""
    c = EDGES.c
    query = sa.select(sa.func.max(c.operation_id)).where(
        within(path, c.branch_id, c.operation_id), c.a == edge[0], c.b == edge[1]
    )
    writer: int | None = connection.scalar(query)
    return writer


def last_statistics_writer(connection: sa.Connection, path: Path, supervoxel: int) -> int | None:
    """Return the operation of a path that last gave a supervoxel voxels or took some."""
    c = SUPERVOXELS.c
    query = sa.select(sa.func.max(c.operation_id)).where(
        within(path, c.branch_id, c.operation_id), c.supervoxel == supervoxel
    )
    writer: int | None = connection.scalar(query)
    return writer


def last_toucher(
    connection: sa.Connection, path: Path, roots: Collection[int]
) -> tuple[int, int] | None:
    """Return (operation, root) of the newest change, by a path, to given objects."""
    found: list[tuple[int, int]] = []
    for batch in _batches(roots):
        text = (
            f"WITH k(s) AS (VALUES {values(len(batch))}) SELECT r.operation_id, r.root "
            "FROM k CROSS JOIN label_roots r WHERE r.branch_id = ? AND r.root = k.s "
            "AND r.operation_id > ? AND r.operation_id <= ? ORDER BY r.operation_id DESC LIMIT 1"
        )
        for segment in path:
            found += ((row[0], row[1]) for row in run(connection, text, (*batch, *segment)))
    return max(found, default=None)


def edited_supervoxels(
    connection: sa.Connection,
    volume_id: int,
    path: Path,
    supervoxels: Collection[int],
    automatic_kinds: Collection[str],
) -> set[int]:
    """Return the supervoxels that an operation of another kind wrote, or gave or took an edge."""
    s, e, o = SUPERVOXELS.c, EDGES.c, OPERATIONS.c
    edited: set[int] = set()
    by_people = o.kind.not_in(sorted(automatic_kinds))
    written = (
        sa.select(s.supervoxel)
        .join(OPERATIONS, (o.volume_id == volume_id) & (o.operation_id == s.operation_id))
        .where(within(path, s.branch_id, s.operation_id), by_people)
    )
    for batch in _batches(supervoxels):
        edited.update(connection.scalars(written.where(s.supervoxel.in_(batch))))
        for column in (e.a, e.b):
            joined = (
                sa.select(column)
                .join(OPERATIONS, (o.volume_id == volume_id) & (o.operation_id == e.operation_id))
                .where(within(path, e.branch_id, e.operation_id), column.in_(batch), by_people)
            )
            edited.update(connection.scalars(joined))
    return edited
