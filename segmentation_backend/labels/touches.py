"""Which operations touched which objects and supervoxels: look-ups in the log's indexes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from segmentation_backend.labels.branches import Path, within
from segmentation_backend.labels.schema import EDGES, ROOTS, SUPERVOXELS

__all__ = [
    "SupervoxelRow",
    "Touches",
    "operations_on_root",
    "rows_of_supervoxels",
    "touched_by",
    "touches_of",
]

_BATCH = 4096
"""Keys per statement."""

Touches = dict[int, set[int]]
"""Operation → the supervoxels whose voxels or joins it changed."""


class SupervoxelRow(NamedTuple):
    """An operation gave a supervoxel voxels or took some."""

    operation_id: int
    supervoxel: int
    exists: bool
    """Whether it has any since."""


def operations_on_root(connection: sa.Connection, path: Path, root: int) -> list[int]:
    """Return the operations of a path that changed an object of this root id, oldest first."""
    c = ROOTS.c
    query = (
        sa.select(c.operation_id)
        .where(within(path, c.branch_id, c.operation_id), c.root == root)
        .order_by(c.operation_id)
    )
    return list(connection.scalars(query))


def rows_of_supervoxels(
    connection: sa.Connection, path: Path, supervoxels: Collection[int]
) -> Iterator[SupervoxelRow]:
    """Yield what the operations of a path wrote about supervoxels; of each, the oldest first."""
    s = SUPERVOXELS.c
    for batch in _batches(supervoxels):
        query = (
            sa.select(s.operation_id, s.supervoxel, s.voxels > 0)
            .where(within(path, s.branch_id, s.operation_id), s.supervoxel.in_(batch))
            .order_by(s.operation_id)
        )
        for operation_id, supervoxel, exists in connection.execute(query):
            yield SupervoxelRow(operation_id, supervoxel, bool(exists))


def touched_by(connection: sa.Connection, path: Path) -> Touches:
    """Return what each operation of a path touched; those that touched nothing are absent."""
    return _collected(connection, path, None)


def touches_of(connection: sa.Connection, path: Path, supervoxels: Collection[int]) -> Touches:
    """Return the operations of a path that touched any of the supervoxels, and which of them."""
    found: Touches = defaultdict(set)
    for batch in _batches(supervoxels):
        for operation_id, touched in _collected(connection, path, batch).items():
            found[operation_id] |= touched
    wanted = set(supervoxels)
    return {operation_id: touched & wanted for operation_id, touched in found.items()}


def _collected(connection: sa.Connection, path: Path, only: Sequence[int] | None) -> Touches:
    """Return the touches of a path; `only`: those of given supervoxels, perhaps with others."""
    s, e = SUPERVOXELS.c, EDGES.c
    voxels = sa.select(s.operation_id, s.supervoxel).where(
        within(path, s.branch_id, s.operation_id)
    )
    joins = sa.select(e.operation_id, e.a, e.b).where(within(path, e.branch_id, e.operation_id))
    queries: list[sa.Select[Any]] = [voxels, joins]
    if only is not None:
        queries = [voxels.where(s.supervoxel.in_(only))]
        queries += [joins.where(end.in_(only)) for end in (e.a, e.b)]
    found: Touches = defaultdict(set)
    for query in queries:
        for operation_id, *supervoxels in connection.execute(query):
            found[operation_id].update(supervoxels)
    return found


def _batches(values: Collection[int]) -> Iterator[Sequence[int]]:
    ordered = sorted(values)
    for start in range(0, len(ordered), _BATCH):
        yield ordered[start : start + _BATCH]
