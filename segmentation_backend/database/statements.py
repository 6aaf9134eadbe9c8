"""Statements written as text, for what is asked a dozen times per edit.

SQLAlchemy takes several times longer to build and dispatch an expression than a database to answer
it, so these go straight to the driver; the transaction around them stays SQLAlchemy's.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, TypeAlias, cast

import sqlalchemy as sa
from sqlalchemy import exc

__all__ = ["Value", "run", "run_many", "values"]

Value: TypeAlias = int | str | None
"""What may be bound: bool counts as int; JSON as its text."""


def run(
    connection: sa.Connection, text: str, bound: Sequence[Value] = ()
) -> Iterator[Sequence[Any]]:
    """Run one statement in the connection's transaction and yield its rows, if it has any.

    Each `?` stands for one of `bound`. Errors are SQLAlchemy's.
    """
    driver: Any = connection.connection.dbapi_connection
    try:
        if isinstance(driver, sqlite3.Connection):
            return driver.execute(text, bound)
        cursor = driver.execute(_spelt(text), bound)
    except connection.dialect.loaded_dbapi.Error as err:
        raise _wrapped(connection, text, bound, err) from err
    return iter(cursor) if cursor.description is not None else iter(())


def run_many(connection: sa.Connection, text: str, rows: Sequence[Sequence[Value]]) -> None:
    """Run one statement that returns nothing for each of several rows of bound values."""
    driver: Any = connection.connection.dbapi_connection
    try:
        if isinstance(driver, sqlite3.Connection):
            driver.executemany(text, rows)
        elif len(rows) == 1:
            driver.execute(_spelt(text), rows[0])
        else:
            driver.cursor().executemany(_spelt(text), rows)
    except connection.dialect.loaded_dbapi.Error as err:
        raise _wrapped(connection, text, rows, err) from err


@lru_cache(maxsize=256)
def _spelt(text: str) -> str:
    return text.replace("?", "%s")


def _wrapped(
    connection: sa.Connection, text: str, bound: Sequence[Any], err: Exception
) -> exc.DBAPIError:
    """Return SQLAlchemy's own error, and give up a connection that is lost."""
    dialect = connection.dialect
    is_lost = dialect.is_disconnect(cast("Any", err), connection.connection, None)
    if is_lost:
        connection.invalidate(err)
    wrapped = exc.DBAPIError.instance(
        text, tuple(bound), err, dialect.loaded_dbapi.Error, connection_invalidated=is_lost
    )
    return cast("exc.DBAPIError", wrapped)


@lru_cache(maxsize=256)
def values(count: int, width: int = 1) -> str:
    """Return the text of `count` bound rows of `width` numbers each."""
    row = f"({','.join('?' * width)})"
    return ",".join([row] * count)
