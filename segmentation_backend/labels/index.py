"""What SQL knows about a version: places of chunks, sizes of supervoxels, active edges."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from segmentation_backend.geometry import Roi
from segmentation_backend.labels.delta import ChunkKey, Edge, StoredChunk
from segmentation_backend.labels.schema import CHUNKS, EDGES, OPERATIONS, ROOTS, SUPERVOXELS
from segmentation_backend.labels.statistics import SupervoxelStatistics

__all__ = [
    "ChunkRow",
    "changed_chunks",
    "changed_statistics",
    "chunk_history",
    "current_chunks",
    "edge_events",
    "edited_supervoxels",
    "last_edge_writer",
    "last_statistics_writer",
    "last_toucher",
    "statistics_in",
    "statistics_of",
]

_BATCH = 4096
"""Keys per statement; one statement serves every read that a viewer or an edit makes."""

ChunkRow = tuple[int, StoredChunk | None]
"""The operation that wrote a chunk, and where it lies (None: back to never written)."""


def _batches(values: Collection[Any]) -> Iterator[Sequence[Any]]:
    ordered = sorted(values)
    for start in range(0, len(ordered), _BATCH):
        yield ordered[start : start + _BATCH]


def current_chunks(
    connection: sa.Connection, volume_id: int, keys: Collection[ChunkKey], version: int
) -> dict[ChunkKey, ChunkRow]:
    """Return the newest row at or before `version` of each chunk; never written ones are absent."""
    result: dict[ChunkKey, ChunkRow] = {}
    for batch in _batches(keys):
        # Only integers go into the text: one index seek per key, whatever the history's length.
        values = ",".join(f"({int(k[0])},{int(k[1])},{int(k[2])},{int(k[3])})" for k in batch)
        rows = connection.exec_driver_sql(
            f"WITH k(level, z, y, x) AS (VALUES {values}) "
            "SELECT k.level, k.z, k.y, k.x, c.operation_id, c.pack, c.start, c.length "
            "FROM k CROSS JOIN label_chunks c "
            f"WHERE c.volume_id = {int(volume_id)} "
            "AND c.level = k.level AND c.z = k.z AND c.y = k.y AND c.x = k.x "
            "AND c.operation_id = (SELECT MAX(d.operation_id) FROM label_chunks d "
            f"WHERE d.volume_id = {int(volume_id)} AND d.level = k.level "
            f"AND d.z = k.z AND d.y = k.y AND d.x = k.x AND d.operation_id <= {int(version)})"
        )
        for level, z, y, x, operation_id, pack, start, length in rows:
            place = None if pack is None else StoredChunk(pack, start, length)
            result[ChunkKey(level, z, y, x)] = (operation_id, place)
    return result


def chunk_history(
    connection: sa.Connection, volume_id: int, key: ChunkKey, after: int, upto: int
) -> list[ChunkRow]:
    """Return the rows of one chunk written in versions `after + 1` to `upto`, oldest first."""
    c = CHUNKS.c
    query = (
        sa.select(c.operation_id, c.pack, c.start, c.length)
        .where(c.volume_id == volume_id, c.level == key.level)
        .where(c.z == key.z, c.y == key.y, c.x == key.x)
        .where(c.operation_id > after, c.operation_id <= upto)
        .order_by(c.operation_id)
    )
    return [
        (operation_id, None if pack is None else StoredChunk(pack, start, length))
        for operation_id, pack, start, length in connection.execute(query)
    ]


def changed_chunks(
    connection: sa.Connection, volume_id: int, after: int, upto: int
) -> set[ChunkKey]:
    """Return the chunks written in versions `after + 1` to `upto`."""
    c = CHUNKS.c
    query = (
        sa.select(c.level, c.z, c.y, c.x)
        .distinct()
        .where(c.volume_id == volume_id, c.operation_id > after, c.operation_id <= upto)
    )
    return {ChunkKey(*row) for row in connection.execute(query)}


def changed_statistics(
    connection: sa.Connection, volume_id: int, after: int, upto: int
) -> set[int]:
    """Return the supervoxels whose statistics were written in versions `after + 1` to `upto`."""
    c = SUPERVOXELS.c
    query = (
        sa.select(c.supervoxel)
        .distinct()
        .where(c.volume_id == volume_id, c.operation_id > after, c.operation_id <= upto)
    )
    return set(connection.scalars(query))


def _statistics_at(volume_id: int, version: int) -> sa.Select[Any]:
    """Select each supervoxel's newest row at or before `version`, unless it is gone."""
    s, newer = SUPERVOXELS.c, SUPERVOXELS.alias("newer")
    newest = (
        sa.select(sa.func.max(newer.c.operation_id))
        .where(newer.c.volume_id == volume_id, newer.c.supervoxel == s.supervoxel)
        .where(newer.c.operation_id <= version)
        .correlate(SUPERVOXELS)
        .scalar_subquery()
    )
    return (
        sa.select(
            s.supervoxel, s.voxels, s.z0, s.y0, s.x0, s.z1, s.y1, s.x1, s.sum_z, s.sum_y, s.sum_x
        )
        .where(s.volume_id == volume_id, s.voxels > 0)
        .where(s.operation_id == newest)
    )


def _statistics(rows: sa.Result[Any]) -> dict[int, SupervoxelStatistics]:
    return {
        supervoxel: SupervoxelStatistics(
            voxels, Roi((z0, y0, x0), (z1 - z0, y1 - y0, x1 - x0)), (sum_z, sum_y, sum_x)
        )
        for supervoxel, voxels, z0, y0, x0, z1, y1, x1, sum_z, sum_y, sum_x in map(tuple, rows)
    }


def statistics_of(
    connection: sa.Connection, volume_id: int, supervoxels: Collection[int], version: int
) -> dict[int, SupervoxelStatistics]:
    """Return the statistics of supervoxels at a version; those that do not exist are absent."""
    result = {}
    select = _statistics_at(volume_id, version)
    for batch in _batches(supervoxels):
        query = select.where(SUPERVOXELS.c.supervoxel.in_(batch))
        result.update(_statistics(connection.execute(query)))
    return result


def statistics_in(
    connection: sa.Connection, volume_id: int, roi: Roi | None, version: int
) -> dict[int, SupervoxelStatistics]:
    """Return the supervoxels whose box overlaps `roi` (None: all of them) at a version."""
    query = _statistics_at(volume_id, version)
    if roi is not None:
        s = SUPERVOXELS.c
        for low, high, begin, end in zip(
            (s.z0, s.y0, s.x0), (s.z1, s.y1, s.x1), roi.offset, roi.end, strict=True
        ):
            query = query.where(low < end, high > begin)
    return _statistics(connection.execute(query))


def edge_events(
    connection: sa.Connection, volume_id: int, after: int, upto: int
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.bool_]]:
    """Return edges (uint64, n x 2) and whether each was added, of `after + 1` to `upto`."""
    c = EDGES.c
    query = (
        sa.select(c.a, c.b, c.added)
        .where(c.volume_id == volume_id, c.operation_id > after, c.operation_id <= upto)
        .order_by(c.operation_id)
    )
    parts = [
        np.array([tuple(row) for row in part], dtype=np.uint64)
        for part in connection.execute(query).partitions(50_000)
    ]
    rows = np.concatenate(parts) if parts else np.zeros((0, 3), dtype=np.uint64)
    return np.ascontiguousarray(rows[:, :2]), rows[:, 2] != 0


def last_edge_writer(
    connection: sa.Connection, volume_id: int, edge: Edge, upto: int
) -> int | None:
    """Return the operation that last added or removed an edge."""
    c = EDGES.c
    query = sa.select(sa.func.max(c.operation_id)).where(
        c.volume_id == volume_id, c.a == edge[0], c.b == edge[1], c.operation_id <= upto
    )
    writer: int | None = connection.scalar(query)
    return writer


def last_statistics_writer(
    connection: sa.Connection, volume_id: int, supervoxel: int, upto: int
) -> int | None:
    """Return the operation that last gave a supervoxel voxels or took some."""
    c = SUPERVOXELS.c
    query = sa.select(sa.func.max(c.operation_id)).where(
        c.volume_id == volume_id, c.supervoxel == supervoxel, c.operation_id <= upto
    )
    writer: int | None = connection.scalar(query)
    return writer


def last_toucher(
    connection: sa.Connection, volume_id: int, roots: Collection[int], after: int, upto: int
) -> tuple[int, int] | None:
    """Return (operation, root) of the newest change, after `after`, to given objects."""
    c = ROOTS.c
    found: list[tuple[int, int]] = []
    for batch in _batches(roots):
        query = (
            sa.select(c.operation_id, c.root)
            .where(c.volume_id == volume_id, c.root.in_(batch))
            .where(c.operation_id > after, c.operation_id <= upto)
            .order_by(c.operation_id.desc())
            .limit(1)
        )
        found.extend((row[0], row[1]) for row in connection.execute(query))
    return max(found, default=None)


def edited_supervoxels(
    connection: sa.Connection,
    volume_id: int,
    supervoxels: Collection[int],
    automatic_kinds: Collection[str],
    upto: int,
) -> set[int]:
    """Return the supervoxels that an operation of another kind wrote or that ever had an edge."""
    s, e, o = SUPERVOXELS.c, EDGES.c, OPERATIONS.c
    edited: set[int] = set()
    for batch in _batches(supervoxels):
        by_voxels = (
            sa.select(s.supervoxel)
            .join(OPERATIONS, (o.volume_id == s.volume_id) & (o.operation_id == s.operation_id))
            .where(s.volume_id == volume_id, s.supervoxel.in_(batch), s.operation_id <= upto)
            .where(o.kind.not_in(sorted(automatic_kinds)))
        )
        edited.update(connection.scalars(by_voxels))
        for column in (e.a, e.b):
            by_edge = sa.select(column).where(
                e.volume_id == volume_id, column.in_(batch), e.operation_id <= upto
            )
            edited.update(connection.scalars(by_edge))
    return edited
