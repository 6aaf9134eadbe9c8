"""The newest row of each of many keys, on the way to one version: the question behind every read.

The statements are text, written once per shape. Keys are bound, not spelt out, and their number is
rounded up to a power of two, so that the database finds most statements prepared.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple, TypeAlias

import sqlalchemy as sa

from segmentation_backend.database.statements import run, values
from segmentation_backend.labels.branches import Path, Segment

__all__ = ["KeyedTable", "Row", "newest_rows", "standing"]

_BATCH = 4096
"""Keys per statement; one statement serves every read that a viewer or an edit makes."""

Row: TypeAlias = Sequence[Any]


class KeyedTable(NamedTuple):
    """A table of rows by (branch, key, operation), and the columns to return."""

    name: str
    keys: tuple[str, ...]
    columns: tuple[str, ...]


def newest_rows(
    connection: sa.Connection, path: Path, table: KeyedTable, keys: Collection[Any]
) -> dict[Any, Row]:
    """Return the newest row on a path of each key, as its `columns`; without a row: absent.

    A key is a number, or a tuple of numbers where the table has several key columns.
    """
    found: dict[Any, Row] = {}
    for segment in path:
        missing = sorted(key for key in keys if key not in found) if found else sorted(keys)
        for start in range(0, len(missing), _BATCH):
            found.update(_on_segment(connection, segment, table, missing[start : start + _BATCH]))
    return found


def _on_segment(
    connection: sa.Connection, segment: Segment, table: KeyedTable, keys: Sequence[Any]
) -> Iterator[tuple[Any, Row]]:
    width = len(table.keys)
    count = 1 << (len(keys) - 1).bit_length()
    # Asking for the last one again changes nothing.
    padded = [*keys, *([keys[-1]] * (count - len(keys)))]
    numbers: Sequence[int] = padded if width == 1 else [*chain.from_iterable(padded)]
    text = _text(table, count)
    branch, after, upto = segment
    around = (branch, branch, after, upto) if len(table.columns) > 1 else (branch, after, upto)
    # As the text has them: the keys first, then the branches, then the operations.
    rows = run(connection, text, (*numbers, *around))
    if len(table.columns) == 1:
        return ((row[0], (row[1],)) for row in rows if row[1] is not None)
    if width == 1:
        return ((row[0], tuple(row[1:])) for row in rows)
    return ((tuple(row[:width]), tuple(row[width:])) for row in rows)


@lru_cache(maxsize=128)
def _text(table: KeyedTable, count: int) -> str:
    keys = ", ".join(table.keys)
    asked = ", ".join(f"k.{key}" for key in table.keys)
    bound = f"WITH k({keys}) AS (VALUES {values(count, len(table.keys))}) "
    same_key = " AND ".join(f"d.{key} = k.{key}" for key in table.keys)
    newest = (
        f"FROM {table.name} d WHERE d.branch_id = ? AND {same_key} "
        "AND d.operation_id > ? AND d.operation_id <= ? ORDER BY d.operation_id DESC LIMIT 1"
    )
    if len(table.columns) == 1:
        # The value itself comes from the index seek that finds the row.
        return f"{bound}SELECT {asked}, (SELECT d.{table.columns[0]} {newest}) FROM k"
    columns = ", ".join(f"r.{column}" for column in table.columns)
    this_key = " AND ".join(f"r.{key} = k.{key}" for key in table.keys)
    return (
        f"{bound}SELECT {asked}, {columns} FROM k CROSS JOIN {table.name} r "
        f"WHERE r.branch_id = ? AND {this_key} "
        f"AND r.operation_id = (SELECT d.operation_id {newest})"
    )


def standing(path: Path, at: int, table: str, key: str) -> tuple[str, list[int]]:
    """Return the condition that a row `r` of `path[at]` is the newest of its key on the path.

    And the numbers that go into it.
    """
    branch, after, upto = path[at]
    # The plus keeps the database from looking through all operations since `after`.
    texts = [
        "r.branch_id = ? AND +r.operation_id > ? AND +r.operation_id <= ? AND NOT EXISTS ("
        f"SELECT 1 FROM {table} n WHERE n.branch_id = ? AND n.{key} = r.{key} "
        "AND n.operation_id > r.operation_id AND n.operation_id <= ?)"
    ]
    numbers = [branch, after, upto, branch, upto]
    for newer in path[:at]:
        texts.append(
            f"NOT EXISTS (SELECT 1 FROM {table} n WHERE n.branch_id = ? AND n.{key} = r.{key} "
            "AND n.operation_id > ? AND n.operation_id <= ?)"
        )
        numbers += newer
    return " AND ".join(texts), numbers
