"""How to open the database safely, read one consistent state of it, and change it durably.

A change is answered when it would survive a crash. SQLite waits for its disk inside the COMMIT, and
its writers stand in line (`locks.turn`). On PostgreSQL a transaction commits first and waits for
the disk afterwards, without its row locks (`confirm`): the log is written in order, so the flush of
a later transaction covers every earlier one, and writers of one volume share flushes instead of
waiting for each other's. Others may thus see a change a moment before it is durable, but nothing
that builds on it is durable without it.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import event

from segmentation_backend import migrations
from segmentation_backend.database.copies import copy_sqlite
from segmentation_backend.database.errors import translated, unconfirmed
from segmentation_backend.database.locks import BUSY_TIMEOUT_S, turn

__all__ = ["confirm", "open_database", "read", "write"]


def open_database(url_or_path: str | Path) -> sa.Engine:
    """Return an engine for a SQLAlchemy URL, or for a SQLite file at a path (made when absent).

    The tables are made, or brought up to date, before this returns; FormatError UNSUPPORTED_FORMAT
    when a newer program has changed them. Create the engine after a fork, never before.
    """
    is_path = isinstance(url_or_path, Path) or "://" not in url_or_path
    engine = connect(f"sqlite:///{url_or_path}" if is_path else str(url_or_path))
    with translated():
        migrations.bring_up_to_date(engine, write, copy_sqlite)
    return engine


def connect(address: str) -> sa.Engine:
    """Return an engine for the database at a URL, whatever its tables are; see `open_database`."""
    url = sa.make_url(address)
    if url.get_backend_name() == "sqlite" and url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    # Every thread of a server may hold a connection of its own.
    engine = sa.create_engine(url, pool_size=8, max_overflow=120)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    # The driver's own transaction handling would begin too late; `_begin_sqlite` does it.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={int(BUSY_TIMEOUT_S * 1000)}")
    _use_write_ahead_log(cursor)
    # A transaction that was answered survives a crash of the machine, not only of the process.
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _use_write_ahead_log(cursor: sqlite3.Cursor) -> None:
    # SQLite does not wait for others here, whatever its time-out: several processes that open a
    # new file at once would fail.
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as err:
            if err.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _begin_sqlite(connection: sa.Connection) -> None:
    # A deferred transaction that upgrades from read to write fails at once when another process
    # wrote in between; a writer therefore takes the write lock when it begins, and waits for it.
    if connection.get_execution_options().get("mitoglance_write", False):
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        # Straight to the driver: reads are many, and this cannot fail.
        connection.connection.cursor().execute("BEGIN")


class _Current(threading.local):
    """The transaction that each thread is in, by engine."""

    def __init__(self) -> None:
        self.connections: dict[sa.Engine, sa.Connection] = {}


_current = _Current()


@contextmanager
def _entered(engine: sa.Engine, connection: sa.Connection) -> Iterator[None]:
    outer = _current.connections.get(engine)
    _current.connections[engine] = connection
    try:
        yield
    finally:
        if outer is None:
            del _current.connections[engine]
        else:
            _current.connections[engine] = outer


@contextmanager
def read(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Yield a connection that sees one consistent state; nothing is written.

    Inside another `read` or `write` of the same thread it is that one's connection, so that a
    commit sees what it locked and needs no second connection.
    """
    outer = _current.connections.get(engine)
    if outer is not None:
        yield outer
        return
    with translated(), engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            # By default each statement would see a state of its own.
            connection.execution_options(isolation_level="REPEATABLE READ")
        with connection.begin(), _entered(engine, connection):
            yield connection


@contextmanager
def write(engine: sa.Engine, *, durable: bool = True) -> Iterator[sa.Connection]:
    """Yield a connection whose changes become visible together at the end, durably, or not at all.

    On SQLite it holds the write lock. On PostgreSQL it holds what it locks (`FOR UPDATE`), and each
    statement sees what was committed before it. Without `durable` a power cut may take the changes
    back, until the next durable ones: for what matters only to these, such as an id to be used.
    """
    with translated(), turn(engine), engine.connect() as connection:
        connection.execution_options(mitoglance_write=True)
        with _synced(connection, durable), connection.begin(), _entered(engine, connection):
            yield connection
            if engine.dialect.name == "postgresql":
                connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
        if durable:
            with unconfirmed():
                _flush(connection)


@contextmanager
def _synced(connection: sa.Connection, durable: bool) -> Iterator[None]:
    """Have SQLite's COMMIT wait for the disk, or not; the log keeps the order either way."""
    driver: object = connection.connection.dbapi_connection
    if durable or not isinstance(driver, sqlite3.Connection):
        yield
        return
    driver.execute("PRAGMA synchronous=NORMAL")
    try:
        yield
    finally:
        driver.execute("PRAGMA synchronous=FULL")


def confirm(engine: sa.Engine) -> None:
    """Return when every change this process has seen is durable.

    For an answer that repeats what another transaction wrote: that one may not be flushed yet.
    """
    if engine.dialect.name == "postgresql":
        with translated(), unconfirmed(), engine.connect() as connection:
            _flush(connection)


def _flush(connection: sa.Connection) -> None:
    if connection.dialect.name == "postgresql":
        # A transaction that writes to the log and commits as the server is told to: its commit
        # waits until the log is on disk up to there, and so on every standby that is waited for.
        connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.exec_driver_sql("SELECT pg_logical_emit_message(true, 'mitoglance', '')")
