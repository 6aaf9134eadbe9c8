"""The one place where labels change: a pack, then one SQL transaction, or nothing.

The pack is written before the write lock is taken. Under the lock, what the delta relies on is
compared with the newest state; where others changed other voxels of the same chunks, the delta is
rebased there and then, so that a commit needs the lock once and always gets through or is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import sqlalchemy as sa

from segmentation_backend.database import confirm, read, write
from segmentation_backend.database.statements import run
from segmentation_backend.errors import ConflictError, ErrorKind, NotFoundError
from segmentation_backend.labels import history, index
from segmentation_backend.labels.branches import is_there
from segmentation_backend.labels.delta import Delta
from segmentation_backend.labels.names import time_text
from segmentation_backend.labels.operations import Operation, OperationMeta
from segmentation_backend.labels.outcome import Outcome, outcome
from segmentation_backend.labels.packs import Hook
from segmentation_backend.labels.rebase import conflict_with, rebase
from segmentation_backend.labels.schema import BRANCH_MERGES
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
    name: str
    deleted: str | None

    def check_branch(self) -> None:
        """Raise NotFoundError BRANCH_NOT_FOUND for a deleted branch."""
        if self.deleted is not None:
            raise NotFoundError(
                f"The branch {self.name} was deleted; make a new one from the version you want.",
                ErrorKind.BRANCH_NOT_FOUND,
            )


def commit_delta(
    storage: LabelStorage,
    branch_id: int,
    delta: Delta,
    meta: OperationMeta,
    clock: Clock,
    hook: Hook,
    expected: Outcome | None = None,
) -> Operation:
    """Make a change visible, durably, and return its operation; see `LabelRepository.commit`.

    `expected` is what the delta makes of its base version: worked out before the write lock is
    taken, because it stands when nobody was faster.
    """
    if expected is None:
        with read(storage.engine) as connection:
            # Only a look, to spare a retried request its pack; the answer that counts comes later.
            first = _replayed(connection, storage, meta)
            if first is not None:
                # Another process may have committed it a moment ago.
                confirm(storage.engine)
                return first
            expected = outcome(storage, delta)
    stored = _stored(storage, delta)
    with write(storage.engine) as connection:
        hook("transaction-begun")
        head = _lock_head(connection, storage, branch_id)
        first = _replayed(connection, storage, meta)
        if first is not None:
            return first
        head.check_branch()
        rebased = storage.settled(connection, stored)
        rebased = _on_head(connection, storage, rebased, meta, head.version)
        if rebased.statistics is not stored.statistics:
            expected = outcome(storage, rebased)
        time = _time_after(connection, storage.volume_id, head.newest, clock())
        operation = _operation(rebased, expected, meta, head, time)
        history.insert_operation(connection, storage.volume_id, operation, rebased, expected, meta)
        storage.mark(connection, operation.operation_id, rebased)
        _record_merge(connection, storage.volume_id, operation.operation_id, meta)
        _advance_head(connection, storage.volume_id, operation)
        hook("rows-written")
    hook("committed")
    storage.advance(operation.parent, operation.operation_id, expected.members)
    return operation


def _replayed(
    connection: sa.Connection, storage: LabelStorage, meta: OperationMeta
) -> Operation | None:
    return history.find_request(connection, storage.volume_id, meta.request_id, meta.request_digest)


def _stored(storage: LabelStorage, delta: Delta) -> Delta:
    inline = delta.inline_chunks
    return delta.with_stored(storage.packs.write(inline)) if inline else delta


_LOCK = (
    "SELECT v.head, b.head, b.deleted, b.name, b.fork_version FROM label_volumes v "
    "JOIN label_branches b ON b.volume_id = v.volume_id WHERE v.volume_id = ? AND b.branch_id = ?"
)
_ADVANCE_VOLUME = "UPDATE label_volumes SET head = ? WHERE volume_id = ?"
_ADVANCE_BRANCH = "UPDATE label_branches SET head = ? WHERE branch_id = ?"


def _lock_head(connection: sa.Connection, storage: LabelStorage, branch_id: int) -> _Head:
    # On PostgreSQL this serialises the volume's writers, and shows both rows as they are once the
    # lock is held; SQLite holds its write lock already.
    lock = " FOR UPDATE" if connection.dialect.name == "postgresql" else ""
    row = next(run(connection, _LOCK + lock, (storage.volume_id, branch_id)))
    newest, version, deleted, name, fork_version = row
    if version > fork_version:
        # Saves the look-up of the branch that made it.
        storage.versions.note(version, branch_id)
    return _Head(branch_id, version, newest, name, deleted)


_TIME = "SELECT time FROM label_operations WHERE volume_id = ? AND operation_id = ?"


def _time_after(connection: sa.Connection, volume_id: int, operation_id: int, now: datetime) -> str:
    """Return the time, or that of the newest operation when the clocks of two hosts disagree.

    So that "the newest version at a time" means the same whoever asks, and for ever.
    """
    text = time_text(now)
    for (last,) in run(connection, _TIME, (volume_id, operation_id)):
        return max(text, str(last))
    return text


def _advance_head(connection: sa.Connection, volume_id: int, operation: Operation) -> None:
    version = operation.operation_id
    run(connection, _ADVANCE_VOLUME, (version, volume_id))
    run(connection, _ADVANCE_BRANCH, (version, operation.branch_id))


def _record_merge(
    connection: sa.Connection, volume_id: int, operation_id: int, meta: OperationMeta
) -> None:
    if meta.merges is not None:
        # Under the lock, where `gc` waits: the next merge starts from there.
        if not is_there(connection, volume_id, meta.merges.version):
            raise NotFoundError(
                f"Version {meta.merges.version} was removed with its branch; nothing was changed.",
                ErrorKind.VERSION_NOT_FOUND,
            )
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
    if delta.base_version == head:
        return delta
    if not (delta.chunks or delta.statistics):
        # Nobody touched its objects since: neither their joins nor their voxels.
        return replace(delta, base_version=head)
    return _stored(storage, rebase(delta, storage, head, delta.base_version))


def _check_objects(
    connection: sa.Connection, storage: LabelStorage, delta: Delta, base: int, head: int
) -> None:
    """Refuse when an object that the delta touches was changed after `base`.

    Whoever changed an object first after `base` is on record under the root it had at `base`; an
    object that did not exist then is on record under the root it has now.
    """
    # New ids of the delta itself are on nobody's record.
    existing = [s for s in delta.supervoxels if _existed(delta, s)]
    # What the delta was made of existed at its own base.
    versions = (base,) if base == delta.base_version else (base, head)
    roots: set[int] = set()
    for version in versions:
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
    delta: Delta, outcome: Outcome, meta: OperationMeta, head: _Head, time: str
) -> Operation:
    return Operation(
        operation_id=head.newest + 1,
        kind=meta.kind,
        user=meta.user,
        time=time,
        bbox=outcome.bbox,
        lineage=outcome.lineage,
        wrote_voxels=bool(delta.chunks),
        undoes=meta.undoes,
        undone_by=None,
        provenance=dict(meta.provenance),
        request_id=meta.request_id,
        base_version=meta.base_version,
        parent=head.version,
        branch_id=head.branch_id,
    )
