"""Locks between processes, which a crash lets go of: the line of writers, and maintenance."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import sqlalchemy as sa

from segmentation_backend.errors import ConflictError, ErrorKind, ResourceError

__all__ = ["BUSY_TIMEOUT_S", "hold", "turn"]

BUSY_TIMEOUT_S = 30.0
"""How long a writer waits for the others before it gives up."""

_MAINTENANCE = 0x6D69746F6D
"""Any number, the same in every process: PostgreSQL's name for the maintenance lock."""


@contextmanager
def turn(engine: sa.Engine) -> Iterator[None]:
    """Wait until it is one's turn to write to a SQLite file; elsewhere there is no line.

    SQLite's own waiting looks at the lock ever more rarely and takes it by luck: with four busy
    processes some writers wait for seconds. The line is a courtesy: what keeps writers apart is
    SQLite's lock, also where the file of the line cannot be made.
    """
    descriptor = _open_beside(engine, "-writers")
    if descriptor is None:
        yield
        return
    try:
        if not _locked_within(descriptor, BUSY_TIMEOUT_S):
            raise ResourceError(
                f"Other processes have been writing for {BUSY_TIMEOUT_S:.0f} s; nothing was "
                "changed. Try again in a moment.",
                ErrorKind.SOURCE_UNAVAILABLE,
            )
        yield
    finally:
        os.close(descriptor)


def _open_beside(engine: sa.Engine, suffix: str) -> int | None:
    """Open a file beside a SQLite database; None where there is no such place."""
    path = engine.url.database
    if engine.dialect.name != "sqlite" or not path or path == ":memory:":
        return None
    try:
        return os.open(path + suffix, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:  # a disk that is read-only or full: SQLite's own message says it better
        return None


if sys.platform == "win32":

    def _locked_within(descriptor: int, seconds: float) -> bool:
        return True

    def _try_lock(descriptor: int, shared: bool) -> bool:
        return True

else:
    import fcntl

    def _locked_within(descriptor: int, seconds: float) -> bool:
        """Lock a file, in the order of asking; False when that took too long."""
        if _try_lock(descriptor, shared=False):
            return True
        # The call has no time limit of its own. When it comes too late, the descriptor is closed by
        # then and the lock goes with it.
        waiting = threading.Thread(
            target=fcntl.flock, args=(descriptor, fcntl.LOCK_EX), daemon=True
        )
        waiting.start()
        waiting.join(seconds)
        return not waiting.is_alive()

    def _try_lock(descriptor: int, shared: bool) -> bool:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@contextmanager
def hold(engine: sa.Engine, what: str, *, shared: bool) -> Iterator[None]:
    """Keep maintenance that would be in the way out, or raise ConflictError MAINTENANCE_RUNNING.

    `shared` keeps out only those that are not: backups may run together, but nothing is removed
    meanwhile. A process that dies lets go.
    """
    busy = ConflictError(
        f"{what} cannot begin: another backup, check or clean-up of this database is under way. "
        "Wait until it has finished.",
        ErrorKind.MAINTENANCE_RUNNING,
    )
    if engine.dialect.name == "postgresql":
        kind = "_shared" if shared else ""
        # Held by the connection, which therefore stays open, outside any transaction.
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            take = f"SELECT pg_try_advisory_lock{kind}({_MAINTENANCE})"
            if not connection.exec_driver_sql(take).scalar_one():
                raise busy
            try:
                yield
            finally:
                # A server lets go by itself only some time after a connection was closed.
                with suppress(sa.exc.DBAPIError):
                    connection.exec_driver_sql(f"SELECT pg_advisory_unlock{kind}({_MAINTENANCE})")
                connection.invalidate()
        return
    descriptor = _open_beside(engine, "-maintenance")
    if descriptor is None:
        yield
        return
    try:
        if not _try_lock(descriptor, shared):
            raise busy
        yield
    finally:
        os.close(descriptor)
