"""The versioned labels of one volume: `at(version)` to read, `commit(delta)` to change."""

from __future__ import annotations

from pathlib import Path
from threading import Lock

import sqlalchemy as sa

from segmentation_backend.database import read, write
from segmentation_backend.errors import (
    ConflictError,
    ErrorKind,
    InvalidInputError,
    NotFoundError,
)
from segmentation_backend.geometry import ScaleLevel
from segmentation_backend.labels import history
from segmentation_backend.labels.commit import Clock, commit_delta, utc_now
from segmentation_backend.labels.delta import Delta
from segmentation_backend.labels.difference import difference
from segmentation_backend.labels.ids import LARGEST_STORED_ID
from segmentation_backend.labels.operations import Operation, OperationMeta
from segmentation_backend.labels.packs import Hook, PackStore, no_hook
from segmentation_backend.labels.schema import CHUNKS, VOLUMES, create_tables
from segmentation_backend.labels.storage import LabelStorage
from segmentation_backend.labels.view import LabelView

__all__ = ["LabelRepository"]


class LabelRepository:
    """All versions of one volume's labels; thread-safe, and any number of processes may share them.

    Make one per process (after a fork, not before); it remembers nothing that the database does
    not say, only caches.
    """

    def __init__(
        self,
        engine: sa.Engine,
        pack_dir: Path,
        volume: str,
        levels: tuple[ScaleLevel, ...],
        *,
        packs: PackStore | None = None,
        cache_bytes: int = 64 * 2**20,
        clock: Clock = utc_now,
        hook: Hook = no_hook,
    ) -> None:
        """Open the labels of `volume`, made empty when they are new.

        `pack_dir` is this volume's own folder of packs. `levels` are the label pyramid, factors 1
        or 2 per axis; labels made on another grid are refused with ConflictError NAME_TAKEN.
        `hook` is called at each step of a commit.
        """
        create_tables(engine)
        self.volume = volume
        self._engine = engine
        self._clock = clock
        self._hook = hook
        # One writing thread per process: the others wait here instead of each holding a database
        # connection while they wait for the write lock (a commit needs a second one to read).
        self._writing = Lock()
        volume_id = _volume_id(engine, volume, levels)
        packs = PackStore(pack_dir, hook) if packs is None else packs
        self._storage = LabelStorage(engine, volume_id, packs, levels, cache_bytes)

    @property
    def levels(self) -> tuple[ScaleLevel, ...]:
        """The label pyramid, finest level first."""
        return self._storage.levels

    @property
    def head(self) -> int:
        """The newest version; 0 when nothing was ever committed."""
        query = sa.select(VOLUMES.c.head).where(VOLUMES.c.volume_id == self._storage.volume_id)
        with read(self._engine) as connection:
            head: int = connection.execute(query).scalar_one()
        return head

    def at(self, version: int | None = None) -> LabelView:
        """Return the labels at a version (None: the newest); NotFoundError VERSION_NOT_FOUND."""
        head = self.head
        wanted = head if version is None else version
        if not 0 <= wanted <= head:
            raise NotFoundError(
                f"There is no version {wanted} of {self.volume}; the newest is {head}.",
                ErrorKind.VERSION_NOT_FOUND,
            )
        return LabelView(self._storage, wanted)

    def reserve_ids(self, count: int) -> int:
        """Return the first of `count` consecutive new supervoxel ids, never given out again."""
        if count < 0:
            raise InvalidInputError(
                f"{count} ids cannot be reserved; ask for 0 or more.", ErrorKind.INVALID_PARAMETER
            )
        here = VOLUMES.c.volume_id == self._storage.volume_id
        with self._writing, write(self._engine) as connection:
            query = sa.select(VOLUMES.c.next_id).where(here).with_for_update()
            first: int = connection.execute(query).scalar_one()
            if first + count > LARGEST_STORED_ID:
                raise InvalidInputError(
                    f"{count} more ids do not fit into 63 bits.", ErrorKind.INVALID_PARAMETER
                )
            connection.execute(VOLUMES.update().where(here).values(next_id=first + count))
        return first

    def commit(self, delta: Delta, meta: OperationMeta) -> Operation:
        """Make a change visible to everybody and return it as an operation, durable by then.

        A repeated `meta.request_id` returns the first operation and writes nothing. A delta made on
        an older version is rebased when nobody changed its objects or voxels since; otherwise
        ConflictError STALE_VERSION names the operation and the user. ResourceError: nothing was
        changed and the edit can be repeated.
        """
        with self._writing:
            return commit_delta(self._storage, delta, meta, self._clock, self._hook)

    # History

    def find_request(
        self, request_id: str | None, request_digest: str | None = None
    ) -> Operation | None:
        """Return the operation a request made; ConflictError REQUEST_ID_REUSED for another's id."""
        with read(self._engine) as connection:
            return history.find_request(
                connection, self._storage.volume_id, request_id, request_digest
            )

    def operation(self, operation_id: int) -> Operation:
        """Return one operation; NotFoundError OPERATION_NOT_FOUND."""
        with read(self._engine) as connection:
            return history.load_operation(connection, self._storage.volume_id, operation_id)

    def operations(
        self, since: int = 0, limit: int = 100, user: str | None = None
    ) -> list[Operation]:
        """Return operations after `since`, oldest first; with `since` 0, newest first."""
        if since < 0 or limit < 0:
            raise InvalidInputError(
                f"since {since} and limit {limit} must be 0 or more.", ErrorKind.INVALID_PARAMETER
            )
        with read(self._engine) as connection:
            return history.load_operations(connection, self._storage.volume_id, since, limit, user)

    def delta(self, operation_id: int) -> Delta:
        """Return what an operation changed; its inverse, rebased, takes the operation back."""
        operation = self.operation(operation_id)
        return difference(self._storage, operation.operation_id - 1, operation.operation_id)

    def last_undoable(self, user: str) -> Operation | None:
        """Return what the user's undo takes back: the newest edit of theirs that stands."""
        with read(self._engine) as connection:
            return history.last_undoable(connection, self._storage.volume_id, user)

    def last_redoable(self, user: str) -> Operation | None:
        """Return the undo that the user's redo takes back; None after a newer edit of theirs."""
        with read(self._engine) as connection:
            return history.last_redoable(connection, self._storage.volume_id, user)

    # Housekeeping

    def sweep_orphans(self, min_age_s: float = 3600.0) -> list[str]:
        """Delete packs that no version names and return their names.

        They are what a crash between pack and transaction leaves. A pack younger than `min_age_s`
        may belong to a commit that is under way, so the age must exceed the longest commit.
        """
        old = [name for name, age in self._storage.packs.names() if age >= min_age_s]
        with read(self._engine) as connection:
            query = sa.select(CHUNKS.c.pack).distinct()
            here = CHUNKS.c.volume_id == self._storage.volume_id
            named = set(connection.scalars(query.where(here)))
        orphans = [name for name in old if name not in named]
        for name in orphans:
            self._storage.packs.remove(name)
        return orphans


def _volume_id(engine: sa.Engine, volume: str, levels: tuple[ScaleLevel, ...]) -> int:
    shapes = [list(level.shape) for level in levels]
    query = sa.select(VOLUMES.c.volume_id, VOLUMES.c.shapes).where(VOLUMES.c.name == volume)
    with read(engine) as connection:
        row = connection.execute(query).one_or_none()
    if row is None:
        with write(engine) as connection:
            row = connection.execute(query).one_or_none()
            if row is None:
                values = {"name": volume, "shapes": shapes, "head": 0, "next_id": 1}
                connection.execute(VOLUMES.insert(), values)
                row = connection.execute(query).one()
    if row[1] != shapes:
        raise ConflictError(
            f"The labels of {volume} were made on a grid of {row[1][0]} voxels with "
            f"{len(row[1])} levels, not {shapes[0]} with {len(shapes)}; register the image under "
            "another name.",
            ErrorKind.NAME_TAKEN,
        )
    return int(row[0])
