"""What differs between two versions, as people see it: objects, not chunks and rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

from segmentation_backend.geometry import Coordinate, Roi
from segmentation_backend.labels.agglomeration import components
from segmentation_backend.labels.difference import difference
from segmentation_backend.labels.statistics import (
    ObjectStats,
    SupervoxelStatistics,
    sum_statistics,
)
from segmentation_backend.labels.storage import LabelStorage

__all__ = ["ChangeKind", "ObjectChange", "object_changes"]

ChangeKind: TypeAlias = Literal[
    "added", "removed", "merged", "split", "regrouped", "renamed", "changed"
]
"""What happened to an object and those it exchanged voxels with: "merged" made one of several,
"split" several of one, "regrouped" several others of several; "renamed" gave the same one another
id; "changed" left every id in place."""


@dataclass(frozen=True, slots=True)
class ObjectChange:
    """What two versions have under one root id, where that is not the same."""

    root: int
    kind: ChangeKind
    before: ObjectStats | None
    after: ObjectStats | None
    came_from: tuple[int, ...]
    """Roots, before, of the objects that the one after has voxels of."""
    became: tuple[int, ...]
    """Roots, after, of the objects that have voxels of the one before."""

    @property
    def bbox(self) -> Roi:
        """Level-0 box around the object before and after."""
        boxes = [stats.bbox for stats in (self.before, self.after) if stats is not None]
        return boxes[0].union(boxes[-1])

    @property
    def voxels(self) -> tuple[int, int]:
        """How many voxels it had, and has."""
        before, after = (0 if s is None else s.voxels for s in (self.before, self.after))
        return before, after

    def to_json(self) -> dict[str, Any]:
        """Return the change as the HTTP interface shows it; ids are strings."""
        return {
            "id": str(self.root),
            "kind": self.kind,
            "bbox": self.bbox.to_json(),
            "before": None if self.before is None else self.before.to_json(),
            "after": None if self.after is None else self.after.to_json(),
            "came_from": [str(root) for root in self.came_from],
            "became": [str(root) for root in self.became],
        }


def object_changes(
    storage: LabelStorage, before: int, after: int, limit: int | None = None
) -> tuple[ObjectChange, ...]:
    """Return the objects that differ between any two versions, the largest first; no voxel is read.

    One entry per root id at either end; an object with the same id and voxels at both is left out.
    Two sets of voxels are taken for the same when size, box and coordinate sums are. Voxels that
    went from an object to another and back may still name the other in `came_from` or `became`.
    """
    delta = difference(storage, before, after)
    # Of a base, more may be counted from one question to the next.
    counted = storage.counted()
    old = _End(storage, before, delta.supervoxels, counted)
    new = _End(storage, after, delta.supervoxels, counted)
    links = {(old.roots[s], new.roots[s]) for s in old.roots.keys() & new.roots.keys()}
    # What moved can only have changed objects that gained or lost voxels.
    links |= {
        (old.roots[a], new.roots[b])
        for a, b in delta.moved
        if a in old.roots and b in new.roots and {a, b} <= delta.statistics.keys()
    }
    changes = _changes(old, new, links)
    changes.sort(key=lambda change: (-max(change.voxels), change.root))
    return tuple(changes[:limit])


class _Sum(NamedTuple):
    """A set of voxels, as far as numbers tell."""

    voxels: int
    bbox: Roi
    sums: Coordinate


class _End:
    """The objects at one of the two versions that have a supervoxel the difference names."""

    def __init__(
        self, storage: LabelStorage, version: int, touched: Collection[int], counted: int | None
    ) -> None:
        joins = storage.agglomeration(version)
        roots = joins.roots_of(touched)
        members = joins.members_of(set(roots.values()))
        wanted = {member for group in members.values() for member in group}
        statistics = storage.statistics_of(wanted, version, counted)
        self.roots = {s: root for s, root in roots.items() if s in statistics}
        """Each touched supervoxel that exists → its object."""
        there = set(self.roots.values())
        self._parts = {root: [statistics[m] for m in members[root]] for root in there}

    def stats(self, root: int) -> ObjectStats | None:
        """Return the size and place of an object; None when there is none."""
        parts = self._parts.get(root)
        return None if parts is None else sum_statistics(root, parts)

    def sum(self, root: int) -> _Sum | None:
        """Return which voxels an object has."""
        return _sum(self._parts[root]) if root in self._parts else None

    @property
    def objects(self) -> set[int]:
        """The roots."""
        return set(self._parts)


def _sum(parts: Iterable[SupervoxelStatistics]) -> _Sum:
    voxels, bbox, sums = 0, Roi((0, 0, 0), (0, 0, 0)), [0, 0, 0]
    for part in parts:
        voxels += part.voxels
        bbox = bbox.union(part.bbox)
        sums = [a + b for a, b in zip(sums, part.sums, strict=True)]
    return _Sum(voxels, bbox, (sums[0], sums[1], sums[2]))


def _changes(old: _End, new: _End, links: Collection[tuple[int, int]]) -> list[ObjectChange]:
    came_from: Mapping[int, set[int]] = defaultdict(set)
    became: Mapping[int, set[int]] = defaultdict(set)
    for root, successor in links:
        became[root].add(successor)
        came_from[successor].add(root)
    kinds = _kinds(old.objects, new.objects, links)
    changes = []
    for root in sorted(old.objects | new.objects):
        here = {root}
        same = came_from[root] == became[root] == here and old.sum(root) == new.sum(root)
        if not same:
            sources, targets = tuple(sorted(came_from[root])), tuple(sorted(became[root]))
            kind = kinds[root, root in old.objects]
            stats = old.stats(root), new.stats(root)
            changes.append(ObjectChange(root, kind, *stats, sources, targets))
    return changes


def _kinds(
    old: Collection[int], new: Collection[int], links: Collection[tuple[int, int]]
) -> dict[tuple[int, bool], ChangeKind]:
    """Return what happened to each (root, whether it is one of the old)."""
    nodes = [(root, True) for root in old] + [(root, False) for root in new]
    number = {node: at for at, node in enumerate(nodes)}
    edges = ((number[a, True], number[b, False]) for a, b in links)
    group_of = components([*edges, *((at, at) for at in number.values())])
    groups: Mapping[int, tuple[set[int], set[int]]] = defaultdict(lambda: (set(), set()))
    for (root, is_old), at in number.items():
        groups[group_of[at]][0 if is_old else 1].add(root)
    return {node: _kind(*groups[group_of[at]]) for node, at in number.items()}


def _kind(old: Collection[int], new: Collection[int]) -> ChangeKind:
    """Return what happened when `old` objects became `new` ones."""
    if not (old and new):
        return "removed" if old else "added"
    if old == new:
        return "changed"
    if len(old) == 1:
        return "renamed" if len(new) == 1 else "split"
    return "merged" if len(new) == 1 else "regrouped"
