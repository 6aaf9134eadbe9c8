"""What must hold of joins and objects at each version of a label volume; see `integrity`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from segmentation_backend.labels import index
from segmentation_backend.labels.branches import Path, within
from segmentation_backend.labels.findings import Finding
from segmentation_backend.labels.objects import ObjectSize, sizes_of
from segmentation_backend.labels.schema import MEMBERS, ROOTS, SUPERVOXELS
from segmentation_backend.labels.view import LabelView

__all__ = [
    "edges_are_added_and_removed_in_turn",
    "edges_join_supervoxels_that_exist",
    "ids_on",
    "members_follow_the_edges",
    "objects_match_their_supervoxels",
    "portions",
]

Ids = npt.NDArray[np.uint64]
Item = TypeVar("Item")

_BATCH = 20_000
"""Supervoxels looked up at a time."""
_BACKUP = "Restore the database from a backup (mitoglance restore)."
_UNDO = "Undo the operation that left it so, or restore the database from a backup."


def portions(items: Iterable[Item], size: int = _BATCH) -> Iterator[list[Item]]:
    """Yield items in lists of at most `size`."""
    stream = iter(items)
    while portion := list(islice(stream, size)):
        yield portion


def ids_on(view: LabelView, column: sa.Column[int]) -> Ids:
    """Return the ids that a column holds in the rows on the way to a version, sorted."""
    table = column.table

    def ask(connection: sa.Connection, path: Path) -> Ids:
        here = within(path, table.c.branch_id, table.c.operation_id)
        found = connection.scalars(sa.select(column).distinct().where(here))
        return np.fromiter(found, dtype=np.uint64)

    return np.unique(view.storage.query(view.version, ask))


def _where(view: LabelView) -> str:
    return f"version {view.version}"


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
    for portion in portions(np.unique(edges).tolist()):
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
    recorded_ids = ids_on(view, MEMBERS.c.supervoxel)
    for portion in portions(np.union1d(nodes, recorded_ids).tolist()):
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


def objects_match_their_supervoxels(view: LabelView) -> Iterator[Finding]:
    """What is on record of each object is the sum of its supervoxels; of others there is nothing.

    Over a base nothing of the sort is relied on, as counting goes on after the record.
    """
    if view.storage.base is not None:
        return
    candidates = np.union1d(ids_on(view, ROOTS.c.root), ids_on(view, SUPERVOXELS.c.supervoxel))
    joins = view.agglomeration
    for portion in portions(candidates.tolist()):
        own = joins.roots_of(portion)
        groups = joins.members_of([s for s in portion if own[s] == s])
        statistics = view.statistics_of({member for group in groups.values() for member in group})
        recorded = _recorded_sizes(view, portion)
        for root in portion:
            parts = [statistics[m] for m in groups.get(root, ()) if m in statistics]
            expected, found = ObjectSize.of_parts(parts), recorded.get(root)
            if found != expected:
                yield Finding(
                    objects_match_their_supervoxels.__name__,
                    _where(view),
                    f"Object {root} is on record as {found or 'gone'}, but its supervoxels make "
                    f"{expected or 'no object'}.",
                    _BACKUP,
                )


def _recorded_sizes(view: LabelView, roots: list[int]) -> dict[int, ObjectSize]:
    return view.storage.query(
        view.version, lambda connection, path: sizes_of(connection, path, roots)
    )
