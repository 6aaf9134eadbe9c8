"""Bring the changes of one branch into another: by themselves, or as people decide.

A three-way merge of groups of objects (`merge_groups`): what only theirs changed is taken, what
only ours changed stays, and what both changed is a conflict for people to decide. A group is always
taken whole, so its voxels, joins and sizes are exactly those of the branch it comes from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from segmentation_backend.edits.blocks import corner_of, difference_in
from segmentation_backend.edits.merge_conflicts import Choice, MergeConflict, find_conflicts
from segmentation_backend.edits.merge_groups import Comparison, compare
from segmentation_backend.geometry import Roi
from segmentation_backend.labels import (
    BranchMerge,
    ChunkChange,
    ChunkKey,
    Delta,
    LabelView,
    MergeBase,
    StatisticsChange,
)
from segmentation_backend.labels.branch_log import BranchLog
from segmentation_backend.labels.chunks import Chunk, chunk_roi
from segmentation_backend.labels.delta import ChunkReference
from segmentation_backend.labels.kernels import changed_box
from segmentation_backend.labels.staging import Write, stage

__all__ = ["MergePlan", "plan_merge"]

Ids: TypeAlias = npt.NDArray[np.uint64]

_BATCH = 8
"""Chunks that are put together at a time (at most 2 MB each and version)."""


@dataclass(frozen=True)
class MergePlan:
    """What a merge of two branches would do; nothing is written."""

    delta: Delta
    """The change to ours: everything clean, and the conflicts decided for theirs."""
    conflicts: tuple[MergeConflict, ...]
    """By id."""
    applied: tuple[int, ...]
    """The operations of theirs, since the branches were one, that ours has as a whole then."""
    merges: BranchMerge
    """For the operation's `OperationMeta`; conflicts skipped or not decided are asked again."""

    @property
    def undecided(self) -> tuple[int, ...]:
        """The ids of the conflicts that nobody has decided yet."""
        return tuple(conflict.id for conflict in self.conflicts if conflict.choice is None)

    def to_json(self) -> dict[str, Any]:
        """Return the plan as the HTTP interface shows it; ids of objects are strings."""
        return {
            "version": self.delta.base_version,
            "source_version": self.merges.version,
            "bbox": None if self.delta.bbox is None else self.delta.bbox.to_json(),
            "conflicts": [conflict.to_json() for conflict in self.conflicts],
            "undecided": [str(conflict) for conflict in self.undecided],
            "applied": list(self.applied),
        }


def plan_merge(
    base: MergeBase, ours: LabelView, theirs: LabelView, choices: Mapping[int, Choice]
) -> MergePlan:
    """Return the change that brings what theirs has changed since `base` into ours.

    `base` is `labels.merge_base` of the two versions. `choices` decides conflicts by their ids;
    what is not decided stays as it is in ours. Commit the delta to ours with the plan's `merges`:
    then the same changes are not brought again, and what was skipped is asked again. Costs what
    theirs changed and what ours changed near it. Raises InvalidInputError INVALID_PARAMETER for a
    choice that fits no conflict.
    """
    bases = [LabelView(ours.storage, version) for version in base.versions]
    comparison = compare(ours, theirs, bases, base.open_conflicts)
    conflicts = find_conflicts(comparison, choices)
    kept = [c.supervoxels for c in conflicts if c.choice != "theirs"]
    left = frozenset[int]().union(*(c.supervoxels for c in conflicts if c.choice in (None, "skip")))
    refused = set().union(*kept)
    log = BranchLog(theirs.storage, theirs.version, base.versions)
    return MergePlan(
        _Taking(comparison, _taken(comparison, refused)).delta(),
        conflicts,
        tuple(sorted(at for at, ids in log.touches().items() if refused.isdisjoint(ids))),
        BranchMerge(log.branch_id, theirs.version, tuple(sorted(left))),
    )


def _taken(comparison: Comparison, refused: set[int]) -> frozenset[int]:
    """Return the supervoxels that are to become what they are in theirs."""
    groups = (g for g in comparison.groups if g.standing in ("theirs", "both"))
    return frozenset[int]().union(
        *(g.supervoxels for g in groups if refused.isdisjoint(g.supervoxels))
    )


class _Taking:
    """Closed groups of supervoxels on their way from theirs into ours."""

    def __init__(self, comparison: Comparison, taken: frozenset[int]) -> None:
        self._ours, self._theirs = comparison.ours, comparison.theirs
        self._storage = self._ours.view.storage
        self._taken = taken
        # The ids at a voxel are in one group, so any that is not 0 tells.
        self._cells = {
            key: (rows[is_taken], bool(is_taken.all()))
            for key, rows in comparison.cells.items()
            if (is_taken := np.array([not taken.isdisjoint(row) for row in rows.tolist()])).any()
        }
        """Chunk → the ids at voxels to be taken, and whether they are all that differ in it."""
        self._bbox = Roi((0, 0, 0), (0, 0, 0))

    def delta(self) -> Delta:
        view = self._ours.view
        chunks = stage(self._storage, view.version, self._writes(), self._watch)
        ours = view.agglomeration.edges_at(self._taken)
        theirs = self._theirs.view.agglomeration.edges_at(self._taken)
        bbox = self._bbox.union(self._renamed_box())
        pairs = {(a, b) for rows, _ in self._cells.values() for a, b in rows.tolist()}
        return Delta(
            base_version=view.version,
            bbox=None if bbox.is_empty else bbox,
            chunks=self._with_their_places(chunks),
            edges_added=frozenset(theirs - ours),
            edges_removed=frozenset(ours - theirs),
            statistics=self._statistics({end for pair in pairs for end in pair} - {0}),
            moved=frozenset((a, b) for a, b in pairs if a and b),
        )

    def _writes(self) -> Iterator[tuple[ChunkKey, list[Write]]]:
        """Yield what the voxels to be taken hold in theirs."""
        keys = sorted(self._cells)
        for start in range(0, len(keys), _BATCH):
            batch = keys[start : start + _BATCH]
            mine, other = (side.view.load_chunks(batch) for side in (self._ours, self._theirs))
            for key in batch:
                whole = Roi((0, 0, 0), chunk_roi(key, self._storage.levels[0]).shape)
                old, new = (_cut(chunks.get(key), whole) for chunks in (mine, other))
                rows, is_all = self._cells[key]
                if not is_all:
                    ids = np.unique(rows[rows > 0])
                    new = np.where(np.isin(old, ids) | np.isin(new, ids), new, old)
                write = difference_in(key, (0, 0, 0), old, new)
                if write is not None:
                    yield write

    def _watch(self, key: ChunkKey, before: Chunk, after: Chunk, written: Roi) -> None:
        z0, y0, x0, z1, y1, x1 = changed_box(before.cut(written), after.cut(written)).tolist()
        inner = Roi.from_bounds((z0, y0, x0), (z1, y1, x1))
        self._bbox = self._bbox.union(inner.shift(corner_of(key, written.offset)))

    def _with_their_places(
        self, changes: Mapping[ChunkKey, ChunkChange]
    ) -> dict[ChunkKey, ChunkChange]:
        """Name their stored chunks again wherever ours becomes the same."""
        places = self._storage.places(changes.keys(), self._theirs.view.version)
        kept = {}
        for key, change in changes.items():
            place: ChunkReference = places.get(key)
            same = self._becomes(key, change.after, place)
            kept[key] = ChunkChange(change.before, place) if same else change
        return kept

    def _becomes(self, key: ChunkKey, after: ChunkReference, place: ChunkReference) -> bool:
        """Whether a changed chunk of ours holds what lies at a place of theirs."""
        if key.level == 0 and self._cells[key][1]:
            return True
        chunks = self._storage.load([place, after])
        one, other = chunks[place], chunks[after]
        return one.offset == other.offset and np.array_equal(one.block, other.block)

    def _statistics(self, rewritten: set[int]) -> dict[int, StatisticsChange]:
        """Return the sizes of the supervoxels that gain or lose voxels: those of theirs."""
        # Read together: of a base, more may be counted from one question to the next.
        counted = self._storage.counted()
        before, after = (
            self._storage.statistics_of(rewritten, side.view.version, counted)
            for side in (self._ours, self._theirs)
        )
        return {s: StatisticsChange(before.get(s), after.get(s)) for s in sorted(rewritten)}

    def _renamed_box(self) -> Roi:
        """Return the box around the voxels that belong to another root without being written."""
        box = Roi((0, 0, 0), (0, 0, 0))
        for s in self._taken:
            if self._ours.roots[s] != self._theirs.roots[s] and s in self._theirs.statistics:
                box = box.union(self._theirs.statistics[s].bbox)
        return box


def _cut(chunk: Chunk | None, box: Roi) -> Ids:
    return np.zeros(box.shape, dtype=np.uint64) if chunk is None else chunk.cut(box)
