"""The one place where labels change: a pack, then one SQL transaction, or nothing.

The pack is written before the write lock is taken. Under the lock, what the delta relies on is
compared with the newest state; where others changed other voxels of the same chunks, the delta is
rebased there and then, so that a commit needs the lock once and always gets through or is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import sqlalchemy as sa

from segmentation_backend.database import read, write
from segmentation_backend.errors import ConflictError, ErrorKind, NotFoundError
from segmentation_backend.labels import history, index
from segmentation_backend.labels.delta import Delta
from segmentation_backend.labels.operations import Operation, OperationMeta, trace_lineage
from segmentation_backend.labels.packs import Hook
from segmentation_backend.labels.rebase import conflict_with, rebase
from segmentation_backend.labels.schema import OPERATIONS, VOLUMES
from segmentation_backend.labels.storage import LabelStorage

__all__ = ["Clock", "commit_delta", "utc_now"]

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the time, UTC."""
    return datetime.now(UTC)


def commit_delta(
    storage: LabelStorage, delta: Delta, meta: OperationMeta, clock: Clock, hook: Hook
) -> Operation:
    """Make a change visible, durably, and return its operation; see `LabelRepository.commit`."""
    if delta.inline_chunks:
        # Only a look, to spare a retried request its pack; the answer that counts comes later.
        with read(storage.engine) as connection:
            first = _replayed(connection, storage, meta)
        if first is not None:
            return first
        delta = _stored(storage, delta)
    with write(storage.engine) as connection:
        hook("transaction-begun")
        first = _replayed(connection, storage, meta)
        if first is not None:
            return first
        head = _lock_head(connection, storage.volume_id)
        delta = _on_head(connection, storage, delta, meta, head)
        operation = _operation(storage, delta, meta, head, clock())
        history.insert_operation(connection, storage.volume_id, operation, delta, meta)
        _advance_head(connection, storage.volume_id, operation.operation_id)
        hook("rows-written")
    hook("committed")
    return operation


def _replayed(
    connection: sa.Connection, storage: LabelStorage, meta: OperationMeta
) -> Operation | None:
    return history.find_request(connection, storage.volume_id, meta.request_id, meta.request_digest)


def _stored(storage: LabelStorage, delta: Delta) -> Delta:
    inline = delta.inline_chunks
    return delta.with_stored(storage.packs.write(inline)) if inline else delta


def _lock_head(connection: sa.Connection, volume_id: int) -> int:
    # FOR UPDATE serialises the volume's writers on PostgreSQL; SQLite holds its write lock already.
    query = sa.select(VOLUMES.c.head).where(VOLUMES.c.volume_id == volume_id).with_for_update()
    head: int = connection.execute(query).scalar_one()
    return head


def _advance_head(connection: sa.Connection, volume_id: int, head: int) -> None:
    here = VOLUMES.c.volume_id == volume_id
    connection.execute(VOLUMES.update().where(here).values(head=head))


def _on_head(
    connection: sa.Connection, storage: LabelStorage, delta: Delta, meta: OperationMeta, head: int
) -> Delta:
    """Return the delta as it applies to the newest version, or refuse it, naming who was faster."""
    bases = (
        delta.base_version,
        delta.base_version if meta.base_version is None else meta.base_version,
    )
    base = min(bases)
    if base < 0 or max(bases) > head:
        raise NotFoundError(
            f"There is no version {base if base < 0 else max(bases)}; the newest is {head}.",
            ErrorKind.VERSION_NOT_FOUND,
        )
    _check_undo(connection, storage, meta)
    if base < head:
        _check_objects(connection, storage, delta, base, head)
    if delta.base_version < head:
        rebased = rebase(delta, storage, head, delta.base_version)
        delta = _stored(storage, rebased)
    return delta


def _check_objects(
    connection: sa.Connection, storage: LabelStorage, delta: Delta, base: int, head: int
) -> None:
    """Refuse when an object that the delta touches was changed after `base`.

    Whoever changed an object first after `base` is on record under the root it had at `base`; an
    object that did not exist then is on record under the root it has now.
    """
    # New ids of the delta itself are on nobody's record.
    existing = [s for s in delta.supervoxels if _existed(delta, s)]
    roots: set[int] = set()
    for joins in (storage.agglomeration(base), storage.agglomeration(head)):
        roots.update(joins.root_of(supervoxel) for supervoxel in existing)
    touch = index.last_toucher(connection, storage.volume_id, roots, base, head)
    if touch is not None:
        raise conflict_with(storage, touch[0], f"object {touch[1]}")


def _existed(delta: Delta, supervoxel: int) -> bool:
    change = delta.statistics.get(supervoxel)
    return change is None or change.before is not None


def _check_undo(connection: sa.Connection, storage: LabelStorage, meta: OperationMeta) -> None:
    if meta.undoes is None:
        return
    o = OPERATIONS.c
    undone_by = connection.execute(
        sa.select(o.undone_by).where(
            o.volume_id == storage.volume_id, o.operation_id == meta.undoes
        )
    ).scalar_one_or_none()
    if undone_by is not None:
        raise ConflictError(
            f"{storage.describe(undone_by)} took operation {meta.undoes} back already; refresh and "
            "look again.",
            ErrorKind.STALE_VERSION,
        )


def _operation(
    storage: LabelStorage, delta: Delta, meta: OperationMeta, head: int, now: datetime
) -> Operation:
    before = storage.agglomeration(head)
    joins_change = delta.edges_added or delta.edges_removed
    after = before.changed(delta.edges_added, delta.edges_removed) if joins_change else before
    return Operation(
        operation_id=head + 1,
        kind=meta.kind,
        user=meta.user,
        time=now.isoformat(timespec="milliseconds"),
        bbox=delta.bbox,
        lineage=trace_lineage(delta, before, after),
        wrote_voxels=bool(delta.chunks),
        undoes=meta.undoes,
        undone_by=None,
        provenance=dict(meta.provenance),
        request_id=meta.request_id,
        base_version=meta.base_version,
    )
