"""What the drivers say when something outside fails → sentences with a way out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import exc

from segmentation_backend.errors import ErrorKind, FormatError, ResourceError, SegmentationError

__all__ = ["translated", "unconfirmed"]

_OURS = (exc.IntegrityError, exc.ProgrammingError, exc.DataError, exc.NotSupportedError)
"""What is wrong with a statement, not with the world: for whoever wrote the statement."""

_FULL = (
    "The disk that holds the database is full; nothing was changed. Free some space and try again."
)
_READ_ONLY = (
    "The database cannot be written to ({message}); nothing was changed. Check that its disk is "
    "mounted for writing and that this user may write to the file and its folder."
)
_FORBIDDEN = (
    "The database does not let this user do what is needed ({message}); nothing was changed. Give "
    "the user of database_url the right to read and write all tables, or to make them."
)
_DISK = (
    "The disk that holds the database failed ({message}). Look at that disk; an edit that was "
    "under way can be asked for again with the same request id, and is done once."
)
_BUSY = "Others were writing all the time ({message}); nothing was changed. Try again in a moment."
_DAMAGED = (
    "The database is damaged ({message}). Stop every process that uses it and restore the newest "
    "backup (mitoglance restore)."
)
_LOST = (
    "The connection to the database was lost ({message}). What was asked may or may not have been "
    "done: ask again with the same request id, and it is done once."
)
_ELSE = (
    "The database did not answer ({message}); nothing was changed. Try again; if it stays, look at "
    "the database server, or at the disk that holds the data directory."
)

_SQLITE: dict[str, tuple[str, ErrorKind]] = {
    "SQLITE_FULL": (_FULL, ErrorKind.DISK_FULL),
    "SQLITE_READONLY": (_READ_ONLY, ErrorKind.SOURCE_UNAVAILABLE),
    "SQLITE_CANTOPEN": (_READ_ONLY, ErrorKind.SOURCE_UNAVAILABLE),
    "SQLITE_PERM": (_READ_ONLY, ErrorKind.SOURCE_UNAVAILABLE),
    "SQLITE_IOERR": (_DISK, ErrorKind.SOURCE_UNAVAILABLE),
    "SQLITE_BUSY": (_BUSY, ErrorKind.SOURCE_UNAVAILABLE),
    "SQLITE_LOCKED": (_BUSY, ErrorKind.SOURCE_UNAVAILABLE),
    "SQLITE_CORRUPT": (_DAMAGED, ErrorKind.CORRUPT_DATABASE),
    "SQLITE_NOTADB": (_DAMAGED, ErrorKind.CORRUPT_DATABASE),
}
"""By the beginning of SQLite's name of the error."""

_POSTGRESQL: dict[str, tuple[str, ErrorKind]] = {
    "53100": (_FULL, ErrorKind.DISK_FULL),
    "42501": (_FORBIDDEN, ErrorKind.SOURCE_UNAVAILABLE),
    "25006": (_READ_ONLY, ErrorKind.SOURCE_UNAVAILABLE),
    "58030": (_DISK, ErrorKind.SOURCE_UNAVAILABLE),
    "40": (_BUSY, ErrorKind.SOURCE_UNAVAILABLE),
    "55P03": (_BUSY, ErrorKind.SOURCE_UNAVAILABLE),
    "57P": (_LOST, ErrorKind.SOURCE_UNAVAILABLE),
    "08": (_LOST, ErrorKind.SOURCE_UNAVAILABLE),
    "XX001": (_DAMAGED, ErrorKind.CORRUPT_DATABASE),
    "XX002": (_DAMAGED, ErrorKind.CORRUPT_DATABASE),
}
"""By the beginning of the SQLSTATE."""


@contextmanager
def translated() -> Iterator[None]:
    """Raise what goes wrong with disks, servers and connections as ResourceError or FormatError."""
    try:
        yield
    except exc.TimeoutError as err:
        raise ResourceError(
            "Too many requests wait for the database; nothing was changed. Try again in a moment.",
            ErrorKind.SOURCE_UNAVAILABLE,
        ) from err
    except exc.DatabaseError as err:
        forbidden = getattr(err.orig, "sqlstate", None) == "42501"
        ours = isinstance(err, _OURS) and not forbidden
        if ours or getattr(err.orig, "sqlite_errorname", "") == "SQLITE_ERROR":
            raise
        raise _meaning(err) from err


@contextmanager
def unconfirmed() -> Iterator[None]:
    """Say of a failure that comes after a commit that the commit may stand."""
    try:
        yield
    except exc.DatabaseError as err:
        message = _LOST.format(message=_one_line(err))
        raise ResourceError(message, ErrorKind.SOURCE_UNAVAILABLE) from err


def _meaning(err: exc.DatabaseError) -> SegmentationError:
    name = getattr(err.orig, "sqlite_errorname", None)
    code = name or getattr(err.orig, "sqlstate", None) or ""
    known = _SQLITE if name else _POSTGRESQL
    text, kind = next((known[key] for key in known if code.startswith(key)), ("", None))
    if kind is None:
        text = _LOST if err.connection_invalidated else _ELSE
        kind = ErrorKind.SOURCE_UNAVAILABLE
    message = text.format(message=_one_line(err))
    if kind == ErrorKind.CORRUPT_DATABASE:
        return FormatError(message, kind)
    return ResourceError(message, kind)


def _one_line(err: exc.DatabaseError) -> str:
    return " ".join(str(err.orig).split())
