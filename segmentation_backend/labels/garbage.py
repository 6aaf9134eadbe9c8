"""What nothing can reach any more: operations of deleted branches, and packs that no row names.

Reached are the versions that branches, tags and callers name, whatever those were made from, and
what was merged into them: history and blame lead there. Branches themselves stay as rows, marked
as deleted, so that no branch is ever given their number.

Rows go first, in a transaction that holds the volume's lock. Their packs get a new age before that
and are removed an hour later, by the next run: an edit that is being made may just be naming one
of them again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import sqlalchemy as sa

from segmentation_backend.database import read, write
from segmentation_backend.labels.branches import Versions
from segmentation_backend.labels.commit import Clock, utc_now
from segmentation_backend.labels.integrity_rows import ROW_TABLES
from segmentation_backend.labels.names import time_text
from segmentation_backend.labels.pack_integrity import ORPHAN_AGE_S, named_packs
from segmentation_backend.labels.repository import LabelRepository
from segmentation_backend.labels.schema import (
    BASE_MARKS,
    BRANCH_MERGES,
    BRANCHES,
    CHUNKS,
    OPERATIONS,
    TAGS,
    VOLUMES,
)
from segmentation_backend.labels.storage import LabelStorage

__all__ = ["Garbage", "Pinned", "collect_garbage"]

Pinned = Callable[[sa.Connection], Collection[int]]
"""Returns versions of the volume that something outside the store shows, and keeps more from coming
until the transaction ends."""


@dataclass(frozen=True, slots=True)
class Garbage:
    """What a volume holds that nothing reaches."""

    branches: tuple[str, ...] = ()
    """Deleted branches with operations that nothing reaches."""
    operations: int = 0
    rows: int = 0
    """Rows of these operations, of all tables."""
    packs: tuple[str, ...] = ()
    """Packs that no row names, old enough to be removed."""
    pending: tuple[str, ...] = ()
    """Packs that only these rows name: removed by a run an hour later."""


@dataclass(frozen=True, slots=True)
class _Tail:
    """The operations of a branch after the last one that is reached."""

    branch_id: int
    name: str
    after: int


def collect_garbage(
    repository: LabelRepository,
    *,
    pinned: Pinned = lambda connection: (),
    min_age_s: float = ORPHAN_AGE_S,
    delete: bool = False,
    clock: Clock = utc_now,
) -> Garbage:
    """Return what nothing reaches, and with `delete` remove it; safe while others edit.

    Branches deleted less than `min_age_s` ago still count, and younger packs stay. Raises
    ResourceError; what was removed by then stays removed, and nothing else is harmed.
    """
    storage = repository.at(0).storage
    before = time_text(clock() - timedelta(seconds=min_age_s))
    tails_now = partial(_tails, storage, pinned=pinned, deleted_before=before)
    with read(storage.engine) as connection:
        tails = tails_now(connection)
        operations = _count(connection, sa.select(OPERATIONS).where(_of_tails(storage, tails)))
        rows = sum(
            _count(connection, sa.select(table).where(_in_tails(table, tails)))
            for table in ROW_TABLES
        )
        pending = _only_named_by(connection, storage, tails)
    if delete:
        for name in pending:
            # Its age starts anew; see above.
            storage.packs.put(name, storage.packs.content(name))
        for tail in tails:
            _remove(storage, tail, tails_now)
    orphans = _orphans(storage, min_age_s)
    if delete:
        for name in orphans:
            storage.packs.remove(name)
    names = tuple(tail.name for tail in tails)
    return Garbage(names, operations, rows, tuple(orphans), tuple(sorted(pending - set(orphans))))


def _tails(
    storage: LabelStorage, connection: sa.Connection, *, pinned: Pinned, deleted_before: str
) -> list[_Tail]:
    reach = _reach(storage, connection, pinned, deleted_before)
    b, o = BRANCHES.c, OPERATIONS.c
    newest = (
        sa.select(sa.func.max(o.operation_id))
        .where(o.volume_id == storage.volume_id, o.branch_id == b.branch_id)
        .scalar_subquery()
    )
    query = (
        sa.select(b.branch_id, b.name, newest)
        .where(b.volume_id == storage.volume_id, b.deleted.is_not(None))
        .order_by(b.branch_id)
    )
    return [
        _Tail(branch_id, name, reach.get(branch_id, 0))
        for branch_id, name, last in connection.execute(query)
        if last is not None and last > reach.get(branch_id, 0)
    ]


def _reach(
    storage: LabelStorage, connection: sa.Connection, pinned: Pinned, deleted_before: str
) -> Mapping[int, int]:
    """Return the newest operation of each branch that anything reaches; all before it are, too."""
    b, t, m = BRANCHES.c, TAGS.c, BRANCH_MERGES.c
    living = b.deleted.is_(None) | (b.deleted > deleted_before)
    heads = sa.select(b.head).where(b.volume_id == storage.volume_id, living)
    wanted = set(connection.scalars(heads))
    wanted.update(connection.scalars(sa.select(t.version).where(t.volume_id == storage.volume_id)))
    wanted.update(_still_there(storage, connection, pinned(connection)))
    merges = connection.execute(
        sa.select(m.operation_id, OPERATIONS.c.branch_id, m.source_version)
        .join(
            OPERATIONS,
            (OPERATIONS.c.volume_id == m.volume_id) & (OPERATIONS.c.operation_id == m.operation_id),
        )
        .where(m.volume_id == storage.volume_id)
    ).all()
    # Not the repository's: what it remembers may be older than this transaction.
    versions = Versions(storage.volume_id, _main_id(storage, connection))
    reach: dict[int, int] = {}
    while wanted:
        for version in wanted:
            for segment in versions.path(connection, version):
                upto = max(segment.upto, reach.get(segment.branch_id, 0))
                reach[segment.branch_id] = upto
        followed = [row for row in merges if row[0] <= reach.get(row[1], 0)]
        merges = [row for row in merges if row[0] > reach.get(row[1], 0)]
        wanted = {row[2] for row in followed}
    return reach


def _main_id(storage: LabelStorage, connection: sa.Connection) -> int:
    query = sa.select(sa.func.min(BRANCHES.c.branch_id))
    found: int = connection.scalars(query.where(BRANCHES.c.volume_id == storage.volume_id)).one()
    return found


def _still_there(
    storage: LabelStorage, connection: sa.Connection, versions: Collection[int]
) -> set[int]:
    o = OPERATIONS.c
    query = sa.select(o.operation_id).where(o.volume_id == storage.volume_id)
    asked = sorted(set(versions))
    found: set[int] = set()
    for begin in range(0, len(asked), 10_000):
        part = query.where(o.operation_id.in_(asked[begin : begin + 10_000]))
        found.update(connection.scalars(part))
    return found


def _in_tails(table: sa.Table, tails: Collection[_Tail]) -> sa.ColumnElement[bool]:
    c = table.c
    conditions = [(c.branch_id == t.branch_id) & (c.operation_id > t.after) for t in tails]
    return sa.or_(sa.false(), *conditions)


def _of_tails(storage: LabelStorage, tails: Collection[_Tail]) -> sa.ColumnElement[bool]:
    return (OPERATIONS.c.volume_id == storage.volume_id) & _in_tails(OPERATIONS, tails)


def _count(connection: sa.Connection, query: sa.Select[tuple[object, ...]]) -> int:
    found: int = connection.execute(
        sa.select(sa.func.count()).select_from(query.subquery())
    ).scalar_one()
    return found


def _only_named_by(
    connection: sa.Connection, storage: LabelStorage, tails: Collection[_Tail]
) -> set[str]:
    """Return the packs that no row outside the tails names."""
    if not tails:
        return set()
    c = CHUNKS.c
    inside = _in_tails(CHUNKS, tails)
    named = sa.select(c.pack).distinct().where(c.pack.is_not(None))
    mine = sa.select(BRANCHES.c.branch_id).where(BRANCHES.c.volume_id == storage.volume_id)
    doomed = set(connection.scalars(named.where(inside)))
    return doomed - set(connection.scalars(named.where(c.branch_id.in_(mine), ~inside)))


def _remove(
    storage: LabelStorage, tail: _Tail, tails_now: Callable[[sa.Connection], list[_Tail]]
) -> None:
    """Delete the rows of a tail, unless something reaches into it by now."""
    volume_id = storage.volume_id
    with write(storage.engine) as connection:
        # Commits, branches and tags of the volume wait for this row, too.
        v = VOLUMES.c
        lock = sa.select(v.head).where(v.volume_id == volume_id).with_for_update()
        connection.execute(lock).scalar_one()
        if tail not in tails_now(connection):
            return
        o = OPERATIONS.c
        gone = sa.select(o.operation_id).where(_of_tails(storage, [tail]))
        for table in (BRANCH_MERGES, BASE_MARKS):
            here = (table.c.volume_id == volume_id) & table.c.operation_id.in_(gone)
            connection.execute(table.delete().where(here))
        for table in ROW_TABLES:
            connection.execute(table.delete().where(_in_tails(table, [tail])))
        connection.execute(OPERATIONS.delete().where(_of_tails(storage, [tail])))
        b = BRANCHES.c
        head = sa.case((b.fork_version > tail.after, b.fork_version), else_=tail.after)
        connection.execute(BRANCHES.update().where(b.branch_id == tail.branch_id).values(head=head))


def _orphans(storage: LabelStorage, min_age_s: float) -> list[str]:
    """Return the packs and left-overs that no row names, old enough to belong to no commit."""
    # Listed before the rows are read: what is written meanwhile is not on the list.
    old = [name for name, age in storage.packs.names() if age >= min_age_s]
    with read(storage.engine) as connection:
        named = named_packs(connection, storage.volume_id)
    return [name for name in old if name not in named]
