"""What a delta makes of objects: who becomes whom, who belongs to whom, and how large they are."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import reduce

from segmentation_backend.geometry import Roi
from segmentation_backend.labels.agglomeration import Agglomeration
from segmentation_backend.labels.delta import Delta
from segmentation_backend.labels.objects import ObjectSize, sum_sizes
from segmentation_backend.labels.operations import Lineage, trace_lineage
from segmentation_backend.labels.storage import LabelStorage

__all__ = ["Outcome", "outcome"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The objects that a delta, applied to a version, changes."""

    version: int
    lineage: Lineage
    members: Mapping[int, int]
    """The supervoxels that belong to another root by it → that root."""
    sizes: Mapping[int, ObjectSize]
    """The objects afterwards, by root."""
    bbox: Roi | None
    """Level-0 box of all voxels that may look different; None when nothing does."""


def outcome(storage: LabelStorage, delta: Delta) -> Outcome:
    """Return what a delta makes of the objects of its base version."""
    before = storage.agglomeration(delta.base_version)
    joins_change = delta.edges_added or delta.edges_removed
    after = before.changed(delta.edges_added, delta.edges_removed) if joins_change else before
    lineage = trace_lineage(delta, before, after)
    if delta.statistics or delta.edges_removed:
        sizes = _counted(storage, delta, lineage.added_roots, after)
    else:
        sizes = _joined(storage, delta.base_version, lineage)
    members = after.changed_roots()
    renamed = [sizes[root].total.bbox for root in set(members.values()) if root in sizes]
    boxes = renamed if delta.bbox is None else [delta.bbox, *renamed]
    bbox = reduce(Roi.union, boxes) if boxes else None
    return Outcome(delta.base_version, lineage, members, sizes, bbox)


def _joined(storage: LabelStorage, version: int, lineage: Lineage) -> dict[int, ObjectSize]:
    """Return the sizes of objects that whole objects were joined to."""
    old = storage.sizes_of(lineage.removed_roots, version)
    parts: dict[int, list[ObjectSize]] = {root: [] for root in lineage.added_roots}
    for root, successor in lineage.became:
        if root in old:
            parts[successor].append(old[root])
    sums = {root: sum_sizes(sizes) for root, sizes in parts.items()}
    return {root: size for root, size in sums.items() if size is not None}


def _counted(
    storage: LabelStorage, delta: Delta, roots: Collection[int], after: Agglomeration
) -> dict[int, ObjectSize]:
    """Return the sizes of objects from those of their supervoxels."""
    alone = delta.lone_newcomers
    groups = after.members_of([root for root in roots if root not in alone])
    groups |= {root: [root] for root in roots if root in alone}
    members = {member for group in groups.values() for member in group}
    kept = members - delta.statistics.keys()
    statistics = storage.statistics_of(kept, delta.base_version) if kept else {}
    for supervoxel in members - kept:
        changed = delta.statistics[supervoxel].after
        if changed is not None:
            statistics[supervoxel] = changed
    sums = {
        root: ObjectSize.of_parts(statistics[m] for m in group if m in statistics)
        for root, group in groups.items()
    }
    return {root: size for root, size in sums.items() if size is not None}
