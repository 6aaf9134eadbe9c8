"""A copy of a SQLite database that others are writing to, as it was at one moment."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from segmentation_backend.errors import ErrorKind, ResourceError

__all__ = ["copy_sqlite"]


def copy_sqlite(source: Path, target: Path) -> None:
    """Copy a database to a new file, whole and durable, or not at all; writers need not wait.

    Replaces `target`. Raises ResourceError DISK_FULL when it cannot be written.
    """
    temporary = target.with_name(f"{target.name}.part")
    try:
        temporary.unlink(missing_ok=True)
        with (
            closing(sqlite3.connect(source)) as original,
            closing(sqlite3.connect(temporary)) as copy,
        ):
            # All pages in one step: they are of one moment, and a write-ahead log lets others on.
            original.backup(copy)
            # A file of its own, without a log beside it.
            copy.execute("PRAGMA journal_mode=DELETE")
        _sync(temporary)
        temporary.replace(target)
        _sync(target.parent)
    except (sqlite3.Error, OSError) as err:
        raise ResourceError(
            f"The database {source} could not be copied to {target} ({err}); nothing was changed. "
            f"See that there is as much space as the database takes and try again.",
            ErrorKind.DISK_FULL,
        ) from err


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
