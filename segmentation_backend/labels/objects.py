"""What is on record of whole objects: size and place at each operation that changed them.

It follows from the statistics of their supervoxels, and is written beside them, so that the largest
thousand of a million objects are found without looking at the others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import NamedTuple

import sqlalchemy as sa

from segmentation_backend.labels.branches import Path
from segmentation_backend.labels.confidence import UNKNOWN, ConfidenceSums
from segmentation_backend.labels.index import size_of
from segmentation_backend.labels.newest import KeyedTable, Row, newest_rows
from segmentation_backend.labels.schema import CONFIDENCE_SUMS, SIZES
from segmentation_backend.labels.statistics import (
    ObjectStats,
    SupervoxelStatistics,
    joined_statistics,
)

__all__ = ["ObjectSize", "sizes_of", "sum_sizes"]

_TABLE = KeyedTable("label_roots", ("root",), ("supervoxels", *CONFIDENCE_SUMS, *SIZES))


class ObjectSize(NamedTuple):
    """Size and place of an object."""

    supervoxels: int
    """How many it is joined from."""
    total: SupervoxelStatistics
    """Of all of them together; how sure the network was of it is said below."""
    sure: ConfidenceSums = UNKNOWN

    def stats(self, root: int) -> ObjectStats:
        """Return it as the object that it is the size of."""
        voxels, (z, y, x) = self.total.voxels, self.total.sums
        centroid = (z / voxels, y / voxels, x / voxels)
        box, confidence = self.total.bbox, self.sure.mean
        return ObjectStats(root, box, voxels, centroid, self.supervoxels, confidence)

    @classmethod
    def of_parts(cls, parts: Iterable[SupervoxelStatistics]) -> ObjectSize | None:
        """Return the size of the object that is joined from supervoxels; None for none."""
        return sum_sizes(map(cls._of_part, parts))

    @classmethod
    def _of_part(cls, part: SupervoxelStatistics) -> ObjectSize:
        if part.confidence is None:
            return cls(1, part)
        sure = ConfidenceSums.of(part.voxels, part.confidence)
        return cls(1, replace(part, confidence=None), sure)


def sum_sizes(sizes: Iterable[ObjectSize]) -> ObjectSize | None:
    """Return the size of several objects together; None for none."""
    total: ObjectSize | None = None
    for size in sizes:
        total = size if total is None else _sum(total, size)
    return total


def _sum(one: ObjectSize, other: ObjectSize) -> ObjectSize:
    return ObjectSize(
        one.supervoxels + other.supervoxels,
        joined_statistics(one.total, other.total),
        one.sure.plus(other.sure),
    )


def sizes_of(
    connection: sa.Connection, path: Path, roots: Collection[int]
) -> dict[int, ObjectSize]:
    """Return what is on record of objects at the end of a path; those that are gone are absent."""
    rows = newest_rows(connection, path, _TABLE, roots)
    sizes = ((root, _size(row)) for root, row in rows.items())
    return {root: size for root, size in sizes if size is not None}


def _size(row: Row) -> ObjectSize | None:
    supervoxels, *sure = row[:4]
    total = size_of(row[4:])
    return None if total is None else ObjectSize(supervoxels, total, ConfidenceSums(*sure))
