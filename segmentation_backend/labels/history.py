"""The append-only log of operations in SQL: write one, find some."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from segmentation_backend.errors import ConflictError, ErrorKind, NotFoundError
from segmentation_backend.geometry import Roi
from segmentation_backend.labels.delta import Delta, StoredChunk
from segmentation_backend.labels.operations import Lineage, Operation, OperationMeta
from segmentation_backend.labels.schema import CHUNKS, EDGES, OPERATIONS, ROOTS, SUPERVOXELS

__all__ = [
    "find_request",
    "insert_operation",
    "last_redoable",
    "last_undoable",
    "load_operation",
    "load_operations",
]

_TAKES_BACK = ("undo", "redo")


def _operation(row: sa.Row[Any]) -> Operation:
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
        undone_by=values["undone_by"],
        provenance=values["provenance"],
        request_id=values["request_id"],
        base_version=values["base_version"],
    )


def _of(volume_id: int) -> sa.Select[Any]:
    return sa.select(OPERATIONS).where(OPERATIONS.c.volume_id == volume_id)


def load_operation(connection: sa.Connection, volume_id: int, operation_id: int) -> Operation:
    """Return one operation; raises NotFoundError OPERATION_NOT_FOUND."""
    row = None
    if 0 < operation_id < 2**63:
        query = _of(volume_id).where(OPERATIONS.c.operation_id == operation_id)
        row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFoundError(
            f"There is no operation {operation_id} in this volume; see its history.",
            ErrorKind.OPERATION_NOT_FOUND,
        )
    return _operation(row)


def load_operations(
    connection: sa.Connection, volume_id: int, since: int, limit: int, user: str | None
) -> list[Operation]:
    """Return operations after `since`, oldest first; or, with `since` 0, the newest first."""
    column = OPERATIONS.c.operation_id
    query = _of(volume_id).where(column > since).limit(limit)
    if user is not None:
        query = query.where(OPERATIONS.c.user_name == user)
    query = query.order_by(column if since else column.desc())
    return [_operation(row) for row in connection.execute(query)]


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


def last_undoable(connection: sa.Connection, volume_id: int, user: str) -> Operation | None:
    """Return the user's newest operation that stands and is not an undo or redo itself."""
    o = OPERATIONS.c
    query = (
        _of(volume_id)
        .where(o.user_name == user, o.undone_by.is_(None), o.kind.not_in(_TAKES_BACK))
        .order_by(o.operation_id.desc())
        .limit(1)
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else _operation(row)


def last_redoable(connection: sa.Connection, volume_id: int, user: str) -> Operation | None:
    """Return the user's newest undo that stands, unless the user edited something after it."""
    o = OPERATIONS.c
    query = (
        _of(volume_id)
        .where(o.user_name == user, o.undone_by.is_(None), o.kind != "redo")
        .order_by(o.operation_id.desc())
        .limit(1)
    )
    # A redone edit stands again, but it is older than the undo that may come next.
    newest_edit = sa.select(sa.func.max(o.operation_id)).where(
        o.volume_id == volume_id, o.user_name == user, o.kind.not_in(_TAKES_BACK)
    )
    row = connection.execute(query.where(o.kind == "undo")).one_or_none()
    if row is None or (connection.scalar(newest_edit) or 0) > row._mapping["operation_id"]:
        return None
    return _operation(row)


def insert_operation(
    connection: sa.Connection,
    volume_id: int,
    operation: Operation,
    delta: Delta,
    meta: OperationMeta,
) -> None:
    """Write every row of one operation."""
    ids = {"volume_id": volume_id, "operation_id": operation.operation_id}
    lineage = operation.lineage.to_json() | {"moved": sorted(delta.moved)}
    row = ids | {
        "kind": operation.kind,
        "user_name": operation.user,
        "time": operation.time,
        "request_id": operation.request_id,
        "request_digest": meta.request_digest,
        "base_version": operation.base_version,
        "wrote_voxels": operation.wrote_voxels,
        "undoes": operation.undoes,
        "undone_by": None,
        "bbox": None if operation.bbox is None else operation.bbox.to_json(),
        "lineage": lineage,
        "provenance": dict(operation.provenance),
    }
    connection.execute(OPERATIONS.insert(), row)
    touched = sorted({*operation.removed_roots, *operation.added_roots})
    rows: Mapping[sa.Table, list[dict[str, Any]]] = {
        CHUNKS: _chunk_rows(delta),
        EDGES: _edge_rows(delta),
        SUPERVOXELS: _statistics_rows(delta),
        ROOTS: [{"root": root} for root in touched],
    }
    for table, values in rows.items():
        if values:
            connection.execute(table.insert(), [ids | value for value in values])
    if operation.undoes is not None:
        _mark_undone(connection, volume_id, operation.undoes, operation.operation_id)


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


def _mark_undone(connection: sa.Connection, volume_id: int, target: int, by: int) -> None:
    """Note that `by` takes `target` back; when that was an undo, what it took back stands again."""
    o = OPERATIONS.c
    undone: int | None = by
    at: int | None = target
    while at is not None:
        here = (o.volume_id == volume_id) & (o.operation_id == at)
        connection.execute(OPERATIONS.update().where(here).values(undone_by=undone))
        undone = at if undone is None else None
        at = connection.scalar(sa.select(o.undoes).where(here))
