"""How to open the metadata database safely: SQLite by default, PostgreSQL by URL."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import event, exc

from segmentation_backend.errors import ErrorKind, ResourceError

__all__ = ["create_tables", "open_database", "read", "write"]

_LOCK_NUMBER = 0x6D69746F
"""Any number, the same in every process: PostgreSQL's name for the table-making lock."""

BUSY_TIMEOUT_S = 30.0
"""How long a writer waits for another process's transaction before it gives up."""


def open_database(url_or_path: str | Path) -> sa.Engine:
    """Return an engine for a SQLAlchemy URL, or for a SQLite file at a path (made when absent).

    SQLite runs in WAL mode with `synchronous=FULL`: a transaction that was answered survives a
    crash. Create the engine after a fork, never before.
    """
    if isinstance(url_or_path, Path) or "://" not in str(url_or_path):
        Path(url_or_path).parent.mkdir(parents=True, exist_ok=True)
        url_or_path = f"sqlite:///{url_or_path}"
    # A commit holds one connection and reads on a second: the pool must outnumber the threads of a
    # process twice, or they would wait for each other.
    engine = sa.create_engine(str(url_or_path), pool_size=8, max_overflow=120)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def create_tables(engine: sa.Engine, metadata: sa.MetaData) -> None:
    """Make the tables that are missing; several processes may do so at once."""
    with read(engine) as connection:
        present = set(sa.inspect(connection).get_table_names())
    if present.issuperset(metadata.tables):
        return
    with write(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK_NUMBER)))
        metadata.create_all(connection)


def _configure_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    # The driver's own transaction handling would begin too late; `_begin_sqlite` does it.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={int(BUSY_TIMEOUT_S * 1000)}")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    # A deferred transaction that upgrades from read to write fails at once when another process
    # wrote in between; a writer therefore takes the write lock when it begins, and waits for it.
    wants_write = connection.get_execution_options().get("mitoglance_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if wants_write else "BEGIN")


@contextmanager
def read(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Yield a connection that sees one consistent state; nothing is written."""
    with _translated(), engine.connect() as connection, connection.begin():
        yield connection


@contextmanager
def write(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Yield a connection holding the write lock (SQLite); commits at the end, or not at all."""
    with (
        _translated(),
        engine.connect().execution_options(mitoglance_write=True) as connection,
        connection.begin(),
    ):
        yield connection


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except exc.TimeoutError as err:
        raise ResourceError(
            "Too many requests wait for the database; nothing was changed. Try again in a moment.",
            ErrorKind.SOURCE_UNAVAILABLE,
        ) from err
    except exc.OperationalError as err:
        message = str(err.orig)
        kind = ErrorKind.DISK_FULL if "full" in message else ErrorKind.SOURCE_UNAVAILABLE
        raise ResourceError(
            f"The database did not answer ({message}); nothing was changed. Try again; if it "
            "stays, look at the disk that holds the data directory.",
            kind,
        ) from err
