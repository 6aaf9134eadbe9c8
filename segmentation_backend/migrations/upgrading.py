"""Runs the revisions that a database lacks: all of them or none, in one process at a time."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from segmentation_backend.errors import ErrorKind, FormatError
from segmentation_backend.migrations import NEWEST, REVISIONS, Begin, Copy

__all__ = ["upgrade"]

_LOCK_NUMBER = 0x6D69746F
"""Any number, the same in every process and release: PostgreSQL's name for the lock."""


def upgrade(engine: sa.Engine, begin: Begin, copy: Copy, revision: str) -> None:
    """Bring the tables to a revision; nothing happens when they are there or beyond."""
    with begin(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK_NUMBER)))
        found = _revision(connection)
        # Whoever waited for another process finds the work done.
        if found is not None and _position(found) >= _position(revision):
            return
        if engine.dialect.name == "sqlite":
            _keep_copy(connection, engine, copy)
        _run(connection, revision)


def _revision(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return found


def _position(revision: str) -> int:
    if revision not in REVISIONS:
        raise FormatError(
            f"The tables of this database are at revision {revision}, this program knows them up "
            f"to {NEWEST}: a newer Mitoglance has changed them. Start that version or a newer one, "
            "or restore a backup from before the change into another data directory.",
            ErrorKind.UNSUPPORTED_FORMAT,
        )
    return REVISIONS.index(revision)


def _keep_copy(connection: sa.Connection, engine: sa.Engine, copy: Copy) -> None:
    """Copy a SQLite file that holds anything to a file beside it."""
    database = engine.url.database
    if database and database != ":memory:" and sa.inspect(connection).get_table_names():
        copy(Path(database), Path(f"{database}.before-{NEWEST}"))


def _run(connection: sa.Connection, revision: str) -> None:
    # No settings file: where the scripts lie and which connection they use is all there is to say.
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    # A database from before there were revisions has some of the tables of the first one, which
    # makes those that are missing and nothing else.
    command.upgrade(config, revision)
