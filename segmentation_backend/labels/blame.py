"""Who is behind what a voxel holds: the operation that wrote it, and the one on its object."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import sqlalchemy as sa

from segmentation_backend.database import read
from segmentation_backend.geometry import Coordinate, Roi
from segmentation_backend.labels import history, index
from segmentation_backend.labels.chunks import CHUNK_SIDE
from segmentation_backend.labels.delta import ChunkKey, ChunkReference
from segmentation_backend.labels.operations import Operation
from segmentation_backend.labels.schema import BRANCH_MERGES
from segmentation_backend.labels.storage import LabelStorage

__all__ = ["Blame", "blame"]

_BATCH = 16
"""Versions of a chunk that are decoded at a time (at most 2 MB each)."""


@dataclass(frozen=True, slots=True)
class Blame:
    """What a voxel holds at a version, and who is behind it."""

    point: Coordinate
    version: int
    supervoxel: int
    """0: background."""
    root: int
    voxel: Operation | None
    """Gave the voxel this supervoxel (or took away what it held); None: nobody ever changed it."""
    brought_by: Operation | None
    """The branch merge by which that came to this branch; None: it was made on it."""
    object: Operation | None
    """The last that changed the object here in any way; None for background, or where nobody did.
    """

    def to_json(self) -> dict[str, Any]:
        """Return the answer as the HTTP interface shows it; ids are strings."""

        def shown(operation: Operation | None) -> dict[str, Any] | None:
            return None if operation is None else operation.to_json()

        return {
            "point": list(self.point),
            "version": self.version,
            "supervoxel": str(self.supervoxel),
            "root": str(self.root),
            "voxel": shown(self.voxel),
            "brought_by": shown(self.brought_by),
            "object": shown(self.object),
        }


def blame(storage: LabelStorage, point: Sequence[int], version: int) -> Blame:
    """Return who is behind the voxel `point` (z, y, x at level 0) as it is at a version.

    Costs the versions of its chunk since the voxel last changed. What a branch merge brought is
    followed to the operation on that branch. Raises InvalidInputError ROI_OUT_OF_BOUNDS.
    """
    z, y, x = (int(p) for p in point)
    storage.check_roi(Roi((z, y, x), (1, 1, 1)))
    found = _Voxel(storage, (z, y, x))
    writer, merge = found.author(version)
    supervoxel = found.value_at(version)
    root = storage.agglomeration(version).root_of(supervoxel) if supervoxel else 0
    with read(storage.engine) as connection:
        path = storage.versions.path(connection, version)
        touch = index.last_toucher(connection, path, [root]) if root else None
        wanted = {at for at in (writer, merge, touch and touch[0]) if at is not None}
        operations = history.load_listed(connection, storage.volume_id, path, wanted)

    def named(at: int | None) -> Operation | None:
        return None if at is None else operations[at]

    last = named(None if touch is None else touch[0])
    return Blame((z, y, x), version, supervoxel, root, named(writer), named(merge), last)


class _Voxel:
    """One level-0 voxel through the versions."""

    def __init__(self, storage: LabelStorage, point: Coordinate) -> None:
        self._storage = storage
        z, y, x = (p // CHUNK_SIDE for p in point)
        self._key = ChunkKey(0, z, y, x)
        dz, dy, dx = (p % CHUNK_SIDE for p in point)
        self._place = Roi((dz, dy, dx), (1, 1, 1))

    def _values(self, references: Sequence[ChunkReference]) -> list[int]:
        chunks = self._storage.load(references)
        return [int(chunks[reference].cut(self._place)[0, 0, 0]) for reference in references]

    def value_at(self, version: int) -> int:
        """Return the supervoxel at a version."""
        return self._values([self._storage.places([self._key], version).get(self._key)])[0]

    def author(self, version: int) -> tuple[int | None, int | None]:
        """Return the operation that gave the voxel its value, and the merge that brought it here.

        An operation on another branch is the author when that branch had the value from it; the
        merge itself is, when it chose a value that is older than the branches.
        """
        writer = self._writer(version)
        source = None if writer is None else self._merged(writer)
        if writer is None or source is None or self.value_at(source) != self.value_at(writer):
            return writer, None
        author, _ = self.author(source)
        if author is None or self._storage.is_ancestor(author, version):
            return writer, None
        return author, writer

    def _merged(self, operation_id: int) -> int | None:
        """Return the version of another branch that an operation brought in."""
        m = BRANCH_MERGES.c
        query = sa.select(m.source_version).where(
            m.volume_id == self._storage.volume_id, m.operation_id == operation_id
        )
        with read(self._storage.engine) as connection:
            found: int | None = connection.scalar(query)
        return found

    def _writer(self, version: int) -> int | None:
        """Return the operation that last changed the voxel, on the way to a version."""
        later: tuple[int, int] | None = None
        for operation_id, value in self._history(version):
            if later is not None and value != later[1]:
                return later[0]
            later = operation_id, value
        return None

    def _history(self, version: int) -> Iterator[tuple[int, int]]:
        """Yield (operation, value of the voxel since) for the chunk's versions, newest first.

        The last one is operation 0: what the voxel held before anybody wrote the chunk.
        """
        rows = self._storage.query(
            version, lambda connection, path: index.chunk_history(connection, path, self._key)
        )
        newest_first = iter([*reversed(rows), (0, None)])
        while batch := list(islice(newest_first, _BATCH)):
            # A row without a place is the chunk as the base has it, like the time before all rows.
            below = self._storage.referred([self._key], {}).get(self._key)
            places = [below if place is None else place for _, place in batch]
            yield from zip((at for at, _ in batch), self._values(places), strict=True)
