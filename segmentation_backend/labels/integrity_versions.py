"""What must hold of each version of a label volume; see `integrity`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from segmentation_backend.geometry import Roi
from segmentation_backend.labels import index
from segmentation_backend.labels.branches import Path, within
from segmentation_backend.labels.chunks import CHUNK_SIDE, chunk_roi, keys_over
from segmentation_backend.labels.delta import ChunkKey
from segmentation_backend.labels.findings import Finding, Severity
from segmentation_backend.labels.kernels import distinct_ids, mode_pool
from segmentation_backend.labels.schema import CHUNKS, MEMBERS, SUPERVOXELS
from segmentation_backend.labels.statistics import StatisticsTable
from segmentation_backend.labels.view import LabelView

__all__ = [
    "edges_are_added_and_removed_in_turn",
    "edges_join_supervoxels_that_exist",
    "levels_match_the_level_below",
    "members_follow_the_edges",
    "statistics_match_the_voxels",
]

Ids = npt.NDArray[np.uint64]
Item = TypeVar("Item")

_BATCH = 20_000
"""Supervoxels looked up at a time."""
_CHUNKS = 16
"""Chunks decoded at a time (at most 2 MB each)."""
_BACKUP = "Restore the database from a backup (mitoglance restore)."
_UNDO = "Undo the operation that left it so, or restore the database from a backup."


def _where(view: LabelView) -> str:
    return f"version {view.version}"


def _portions(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    stream = iter(items)
    while portion := list(islice(stream, size)):
        yield portion


# Joins


def _balance(view: LabelView) -> tuple[Ids, npt.NDArray[np.int64]]:
    """Return every edge there ever was (n, 2), and how often it was added more than removed."""
    edges, added = view.storage.query(view.version, index.edge_events)
    unique, position = np.unique(edges, axis=0, return_inverse=True)
    balance = np.zeros(len(unique), dtype=np.int64)
    np.add.at(balance, position.reshape(-1), np.where(added, 1, -1))
    return unique, balance


def _active(view: LabelView) -> Ids:
    edges, balance = _balance(view)
    found: Ids = edges[balance > 0]
    return found


def edges_are_added_and_removed_in_turn(view: LabelView) -> Iterator[Finding]:
    """No edge is added twice, or removed without being there; each is spelt smaller id first."""
    edges, balance = _balance(view)
    here = edges_are_added_and_removed_in_turn.__name__
    for (a, b), count in zip(edges.tolist(), balance.tolist(), strict=True):
        if count not in (0, 1) or not 0 < a < b:
            what = f"The edge {a}–{b} was added {count} times more than removed."
            yield Finding(here, _where(view), what, _BACKUP)


def edges_join_supervoxels_that_exist(view: LabelView) -> Iterator[Finding]:
    """No edge leads to a supervoxel without voxels."""
    edges = _active(view)
    for portion in _portions(np.unique(edges).tolist(), _BATCH):
        exist = view.statistics_of(portion)
        for supervoxel in portion:
            if supervoxel not in exist and not _may_be_uncounted(view, supervoxel):
                yield Finding(
                    edges_join_supervoxels_that_exist.__name__,
                    _where(view),
                    f"An edge leads to supervoxel {supervoxel}, which has no voxel.",
                    _UNDO,
                )


def _may_be_uncounted(view: LabelView, supervoxel: int) -> bool:
    base = view.storage.base_statistics
    return base is not None and base.share < 1 and base.holds(supervoxel)


def members_follow_the_edges(view: LabelView) -> Iterator[Finding]:
    """The root on record of each supervoxel is the smallest one that edges lead to from it."""
    nodes, roots = _components(_active(view))
    m = MEMBERS.c

    def ask(connection: sa.Connection, path: Path) -> Ids:
        query = sa.select(m.supervoxel).distinct()
        found = connection.scalars(query.where(within(path, m.branch_id, m.operation_id)))
        return np.fromiter(found, dtype=np.uint64)

    recorded_ids = view.storage.query(view.version, ask)
    for portion in _portions(np.union1d(nodes, recorded_ids).tolist(), _BATCH):
        recorded = _recorded_roots(view, portion)
        for supervoxel in portion:
            at = int(np.searchsorted(nodes, np.uint64(supervoxel)))
            joined = at < len(nodes) and int(nodes[at]) == supervoxel
            expected = int(roots[at]) if joined else supervoxel
            found = recorded.get(supervoxel, supervoxel)
            if found != expected:
                yield Finding(
                    members_follow_the_edges.__name__,
                    _where(view),
                    f"Supervoxel {supervoxel} is on record as part of object {found}; by its "
                    f"edges it belongs to {expected}.",
                    _BACKUP,
                )


def _recorded_roots(view: LabelView, supervoxels: list[int]) -> dict[int, int]:
    return view.storage.query(
        view.version, lambda connection, path: index.roots_of(connection, path, supervoxels)
    )


def _components(edges: Ids) -> tuple[Ids, Ids]:
    """Return the supervoxels with an edge, sorted, and the smallest of each one's component."""
    nodes, position = np.unique(edges.reshape(-1), return_inverse=True)
    if len(nodes) == 0:
        return nodes, nodes
    a, b = position.reshape(-1, 2).T
    graph = coo_array((np.ones(len(a), dtype=np.int8), (a, b)), shape=(len(nodes), len(nodes)))
    count, component = connected_components(graph, directed=False)
    smallest = np.full(count, np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(smallest, component, nodes)
    return nodes, smallest[component]


# Voxels


def _stored(view: LabelView, level: int, slab: int) -> set[ChunkKey]:
    """Return the chunks of one layer of the grid that were ever written on the way to a version."""
    c = CHUNKS.c

    def ask(connection: sa.Connection, path: Path) -> set[ChunkKey]:
        query = sa.select(c.y, c.x).distinct().where(c.level == level, c.z == slab)
        rows = connection.execute(query.where(within(path, c.branch_id, c.operation_id)))
        return {ChunkKey(level, slab, y, x) for y, x in rows}

    return view.storage.query(view.version, ask)


def _slabs(view: LabelView, level: int) -> range:
    return range(-(-view.levels[level].shape[0] // CHUNK_SIDE))


def statistics_match_the_voxels(view: LabelView) -> Iterator[Finding]:
    """Size, box and sums of each supervoxel are what counting gives; no other one has voxels.

    Over a base: of the supervoxels that an edit touched, those of the base only where all of it is
    counted.
    """
    counted = view.storage.base_statistics is None or view.storage.base_statistics.share == 1
    ids, left_out = _countable(view, counted)
    table = StatisticsTable(ids)
    unknown: set[int] = set()
    for keys in _portions(_keys_to_count(view, ids if counted else ids[:0]), _CHUNKS):
        for key, chunk in view.load_chunks(keys).items():
            z, y, x = (p * CHUNK_SIDE + o for p, o in zip(key[1:], chunk.offset, strict=True))
            table.add(chunk.block, (z, y, x))
            strange = np.setdiff1d(distinct_ids(chunk.block), ids, assume_unique=True)
            unknown.update(s for s in strange.tolist() if not _is_of_base(view, s))
    yield from _compared(view, table)
    here = statistics_match_the_voxels.__name__
    for supervoxel in sorted(unknown):
        what = f"Supervoxel {supervoxel} has voxels, but nothing is on record of it."
        yield Finding(here, _where(view), what, _BACKUP)
    if left_out:
        yield Finding(
            here,
            _where(view),
            f"{left_out} edited supervoxels of the base were not counted.",
            "Have the whole base counted (mitoglance index), then check again.",
            Severity.NOTE,
        )


def _is_of_base(view: LabelView, supervoxel: int) -> bool:
    base = view.storage.base_statistics
    return base is not None and base.holds(supervoxel)


def _countable(view: LabelView, counted: bool) -> tuple[Ids, int]:
    """Return the supervoxels on record that can be counted, sorted; and how many cannot."""
    s = SUPERVOXELS.c

    def ask(connection: sa.Connection, path: Path) -> Ids:
        query = sa.select(s.supervoxel).distinct()
        found = connection.scalars(query.where(within(path, s.branch_id, s.operation_id)))
        return np.fromiter(found, dtype=np.uint64)

    ids = np.unique(view.storage.query(view.version, ask))
    if view.storage.base is None or counted:
        return ids, 0
    mine = ids >= np.uint64(view.storage.base.first_new_id)
    return ids[mine], int((~mine).sum())


def _keys_to_count(view: LabelView, of_base: Ids) -> Iterator[ChunkKey]:
    """Yield the chunks that can hold what is counted: stored ones, and what is near `of_base`."""
    reached: set[ChunkKey] = set()
    if view.storage.base is not None:
        for portion in _portions(of_base.tolist(), _BATCH):
            for found in view.statistics_of(portion).values():
                reached.update(keys_over(found.bbox, 0))
    for slab in _slabs(view, 0):
        stored = _stored(view, 0, slab)
        yield from sorted(stored)
        reached -= stored
    yield from sorted(reached)


def _compared(view: LabelView, table: StatisticsTable) -> Iterator[Finding]:
    for portion in _portions(table.ids.tolist(), _BATCH):
        recorded = view.statistics_of(portion)
        for supervoxel in portion:
            found, counted = recorded.get(supervoxel), table.get(supervoxel)
            if found != counted:
                yield Finding(
                    statistics_match_the_voxels.__name__,
                    _where(view),
                    f"Supervoxel {supervoxel} is on record as {found or 'gone'}, but counting "
                    f"gives {counted or 'no voxel'}.",
                    _BACKUP,
                )


def levels_match_the_level_below(view: LabelView) -> Iterator[Finding]:
    """Each chunk of a coarse level is the mode of the voxels below it.

    Levels that a base brings along were made by others, by other rules; they are passed over.
    """
    base = view.storage.base
    for level in range(1, len(view.levels)):
        if base is None or base.plan[level].stored is None:
            for slab in _slabs(view, level):
                for key in sorted(_written(view, level, slab)):
                    yield from _level_chunk(view, key)


def _written(view: LabelView, level: int, slab: int) -> set[ChunkKey]:
    """Return the chunks of a layer of a level that were written, or have a written one below."""
    fz, fy, fx = view.storage.factors[level - 1]
    keys = _stored(view, level, slab)
    for below in range(slab * fz, slab * fz + fz):
        keys.update(
            ChunkKey(level, slab, key.y // fy, key.x // fx)
            for key in _stored(view, level - 1, below)
        )
    return keys


def _level_chunk(view: LabelView, key: ChunkKey) -> Iterator[Finding]:
    factor = view.storage.factors[key.level - 1]
    roi = chunk_roi(key, view.levels[key.level])
    finer = view.levels[key.level - 1].shape
    below = Roi.from_bounds(
        [a * f for a, f in zip(roi.offset, factor, strict=True)],
        [min(b * f, s) for b, f, s in zip(roi.end, factor, finer, strict=True)],
    )
    expected = mode_pool(view.read_supervoxels(below, key.level - 1), *factor)
    wrong = expected != view.read_supervoxels(roi, key.level)
    if wrong.any():
        first = np.argwhere(wrong)[0] + roi.offset
        yield Finding(
            levels_match_the_level_below.__name__,
            _where(view),
            f"{int(wrong.sum())} voxels of level {key.level}, the first at {first.tolist()} "
            "(z, y, x), are not what the level below says.",
            "The finest level is the truth; repaint a voxel there, or restore from a backup.",
        )
