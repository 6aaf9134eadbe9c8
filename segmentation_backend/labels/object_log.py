"""The log as it concerns single objects, on the way to one version, each thing looked up once."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Sequence

from segmentation_backend.database import read
from segmentation_backend.labels import history, touches
from segmentation_backend.labels.branches import Path, clip
from segmentation_backend.labels.operations import Operation
from segmentation_backend.labels.storage import LabelStorage

__all__ = ["ObjectLog"]

_AHEAD = 256
"""Operations of one object that are loaded at a time."""


class ObjectLog:
    """The operations that led to a version, found by the objects and supervoxels they touched."""

    def __init__(self, storage: LabelStorage, head: int) -> None:
        """Look at the way from the first version to `head`."""
        self._storage = storage
        with read(storage.engine) as connection:
            self._path: Path = storage.versions.path(connection, head)
        self._touches: dict[int, list[int]] = {}
        self._operations: dict[int, Operation] = {}

    def operation(self, at: int) -> Operation:
        """Return an operation; whether it was undone is said as seen from the head."""
        if at not in self._operations:
            self._load([at])
        return self._operations[at]

    def last_before(self, root: int, at: int) -> int:
        """Return the newest operation on objects of a root id older than `at`; 0: there is none."""
        on = self._on(root)
        place = bisect_left(on, at)
        if not place:
            return 0
        if on[place - 1] not in self._operations:
            self._load(on[max(0, place - _AHEAD) : place])
        return on[place - 1]

    def next_after(self, root: int, at: int) -> int | None:
        """Return the oldest operation on objects of a root id newer than `at`."""
        on = self._on(root)
        place = bisect_left(on, at + 1)
        if place == len(on):
            return None
        if on[place] not in self._operations:
            self._load(on[place : place + _AHEAD])
        return on[place]

    def _on(self, root: int) -> list[int]:
        if root not in self._touches:
            with read(self._storage.engine) as connection:
                self._touches[root] = touches.operations_on_root(connection, self._path, root)
        return self._touches[root]

    def _load(self, wanted: Sequence[int]) -> None:
        missing = [at for at in wanted if at not in self._operations]
        with read(self._storage.engine) as connection:
            self._operations |= history.load_listed(
                connection, self._storage.volume_id, self._path, missing
            )

    def deletions(self, supervoxels: Collection[int], before: int) -> dict[int, set[int]]:
        """Return by which operation each supervoxel was gone just before a later operation.

        Those that existed then, or never had, are absent.
        """
        path = tuple(part._replace(upto=min(part.upto, before - 1)) for part in self._path)
        last: dict[int, tuple[int, bool]] = {}
        with read(self._storage.engine) as connection:
            for row in touches.rows_of_supervoxels(connection, path, supervoxels):
                last[row.supervoxel] = row.operation_id, row.exists
        return _grouped({s: at for s, (at, exists) in last.items() if not exists})

    def returns(self, supervoxels: Collection[int], deleted: int) -> dict[int, set[int]]:
        """Return which operation first gave each supervoxel back after an operation deleted it."""
        path = clip(self._path, deleted)
        first: dict[int, int] = {}
        with read(self._storage.engine) as connection:
            for row in touches.rows_of_supervoxels(connection, path, supervoxels):
                if row.exists:
                    first.setdefault(row.supervoxel, row.operation_id)
        return _grouped(first)


def _grouped(operation_of: dict[int, int]) -> dict[int, set[int]]:
    groups: dict[int, set[int]] = defaultdict(set)
    for supervoxel, operation_id in operation_of.items():
        groups[operation_id].add(supervoxel)
    return groups
