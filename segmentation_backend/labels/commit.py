"""The one place where labels change: a pack, then one SQL transaction, or nothing.

The pack is written before the write lock is taken. Under the lock, what the delta relies on is
compared with the newest state; where others changed other voxels of the same chunks, the delta is
rebased there and then, so that a commit needs the lock once and always gets through or is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from segmentation_backend.database import read, write
from segmentation_backend.errors import ConflictError, ErrorKind, NotFoundError
from segmentation_backend.geometry import Roi
from segmentation_backend.labels import history, index
from segmentation_backend.labels.delta import Delta
from segmentation_backend.labels.operations import Operation, OperationMeta, trace_lineage
from segmentation_backend.labels.packs import Hook
from segmentation_backend.labels.rebase import conflict_with, rebase
from segmentation_backend.labels.schema import BRANCH_MERGES, BRANCHES, VOLUMES
from segmentation_backend.labels.storage import LabelStorage

__all__ = ["Clock", "commit_delta", "utc_now"]

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the time, UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class _Head:
    """Where a branch stands while its volume is locked."""

    branch_id: int
    version: int
    newest: int
    """The newest operation on any branch of the volume."""


def commit_delta(
    storage: LabelStorage,
    branch_id: int,
    delta: Delta,
    meta: OperationMeta,
    clock: Clock,
    hook: Hook,
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
        head = _lock_head(connection, storage.volume_id, branch_id)
        delta = storage.settled(connection, delta)
        delta = _on_head(connection, storage, delta, meta, head.version)
        operation, members = _operation(storage, delta, meta, head, clock())
        history.insert_operation(connection, storage.volume_id, operation, delta, members, meta)
        storage.mark(connection, operation.operation_id, delta)
        _record_merge(connection, storage.volume_id, operation.operation_id, meta)
        _advance_head(connection, storage.volume_id, operation)
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


def _lock_head(connection: sa.Connection, volume_id: int, branch_id: int) -> _Head:
    # FOR UPDATE serialises the volume's writers on PostgreSQL; SQLite holds its write lock already.
    query = sa.select(VOLUMES.c.head).where(VOLUMES.c.volume_id == volume_id).with_for_update()
    newest: int = connection.execute(query).scalar_one()
    b = BRANCHES.c
    row = connection.execute(
        sa.select(b.head, b.deleted, b.name).where(b.branch_id == branch_id)
    ).one()
    if row.deleted is not None:
        raise NotFoundError(
            f"The branch {row.name} was deleted; make a new one from the version you want.",
            ErrorKind.BRANCH_NOT_FOUND,
        )
    return _Head(branch_id, row.head, newest)


def _advance_head(connection: sa.Connection, volume_id: int, operation: Operation) -> None:
    version = operation.operation_id
    here = VOLUMES.c.volume_id == volume_id
    connection.execute(VOLUMES.update().where(here).values(head=version))
    here = BRANCHES.c.branch_id == operation.branch_id
    connection.execute(BRANCHES.update().where(here).values(head=version))


def _record_merge(
    connection: sa.Connection, volume_id: int, operation_id: int, meta: OperationMeta
) -> None:
    if meta.merges is not None:
        row = {
            "volume_id": volume_id,
            "operation_id": operation_id,
            "source_branch": meta.merges.branch_id,
            "source_version": meta.merges.version,
            "skipped": list(meta.merges.skipped),
        }
        connection.execute(BRANCH_MERGES.insert(), row)


def _on_head(
    connection: sa.Connection, storage: LabelStorage, delta: Delta, meta: OperationMeta, head: int
) -> Delta:
    """Return the delta as it applies to the newest version, or refuse it, naming who was faster."""
    bases = (
        delta.base_version,
        delta.base_version if meta.base_version is None else meta.base_version,
    )
    base = min(bases)
    for version in bases:
        if version < 0 or not storage.is_ancestor(version, head):
            raise NotFoundError(
                f"There is no version {version} on this branch; its newest is {head}.",
                ErrorKind.VERSION_NOT_FOUND,
            )
    _check_undo(connection, storage, meta, head)
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
    for version in (base, head):
        roots.update(storage.agglomeration(version).roots_of(existing).values())
    path = storage.versions.between(connection, base, head)
    touch = index.last_toucher(connection, path, roots)
    if touch is not None:
        raise conflict_with(storage, touch[0], f"object {touch[1]}")


def _existed(delta: Delta, supervoxel: int) -> bool:
    change = delta.statistics.get(supervoxel)
    return change is None or change.before is not None


def _check_undo(
    connection: sa.Connection, storage: LabelStorage, meta: OperationMeta, head: int
) -> None:
    if meta.undoes is None:
        return
    path = storage.versions.path(connection, head)
    standing = history.standing_undoers(connection, storage.volume_id, path, [meta.undoes])
    undone_by = standing.get(meta.undoes)
    if undone_by is not None:
        raise ConflictError(
            f"{storage.describe(undone_by)} took operation {meta.undoes} back already; refresh and "
            "look again.",
            ErrorKind.STALE_VERSION,
        )


def _operation(
    storage: LabelStorage, delta: Delta, meta: OperationMeta, head: _Head, now: datetime
) -> tuple[Operation, Mapping[int, int]]:
    """Return the operation, and the supervoxels that belong to another root by it."""
    before = storage.agglomeration(head.version)
    joins_change = delta.edges_added or delta.edges_removed
    after = before.changed(delta.edges_added, delta.edges_removed) if joins_change else before
    operation = Operation(
        operation_id=head.newest + 1,
        kind=meta.kind,
        user=meta.user,
        time=now.isoformat(timespec="milliseconds"),
        bbox=_changed_box(storage, delta, after.changed_roots(), head.version),
        lineage=trace_lineage(delta, before, after),
        wrote_voxels=bool(delta.chunks),
        undoes=meta.undoes,
        undone_by=None,
        provenance=dict(meta.provenance),
        request_id=meta.request_id,
        base_version=meta.base_version,
        parent=head.version,
        branch_id=head.branch_id,
    )
    return operation, after.changed_roots()


def _changed_box(
    storage: LabelStorage, delta: Delta, members: Mapping[int, int], head: int
) -> Roi | None:
    """Return the box of all that may look different, also of what only belongs elsewhere now."""
    box = delta.bbox
    if not (delta.statistics or delta.edges_removed):
        # Edges that are only added: the delta's box holds both objects already.
        return box
    sizes = storage.statistics_of([s for s in members if s not in delta.statistics], head)
    parts = [change.after for s, change in delta.statistics.items() if s in members]
    for part in (*sizes.values(), *parts):
        if part is not None:
            box = part.bbox if box is None else box.union(part.bbox)
    return box
