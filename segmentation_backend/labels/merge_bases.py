"""From which versions a merge of two branches is judged: the newest that both of them have.

A version has what it was made from: the way back through its branch, and through the branches that
were merged into it. A merge that was undone brought nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import sqlalchemy as sa

from segmentation_backend.database import read
from segmentation_backend.labels import history
from segmentation_backend.labels.branches import Path
from segmentation_backend.labels.schema import BRANCH_MERGES, OPERATIONS
from segmentation_backend.labels.storage import LabelStorage

__all__ = ["MergeBase", "merge_base"]


@dataclass(frozen=True, slots=True)
class MergeBase:
    """What two versions have in common."""

    versions: tuple[int, ...]
    """The newest versions that both have, newest first. Usually one; several where the branches
    were merged into each other crosswise."""
    open_conflicts: frozenset[int] = frozenset()
    """Supervoxels of conflicts that earlier merges between the two left open."""


Reach: TypeAlias = dict[int, int]
"""Branch → the newest operation of it that a version has; it has all before it, too."""


class _Merge(NamedTuple):
    operation_id: int
    branch_id: int
    parent: int
    source: int
    skipped: tuple[int, ...]


def merge_base(storage: LabelStorage, ours: int, theirs: int) -> MergeBase:
    """Return from where the changes of two versions, of any branches, are to be compared."""
    with read(storage.engine) as connection:
        graph = _Graph(connection, storage)
        one, other = graph.reach(ours), graph.reach(theirs)
        standing = [merge for merge in graph.merges if merge.operation_id in graph.followed]
        shared = {min(one[branch], other[branch]) for branch in one.keys() & other.keys()}
        older = {c for c in shared for later in shared - {c} if graph.has(graph.reach(later), c)}
        newest = sorted(shared - older, reverse=True)
        return MergeBase(tuple(newest), frozenset(_open_conflicts(graph, standing, one, other)))


def _open_conflicts(
    graph: _Graph, merges: Sequence[_Merge], one: Reach, other: Reach
) -> Iterator[int]:
    """Yield the supervoxels of conflicts left open between two lines and not decided since."""
    for merge in merges:
        if not graph.is_between(merge, one, other):
            continue
        # A later merge of the same two lines asked about the same conflicts again.
        again = any(
            graph.is_between(merge, graph.reach(later.parent), graph.reach(later.source))
            for later in merges
            if later.operation_id > merge.operation_id
        )
        if not again:
            yield from merge.skipped


class _Graph:
    """The branch merges of a volume, and what each version has by them."""

    def __init__(self, connection: sa.Connection, storage: LabelStorage) -> None:
        self._connection = connection
        self._storage = storage
        self._versions = storage.versions
        self._reaches: dict[int, Reach] = {}
        self.merges = tuple(self._all_merges())
        self.followed: set[int] = set()
        """The merges that count in what was looked at so far."""

    def _all_merges(self) -> Iterable[_Merge]:
        m, o = BRANCH_MERGES.c, OPERATIONS.c
        query = (
            sa.select(m.operation_id, o.branch_id, o.parent, m.source_version, m.skipped)
            .join(OPERATIONS, (o.volume_id == m.volume_id) & (o.operation_id == m.operation_id))
            .where(m.volume_id == self._storage.volume_id)
            .order_by(m.operation_id)
        )
        return (_Merge(*row[:4], tuple(row[4])) for row in self._connection.execute(query))

    def reach(self, version: int) -> Reach:
        """Return what a version has."""
        if version not in self._reaches:
            path = self._versions.path(self._connection, version)
            reach = {segment.branch_id: segment.upto for segment in path}
            for merge in self._standing(path):
                self.followed.add(merge.operation_id)
                for branch_id, newest in self.reach(merge.source).items():
                    reach[branch_id] = max(newest, reach.get(branch_id, 0))
            self._reaches[version] = reach
        return self._reaches[version]

    def _standing(self, path: Path) -> list[_Merge]:
        """Return the merges on a path that were not undone on it."""
        on = [
            merge
            for merge in self.merges
            for segment in path
            if merge.branch_id == segment.branch_id
            and segment.after < merge.operation_id <= segment.upto
        ]
        undone = history.standing_undoers(
            self._connection, self._storage.volume_id, path, [m.operation_id for m in on]
        )
        return [merge for merge in on if merge.operation_id not in undone]

    def has(self, reach: Reach, version: int) -> bool:
        """Whether a reach goes to a version."""
        return version <= reach.get(self._versions.branch_of(self._connection, version), -1)

    def is_between(self, merge: _Merge, one: Reach, other: Reach) -> bool:
        """Whether a merge brought what one side has into the other side, and only that has it."""
        return any(
            self.has(into, merge.operation_id)
            and not self.has(source, merge.operation_id)
            and self.has(source, merge.source)
            for into, source in ((one, other), (other, one))
        )
