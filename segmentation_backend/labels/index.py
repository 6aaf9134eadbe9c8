"""What SQL knows about a version: places of chunks, sizes of supervoxels, active edges."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from segmentation_backend.geometry import Roi
from segmentation_backend.labels.branches import Path, Segment, within
from segmentation_backend.labels.delta import ChunkKey, Edge, StoredChunk
from segmentation_backend.labels.schema import (
    CHUNKS,
    EDGES,
    MEMBERS,
    OPERATIONS,
    ROOTS,
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
    "statistics_in",
    "statistics_of",
]

_BATCH = 4096
"""Keys per statement; one statement serves every read that a viewer or an edit makes."""

_SCAN_FROM = 20_000
"""Supervoxels from which on reading all of a branch's records beats looking each one up."""

ChunkRow = tuple[int, StoredChunk | None]
"""The operation that wrote a chunk, and where it lies (None: back to never written)."""


def _batches(values: Collection[Any]) -> Iterator[Sequence[Any]]:
    ordered = sorted(values)
    for start in range(0, len(ordered), _BATCH):
        yield ordered[start : start + _BATCH]


def current_chunks(
    connection: sa.Connection, path: Path, keys: Collection[ChunkKey]
) -> dict[ChunkKey, ChunkRow]:
    """Return the newest row on a path of each chunk; never written ones are absent."""
    result: dict[ChunkKey, ChunkRow] = {}
    for segment in path:
        missing = [key for key in keys if key not in result]
        for batch in _batches(missing):
            result.update(_chunks_on(connection, segment, batch))
    return result


def _chunks_on(
    connection: sa.Connection, segment: Segment, keys: Sequence[ChunkKey]
) -> dict[ChunkKey, ChunkRow]:
    # Only integers go into the text: one index seek per key, whatever the history's length.
    values = ",".join(f"({int(k[0])},{int(k[1])},{int(k[2])},{int(k[3])})" for k in keys)
    branch, after, upto = (int(number) for number in segment)
    rows = connection.exec_driver_sql(
        f"WITH k(level, z, y, x) AS (VALUES {values}) "
        "SELECT k.level, k.z, k.y, k.x, c.operation_id, c.pack, c.start, c.length "
        "FROM k CROSS JOIN label_chunks c "
        f"WHERE c.branch_id = {branch} "
        "AND c.level = k.level AND c.z = k.z AND c.y = k.y AND c.x = k.x "
        "AND c.operation_id = (SELECT MAX(d.operation_id) FROM label_chunks d "
        f"WHERE d.branch_id = {branch} AND d.level = k.level "
        "AND d.z = k.z AND d.y = k.y AND d.x = k.x "
        f"AND d.operation_id > {after} AND d.operation_id <= {upto})"
    )
    return {
        ChunkKey(level, z, y, x): (operation_id, _place(pack, start, length))
        for level, z, y, x, operation_id, pack, start, length in rows
    }


def _place(pack: str | None, start: int, length: int) -> StoredChunk | None:
    return None if pack is None else StoredChunk(pack, start, length)


def chunk_history(connection: sa.Connection, path: Path, key: ChunkKey) -> list[ChunkRow]:
    """Return the rows of one chunk written by the operations of a path, oldest first."""
    c = CHUNKS.c
    query = (
        sa.select(c.operation_id, c.pack, c.start, c.length)
        .where(within(path, c.branch_id, c.operation_id), c.level == key.level)
        .where(c.z == key.z, c.y == key.y, c.x == key.x)
        .order_by(c.operation_id)
    )
    return [
        (operation_id, _place(pack, start, length))
        for operation_id, pack, start, length in connection.execute(query)
    ]


def changed_chunks(connection: sa.Connection, path: Path) -> set[ChunkKey]:
    """Return the chunks written by the operations of a path."""
    c = CHUNKS.c
    here = within(path, c.branch_id, c.operation_id)
    query = sa.select(c.level, c.z, c.y, c.x).distinct().where(here)
    return {ChunkKey(*row) for row in connection.execute(query)}


def changed_statistics(connection: sa.Connection, path: Path) -> set[int]:
    """Return the supervoxels whose statistics were written by the operations of a path."""
    c = SUPERVOXELS.c
    query = sa.select(c.supervoxel).distinct().where(within(path, c.branch_id, c.operation_id))
    return set(connection.scalars(query))


def _statistics_on(segment: Segment) -> sa.Select[Any]:
    """Select each supervoxel's newest row of a segment, also where it says "gone"."""
    s, newer = SUPERVOXELS.c, SUPERVOXELS.alias("newer")
    newest = (
        sa.select(sa.func.max(newer.c.operation_id))
        .where(newer.c.branch_id == segment.branch_id, newer.c.supervoxel == s.supervoxel)
        .where(newer.c.operation_id > segment.after, newer.c.operation_id <= segment.upto)
        .correlate(SUPERVOXELS)
        .scalar_subquery()
    )
    return (
        sa.select(
            s.supervoxel, s.voxels, s.z0, s.y0, s.x0, s.z1, s.y1, s.x1, s.sum_z, s.sum_y, s.sum_x
        )
        .where(s.branch_id == segment.branch_id)
        .where(s.operation_id == newest)
    )


def _statistics(rows: sa.Result[Any]) -> dict[int, SupervoxelStatistics | None]:
    return {
        supervoxel: SupervoxelStatistics(
            voxels, Roi((z0, y0, x0), (z1 - z0, y1 - y0, x1 - x0)), (sum_z, sum_y, sum_x)
        )
        if voxels
        else None
        for supervoxel, voxels, z0, y0, x0, z1, y1, x1, sum_z, sum_y, sum_x in map(tuple, rows)
    }


def statistics_of(
    connection: sa.Connection, path: Path, supervoxels: Collection[int]
) -> dict[int, SupervoxelStatistics | None]:
    """Return what is on record of supervoxels at the end of a path; no record: absent."""
    result: dict[int, SupervoxelStatistics | None] = {}
    for segment in path:
        select = _statistics_on(segment)
        for batch in _batches([s for s in supervoxels if s not in result]):
            query = select.where(SUPERVOXELS.c.supervoxel.in_(batch))
            result.update(_statistics(connection.execute(query)))
    return result


def statistics_in(
    connection: sa.Connection, path: Path, roi: Roi | None
) -> dict[int, SupervoxelStatistics]:
    """Return the supervoxels whose box overlaps `roi` (None: all of them) at the end of a path."""
    result: dict[int, SupervoxelStatistics] = {}
    s = SUPERVOXELS.c
    for number, segment in enumerate(path):
        query = _statistics_on(segment).where(s.voxels > 0)
        if roi is not None:
            for low, high, begin, end in zip(
                (s.z0, s.y0, s.x0), (s.z1, s.y1, s.x1), roi.offset, roi.end, strict=True
            ):
                query = query.where(low < end, high > begin)
        found = _statistics(connection.execute(query))
        # A newer branch may have the last word on a supervoxel that an older one lists here.
        newer = statistics_of(connection, path[:number], found.keys()) if number else {}
        result.update(
            {s: stats for s, stats in found.items() if stats is not None and s not in newer}
        )
    return result


def edge_events(
    connection: sa.Connection, path: Path
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.bool_]]:
    """Return edges (uint64, n x 2) and whether each was added, by the operations of a path."""
    c = EDGES.c
    query = (
        sa.select(c.a, c.b, c.added)
        .where(within(path, c.branch_id, c.operation_id))
        .order_by(c.operation_id)
    )
    parts = [
        np.array([tuple(row) for row in part], dtype=np.uint64)
        for part in connection.execute(query).partitions(50_000)
    ]
    rows = np.concatenate(parts) if parts else np.zeros((0, 3), dtype=np.uint64)
    return np.ascontiguousarray(rows[:, :2]), rows[:, 2] != 0


def active_edges(connection: sa.Connection, path: Path, supervoxels: Collection[int]) -> set[Edge]:
    """Return the edges with an end among supervoxels that are active at the end of a path."""
    c = EDGES.c
    last: dict[Edge, bool] = {}
    for batch in _batches(supervoxels):
        for end in (c.a, c.b):
            query = (
                sa.select(c.a, c.b, c.added)
                .where(within(path, c.branch_id, c.operation_id), end.in_(batch))
                .order_by(c.operation_id)
            )
            last.update(((a, b), added) for a, b, added in map(tuple, connection.execute(query)))
    return {edge for edge, is_active in last.items() if is_active}


def roots_of(connection: sa.Connection, path: Path, supervoxels: Collection[int]) -> dict[int, int]:
    """Return the roots on record at the end of a path; without record a supervoxel is its own."""
    result: dict[int, int] = {}
    for segment in path:
        missing = [s for s in supervoxels if s not in result]
        if len(missing) > _SCAN_FROM:
            wanted = set(missing)
            rows = _all_roots_on(connection, segment)
            result.update((s, root) for s, root in rows.items() if s in wanted)
        else:
            for batch in _batches(missing):
                result.update(_roots_on(connection, segment, batch))
    return result


def _roots_on(
    connection: sa.Connection, segment: Segment, supervoxels: Sequence[int]
) -> dict[int, int]:
    values = ",".join(f"({int(s)})" for s in supervoxels)
    branch, after, upto = (int(number) for number in segment)
    rows = connection.exec_driver_sql(
        f"WITH k(s) AS (VALUES {values}) "
        "SELECT k.s, m.root FROM k CROSS JOIN label_members m "
        f"WHERE m.branch_id = {branch} AND m.supervoxel = k.s AND m.operation_id = "
        f"(SELECT MAX(n.operation_id) FROM label_members n WHERE n.branch_id = {branch} "
        f"AND n.supervoxel = k.s AND n.operation_id > {after} AND n.operation_id <= {upto})"
    )
    return {row[0]: row[1] for row in rows}


def _all_roots_on(connection: sa.Connection, segment: Segment) -> dict[int, int]:
    m, newer = MEMBERS.c, MEMBERS.alias("newer")
    newest = (
        sa.select(sa.func.max(newer.c.operation_id))
        .where(newer.c.branch_id == segment.branch_id, newer.c.supervoxel == m.supervoxel)
        .where(newer.c.operation_id > segment.after, newer.c.operation_id <= segment.upto)
        .correlate(MEMBERS)
        .scalar_subquery()
    )
    query = sa.select(m.supervoxel, m.root).where(m.branch_id == segment.branch_id)
    rows = connection.execute(query.where(m.operation_id == newest))
    return {row[0]: row[1] for row in rows}


def members_of(
    connection: sa.Connection, path: Path, roots: Collection[int]
) -> dict[int, list[int]]:
    """Return the supervoxels of each root at the end of a path; lone roots are absent."""
    m = MEMBERS.c
    candidates = set(roots)
    for batch in _batches(roots):
        here = within(path, m.branch_id, m.operation_id)
        query = sa.select(m.supervoxel).distinct().where(here, m.root.in_(batch))
        candidates.update(connection.scalars(query))
    if len(candidates) == len(set(roots)):
        return {}
    # A supervoxel that was once a member may be another object's by now.
    now = roots_of(connection, path, candidates)
    found: dict[int, list[int]] = {}
    for supervoxel in sorted(candidates):
        root = now.get(supervoxel, supervoxel)
        if root in roots:
            found.setdefault(root, []).append(supervoxel)
    return found


def changed_roots(connection: sa.Connection, path: Path, most: int) -> dict[int, int] | None:
    """Return the newest root of each supervoxel that a path's operations gave one.

    None: there are more than `most` of them.
    """
    m = MEMBERS.c
    query = (
        sa.select(m.supervoxel, m.root)
        .where(within(path, m.branch_id, m.operation_id))
        .order_by(m.operation_id)
        .limit(most + 1)
    )
    rows = connection.execute(query).all()
    return None if len(rows) > most else {row[0]: row[1] for row in rows}


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
    c = ROOTS.c
    found: list[tuple[int, int]] = []
    for batch in _batches(roots):
        query = (
            sa.select(c.operation_id, c.root)
            .where(within(path, c.branch_id, c.operation_id), c.root.in_(batch))
            .order_by(c.operation_id.desc())
            .limit(1)
        )
        found.extend((row[0], row[1]) for row in connection.execute(query))
    return max(found, default=None)


def edited_supervoxels(
    connection: sa.Connection,
    volume_id: int,
    path: Path,
    supervoxels: Collection[int],
    automatic_kinds: Collection[str],
) -> set[int]:
    """Return the supervoxels that an operation of another kind wrote or that ever had an edge."""
    s, e, o = SUPERVOXELS.c, EDGES.c, OPERATIONS.c
    edited: set[int] = set()
    by_people = (
        sa.select(s.supervoxel)
        .join(OPERATIONS, (o.volume_id == volume_id) & (o.operation_id == s.operation_id))
        .where(within(path, s.branch_id, s.operation_id))
        .where(o.kind.not_in(sorted(automatic_kinds)))
    )
    for batch in _batches(supervoxels):
        edited.update(connection.scalars(by_people.where(s.supervoxel.in_(batch))))
        for column in (e.a, e.b):
            by_edge = sa.select(column).where(
                within(path, e.branch_id, e.operation_id), column.in_(batch)
            )
            edited.update(connection.scalars(by_edge))
    return edited
