"""Names for versions: branches that move on, tags that stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from segmentation_backend.errors import ConflictError, ErrorKind, InvalidInputError, NotFoundError
from segmentation_backend.labels.branches import (
    MAIN,
    Branch,
    check_name,
    is_there,
    list_branches,
)
from segmentation_backend.labels.schema import BRANCHES, TAGS, VOLUMES

__all__ = [
    "Tag",
    "create_branch",
    "create_tag",
    "delete_branch",
    "delete_tag",
    "find_branch",
    "list_tags",
    "time_text",
]


@dataclass(frozen=True, slots=True)
class Tag:
    """A name somebody gave to a version."""

    name: str
    version: int
    user: str
    time: str
    """UTC, ISO 8601."""
    note: str

    def to_json(self) -> dict[str, Any]:
        """Return the tag as the HTTP interface shows it."""
        return {
            "name": self.name,
            "version": self.version,
            "user": self.user,
            "time": self.time,
            "note": self.note,
        }


def time_text(time: datetime) -> str:
    """Return a time as it is stored: UTC, ISO 8601, milliseconds."""
    return time.isoformat(timespec="milliseconds")


def find_branch(connection: sa.Connection, volume_id: int, name: str) -> Branch:
    """Return a branch by its name; raises NotFoundError BRANCH_NOT_FOUND."""
    branches = list_branches(connection, volume_id)
    for branch in branches:
        if branch.name == name:
            return branch
    known = ", ".join(branch.name for branch in branches)
    raise NotFoundError(
        f"There is no branch {name[:80]!r} in this volume; there are: {known}.",
        ErrorKind.BRANCH_NOT_FOUND,
    )


def create_branch(
    connection: sa.Connection, volume_id: int, branch: Branch, parent_id: int
) -> Branch:
    """Write a new branch (its id is ignored) and return it as it is now; nothing is copied.

    The same branch again (name, parent, place and user) is answered with what is there; another
    one of that name is ConflictError NAME_TAKEN.
    """
    check_name(branch.name, "branch")
    _lock(connection, volume_id)
    _check_there(connection, volume_id, branch.fork_version)
    _refuse_tag(list_tags(connection, volume_id), branch.name)
    for known in list_branches(connection, volume_id):
        if known.name == branch.name:
            if (known.parent, known.fork_version) == (branch.parent, branch.fork_version):
                return known
            raise ConflictError(
                f"There is a branch {branch.name} already; choose another name.",
                ErrorKind.NAME_TAKEN,
            )
    values = {
        "volume_id": volume_id,
        "name": branch.name,
        "parent_id": parent_id,
        "fork_version": branch.fork_version,
        "head": branch.fork_version,
        "user_name": branch.user,
        "time": branch.time,
    }
    connection.execute(BRANCHES.insert(), values)
    return find_branch(connection, volume_id, branch.name)


def delete_branch(connection: sa.Connection, volume_id: int, name: str, time: str) -> None:
    """Take a branch out of the list; its versions can be read until `gc` removes them."""
    _lock(connection, volume_id)
    branch = find_branch(connection, volume_id, name)
    if name == MAIN:
        raise InvalidInputError(
            f"The branch {MAIN} cannot be deleted: every volume begins with it.",
            ErrorKind.INVALID_PARAMETER,
        )
    here = BRANCHES.c.branch_id == branch.branch_id
    connection.execute(BRANCHES.update().where(here).values(deleted=time))


def list_tags(connection: sa.Connection, volume_id: int) -> list[Tag]:
    """Return the tags of a volume, the newest version first."""
    t = TAGS.c
    rows = connection.execute(
        sa.select(t.name, t.version, t.user_name, t.time, t.note)
        .where(t.volume_id == volume_id)
        .order_by(t.version.desc(), t.name)
    )
    return [Tag(*row) for row in rows]


def create_tag(connection: sa.Connection, volume_id: int, tag: Tag) -> Tag:
    """Write a tag and return it; the same name for another version is ConflictError NAME_TAKEN."""
    check_name(tag.name, "tag")
    _lock(connection, volume_id)
    _check_there(connection, volume_id, tag.version)
    for known in list_tags(connection, volume_id):
        if known.name == tag.name:
            if known.version == tag.version:
                return known
            raise ConflictError(
                f"The tag {tag.name} names version {known.version} already; a tag never moves. "
                "Choose another name, or delete it first.",
                ErrorKind.NAME_TAKEN,
            )
    if any(branch.name == tag.name for branch in list_branches(connection, volume_id)):
        raise ConflictError(
            f"There is a branch {tag.name} already; choose another name for the tag.",
            ErrorKind.NAME_TAKEN,
        )
    values = {"name": tag.name, "version": tag.version, "user_name": tag.user, "time": tag.time}
    connection.execute(TAGS.insert(), {"volume_id": volume_id, "note": tag.note} | values)
    return tag


def delete_tag(connection: sa.Connection, volume_id: int, name: str) -> None:
    """Delete a tag; the version it named stays. NotFoundError TAG_NOT_FOUND."""
    here = (TAGS.c.volume_id == volume_id) & (TAGS.c.name == name)
    if connection.execute(TAGS.delete().where(here)).rowcount == 0:
        raise NotFoundError(
            f"There is no tag {name[:80]!r} in this volume.", ErrorKind.TAG_NOT_FOUND
        )


def _refuse_tag(tags: Sequence[Tag], name: str) -> None:
    if any(tag.name == name for tag in tags):
        raise ConflictError(
            f"There is a tag {name} already; choose another name for the branch.",
            ErrorKind.NAME_TAKEN,
        )


def _check_there(connection: sa.Connection, volume_id: int, version: int) -> None:
    # Under the lock, where `gc` waits: what was there a moment ago may have been removed.
    if not is_there(connection, volume_id, version):
        raise NotFoundError(
            f"There is no version {version} of this volume any more; see its history.",
            ErrorKind.VERSION_NOT_FOUND,
        )


def _lock(connection: sa.Connection, volume_id: int) -> None:
    # Names are unique among those not deleted, which no index can say: writers wait in line.
    query = sa.select(VOLUMES.c.head).where(VOLUMES.c.volume_id == volume_id).with_for_update()
    connection.execute(query).scalar_one()
