"""What was done on two branches since they were one."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from segmentation_backend.database import read
from segmentation_backend.labels import history, index, touches
from segmentation_backend.labels.branches import Path, clip, common_ancestor
from segmentation_backend.labels.delta import ChunkKey, Edge
from segmentation_backend.labels.operations import Operation
from segmentation_backend.labels.storage import LabelStorage

__all__ = ["BranchLog", "chunks_between", "edges_between"]


def chunks_between(storage: LabelStorage, one: int, other: int) -> set[ChunkKey]:
    """Return the level-0 chunks that were written on the way from one version to another.

    All that differ are among them; some may be the same again.
    """
    with read(storage.engine) as connection:
        ways = _ways(connection, storage, one, other)
        found = set().union(*(index.changed_chunks(connection, way) for way in ways))
    return {key for key in found if key.level == 0}


def edges_between(storage: LabelStorage, one: int, other: int) -> set[Edge]:
    """Return the edges that were added or removed on the way from one version to another."""
    with read(storage.engine) as connection:
        ways = _ways(connection, storage, one, other)
        events = [index.edge_events(connection, way)[0] for way in ways]
    return {(a, b) for edges in events for a, b in edges.tolist()}


def _ways(
    connection: sa.Connection, storage: LabelStorage, one: int, other: int
) -> tuple[Path, Path]:
    """Return what led to each of two versions since they were one."""
    paths = [storage.versions.path(connection, version) for version in (one, other)]
    shared = common_ancestor(*paths)
    return clip(paths[0], shared), clip(paths[1], shared)


class BranchLog:
    """The operations on the way to a version that none of some others has on its own way."""

    def __init__(self, storage: LabelStorage, version: int, others: Collection[int]) -> None:
        """Look at the way to `version` since it left the ways to `others` (at least one)."""
        self._storage = storage
        with read(storage.engine) as connection:
            self.branch_id = storage.versions.branch_of(connection, version)
            """The branch that the version was made on."""
            self._path = storage.versions.path(connection, version)
            ways = [storage.versions.path(connection, other) for other in others]
        self._since = clip(self._path, max(common_ancestor(self._path, way) for way in ways))

    def touches(self) -> dict[int, set[int]]:
        """Return the supervoxels that each operation touched; see `touches.touched_by`."""
        with read(self._storage.engine) as connection:
            return touches.touched_by(connection, self._since)

    def on(self, supervoxels: Collection[int]) -> list[tuple[Operation, set[int]]]:
        """Return the operations that touched any of the supervoxels, oldest first, and which."""
        with read(self._storage.engine) as connection:
            found = touches.touches_of(connection, self._since, supervoxels)
            operations = history.load_listed(
                connection, self._storage.volume_id, self._path, found.keys()
            )
        return [(operations[at], found[at]) for at in sorted(found)]
