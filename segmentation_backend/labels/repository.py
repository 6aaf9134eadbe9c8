"""The versioned labels of one volume: `at(version)` to read, `commit(delta)` to change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from datetime import UTC, datetime
from pathlib import Path as FilePath
from threading import Lock
from typing import TypeVar

import sqlalchemy as sa

from segmentation_backend.database import confirm, read, write
from segmentation_backend.database.statements import run
from segmentation_backend.errors import (
    ConflictError,
    ErrorKind,
    InvalidInputError,
)
from segmentation_backend.geometry import Roi, ScaleLevel
from segmentation_backend.labels import history, names
from segmentation_backend.labels.base import LabelBase
from segmentation_backend.labels.branches import MAIN, Branch, Path, Segment, list_branches
from segmentation_backend.labels.commit import Clock, commit_delta, utc_now
from segmentation_backend.labels.delta import Delta
from segmentation_backend.labels.difference import difference
from segmentation_backend.labels.ids import LARGEST_STORED_ID
from segmentation_backend.labels.names import Tag, time_text
from segmentation_backend.labels.operations import Operation, OperationMeta
from segmentation_backend.labels.outcome import Outcome, outcome
from segmentation_backend.labels.pack_folder import PackFolder
from segmentation_backend.labels.packs import Hook, PackStore, no_hook
from segmentation_backend.labels.schema import BRANCHES, CHUNKS, VOLUMES
from segmentation_backend.labels.storage import LabelStorage
from segmentation_backend.labels.view import LabelView

__all__ = ["LabelRepository"]

Value = TypeVar("Value")

_HEAD = "SELECT head, fork_version FROM label_branches WHERE branch_id = ?"


class LabelRepository:
    """All versions of one volume's labels; thread-safe, and any number of processes may share them.

    Make one per process (after a fork, not before); it remembers nothing that the database does
    not say, only caches.
    """

    def __init__(
        self,
        engine: sa.Engine,
        pack_dir: FilePath,
        volume: str,
        levels: tuple[ScaleLevel, ...],
        *,
        packs: PackStore | None = None,
        base: LabelBase | None = None,
        cache_bytes: int = 64 * 2**20,
        clock: Clock = utc_now,
        hook: Hook = no_hook,
    ) -> None:
        """Open the labels of `volume`, made empty when they are new.

        `pack_dir` is this volume's own folder of packs. `levels` are the label pyramid, factors 1
        or 2 per axis; labels made on another grid are refused with ConflictError NAME_TAKEN.
        `base` is a read-only label volume under the edits, with the same `levels`; another base
        than the volume began with (or none) is refused likewise. `hook` is called at each step of a
        commit.
        """
        self.volume = volume
        self._engine = engine
        self._clock = clock
        self._hook = hook
        # One writing thread per process: the others wait here instead of each holding a database
        # connection while they wait for the write lock (a commit needs a second one to read).
        self._writing = Lock()
        volume_id, self._branch_id = _volume_id(engine, volume, levels, time_text(clock()))
        packs = PackFolder(pack_dir, hook) if packs is None else packs
        self._storage = LabelStorage(
            engine, volume_id, self._branch_id, packs, levels, cache_bytes, base
        )

    @property
    def levels(self) -> tuple[ScaleLevel, ...]:
        """The label pyramid, finest level first."""
        return self._storage.levels

    @property
    def head(self) -> int:
        """The newest version of the branch; 0 when nothing was ever committed."""
        with read(self._engine) as connection:
            head, fork_version = next(run(connection, _HEAD, (self._branch_id,)))
        if head > fork_version:
            # Saves the look-up of the branch that made it.
            self._storage.versions.note(head, self._branch_id)
        return int(head)

    def at(self, version: int | None = None) -> LabelView:
        """Return the labels at a version of any branch (None: the newest of this one).

        Raises NotFoundError VERSION_NOT_FOUND.
        """
        with read(self._engine) as connection:
            wanted = self.head if version is None else version
            self._storage.versions.branch_of(connection, wanted)
        return LabelView(self._storage, wanted)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Make everything this thread reads inside come from one state, by one transaction.

        For a moment, not for long; commits go on meanwhile, unseen. Over a base, where reading may
        count more of it, each question still has a transaction of its own.
        """
        if self._storage.base is not None:
            yield
            return
        with read(self._engine):
            yield

    def version_at(self, time: datetime) -> int:
        """Return the newest version of the branch made at or before a time (with a zone)."""
        text = time_text(time.astimezone(UTC))
        return self._on_head(lambda c, path: history.version_at_time(c, path, text))

    def _on_head(self, ask: Callable[[sa.Connection, Path], Value]) -> Value:
        with read(self._engine):
            return self._storage.query(self.head, ask)

    # Branches and tags

    def branch(self, name: str) -> LabelRepository:
        """Return the same labels on another branch: its head, and commits go to it."""
        with read(self._engine) as connection:
            found = names.find_branch(connection, self._storage.volume_id, name)
        other = copy(self)
        other._branch_id = found.branch_id
        return other

    def branches(self) -> list[Branch]:
        """Return the branches, the oldest first."""
        with read(self._engine) as connection:
            return list_branches(connection, self._storage.volume_id)

    def create_branch(self, name: str, user: str, version: int | None = None) -> Branch:
        """Make a branch at a version of any branch (None: the newest of this one); O(1).

        Raises InvalidInputError INVALID_NAME, ConflictError NAME_TAKEN, NotFoundError
        VERSION_NOT_FOUND.
        """
        at = self.at(version).version
        with self._writing, write(self._engine) as connection:
            parent_id = self._storage.versions.branch_of(connection, at)
            if version is None:
                # A branch made from a branch that has not moved yet is still its child.
                parent_id = self._branch_id
            b = BRANCHES.c
            parent = connection.scalar(sa.select(b.name).where(b.branch_id == parent_id))
            time = time_text(self._clock())
            branch = Branch(0, name, parent, at, at, user, time)
            return names.create_branch(connection, self._storage.volume_id, branch, parent_id)

    def delete_branch(self, name: str) -> None:
        """Take a branch out of the list; see `names.delete_branch`."""
        with self._writing, write(self._engine) as connection:
            time = time_text(self._clock())
            names.delete_branch(connection, self._storage.volume_id, name, time)

    def tags(self) -> list[Tag]:
        """Return the tags, the newest version first."""
        with read(self._engine) as connection:
            return names.list_tags(connection, self._storage.volume_id)

    def create_tag(self, name: str, user: str, version: int | None = None, note: str = "") -> Tag:
        """Name a version of any branch (None: the newest of this one) for ever.

        Raises InvalidInputError INVALID_NAME, ConflictError NAME_TAKEN, NotFoundError
        VERSION_NOT_FOUND.
        """
        tag = Tag(name, self.at(version).version, user, time_text(self._clock()), note)
        with self._writing, write(self._engine) as connection:
            return names.create_tag(connection, self._storage.volume_id, tag)

    def delete_tag(self, name: str) -> None:
        """Delete a tag; NotFoundError TAG_NOT_FOUND."""
        with self._writing, write(self._engine) as connection:
            names.delete_tag(connection, self._storage.volume_id, name)

    # Changes

    def reserve_ids(self, count: int) -> int:
        """Return the first of `count` consecutive new supervoxel ids, never given out again."""
        if count < 0:
            raise InvalidInputError(
                f"{count} ids cannot be reserved; ask for 0 or more.", ErrorKind.INVALID_PARAMETER
            )
        here = VOLUMES.c.volume_id == self._storage.volume_id
        # Lost with the power, it is lost with whoever was given the ids: what they commit is later.
        with self._writing, write(self._engine, durable=False) as connection:
            query = sa.select(VOLUMES.c.next_id).where(here).with_for_update()
            first: int = connection.execute(query).scalar_one()
            if first + count > LARGEST_STORED_ID:
                raise InvalidInputError(
                    f"{count} more ids do not fit into 63 bits.", ErrorKind.INVALID_PARAMETER
                )
            connection.execute(VOLUMES.update().where(here).values(next_id=first + count))
        return first

    def outcome(self, delta: Delta) -> Outcome:
        """Return what a delta would make of the objects of its base version."""
        return outcome(self._storage, delta)

    def commit(
        self, delta: Delta, meta: OperationMeta, expected: Outcome | None = None
    ) -> Operation:
        """Make a change visible to everybody and return it as an operation, durable by then.

        A repeated `meta.request_id` returns the first operation and writes nothing. A delta made on
        an older version is rebased when nobody changed its objects or voxels since; otherwise
        ConflictError STALE_VERSION names the operation and the user. ResourceError: nothing was
        changed and the edit can be repeated. `expected` is the delta's outcome, from a caller who
        knows it already and that the request was not committed before.
        """
        with self._writing:
            operation = commit_delta(
                self._storage, self._branch_id, delta, meta, self._clock, self._hook, expected
            )
        self._storage.versions.note(operation.operation_id, operation.branch_id)
        return operation

    # History

    def find_request(
        self, request_id: str | None, request_digest: str | None = None
    ) -> Operation | None:
        """Return the operation a request made; ConflictError REQUEST_ID_REUSED for another's id."""
        with read(self._engine) as connection:
            found = history.find_request(
                connection, self._storage.volume_id, request_id, request_digest
            )
        if found is not None:
            # Another process may have committed it a moment ago; this answer is to last.
            confirm(self._engine)
        return found

    def operation(self, operation_id: int) -> Operation:
        """Return one operation, of any branch; NotFoundError OPERATION_NOT_FOUND."""
        volume_id = self._storage.volume_id
        return self._on_head(
            lambda connection, path: history.load_operation(
                connection, volume_id, path, operation_id
            )
        )

    def operations(
        self, since: int = 0, limit: int = 100, user: str | None = None
    ) -> list[Operation]:
        """Return the branch's operations after `since`, oldest first; with 0, newest first."""
        if since < 0 or limit < 0:
            raise InvalidInputError(
                f"since {since} and limit {limit} must be 0 or more.", ErrorKind.INVALID_PARAMETER
            )
        volume_id = self._storage.volume_id
        return self._on_head(
            lambda connection, path: history.load_operations(
                connection, volume_id, path, since, limit, user
            )
        )

    def delta(self, operation_id: int) -> Delta:
        """Return what an operation changed; its inverse, rebased, takes the operation back."""
        with read(self._engine) as connection:
            parent = history.parent_of(connection, self._storage.volume_id, operation_id)
            return difference(self._storage, parent, operation_id)

    def last_undoable(self, user: str) -> Operation | None:
        """Return what the user's undo takes back: the newest edit of theirs that stands."""
        return self._own(history.last_undoable, user)

    def last_redoable(self, user: str) -> Operation | None:
        """Return the undo that the user's redo takes back; None after a newer edit of theirs."""
        return self._own(history.last_redoable, user)

    def _own(
        self,
        find: Callable[[sa.Connection, int, Segment, str], Operation | None],
        user: str,
    ) -> Operation | None:
        """Return what `find` finds among the operations made on this branch itself."""
        with read(self._engine) as connection:
            whole = Segment(self._branch_id, 0, self.head)
            return find(connection, self._storage.volume_id, whole, user)

    # The base

    @property
    def counted_share(self) -> float:
        """How much of the base is counted, 0 to 1; 1 without a base, when every size is final."""
        base = self._storage.base_statistics
        return 1.0 if base is None else base.share

    def count_base(self) -> Iterator[float]:
        """Count what is left of the base, yielding the share counted after every few blocks.

        May be stopped at any time, by a crash too, and carried on later, also by several processes.
        Raises what `LabelBase.load` raises.
        """
        base = self._storage.base_statistics
        return iter(()) if base is None else base.count_all()

    def count_base_over(self, roi: Roi) -> None:
        """Count the base over a region, unless that is too much for one request."""
        if self._storage.base_statistics is not None:
            self._storage.base_statistics.count_over(roi)

    # Housekeeping

    def sweep_orphans(self, min_age_s: float = 3600.0) -> list[str]:
        """Delete packs that no version names and return their names.

        They are what a crash between pack and transaction leaves. A pack younger than `min_age_s`
        may belong to a commit that is under way, so the age must exceed the longest commit.
        """
        old = [name for name, age in self._storage.packs.names() if age >= min_age_s]
        with read(self._engine) as connection:
            b = BRANCHES.c
            mine = sa.select(b.branch_id).where(b.volume_id == self._storage.volume_id)
            query = sa.select(CHUNKS.c.pack).distinct()
            named = set(connection.scalars(query.where(CHUNKS.c.branch_id.in_(mine))))
        orphans = [name for name in old if name not in named]
        for name in orphans:
            self._storage.packs.remove(name)
        return orphans


def _volume_id(
    engine: sa.Engine, volume: str, levels: tuple[ScaleLevel, ...], time: str
) -> tuple[int, int]:
    """Return the ids of a volume and of its first branch, made when they are new."""
    shapes = [list(level.shape) for level in levels]
    v, b = VOLUMES.c, BRANCHES.c
    query = (
        sa.select(v.volume_id, v.shapes, sa.func.min(b.branch_id))
        .join(BRANCHES, b.volume_id == v.volume_id)
        .where(v.name == volume)
        .group_by(v.volume_id)
    )
    with read(engine) as connection:
        row = connection.execute(query).one_or_none()
    if row is None:
        with write(engine) as connection:
            row = connection.execute(query).one_or_none()
            if row is None:
                _insert_volume(connection, volume, shapes, time)
                row = connection.execute(query).one()
    if row[1] != shapes:
        raise ConflictError(
            f"The labels of {volume} were made on a grid of {row[1][0]} voxels with "
            f"{len(row[1])} levels, not {shapes[0]} with {len(shapes)}; register the image under "
            "another name.",
            ErrorKind.NAME_TAKEN,
        )
    return int(row[0]), int(row[2])


def _insert_volume(
    connection: sa.Connection, volume: str, shapes: list[list[int]], time: str
) -> None:
    values = {"name": volume, "shapes": shapes, "head": 0, "next_id": 1}
    connection.execute(VOLUMES.insert(), values)
    query = sa.select(VOLUMES.c.volume_id).where(VOLUMES.c.name == volume)
    branch = {"volume_id": connection.scalar(query), "name": MAIN, "fork_version": 0, "head": 0}
    connection.execute(BRANCHES.insert(), branch | {"user_name": "", "time": time})
