"""Two branches beside what they had in common: the groups of objects each of them changed.

A group is closed: no voxel and no join leads from it to another one, at any of the versions. So
each group can be taken from one branch or the other, whatever becomes of the rest. Groups grow from
what theirs changed; of ours only what lies near them is read, however much was done on it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from segmentation_backend.edits.blocks import corner_of
from segmentation_backend.geometry import Roi
from segmentation_backend.labels import CHUNK_SIDE, ChunkKey, LabelView, SupervoxelStatistics
from segmentation_backend.labels.branch_log import chunks_between, edges_between
from segmentation_backend.labels.chunks import chunk_roi, keys_over

__all__ = ["Comparison", "Group", "Side", "Standing", "compare"]

Ids: TypeAlias = npt.NDArray[np.uint64]

Standing: TypeAlias = Literal["same", "ours", "theirs", "both"]
"""Who made the two differ; "same" when they do not."""

_OURS, _THEIRS, _BASES = 0, 1, 2
"""Where the versions stand in lists of views and in columns of ids; the bases come last."""

_BATCH = 8
"""Chunks that are compared at a time (at most 2 MB each and version)."""


@dataclass(frozen=True, slots=True)
class Group:
    """Supervoxels that can only be taken together."""

    supervoxels: frozenset[int]
    standing: Standing

    @property
    def id(self) -> int:
        """The smallest supervoxel: what people name the group by."""
        return min(self.supervoxels)


@dataclass(frozen=True)
class Side:
    """One version, as far as the groups go."""

    view: LabelView
    statistics: Mapping[int, SupervoxelStatistics]
    """Of the groups' supervoxels; absent where they do not exist."""
    roots: Mapping[int, int]
    """Of all the groups' supervoxels."""


@dataclass(frozen=True)
class Comparison:
    """What theirs has changed since the bases, and what ours has there."""

    groups: tuple[Group, ...]
    """By id; every change of theirs is in one."""
    cells: Mapping[ChunkKey, Ids]
    """Level-0 chunk → the distinct (id in ours, id in theirs) of the voxels where they differ."""
    ours: Side
    theirs: Side
    bases: tuple[Side, ...]


def compare(
    ours: LabelView,
    theirs: LabelView,
    bases: Collection[LabelView],
    open_conflicts: Collection[int],
) -> Comparison:
    """Return the groups that theirs changed since `bases`, at least one version that both have.

    With several bases, a change is one side's alone only if it is that seen from each of them. What
    holds a supervoxel of `open_conflicts` is never one side's alone.
    """
    comparing = _Comparing([ours, theirs, *bases])
    comparing.grow(open_conflicts)
    sides = comparing.sides()
    groups = comparing.groups(sides, open_conflicts)
    return Comparison(
        tuple(sorted(groups, key=lambda group: group.id)),
        comparing.cells(),
        sides[_OURS],
        sides[_THEIRS],
        tuple(sides[_BASES:]),
    )


class _Union:
    """Disjoint sets of ids that grow together."""

    def __init__(self) -> None:
        self._set_of: dict[int, set[int]] = {}

    def of(self, member: int) -> set[int]:
        """Return the set an id is in; do not change it."""
        return self._set_of.setdefault(member, {member})

    def unite(self, members: Iterable[int]) -> None:
        """Make one set of all that hold one of the ids."""
        largest: set[int] = set()
        for member in members:
            other = self.of(member)
            if other is not largest:
                small, largest = sorted((largest, other), key=len)
                largest |= small
                self._set_of.update(dict.fromkeys(small, largest))

    def sets_with(self, members: Iterable[int]) -> list[set[int]]:
        """Return the sets that hold one of the ids, each once."""
        return list({id(found): found for found in map(self.of, members)}.values())


class _Comparing:
    def __init__(self, views: list[LabelView]) -> None:
        self._views = views
        self._storage = views[_OURS].storage
        self._union = _Union()
        self._seen: set[int] = set()
        """The supervoxels of the groups."""
        self._rows: dict[ChunkKey, Ids] = {}
        """Chunk → the distinct ids at voxels that are not the same everywhere, a column a view."""
        self._unread: set[ChunkKey] = set()
        """Chunks that only ours changed, and that no group has come near yet."""
        self._statistics: list[dict[int, SupervoxelStatistics]] = [{} for _ in views]
        self._known_roots: list[set[int]] = [set() for _ in views]

    def grow(self, open_conflicts: Collection[int]) -> None:
        """Find the groups: from what theirs changed along everything that holds it together."""
        fresh = set().union(*map(self._union.of, self._seeds() | set(open_conflicts)))
        while fresh:
            self._seen |= fresh
            self._unite_objects(fresh)
            self._read(self._chunks_near(fresh))
            fresh = set().union(*self._union.sets_with(self._seen)) - self._seen

    def _seeds(self) -> set[int]:
        """Return the supervoxels that theirs changed since any of the bases, and perhaps others."""
        ours, theirs = self._views[_OURS].version, self._views[_THEIRS].version
        changed: set[ChunkKey] = set()
        seeds: set[int] = set()
        for base in self._views[_BASES:]:
            changed |= chunks_between(self._storage, base.version, theirs)
            self._unread |= chunks_between(self._storage, base.version, ours)
            edges = edges_between(self._storage, base.version, theirs)
            seeds.update(end for edge in edges for end in edge)
        self._unread -= changed
        self._read(changed)
        for number in range(_BASES, len(self._views)):
            seeds |= self._rewritten(_THEIRS, number)
        return seeds

    def _rewritten(self, one: int, other: int) -> set[int]:
        """Return the supervoxels that do not have the same voxels in two of the views."""
        found: set[int] = set()
        for rows in self._rows.values():
            pairs = rows[:, [one, other]]
            found.update(pairs[pairs[:, 0] != pairs[:, 1]].reshape(-1).tolist())
        return found - {0}

    def _unite_objects(self, supervoxels: Collection[int]) -> None:
        for view, known in zip(self._views, self._known_roots, strict=True):
            joins = view.agglomeration
            fresh = set(joins.roots_of(supervoxels).values()) - known
            known |= fresh
            for members in joins.members_of(fresh).values():
                self._union.unite(members)

    def _chunks_near(self, supervoxels: Collection[int]) -> set[ChunkKey]:
        """Return the unread chunks in which any view may have voxels of the supervoxels."""
        boxes: set[Roi] = set()
        for view, known in zip(self._views, self._statistics, strict=True):
            found = view.statistics_of(supervoxels)
            known.update(found)
            boxes.update(statistics.bbox for statistics in found.values())
        near: set[ChunkKey] = set()
        for box in boxes:
            near |= _overlapping(self._unread, box)
            self._unread -= near
        return near

    def _read(self, keys: Collection[ChunkKey]) -> None:
        """Compare chunks: what is at the same voxel at different versions belongs together."""
        stream = iter(sorted(keys))
        while batch := list(islice(stream, _BATCH)):
            for key, blocks in self._blocks(batch):
                rows = _distinct_where_different(blocks)
                if len(rows):
                    self._rows[key] = rows
                for row in rows.tolist():
                    self._union.unite(supervoxel for supervoxel in row if supervoxel)

    def _blocks(self, keys: list[ChunkKey]) -> Iterator[tuple[ChunkKey, list[Ids]]]:
        """Yield the chunks that do not lie at the same place in all views."""
        places = [self._storage.places(keys, view.version) for view in self._views]
        wanted = [key for key in keys if len({at.get(key) for at in places}) > 1]
        chunks = self._storage.load(at.get(key) for at in places for key in wanted)
        for key in wanted:
            whole = Roi((0, 0, 0), chunk_roi(key, self._storage.levels[0]).shape)
            yield key, [chunks[at.get(key)].cut(whole) for at in places]

    def sides(self) -> list[Side]:
        """Return what the versions have of the groups."""
        return [
            Side(view, statistics, view.agglomeration.roots_of(self._seen))
            for view, statistics in zip(self._views, self._statistics, strict=True)
        ]

    def cells(self) -> dict[ChunkKey, Ids]:
        """Return what differs between ours and theirs; see `Comparison.cells`."""
        cells = {}
        for key, rows in self._rows.items():
            pairs = np.unique(rows[:, [_OURS, _THEIRS]], axis=0)
            differing = pairs[pairs[:, 0] != pairs[:, 1]]
            if len(differing):
                cells[key] = differing
        return cells

    def groups(self, sides: list[Side], open_conflicts: Collection[int]) -> Iterator[Group]:
        """Yield the groups with who changed them."""

        def changed(one: int, other: int) -> set[int]:
            a, b = sides[one].roots, sides[other].roots
            return self._rewritten(one, other) | {s for s in self._seen if a[s] != b[s]}

        between = changed(_OURS, _THEIRS)
        ours, theirs = (
            set().union(*(changed(side, base) for base in range(_BASES, len(sides))))
            for side in (_OURS, _THEIRS)
        )
        for members in self._union.sets_with(self._seen):
            if between.isdisjoint(members):
                standing: Standing = "same"
            elif not members.isdisjoint(open_conflicts):
                standing = "both"
            elif theirs.isdisjoint(members):
                standing = "ours"
            else:
                standing = "theirs" if ours.isdisjoint(members) else "both"
            yield Group(frozenset(members), standing)


def _overlapping(keys: Collection[ChunkKey], box: Roi) -> set[ChunkKey]:
    """Return the level-0 chunks, of `keys`, that overlap a box."""
    over = keys_over(box, 0)
    head = list(islice(over, len(keys)))
    if next(over, None) is None:
        return set(keys).intersection(head)
    whole = Roi((0, 0, 0), (CHUNK_SIDE,) * 3)
    return {key for key in keys if not whole.shift(corner_of(key)).intersect(box).is_empty}


def _distinct_where_different(blocks: list[Ids]) -> Ids:
    """Return the distinct ids, one column per block, of voxels that are not the same in all."""
    differ = np.zeros(blocks[0].shape, dtype=np.bool_)
    for other in blocks[1:]:
        differ |= other != blocks[0]
    rows = np.stack([block[differ] for block in blocks], axis=1)
    # Neighbours are mostly the same: sorting what is left is cheap.
    first = np.ones(len(rows), dtype=np.bool_)
    first[1:] = (rows[1:] != rows[:-1]).any(axis=1)
    return np.unique(rows[first], axis=0)
