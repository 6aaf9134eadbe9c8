"""Branches: names for lines of versions, and the way from a version back to the first one.

A branch is a row that says where it left its parent; making one copies nothing. Operation ids are
given out once per volume, so a version is one number whatever its branch, and everything a branch
wrote is newer than the version it left its parent at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import sqlalchemy as sa

from segmentation_backend.errors import ErrorKind, InvalidInputError, NotFoundError
from segmentation_backend.labels.schema import BRANCHES, OPERATIONS

__all__ = [
    "MAIN",
    "Branch",
    "Path",
    "Segment",
    "Versions",
    "check_name",
    "common_ancestor",
    "is_there",
    "list_branches",
    "within",
]

MAIN = "main"
"""The branch that every volume begins with."""

_NAME = re.compile(r"(?!\d+$)[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class Segment(NamedTuple):
    """Operations of one branch, from `after + 1` to `upto`."""

    branch_id: int
    after: int
    upto: int


Path: TypeAlias = tuple[Segment, ...]
"""The operations that made a version, as stretches of branches, the newest first."""


@dataclass(frozen=True, slots=True)
class Branch:
    """One branch as users see it."""

    branch_id: int
    name: str
    parent: str | None
    """The branch it left; None for the first."""
    fork_version: int
    """The version at which it left."""
    head: int
    """Its newest version: `fork_version` until something is committed to it."""
    user: str
    time: str
    """When it was made: UTC, ISO 8601."""

    def to_json(self) -> dict[str, Any]:
        """Return the branch as the HTTP interface shows it."""
        return {
            "name": self.name,
            "parent": self.parent,
            "fork_version": self.fork_version,
            "version": self.head,
            "user": self.user,
            "time": self.time,
        }


def check_name(name: str, what: str) -> str:
    """Return the name of a branch or tag, or raise InvalidInputError INVALID_NAME."""
    if not _NAME.fullmatch(name):
        raise InvalidInputError(
            f"{name[:80]!r} cannot be the name of a {what}: use 1 to 64 letters, digits, '_', '-' "
            "and '.', beginning with a letter or digit, and not digits alone (those are versions).",
            ErrorKind.INVALID_NAME,
        )
    return name


def within(
    path: Path, branch: sa.ColumnElement[int], at: sa.ColumnElement[int]
) -> sa.ColumnElement[bool]:
    """Return the SQL condition that a row was written by an operation of the path."""
    return sa.or_(
        sa.false(),
        *(
            (branch == segment.branch_id) & (at > segment.after) & (at <= segment.upto)
            for segment in path
        ),
    )


def list_branches(connection: sa.Connection, volume_id: int) -> list[Branch]:
    """Return the branches of a volume that are not deleted, the oldest first."""
    b, parents = BRANCHES.c, BRANCHES.alias("parents")
    rows = connection.execute(
        sa.select(b.branch_id, b.name, parents.c.name, b.fork_version, b.head, b.user_name, b.time)
        .select_from(BRANCHES.outerjoin(parents, parents.c.branch_id == b.parent_id))
        .where(b.volume_id == volume_id, b.deleted.is_(None))
        .order_by(b.branch_id)
    )
    return [Branch(*row) for row in rows]


def is_there(connection: sa.Connection, volume_id: int, version: int) -> bool:
    """Whether a version can be read: `gc` removes those of deleted branches."""
    o = OPERATIONS.c
    query = sa.select(o.operation_id).where(o.volume_id == volume_id, o.operation_id == version)
    return version == 0 or connection.scalar(query) is not None


class _Fork(NamedTuple):
    parent_id: int | None
    version: int


class Versions:
    """Which branch a version is on, and the way back from it; what never changes is remembered."""

    def __init__(self, volume_id: int, main_id: int) -> None:
        """Know the versions of one volume, whose first branch is `main_id`."""
        self._volume_id = volume_id
        self._main_id = main_id
        self._forks: dict[int, _Fork] = {main_id: _Fork(None, 0)}
        self._branch_of: dict[int, int] = {0: main_id}

    def note(self, version: int, branch_id: int) -> None:
        """Remember that an operation was made on a branch; saves a look-up."""
        if len(self._branch_of) > 100_000:
            self._branch_of = {0: self._main_id}
        self._branch_of[version] = branch_id

    def branch_of(self, connection: sa.Connection, version: int) -> int:
        """Return the branch whose operation made a version; NotFoundError VERSION_NOT_FOUND."""
        known = self._branch_of.get(version)
        if known is not None:
            return known
        o = OPERATIONS.c
        found = None
        if 0 < version < 2**63:
            found = connection.scalar(
                sa.select(o.branch_id).where(
                    o.volume_id == self._volume_id, o.operation_id == version
                )
            )
        if found is None:
            raise NotFoundError(
                f"There is no version {version} of this volume; see its history.",
                ErrorKind.VERSION_NOT_FOUND,
            )
        self.note(version, int(found))
        return int(found)

    def path(self, connection: sa.Connection, version: int) -> Path:
        """Return the way from a version back to the first one; NotFoundError VERSION_NOT_FOUND."""
        branch_id = self.branch_of(connection, version)
        if branch_id != self._main_id and not is_there(connection, self._volume_id, version):
            # What was known of it is from before `gc`: its rows are gone, which is not empty.
            self._branch_of.pop(version, None)
            self.branch_of(connection, version)
        return tuple(self._segments(connection, branch_id, version))

    def _segments(
        self, connection: sa.Connection, branch_id: int, version: int
    ) -> Iterator[Segment]:
        at: int | None = branch_id
        while at is not None:
            fork = self._fork(connection, at)
            if version > fork.version or fork.parent_id is None:
                yield Segment(at, fork.version, version)
            version = min(version, fork.version)
            at = fork.parent_id

    def _fork(self, connection: sa.Connection, branch_id: int) -> _Fork:
        known = self._forks.get(branch_id)
        if known is None:
            b = BRANCHES.c
            row = connection.execute(
                sa.select(b.parent_id, b.fork_version).where(b.branch_id == branch_id)
            ).one()
            known = self._forks[branch_id] = _Fork(*row)
        return known

    def between(self, connection: sa.Connection, after: int, upto: int) -> Path:
        """Return the operations that led from a version to a later one of its line."""
        return clip(self.path(connection, upto), after)

    def is_ancestor(self, connection: sa.Connection, version: int, later: int) -> bool:
        """Whether `later` was made from `version` (or is it)."""
        if version == 0:
            return True
        if version > later:
            return False
        branch_id = self.branch_of(connection, version)
        return any(
            segment.branch_id == branch_id and version <= segment.upto
            for segment in self.path(connection, later)
        )


def clip(path: Path, after: int) -> Path:
    """Return the part of a path that is newer than a version on it."""
    return tuple(
        segment._replace(after=max(after, segment.after))
        for segment in path
        if segment.upto > after
    )


def common_ancestor(one: Path, other: Path) -> int:
    """Return the newest version that both paths go through."""
    ends: Mapping[int, int] = {segment.branch_id: segment.upto for segment in other}
    shared = [
        min(segment.upto, ends[segment.branch_id]) for segment in one if segment.branch_id in ends
    ]
    return max(shared, default=0)
