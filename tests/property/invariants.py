"""What must hold of every label store at every version, as named functions with naive oracles."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import sqlalchemy as sa

from segmentation_backend.geometry import Coordinate, Roi
from segmentation_backend.labels import LabelRepository, LabelView, PackStore

Edge = tuple[int, int]


def naive_roots(supervoxels: np.ndarray, edges: Iterable[Edge]) -> np.ndarray:
    """Return root ids by relabelling one edge at a time until nothing changes."""
    root = {int(s): int(s) for s in np.unique(supervoxels)}
    changed = True
    while changed:
        changed = False
        for a, b in edges:
            low = min(root.setdefault(a, a), root.setdefault(b, b))
            changed |= root[a] != low or root[b] != low
            root[a] = root[b] = low
    keys = np.array(sorted(root), dtype=np.uint64)
    values = np.array([root[int(k)] for k in keys], dtype=np.uint64)
    return values[np.searchsorted(keys, supervoxels)]


def naive_mode_pool(block: np.ndarray, factor: Coordinate) -> np.ndarray:
    """Return the mode of each cell, voxel against voxel; labels win ties, then small ids."""
    pad = [(0, -n % f) for n, f in zip(block.shape, factor, strict=True)]
    there = np.pad(np.ones(block.shape, dtype=bool), pad)
    padded = np.pad(block, pad)
    strided = [
        (padded[z :: factor[0], y :: factor[1], x :: factor[2]],
         there[z :: factor[0], y :: factor[1], x :: factor[2]])
        for z in range(factor[0]) for y in range(factor[1]) for x in range(factor[2])
    ]  # fmt: skip
    best = np.zeros_like(strided[0][0])
    best_count = np.zeros(best.shape, dtype=int)
    for value, real in strided:
        count = sum(((other == value) & here).astype(int) for other, here in strided)
        wins = (count > best_count) | (
            (count == best_count) & (value != 0) & ((best == 0) | (value < best))
        )
        wins &= real
        best = np.where(wins, value, best)
        best_count = np.where(wins, count, best_count)
    return best


def statistics_match_the_voxels(view: LabelView) -> None:
    """Every supervoxel's size, box and sums are what counting gives; no other is listed."""
    voxels = view.read_supervoxels(view.bounds)
    found = view.statistics_in(None)
    assert set(found) == set(np.unique(voxels).tolist()) - {0}
    for supervoxel, statistics in found.items():
        points = np.argwhere(voxels == supervoxel)
        assert statistics.voxels == len(points)
        assert statistics.sums == tuple(points.sum(axis=0))
        assert statistics.bbox == Roi.of_points(points.tolist())


def objects_match_the_voxels(view: LabelView) -> None:
    """Every object's size, box and centre are what counting root ids gives."""
    roots = view.read(view.bounds)
    found = {o.root: o for o in view.objects(limit=10**6)}
    assert set(found) == set(np.unique(roots).tolist()) - {0}
    for root, stats in found.items():
        points = np.argwhere(roots == root)
        assert stats.voxels == len(points)
        assert stats.bbox == Roi.of_points(points.tolist())
        assert np.allclose(stats.centroid, points.mean(axis=0))


def levels_match_level_0(view: LabelView) -> None:
    """Each level is the naive mode of the level below, in supervoxels."""
    below = view.read_supervoxels(view.bounds)
    for fine, coarse in zip(view.levels, view.levels[1:], strict=False):
        factor = tuple(
            round(c / f) for f, c in zip(fine.voxel_size, coarse.voxel_size, strict=True)
        )
        expected = naive_mode_pool(below, factor)  # type: ignore[arg-type]
        below = view.read_supervoxels(Roi((0, 0, 0), coarse.shape), coarse.level)
        assert np.array_equal(below, expected)


def edges_join_supervoxels_that_exist(view: LabelView) -> None:
    """No edge leads to a supervoxel without voxels; each root is its object's smallest member."""
    exist = set(view.statistics_in(None))
    for edge in view.agglomeration.all_edges().tolist():
        assert set(edge) <= exist
    for supervoxel in exist:
        members = view.members(supervoxel)
        assert view.root_of(supervoxel) == min(members)
        assert supervoxel in members


def chunks_and_regions_agree(view: LabelView) -> None:
    """Chunks are the regions they stand for, and None exactly where there is no label."""
    for level in view.levels:
        whole = view.read(Roi((0, 0, 0), level.shape), level.level)
        counts = [-(-n // 64) for n in level.shape]
        for z, y, x in np.ndindex(*counts):
            expected = whole[z * 64 : z * 64 + 64, y * 64 : y * 64 + 64, x * 64 : x * 64 + 64]
            chunk = view.chunk(level.level, (z, y, x))
            assert (chunk is None) == (not expected.any())
            assert chunk is None or np.array_equal(chunk, expected)


def operations_are_consecutive(repository: LabelRepository) -> None:
    """Operation ids run from 1 to the head, without a gap or a repeat."""
    ids = [o.operation_id for o in repository.operations(limit=10**6)]
    assert ids == list(range(repository.head, 0, -1))
    requests = [o.request_id for o in repository.operations(limit=10**6) if o.request_id]
    assert len(requests) == len(set(requests))


def named_packs_are_whole(engine: sa.Engine, packs: PackStore) -> None:
    """Every pack that SQL names passes its checksums."""
    with engine.connect() as connection:
        names = connection.execute(
            sa.text("SELECT DISTINCT pack FROM label_chunks WHERE pack IS NOT NULL")
        )
        for (name,) in names:
            assert packs.verify(name) > 0


def every_version_is_whole(repository: LabelRepository) -> None:
    """All of the above that concerns a view, at every version."""
    operations_are_consecutive(repository)
    for version in range(repository.head + 1):
        view = repository.at(version)
        statistics_match_the_voxels(view)
        objects_match_the_voxels(view)
        levels_match_level_0(view)
        edges_join_supervoxels_that_exist(view)
        chunks_and_regions_agree(view)
