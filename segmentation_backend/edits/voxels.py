"""New voxels → the whole delta: chunks of all levels, statistics, joins and the box around it.

Every edit that writes voxels comes through here. Statistics are carried forward from what the
changed voxels add and take away; nothing else is counted, except where a supervoxel lost a voxel at
the surface of its box (`extents`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from segmentation_backend.edits.blocks import corner_of
from segmentation_backend.edits.extents import Face, bare_faces, shrunk_boxes
from segmentation_backend.edits.joints import JoinsChange, unhook
from segmentation_backend.edits.kernels import paired_runs
from segmentation_backend.errors import ErrorKind, FormatError, InvalidInputError
from segmentation_backend.geometry import Roi
from segmentation_backend.labels import (
    ChunkChange,
    ChunkKey,
    Delta,
    LabelView,
    StatisticsChange,
    SupervoxelStatistics,
)
from segmentation_backend.labels.chunks import Chunk
from segmentation_backend.labels.kernels import changed_box, distinct_ids
from segmentation_backend.labels.staging import Writes, WriteStream, stage
from segmentation_backend.labels.statistics import StatisticsTable, joined_statistics

__all__ = ["nothing_to_change", "with_confidence_kept", "write_voxels"]

Ids: TypeAlias = npt.NDArray[np.uint64]
Totals: TypeAlias = dict[int, SupervoxelStatistics]
After: TypeAlias = dict[int, SupervoxelStatistics | None]
"""None: no voxel is left."""


def write_voxels(
    view: LabelView, writes: Writes | WriteStream, joins: JoinsChange | None = None
) -> Delta:
    """Return the change that gives level-0 voxels new supervoxel ids (0 erases).

    `writes` holds, or yields, each chunk once, with dense blocks that do not overlap (see
    `labels.staging`); new ids come from `LabelRepository.reserve_ids`. Supervoxels that lose their
    last voxel lose their edges, and what is left of their object stays one object; pass `joins` to
    decide all edges yourself. An empty delta means that every voxel holds its id already.
    """
    tally = _Tally()
    chunks = stage(view.storage, view.version, writes, tally.watch)
    statistics = tally.statistics(view, chunks)
    if joins is None:
        joins = unhook(view, {s for s, change in statistics.items() if change.after is None})
    bbox = tally.bbox.union(joins.bbox)
    return Delta(
        base_version=view.version,
        bbox=None if bbox.is_empty else bbox,
        chunks=chunks,
        edges_added=joins.added,
        edges_removed=joins.removed,
        statistics=statistics,
        moved=frozenset(tally.moved),
    )


def with_confidence_kept(delta: Delta) -> Delta:
    """Return a delta that cuts supervoxels: new pieces are as sure as what they were cut off."""
    statistics = dict(delta.statistics)
    for old, new in delta.moved:
        whole, piece = statistics[old].before, statistics[new]
        if piece.before is None and piece.after is not None and whole is not None:
            after = replace(piece.after, confidence=whole.confidence)
            statistics[new] = StatisticsChange(None, after)
    return replace(delta, statistics=statistics)


def nothing_to_change(message: str) -> InvalidInputError:
    """Return the refusal of an edit after which everything would be as it is."""
    return InvalidInputError(message, ErrorKind.NOTHING_TO_CHANGE)


class _Tally:
    """What the changed chunks of level 0 add to supervoxels and take from them."""

    def __init__(self) -> None:
        self.bbox = Roi((0, 0, 0), (0, 0, 0))
        """Tight around the voxels that changed."""
        self.moved: set[tuple[int, int]] = set()
        self._lost: Totals = {}
        self._gained: Totals = {}

    def watch(self, key: ChunkKey, before: Chunk, after: Chunk, written: Roi) -> None:
        """Count one changed chunk."""
        old, new = before.cut(written), after.cut(written)
        z0, y0, x0, z1, y1, x1 = changed_box(old, new).tolist()
        inner = Roi.from_bounds((z0, y0, x0), (z1, y1, x1))
        place = inner.shift(corner_of(key, written.offset))
        old, new = old[inner.slices()], new[inner.slices()]
        changed = old != new
        # A product, not `where`: it keeps uint64 and is as fast.
        lost, gained = old * changed, new * changed
        _count(self._lost, lost, place)
        _count(self._gained, gained, place)
        pairs = np.unique(paired_runs(lost.reshape(-1), gained.reshape(-1))[:, :2], axis=0)
        self.moved.update((a, b) for a, b in pairs.tolist())
        self.bbox = self.bbox.union(place)

    def statistics(
        self, view: LabelView, chunks: Mapping[ChunkKey, ChunkChange]
    ) -> dict[int, StatisticsChange]:
        """Return the statistics of every supervoxel that gained or lost a voxel."""
        before, after = self._totals(view, self._lost.keys() | self._gained.keys())
        gone = {s for s, stats in after.items() if stats is None}
        if gone and view.storage.base is not None:
            # Over a base, what is known of a supervoxel may be just the part that went.
            view.storage.locate(gone)
            again = self._totals(view, gone)
            before, after = before | again[0], after | again[1]
        bare = self._bare(before, after)
        left = {s: stats for s, stats in after.items() if stats is not None and s in bare}
        boxes = shrunk_boxes(view, chunks, {s: stats.bbox for s, stats in left.items()}, bare)
        after |= {s: replace(left[s], bbox=box) for s, box in boxes.items()}
        return {s: StatisticsChange(before.get(s), after[s]) for s in sorted(after)}

    def _bare(self, before: Totals, after: After) -> dict[int, list[Face]]:
        """Return the sides of boxes on which no voxel may be left, of supervoxels that stay."""
        bare: dict[int, list[Face]] = {}
        for s, lost in self._lost.items():
            gained = self._gained.get(s)
            if after[s] is not None:
                gained_box = None if gained is None else gained.bbox
                bare[s] = bare_faces(before[s].bbox, lost.bbox, gained_box)
        return {s: faces for s, faces in bare.items() if faces}

    def _totals(self, view: LabelView, supervoxels: Collection[int]) -> tuple[Totals, After]:
        """Return the statistics before and after the change, boxes not shrunk yet."""
        before = view.statistics_of(supervoxels)
        missing = self._lost.keys() & set(supervoxels) - before.keys()
        if missing:
            raise FormatError(
                f"Supervoxels {sorted(missing)[:5]} have voxels but no statistics; check the label "
                "store.",
                ErrorKind.CORRUPT_CHUNK,
            )
        return before, {s: self._after(s, before.get(s)) for s in supervoxels}

    def _after(
        self, supervoxel: int, before: SupervoxelStatistics | None
    ) -> SupervoxelStatistics | None:
        gained, lost = self._gained.get(supervoxel), self._lost.get(supervoxel)
        total = before if gained is None else joined_statistics(before, gained)
        if total is None or lost is None:
            return total
        z, y, x = (a - b for a, b in zip(total.sums, lost.sums, strict=True))
        voxels = total.voxels - lost.voxels
        if not voxels:
            return None
        return SupervoxelStatistics(voxels, total.bbox, (z, y, x), total.confidence)


def _count(totals: Totals, block: Ids, place: Roi) -> None:
    ids = distinct_ids(block)
    if not ids.size:
        return
    table = StatisticsTable(ids)
    table.add(block, place.offset)
    for supervoxel, found in table.found().items():
        totals[supervoxel] = joined_statistics(totals.get(supervoxel), found)
