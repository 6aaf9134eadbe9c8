"""All rows of a database as text, to be read into any other: SQLite or PostgreSQL.

Lines of JSON: for each table one object, its name and columns, then one array per row.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, BinaryIO

import sqlalchemy as sa

from segmentation_backend.database.engine import read, write
from segmentation_backend.errors import ErrorKind, FormatError

__all__ = ["dump_rows", "is_empty", "load_rows", "revision_of"]

_VERSION_TABLE = "alembic_version"
_BATCH = 5000

Row = dict[str, Any]


def revision_of(connection: sa.Connection) -> str:
    """Return the revision that the tables of a database are at."""
    found: str = connection.scalars(sa.text(f"SELECT version_num FROM {_VERSION_TABLE}")).one()
    return found


def is_empty(engine: sa.Engine) -> bool:
    """Whether a database has no row but the one that says which tables it has."""
    with read(engine) as connection:
        for table in _tables(connection):
            if connection.execute(sa.select(sa.literal(1)).select_from(table).limit(1)).first():
                return False
    return True


def dump_rows(engine: sa.Engine, output: BinaryIO) -> tuple[str, dict[str, int]]:
    """Write every row, as of one moment, and return (revision, rows per table)."""
    counts: dict[str, int] = {}
    with read(engine) as connection:
        revision = revision_of(connection)
        for table in _tables(connection):
            _write_line(output, {"table": table.name, "columns": list(table.columns.keys())})
            query = sa.select(table).order_by(*table.primary_key)
            counts[table.name] = 0
            for row in connection.execute(query.execution_options(yield_per=_BATCH)):
                _write_line(output, list(row))
                counts[table.name] += 1
    return revision, counts


def _write_line(output: BinaryIO, value: object) -> None:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    output.write(text.encode() + b"\n")


def load_rows(
    engine: sa.Engine,
    lines: Iterable[bytes],
    *,
    forget: Collection[str] = (),
    change: Mapping[str, Callable[[Row], Row]] | None = None,
) -> dict[str, int]:
    """Insert what `dump_rows` wrote, all or nothing, and return rows per table.

    Tables in `forget` stay empty; `change` gives rows of a table another form. The tables must be
    there, at the revision of the dump. Raises FormatError UNSUPPORTED_FORMAT for other lines.
    """
    counts: dict[str, int] = {}
    with write(engine) as connection:
        tables = {table.name: table for table in _tables(connection)}
        for name, rows in _by_table(lines):
            if name in forget:
                for _ in rows:
                    pass
                continue
            if name not in tables:
                raise _strange(f"it has a table {name}, which this database lacks")
            adapt = (change or {}).get(name, dict)
            counts[name] = 0
            while batch := [adapt(row) for row in islice(rows, _BATCH)]:
                connection.execute(tables[name].insert(), batch)
                counts[name] += len(batch)
        _advance_counters(connection, tables.values())
    return counts


def _tables(connection: sa.Connection) -> list[sa.Table]:
    metadata = sa.MetaData()
    metadata.reflect(connection)
    found = [table for table in metadata.sorted_tables if table.name != _VERSION_TABLE]
    for table in found:
        for column in table.columns:
            if isinstance(column.type, sa.JSON):
                # None is "no value" in our tables, never the JSON word null.
                column.type = sa.JSON(none_as_null=True)
    return found


def _by_table(lines: Iterable[bytes]) -> Iterator[tuple[str, Iterator[Row]]]:
    """Yield each table's name and its rows, which must be used up before the next table."""
    stream = iter(lines)
    header: list[Any] = [next(stream, None)]

    def rows(columns: list[str]) -> Iterator[Row]:
        header[0] = None
        for line in stream:
            values = json.loads(line)
            if isinstance(values, dict):
                header[0] = line
                return
            yield dict(zip(columns, values, strict=True))

    while header[0] is not None:
        try:
            about = json.loads(header[0])
            name, columns = about["table"], about["columns"]
        except (ValueError, TypeError, KeyError) as err:
            raise _strange("its lines are not what is expected") from err
        yield name, rows(columns)


def _strange(why: str) -> FormatError:
    return FormatError(
        f"This is not a dump of a Mitoglance database: {why}. Nothing was changed.",
        ErrorKind.UNSUPPORTED_FORMAT,
    )


def _advance_counters(connection: sa.Connection, tables: Iterable[sa.Table]) -> None:
    """Let PostgreSQL's counters go on after the numbers that were inserted."""
    if connection.dialect.name != "postgresql":
        return
    for table in tables:
        for column in table.primary_key:
            name = connection.scalar(sa.func.pg_get_serial_sequence(table.name, column.name))
            if name is not None:
                largest = sa.select(sa.func.max(column)).scalar_subquery()
                # Not used yet, the next number is 1; after n, it is n + 1.
                connection.execute(
                    sa.select(
                        sa.func.setval(name, sa.func.coalesce(largest, 1), largest.is_not(None))
                    )
                )
