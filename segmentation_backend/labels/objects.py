"""What is on record of whole objects: size and place at each operation that changed them.

It follows from the statistics of their supervoxels, and is written beside them, so that the largest
thousand of a million objects are found without looking at the others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

import sqlalchemy as sa

from segmentation_backend.database.statements import run
from segmentation_backend.labels.branches import Path
from segmentation_backend.labels.index import size_of
from segmentation_backend.labels.newest import KeyedTable, Row, newest_rows, standing
from segmentation_backend.labels.schema import SIZES
from segmentation_backend.labels.statistics import (
    ObjectStats,
    SupervoxelStatistics,
    joined_statistics,
)

__all__ = ["ObjectSize", "ordered", "page_of", "sizes_of", "sum_sizes"]

_TABLE = KeyedTable("label_roots", ("root",), ("supervoxels", *SIZES))


class ObjectSize(NamedTuple):
    """Size and place of an object."""

    supervoxels: int
    """How many it is joined from."""
    total: SupervoxelStatistics
    """Of all of them together."""

    def stats(self, root: int) -> ObjectStats:
        """Return it as the object that it is the size of."""
        voxels, (z, y, x) = self.total.voxels, self.total.sums
        centroid = (z / voxels, y / voxels, x / voxels)
        return ObjectStats(root, self.total.bbox, voxels, centroid, self.supervoxels)

    @classmethod
    def of_parts(cls, parts: Iterable[SupervoxelStatistics]) -> ObjectSize | None:
        """Return the size of the object that is joined from supervoxels; None for none."""
        return sum_sizes(cls(1, part) for part in parts)


def sum_sizes(sizes: Iterable[ObjectSize]) -> ObjectSize | None:
    """Return the size of several objects together; None for none."""
    total: ObjectSize | None = None
    for size in sizes:
        total = size if total is None else _sum(total, size)
    return total


def _sum(one: ObjectSize, other: ObjectSize) -> ObjectSize:
    return ObjectSize(
        one.supervoxels + other.supervoxels, joined_statistics(one.total, other.total)
    )


def sizes_of(
    connection: sa.Connection, path: Path, roots: Collection[int]
) -> dict[int, ObjectSize]:
    """Return what is on record of objects at the end of a path; those that are gone are absent."""
    rows = newest_rows(connection, path, _TABLE, roots)
    sizes = ((root, _size(row)) for root, row in rows.items())
    return {root: size for root, size in sizes if size is not None}


def _size(row: Row) -> ObjectSize | None:
    total = size_of(row[1:])
    return None if total is None else ObjectSize(row[0], total)


def ordered(objects: Iterable[ObjectStats], sort: str, limit: int) -> list[ObjectStats]:
    """Return the first objects by "voxels" or "root", with "-" the largest first; ties by root."""
    sign = -1 if sort.startswith("-") else 1
    if sort.endswith("root"):
        return sorted(objects, key=lambda found: sign * found.root)[:limit]
    return sorted(objects, key=lambda found: (sign * found.voxels, found.root))[:limit]


def page_of(connection: sa.Connection, path: Path, sort: str, limit: int) -> list[ObjectStats]:
    """Return the first objects at the end of a path; see `ordered`.

    Costs those returned, and a look at each older record that would come before the last of them.
    """
    roots = [
        root for at in range(len(path)) for root in _first_roots(connection, path, at, sort, limit)
    ]
    sizes = sizes_of(connection, path, roots)
    return ordered((size.stats(root) for root, size in sizes.items()), sort, limit)


def _first_roots(
    connection: sa.Connection, path: Path, at: int, sort: str, limit: int
) -> list[int]:
    """Return the first objects of one segment that stand at the end of the path, in any order."""
    newest, numbers = standing(path, at, "label_roots", "root")
    descending = " DESC" if sort.startswith("-") else ""
    if sort.endswith("root"):
        # Of a column that only the table itself has, so that it is read in the order of its key.
        text = f"SELECT r.root FROM label_roots r WHERE {newest} AND r.supervoxels > 0"
        text += f" ORDER BY r.root{descending} LIMIT ?"
        return [row[0] for row in run(connection, text, [*numbers, limit])]
    # No more than the index holds: what is passed over is not even looked up.
    text = f"SELECT r.root, r.voxels FROM label_roots r WHERE {newest} AND r.voxels"
    order = f" > 0 ORDER BY r.voxels{descending} LIMIT ?"
    rows = list(run(connection, text + order, [*numbers, limit]))
    if len(rows) < limit or not limit:
        return [row[0] for row in rows]
    # Any of those that are as large as the last: of these, the smallest roots are wanted.
    last = rows[-1][1]
    before = [row[0] for row in rows if row[1] != last]
    order = " = ? ORDER BY r.root LIMIT ?"
    same = run(connection, text + order, [*numbers, last, limit - len(before)])
    return before + [row[0] for row in same]
