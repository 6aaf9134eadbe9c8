"""Everything that happened between two versions, as one delta; no voxel is read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import sqlalchemy as sa

from segmentation_backend.database import read
from segmentation_backend.geometry import Roi
from segmentation_backend.labels import index
from segmentation_backend.labels.caches import net_events
from segmentation_backend.labels.delta import ChunkChange, Delta, StatisticsChange
from segmentation_backend.labels.schema import OPERATIONS
from segmentation_backend.labels.storage import LabelStorage

__all__ = ["difference"]


def difference(storage: LabelStorage, after: int, upto: int) -> Delta:
    """Return the change from version `after` to the later version `upto`.

    Costs what changed in between, whatever the size of the volume.
    """
    volume_id = storage.volume_id
    with read(storage.engine) as connection:
        keys = index.changed_chunks(connection, volume_id, after, upto)
        old = index.current_chunks(connection, volume_id, keys, after)
        new = index.current_chunks(connection, volume_id, keys, upto)
        supervoxels = index.changed_statistics(connection, volume_id, after, upto)
        sizes = index.statistics_of(connection, volume_id, supervoxels, after)
        new_sizes = index.statistics_of(connection, volume_id, supervoxels, upto)
        added, removed = net_events(*index.edge_events(connection, volume_id, after, upto))
        bbox, moved = _boxes_and_moves(connection, volume_id, after, upto)
    chunks = {key: ChunkChange(old.get(key, (0, None))[1], new[key][1]) for key in keys}
    statistics = {s: StatisticsChange(sizes.get(s), new_sizes.get(s)) for s in supervoxels}
    return Delta(
        base_version=after,
        bbox=bbox,
        chunks={key: c for key, c in chunks.items() if c.before != c.after},
        edges_added=frozenset(added),
        edges_removed=frozenset(removed),
        statistics={s: c for s, c in statistics.items() if c.before != c.after},
        moved=moved,
    )


def _boxes_and_moves(
    connection: sa.Connection, volume_id: int, after: int, upto: int
) -> tuple[Roi | None, frozenset[tuple[int, int]]]:
    o = OPERATIONS.c
    rows = connection.execute(
        sa.select(o.bbox, o.lineage)
        .where(o.volume_id == volume_id, o.operation_id > after, o.operation_id <= upto)
        .order_by(o.operation_id)
    ).all()
    bbox: Roi | None = None
    for box, _ in rows:
        if box is not None:
            roi = Roi(tuple(box["offset"]), tuple(box["shape"]))
            bbox = roi if bbox is None else bbox.union(roi)
    return bbox, _chained(lineage["moved"] for _, lineage in rows)


def _chained(operations: Iterable[Sequence[tuple[int, int]]]) -> frozenset[tuple[int, int]]:
    """Return (first, last) of chains of moves: after 1 → 5 and 5 → 7, voxels of 1 are in 7."""
    origins: dict[int, set[int]] = {}
    for moves in operations:
        before = dict(origins)
        for a, b in moves:
            # Ids that did not exist at the start drop out where lineage is traced.
            origins[b] = origins.get(b, set()) | before.get(a, set()) | {a}
    return frozenset((a, b) for b, starts in origins.items() for a in starts if a != b)
