"""Statements written as text, for what is asked a dozen times per edit.

SQLAlchemy takes several times longer to build and dispatch an expression than SQLite to answer it,
so on SQLite these go straight to the driver; the transaction around them stays SQLAlchemy's.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

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
    driver: object = connection.connection.dbapi_connection
    if not isinstance(driver, sqlite3.Connection):
        result = connection.exec_driver_sql(_spelt(text), tuple(bound))
        return iter(result) if result.returns_rows else iter(())
    try:
        return driver.execute(text, bound)
    except sqlite3.Error as err:
        raise _wrapped(text, bound, err) from err


def run_many(connection: sa.Connection, text: str, rows: Sequence[Sequence[Value]]) -> None:
    """Run one statement that returns nothing for each of several rows of bound values."""
    driver: object = connection.connection.dbapi_connection
    if not isinstance(driver, sqlite3.Connection):
        connection.exec_driver_sql(_spelt(text), [tuple(row) for row in rows])
        return
    try:
        driver.executemany(text, rows)
    except sqlite3.Error as err:
        raise _wrapped(text, rows, err) from err


@lru_cache(maxsize=256)
def _spelt(text: str) -> str:
    return text.replace("?", "%s")


def _wrapped(text: str, bound: Sequence[Any], err: sqlite3.Error) -> exc.DBAPIError:
    kind = getattr(exc, type(err).__name__, exc.DatabaseError)
    wrapped: exc.DBAPIError = kind(text, tuple(bound), err)
    return wrapped


@lru_cache(maxsize=256)
def values(count: int, width: int = 1) -> str:
    """Return the text of `count` bound rows of `width` numbers each."""
    row = f"({','.join('?' * width)})"
    return ",".join([row] * count)
