"""Everything that differs between two versions, as one delta; no voxel is read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import sqlalchemy as sa

from segmentation_backend.database import read
from segmentation_backend.geometry import Roi
from segmentation_backend.labels import index
from segmentation_backend.labels.branches import Path, clip, common_ancestor
from segmentation_backend.labels.caches import net_events
from segmentation_backend.labels.delta import ChunkChange, ChunkKey, Delta, Edge, StatisticsChange
from segmentation_backend.labels.schema import OPERATIONS
from segmentation_backend.labels.storage import LabelStorage

__all__ = ["difference"]

Moves = frozenset[tuple[int, int]]

_o = OPERATIONS.c
_BOXES_AND_MOVES = index.written(OPERATIONS, _o.bbox, _o.lineage).where(
    _o.volume_id == sa.bindparam("volume")
)


class _Way(NamedTuple):
    """What happened between the common ancestor of two versions and one of them."""

    chunks: set[ChunkKey]
    supervoxels: set[int]
    added: set[Edge]
    removed: set[Edge]
    bbox: Roi | None
    moved: Moves


def difference(storage: LabelStorage, before: int, after: int) -> Delta:
    """Return the change that leads from one version to another, older or newer, on any branch.

    Costs what happened since the two were one, whatever the size of the volume.
    """
    with read(storage.engine) as connection:
        old_path = storage.versions.path(connection, before)
        new_path = storage.versions.path(connection, after)
        shared = common_ancestor(old_path, new_path)
        back = _way(connection, storage.volume_id, clip(old_path, shared))
        forth = _way(connection, storage.volume_id, clip(new_path, shared))
        keys = back.chunks | forth.chunks
        old = storage.referred(keys, index.current_chunks(connection, old_path, keys))
        new = storage.referred(keys, index.current_chunks(connection, new_path, keys))
    supervoxels = back.supervoxels | forth.supervoxels
    counted = storage.counted()
    sizes = storage.statistics_of(supervoxels, before, counted)
    new_sizes = storage.statistics_of(supervoxels, after, counted)
    chunks = {key: ChunkChange(old.get(key), new.get(key)) for key in keys}
    statistics = {s: StatisticsChange(sizes.get(s), new_sizes.get(s)) for s in supervoxels}
    boxes = [box for box in (back.bbox, forth.bbox) if box is not None]
    undone = frozenset((b, a) for a, b in back.moved)
    return Delta(
        base_version=before,
        bbox=boxes[0].union(boxes[-1]) if boxes else None,
        chunks={key: c for key, c in chunks.items() if c.before != c.after},
        edges_added=frozenset((forth.added - back.added) | (back.removed - forth.removed)),
        edges_removed=frozenset((back.added - forth.added) | (forth.removed - back.removed)),
        statistics={s: c for s, c in statistics.items() if c.before != c.after},
        moved=_chained([undone, forth.moved]),
    )


def _way(connection: sa.Connection, volume_id: int, path: Path) -> _Way:
    if not path:
        return _Way(set(), set(), set(), set(), None, frozenset())
    added, removed = net_events(*index.edge_events(connection, path))
    bbox, moved = _boxes_and_moves(connection, volume_id, path)
    return _Way(
        index.changed_chunks(connection, path),
        index.changed_statistics(connection, path),
        set(added),
        set(removed),
        bbox,
        moved,
    )


def _boxes_and_moves(
    connection: sa.Connection, volume_id: int, path: Path
) -> tuple[Roi | None, Moves]:
    rows = list(index.rows_written(connection, path, _BOXES_AND_MOVES, volume=volume_id))
    bbox: Roi | None = None
    for box, _ in rows:
        if box is not None:
            roi = Roi(tuple(box["offset"]), tuple(box["shape"]))
            bbox = roi if bbox is None else bbox.union(roi)
    return bbox, _chained([(a, b) for a, b in lineage["moved"]] for _, lineage in rows)


def _chained(operations: Iterable[Iterable[tuple[int, int]] | Sequence[tuple[int, int]]]) -> Moves:
    """Return (first, last) of chains of moves: after 1 → 5 and 5 → 7, voxels of 1 are in 7."""
    origins: dict[int, set[int]] = {}
    for moves in operations:
        before = dict(origins)
        for a, b in moves:
            # Ids that did not exist at the start drop out where lineage is traced.
            origins[b] = origins.get(b, set()) | before.get(a, set()) | {a}
    return frozenset((a, b) for b, starts in origins.items() for a in starts if a != b)
