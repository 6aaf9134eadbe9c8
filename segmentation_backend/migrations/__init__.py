"""The history of the tables: every database that any release made is brought up to date at start.

One revision per change, in `versions/`, written by hand and never edited after a release. A
revision states the tables it knows itself: the code they were made for has moved on.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeAlias

import sqlalchemy as sa
from sqlalchemy import exc

__all__ = ["NEWEST", "REVISIONS", "Begin", "Copy", "bring_up_to_date", "upgrade"]

REVISIONS = ("0001", "0002", "0003", "0004", "0005")
"""Every revision, the oldest first."""

NEWEST = REVISIONS[-1]

Begin: TypeAlias = Callable[[sa.Engine], AbstractContextManager[sa.Connection]]
"""Begins a transaction that writes; see `database.write`."""

Copy: TypeAlias = Callable[[Path, Path], None]
"""Copies a SQLite database that is in use; see `database.copy_sqlite`."""


def bring_up_to_date(engine: sa.Engine, begin: Begin, copy: Copy) -> None:
    """Make the tables what this program expects; costs one SELECT when they are already.

    Any number of processes may call this at once: one works, the others wait for it. Raises
    FormatError UNSUPPORTED_FORMAT when a newer program made the tables, ResourceError when they
    cannot be changed; they are as they were then.
    """
    if _revision(engine) != NEWEST:
        upgrade(engine, begin, copy, NEWEST)


def upgrade(engine: sa.Engine, begin: Begin, copy: Copy, revision: str) -> None:
    """Make the tables those of a revision (for a backup that is as old); see `bring_up_to_date`."""
    # Alembic costs a tenth of a second to import, and is needed once per release.
    from segmentation_backend.migrations.upgrading import upgrade as run

    run(engine, begin, copy, revision)


def _revision(engine: sa.Engine) -> str | None:
    query = sa.text("SELECT version_num FROM alembic_version")
    try:
        with engine.connect() as connection:
            found: str | None = connection.scalar(query)
    except (exc.OperationalError, exc.ProgrammingError):
        with engine.connect() as connection:
            if sa.inspect(connection).has_table("alembic_version"):
                raise
        return None
    return found
