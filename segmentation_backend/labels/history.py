"""The append-only log of operations in SQL: write one, find some."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from segmentation_backend.errors import ConflictError, ErrorKind, NotFoundError
from segmentation_backend.geometry import Roi
from segmentation_backend.labels.branches import Path, Segment, within
from segmentation_backend.labels.delta import Delta, StoredChunk
from segmentation_backend.labels.operations import Lineage, Operation, OperationMeta
from segmentation_backend.labels.schema import (
    CHUNKS,
    EDGES,
    MEMBERS,
    OPERATIONS,
    ROOTS,
    SUPERVOXELS,
)

__all__ = [
    "find_request",
    "insert_operation",
    "last_redoable",
    "last_undoable",
    "load_listed",
    "load_operation",
    "load_operations",
    "standing_undoers",
    "version_at_time",
]

_TAKES_BACK = ("undo", "redo")
_PAGE = 64
"""Operations looked at in one go when searching for one that stands."""
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


def _of(volume_id: int) -> sa.Select[Any]:
    return sa.select(OPERATIONS).where(OPERATIONS.c.volume_id == volume_id)


def standing_undoers(
    connection: sa.Connection, volume_id: int, path: Path, ids: Collection[int]
) -> dict[int, int]:
    """Return which operation of a path took each of `ids` back and still stands."""
    if not ids:
        return {}
    o = OPERATIONS.c
    query = (
        sa.select(o.operation_id, o.undoes)
        .where(o.volume_id == volume_id, o.undoes.in_(sorted(ids)))
        .where(within(path, o.branch_id, o.operation_id))
        .order_by(o.operation_id)
    )
    found = [(row[0], row[1]) for row in connection.execute(query)]
    # An undo that was itself taken back (a redo) no longer stands.
    fallen = standing_undoers(connection, volume_id, path, [undoer for undoer, _ in found])
    return {target: undoer for undoer, target in found if undoer not in fallen}


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
        query = _of(volume_id).where(OPERATIONS.c.operation_id == operation_id)
        row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFoundError(
            f"There is no operation {operation_id} in this volume; see its history.",
            ErrorKind.OPERATION_NOT_FOUND,
        )
    return _with_undoers(connection, volume_id, path, [row])[0]


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
    query = _of(volume_id).where(OPERATIONS.c.request_id == request_id)
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    first = row._mapping["request_digest"]
    if digest is not None and first is not None and digest != first:
        raise ConflictError(
            f"The request id {request_id!r} was used for another edit (operation "
            f"{row._mapping['operation_id']}); give every edit a request id of its own.",
            ErrorKind.REQUEST_ID_REUSED,
        )
    return _operation(row)


def _own_operations(
    connection: sa.Connection, volume_id: int, segment: Segment, user: str
) -> Iterator[Operation]:
    """Yield what a user did on one branch, the newest first, as it stands at its end."""
    o = OPERATIONS.c
    before = segment.upto + 1
    while True:
        query = (
            _of(volume_id)
            .where(o.branch_id == segment.branch_id, o.user_name == user)
            .where(o.operation_id > segment.after, o.operation_id < before)
            .order_by(o.operation_id.desc())
            .limit(_PAGE)
        )
        rows = connection.execute(query).all()
        if not rows:
            return
        yield from _with_undoers(connection, volume_id, (segment,), rows)
        before = rows[-1]._mapping["operation_id"]


def last_undoable(
    connection: sa.Connection, volume_id: int, segment: Segment, user: str
) -> Operation | None:
    """Return the user's newest edit on a branch that stands and is not an undo or redo."""
    own = _own_operations(connection, volume_id, segment, user)
    return next((o for o in own if o.kind not in _TAKES_BACK and o.undone_by is None), None)


def last_redoable(
    connection: sa.Connection, volume_id: int, segment: Segment, user: str
) -> Operation | None:
    """Return the user's newest undo on a branch that stands, unless they edited after it."""
    for operation in _own_operations(connection, volume_id, segment, user):
        if operation.kind not in _TAKES_BACK:
            return None
        if operation.kind == "undo" and operation.undone_by is None:
            return operation
    return None


def insert_operation(
    connection: sa.Connection,
    volume_id: int,
    operation: Operation,
    delta: Delta,
    members: Mapping[int, int],
    meta: OperationMeta,
) -> None:
    """Write every row of one operation; `members` are supervoxels with their new roots."""
    lineage = operation.lineage.to_json() | {"moved": sorted(delta.moved)}
    row = {
        "volume_id": volume_id,
        "operation_id": operation.operation_id,
        "branch_id": operation.branch_id,
        "parent": operation.parent,
        "kind": operation.kind,
        "user_name": operation.user,
        "time": operation.time,
        "request_id": operation.request_id,
        "request_digest": meta.request_digest,
        "base_version": operation.base_version,
        "wrote_voxels": operation.wrote_voxels,
        "undoes": operation.undoes,
        "bbox": None if operation.bbox is None else operation.bbox.to_json(),
        "lineage": lineage,
        "provenance": dict(operation.provenance),
    }
    connection.execute(OPERATIONS.insert(), row)
    ids = {"branch_id": operation.branch_id, "operation_id": operation.operation_id}
    touched = sorted({*operation.removed_roots, *operation.added_roots})
    rows: Mapping[sa.Table, list[dict[str, Any]]] = {
        CHUNKS: _chunk_rows(delta),
        EDGES: _edge_rows(delta),
        SUPERVOXELS: _statistics_rows(delta),
        MEMBERS: [{"supervoxel": s, "root": root} for s, root in sorted(members.items())],
        ROOTS: [{"root": root} for root in touched],
    }
    for table, values in rows.items():
        if values:
            connection.execute(table.insert(), [ids | value for value in values])


def _chunk_rows(delta: Delta) -> list[dict[str, Any]]:
    rows = []
    for key, change in delta.chunks.items():
        place = change.after if isinstance(change.after, StoredChunk) else None
        where: dict[str, Any] = {"pack": None, "start": None, "length": None}
        if place is not None:
            where = {"pack": place.pack, "start": place.start, "length": place.length}
        rows.append(key._asdict() | where)
    return rows


def _edge_rows(delta: Delta) -> list[dict[str, Any]]:
    return [
        {"a": a, "b": b, "added": added}
        for added, edges in ((True, delta.edges_added), (False, delta.edges_removed))
        for a, b in sorted(edges)
    ]


def _statistics_rows(delta: Delta) -> list[dict[str, Any]]:
    names = ("voxels", "z0", "y0", "x0", "z1", "y1", "x1", "sum_z", "sum_y", "sum_x")
    rows = []
    for supervoxel, (_, after) in delta.statistics.items():
        numbers: tuple[int, ...] = (0,) * len(names)
        if after is not None:
            numbers = (after.voxels, *after.bbox.offset, *after.bbox.end, *after.sums)
        rows.append({"supervoxel": supervoxel} | dict(zip(names, numbers, strict=True)))
    return rows
