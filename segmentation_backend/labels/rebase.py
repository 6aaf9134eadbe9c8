"""The same change over a later state: exact where nobody touched the place, voxel by voxel where
somebody changed other voxels of the same chunk, and refused, naming who, where they collide.

Commit uses it when others were faster; undo is the inverse of an old delta, rebased to now.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from segmentation_backend.errors import ConflictError, ErrorKind
from segmentation_backend.geometry import Coordinate, Roi
from segmentation_backend.labels import index
from segmentation_backend.labels.chunks import CHUNK_SIDE, chunk_roi, keys_over
from segmentation_backend.labels.delta import (
    ChunkChange,
    ChunkKey,
    Delta,
    Edge,
    StatisticsChange,
)
from segmentation_backend.labels.kernels import changed_box
from segmentation_backend.labels.staging import Write, stage
from segmentation_backend.labels.statistics import StatisticsTable, SupervoxelStatistics
from segmentation_backend.labels.storage import LabelStorage

__all__ = ["conflict_with", "rebase"]

Ids = npt.NDArray[np.uint64]


def conflict_with(storage: LabelStorage, operation_id: int, what: str) -> ConflictError:
    """Return the error that names who was faster."""
    return ConflictError(
        f"{storage.describe(operation_id)} changed {what} since. Refresh and look again, or have "
        "that operation undone first; nothing was changed.",
        ErrorKind.STALE_VERSION,
    )


def rebase(delta: Delta, storage: LabelStorage, version: int, since: int) -> Delta:
    """Return the delta that makes the same change to `version`.

    `since` is the version after which others may have interfered. Raises ConflictError
    STALE_VERSION naming the operation and the user that stand in the way.
    """
    return _Rebase(delta, storage, version, since).result()


@dataclass(frozen=True)
class _Rebase:
    delta: Delta
    storage: LabelStorage
    version: int
    since: int

    def result(self) -> Delta:
        self._check_edges()
        chunks = self._chunks()
        statistics = self._statistics(chunks)
        self._check_ends(statistics)
        return replace(self.delta, base_version=self.version, chunks=chunks, statistics=statistics)

    # Voxels

    def _chunks(self) -> Mapping[ChunkKey, ChunkChange]:
        changes = self.delta.chunks
        places = self.storage.places(changes.keys(), self.version)
        if all(places.get(key) == change.before for key, change in changes.items()):
            return changes
        finest = {key: change for key, change in changes.items() if key.level == 0}
        present = self.storage.load(places.get(key) for key in finest)
        writes: dict[ChunkKey, list[Write]] = {}
        blocking: list[int] = []
        for key, change in finest.items():
            offset, old, new = self._own(key, change)
            if places.get(key) != change.before:
                depth, height, width = old.shape
                box = Roi(offset, (depth, height, width))
                now = present[places.get(key)].cut(box)
                changed = old != new
                if not np.array_equal(now[changed], old[changed]):
                    blocking.append(self._last_writer(key, box, changed & (now != old)))
                new = np.where(changed, new, now)
            writes[key] = [(offset, new)]
        if blocking:
            # The newest of them is what has to be undone first.
            raise conflict_with(self.storage, max(blocking), "some of the same voxels")
        staged = stage(self.storage, self.version, writes)
        # What was stored already and still fits keeps its place in its pack.
        for key, change in finest.items():
            if key in staged and places.get(key) == change.before:
                staged[key] = change
        return staged

    def _own(self, key: ChunkKey, change: ChunkChange) -> tuple[Coordinate, Ids, Ids]:
        """Return what the delta changes in a chunk: offset of the box, content before, after."""
        chunks = self.storage.load(change)
        whole = Roi((0, 0, 0), chunk_roi(key, self.storage.levels[0]).shape)
        before, after = chunks[change.before].cut(whole), chunks[change.after].cut(whole)
        z0, y0, x0, z1, y1, x1 = changed_box(before, after).tolist()
        box = Roi.from_bounds((z0, y0, x0), (z1, y1, x1))
        return box.offset, before[box.slices()], after[box.slices()]

    def _last_writer(self, key: ChunkKey, box: Roi, where: npt.NDArray[np.bool_]) -> int:
        """Return the operation that wrote what the voxels `where` of a box in a chunk hold now."""
        rows = self.storage.query_since(
            self.since, self.version, lambda c, path: index.chunk_history(c, path, key)
        )
        chunks = self.storage.load([place for _, place in rows])
        contents = [chunks[place].cut(box)[where] for _, place in rows]
        for at in range(len(rows) - 1, 0, -1):
            if not np.array_equal(contents[at], contents[at - 1]):
                return rows[at][0]
        return rows[0][0]

    # Edges

    def _check_edges(self) -> None:
        changed = self.delta.edges_added | self.delta.edges_removed
        active = self.storage.agglomeration(self.version).edges_at({edge[0] for edge in changed})
        wrong = (self.delta.edges_added & active) | (self.delta.edges_removed - active)
        if wrong:
            self._refuse_edge(min(wrong))

    def _refuse_edge(self, edge: Edge) -> NoReturn:
        writer = self.storage.query(
            self.version, lambda c, path: index.last_edge_writer(c, path, edge)
        )
        what = f"how supervoxels {edge[0]} and {edge[1]} are joined"
        raise conflict_with(self.storage, writer or self.version, what)

    # Statistics

    def _statistics(self, chunks: Mapping[ChunkKey, ChunkChange]) -> Mapping[int, StatisticsChange]:
        wanted = self.delta.statistics
        present = self.storage.statistics_of(wanted.keys(), self.version)
        result = dict(wanted)
        for supervoxel, change in wanted.items():
            now = present.get(supervoxel)
            if now != change.before:
                after = self._recount(supervoxel, now, change, chunks)
                if (after is None) != (change.after is None):
                    self._refuse_supervoxel(supervoxel)
                result[supervoxel] = StatisticsChange(now, after)
        return result

    def _recount(
        self,
        supervoxel: int,
        now: SupervoxelStatistics | None,
        change: StatisticsChange,
        chunks: Mapping[ChunkKey, ChunkChange],
    ) -> SupervoxelStatistics | None:
        """Return what one supervoxel is after the same change to what it is now.

        Its box is measured inside the boxes it can be in; never in the whole volume.
        """
        # The same voxels come and go, wherever they are applied. (Counting the box would also find
        # voxels of a base that are not counted yet.)
        voxels, sums = _added_up(now, change)
        if not voxels:
            return None
        roi = Roi((0, 0, 0), (0, 0, 0))
        for statistics in (now, change.after):
            roi = roi if statistics is None else roi.union(statistics.bbox)
        table = StatisticsTable([supervoxel])
        keys = list(keys_over(roi, 0))
        places = self.storage.places(keys, self.version)
        for key in keys:
            reference = chunks[key].after if key in chunks else places.get(key)
            chunk = self.storage.load([reference])[reference]
            table.add(chunk.block, _corner(key, chunk.offset))
        found = table.get(supervoxel)
        if found is None:
            return None
        sure = change.after if now is None else now
        confidence = None if sure is None else sure.confidence
        return SupervoxelStatistics(voxels, found.bbox, sums, confidence)

    def _check_ends(self, statistics: Mapping[int, StatisticsChange]) -> None:
        """Refuse a change after which an edge would lead to a supervoxel that is gone."""
        gone = [s for s, change in statistics.items() if change.after is None]
        dangling = self.storage.agglomeration(self.version).edges_at(gone)
        dangling -= self.delta.edges_removed
        if dangling:
            self._refuse_edge(min(dangling))
        ends = {end for edge in self.delta.edges_added for end in edge}
        present = self.storage.statistics_of(ends - statistics.keys(), self.version)
        for end in sorted(ends):
            exists = statistics[end].after if end in statistics else present.get(end)
            if exists is None:
                self._refuse_supervoxel(end)

    def _refuse_supervoxel(self, supervoxel: int) -> NoReturn:
        writer = self.storage.query(
            self.version, lambda c, path: index.last_statistics_writer(c, path, supervoxel)
        )
        raise conflict_with(self.storage, writer or self.version, f"supervoxel {supervoxel}")


def _added_up(now: SupervoxelStatistics | None, change: StatisticsChange) -> tuple[int, Coordinate]:
    """Return how many voxels are there after a change, and the sums of their coordinates."""
    voxels, z, y, x = 0, 0, 0, 0
    for statistics, sign in ((now, 1), (change.after, 1), (change.before, -1)):
        if statistics is not None:
            voxels += sign * statistics.voxels
            z, y, x = (a + sign * b for a, b in zip((z, y, x), statistics.sums, strict=True))
    return voxels, (z, y, x)


def _corner(key: ChunkKey, offset: Coordinate) -> Coordinate:
    z, y, x = (p * CHUNK_SIDE + o for p, o in zip(key[1:], offset, strict=True))
    return (z, y, x)
