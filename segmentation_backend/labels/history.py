"""The append-only log of operations in SQL: write one, find some."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import astuple
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from segmentation_backend.database.statements import Value, run, run_many, values
from segmentation_backend.errors import ConflictError, ErrorKind, NotFoundError
from segmentation_backend.geometry import Roi
from segmentation_backend.labels.branches import Path, Segment, within
from segmentation_backend.labels.confidence import UNKNOWN
from segmentation_backend.labels.delta import ChunkChange, Delta, StoredChunk
from segmentation_backend.labels.operations import Lineage, Operation, OperationMeta
from segmentation_backend.labels.outcome import Outcome
from segmentation_backend.labels.schema import (
    CHUNKS,
    CONFIDENCE,
    EDGES,
    MEMBERS,
    OPERATIONS,
    ROOTS,
    SIZES,
    SUPERVOXELS,
)
from segmentation_backend.labels.statistics import SupervoxelStatistics

__all__ = [
    "find_request",
    "insert_operation",
    "last_redoable",
    "last_undoable",
    "load_listed",
    "load_operation",
    "load_operations",
    "parent_of",
    "standing_undoers",
    "version_at_time",
]

_TAKES_BACK = ("undo", "redo")
_LISTED = 4096
"""Operations loaded by one statement."""


def _operation(row: sa.Row[Any], undone_by: int | None = None) -> Operation:
    values = row._mapping
    bbox = values["bbox"]
    return Operation(
        operation_id=values["operation_id"],
        kind=values["kind"],
        user=values["user_name"],
        time=values["time"],
        bbox=None if bbox is None else Roi(tuple(bbox["offset"]), tuple(bbox["shape"])),
        lineage=Lineage.from_json(values["lineage"]),
        wrote_voxels=values["wrote_voxels"],
        undoes=values["undoes"],
        undone_by=undone_by,
        provenance=values["provenance"],
        request_id=values["request_id"],
        base_version=values["base_version"],
        parent=values["parent"],
        branch_id=values["branch_id"],
    )


_o = OPERATIONS.c
_VOLUME = sa.bindparam("volume", type_=sa.BigInteger())
_ALL = sa.select(OPERATIONS).where(_o.volume_id == _VOLUME)
_ONE = _ALL.where(_o.operation_id == sa.bindparam("operation"))
_PARENT = sa.select(_o.parent).where(
    _o.volume_id == _VOLUME, _o.operation_id == sa.bindparam("operation")
)
_REQUESTED = "SELECT 1 FROM label_operations WHERE volume_id = ? AND request_id = ?"
_BY_REQUEST = _ALL.where(_o.request_id == sa.bindparam("request"))


def _of(volume_id: int) -> sa.Select[Any]:
    return sa.select(OPERATIONS).where(OPERATIONS.c.volume_id == volume_id)


@lru_cache(maxsize=32)
def _undoers_text(count: int) -> str:
    # First by an index that holds all that is asked of it, then by key; see `index._events_text`.
    return (
        f"WITH k(s) AS (VALUES {values(count)}) SELECT o.operation_id, i.undoes "
        "FROM k CROSS JOIN label_operations i CROSS JOIN label_operations o "
        "WHERE i.volume_id = ? AND i.undoes = k.s "
        "AND o.volume_id = i.volume_id AND o.operation_id = i.operation_id "
        "AND o.branch_id = ? AND o.operation_id > ? AND o.operation_id <= ?"
    )


def standing_undoers(
    connection: sa.Connection, volume_id: int, path: Path, ids: Collection[int]
) -> dict[int, int]:
    """Return which operation of a path took each of `ids` back and still stands."""
    ordered = sorted(ids)
    found: list[tuple[int, int]] = []
    for start in range(0, len(ordered), _LISTED):
        batch = ordered[start : start + _LISTED]
        text = _undoers_text(len(batch))
        for segment in path:
            rows = run(connection, text, (*batch, volume_id, *segment))
            found += ((row[0], row[1]) for row in rows)
    if not found:
        return {}
    # An undo that was itself taken back (a redo) no longer stands.
    fallen = standing_undoers(connection, volume_id, path, [undoer for undoer, _ in found])
    return {target: undoer for undoer, target in sorted(found) if undoer not in fallen}


def _with_undoers(
    connection: sa.Connection, volume_id: int, path: Path, rows: Collection[sa.Row[Any]]
) -> list[Operation]:
    ids = [row._mapping["operation_id"] for row in rows]
    undoers = standing_undoers(connection, volume_id, path, ids)
    return [_operation(row, undoers.get(at)) for at, row in zip(ids, rows, strict=True)]


def load_operation(
    connection: sa.Connection, volume_id: int, path: Path, operation_id: int
) -> Operation:
    """Return one operation of a volume, on any branch; NotFoundError OPERATION_NOT_FOUND.

    Whether it was taken back is said as seen from the end of `path`.
    """
    row = None
    if 0 < operation_id < 2**63:
        row = connection.execute(_ONE, {"volume": volume_id, "operation": operation_id}).first()
    if row is None:
        raise _not_found(operation_id)
    return _with_undoers(connection, volume_id, path, [row])[0]


def parent_of(connection: sa.Connection, volume_id: int, operation_id: int) -> int:
    """Return the version an operation was applied to; NotFoundError OPERATION_NOT_FOUND."""
    parent = None
    if 0 < operation_id < 2**63:
        asked = {"volume": volume_id, "operation": operation_id}
        parent = connection.execute(_PARENT, asked).scalar()
    if parent is None:
        raise _not_found(operation_id)
    return int(parent)


def _not_found(operation_id: int) -> NotFoundError:
    return NotFoundError(
        f"There is no operation {operation_id} in this volume; see its history.",
        ErrorKind.OPERATION_NOT_FOUND,
    )


def load_listed(
    connection: sa.Connection, volume_id: int, path: Path, ids: Collection[int]
) -> dict[int, Operation]:
    """Return operations by their ids; those that do not exist are absent. See `load_operation`."""
    ordered, found = sorted(ids), {}
    for start in range(0, len(ordered), _LISTED):
        batch = ordered[start : start + _LISTED]
        rows = connection.execute(_of(volume_id).where(OPERATIONS.c.operation_id.in_(batch))).all()
        for operation in _with_undoers(connection, volume_id, path, rows):
            found[operation.operation_id] = operation
    return found


def load_operations(
    connection: sa.Connection,
    volume_id: int,
    path: Path,
    since: int,
    limit: int,
    user: str | None,
) -> list[Operation]:
    """Return a path's operations after `since`, oldest first; with `since` 0, newest first."""
    o = OPERATIONS.c
    query = _of(volume_id).where(within(path, o.branch_id, o.operation_id))
    query = query.where(o.operation_id > since).limit(limit)
    if user is not None:
        query = query.where(o.user_name == user)
    query = query.order_by(o.operation_id if since else o.operation_id.desc())
    return _with_undoers(connection, volume_id, path, connection.execute(query).all())


def version_at_time(connection: sa.Connection, path: Path, time: str) -> int:
    """Return the newest version of a path made at or before a time (UTC, ISO 8601, ms); or 0."""
    o = OPERATIONS.c
    for segment in path:
        here = within((segment,), o.branch_id, o.operation_id)
        newest = sa.select(sa.func.max(o.operation_id)).where(here, o.time <= time)
        version = connection.scalar(newest)
        if version is not None:
            return int(version)
    return 0


def find_request(
    connection: sa.Connection, volume_id: int, request_id: str | None, digest: str | None
) -> Operation | None:
    """Return the operation that a request made, if it was committed.

    Raises ConflictError REQUEST_ID_REUSED when it was another request under the same id.
    """
    if request_id is None:
        return None
    if not list(run(connection, _REQUESTED, (volume_id, request_id))):
        return None
    row = connection.execute(_BY_REQUEST, {"volume": volume_id, "request": request_id}).one()
    first = row._mapping["request_digest"]
    if digest is not None and first is not None and digest != first:
        raise ConflictError(
            f"The request id {request_id!r} was used for another edit (operation "
            f"{row._mapping['operation_id']}); give every edit a request id of its own.",
            ErrorKind.REQUEST_ID_REUSED,
        )
    return _operation(row)


_OWN = (
    sa.select(_o.operation_id, _o.kind)
    .where(_o.branch_id == sa.bindparam("branch_id"), _o.user_name == sa.bindparam("user"))
    .where(_o.operation_id > sa.bindparam("after"), _o.operation_id <= sa.bindparam("upto"))
    .order_by(_o.operation_id.desc())
    .limit(sa.bindparam("most", type_=sa.Integer))
)


def _own_operations(
    connection: sa.Connection, volume_id: int, segment: Segment, user: str
) -> Iterator[tuple[int, str, bool]]:
    """Yield what a user did on one branch, the newest first, as it stands at its end.

    Each as (operation, kind, whether it stands).
    """
    # Most often it is the very last; then a few at a time are enough.
    upto, most = segment.upto, 4
    while True:
        asked = segment._asdict() | {"user": user, "upto": upto, "most": most}
        rows = connection.execute(_OWN, asked).all()
        if not rows:
            return
        ids = [row[0] for row in rows]
        undone = standing_undoers(connection, volume_id, (segment,), ids)
        yield from ((row[0], row[1], row[0] not in undone) for row in rows)
        upto, most = ids[-1] - 1, min(4 * most, _LISTED)


def last_undoable(
    connection: sa.Connection, volume_id: int, segment: Segment, user: str
) -> Operation | None:
    """Return the user's newest edit on a branch that stands and is not an undo or redo."""
    for at, kind, stands in _own_operations(connection, volume_id, segment, user):
        if kind not in _TAKES_BACK and stands:
            return load_operation(connection, volume_id, (segment,), at)
    return None


def last_redoable(
    connection: sa.Connection, volume_id: int, segment: Segment, user: str
) -> Operation | None:
    """Return the user's newest undo on a branch that stands, unless they edited after it."""
    for at, kind, stands in _own_operations(connection, volume_id, segment, user):
        if kind not in _TAKES_BACK:
            return None
        if kind == "undo" and stands:
            return load_operation(connection, volume_id, (segment,), at)
    return None


def _insert(table: sa.Table) -> str:
    columns = table.columns.keys()
    return f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES {values(1, len(columns))}"


_INSERTS = {t.name: _insert(t) for t in (OPERATIONS, CHUNKS, EDGES, SUPERVOXELS, MEMBERS, ROOTS)}


def insert_operation(
    connection: sa.Connection,
    volume_id: int,
    operation: Operation,
    delta: Delta,
    outcome: Outcome,
    meta: OperationMeta,
) -> None:
    """Write every row of one operation; `outcome` is what it makes of the objects."""
    at, branch = operation.operation_id, operation.branch_id
    lineage = operation.lineage.to_json() | {"moved": sorted(delta.moved)}
    bbox = None if operation.bbox is None else json.dumps(operation.bbox.to_json())
    row = (
        volume_id,
        at,
        branch,
        operation.parent,
        operation.kind,
        operation.user,
        operation.time,
        operation.request_id,
        meta.request_digest,
        operation.base_version,
        operation.wrote_voxels,
        operation.undoes,
        bbox,
        json.dumps(lineage),
        json.dumps(dict(operation.provenance)),
    )
    rows: Mapping[sa.Table, list[tuple[Value, ...]]] = {
        OPERATIONS: [row],
        CHUNKS: [(branch, *key, at, *_place(change)) for key, change in delta.chunks.items()],
        EDGES: [
            (branch, at, a, b, added)
            for added, edges in ((True, delta.edges_added), (False, delta.edges_removed))
            for a, b in sorted(edges)
        ],
        SUPERVOXELS: [
            (branch, supervoxel, at, *_numbers(after), *_confidence(after))
            for supervoxel, (_, after) in delta.statistics.items()
        ],
        MEMBERS: [(branch, s, at, root) for s, root in sorted(outcome.members.items())],
        ROOTS: [(branch, root, at, *size) for root, size in _objects(outcome)],
    }
    for table, written in rows.items():
        if written:
            run_many(connection, _INSERTS[table.name], written)


def _place(change: ChunkChange) -> tuple[Value, ...]:
    place = change.after
    return astuple(place) if isinstance(place, StoredChunk) else (None, None, None)


def _objects(outcome: Outcome) -> Iterator[tuple[int, tuple[Value, ...]]]:
    for root in sorted({*outcome.lineage.removed_roots, *outcome.lineage.added_roots}):
        size = outcome.sizes.get(root)
        supervoxels, total, sure = (0, None, UNKNOWN) if size is None else size
        mean = sure.mean
        probability = None if mean is None else mean.probability
        yield root, (supervoxels, *_numbers(total), *sure, probability)


def _confidence(size: SupervoxelStatistics | None) -> tuple[Value, ...]:
    """Return what goes into the columns `schema.CONFIDENCE`."""
    if size is None or size.confidence is None:
        return (None,) * len(CONFIDENCE)
    return size.confidence


def _numbers(size: SupervoxelStatistics | None) -> tuple[int, ...]:
    """Return what goes into the columns `schema.SIZES`."""
    if size is None:
        return (0,) * len(SIZES)
    return (size.voxels, *size.bbox.offset, *size.bbox.end, *size.sums)
