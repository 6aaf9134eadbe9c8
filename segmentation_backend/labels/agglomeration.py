"""Edges → the object of each supervoxel at one version; a value that is advanced, never changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from segmentation_backend.labels.delta import Edge
from segmentation_backend.labels.kernels import translate

__all__ = ["NO_EDGES", "Agglomeration"]

Ids = npt.NDArray[np.uint64]

_LARGEST_OVERLAY = 8192
"""Changed supervoxels before everything is packed into arrays anew (some ms per 10,000 edges)."""


@dataclass(frozen=True, eq=False)
class Agglomeration:
    """Which supervoxels are joined: sorted arrays, and a small overlay of what changed since.

    A supervoxel that is not listed has no edge: it is its own root.
    """

    nodes: Ids
    """Sorted supervoxels with an edge when the arrays were made."""
    roots: Ids
    """Their roots then."""
    starts: npt.NDArray[np.int64]
    """`neighbours[starts[i]:starts[i + 1]]` are those of `nodes[i]`."""
    neighbours: Ids
    newer_roots: Mapping[int, int] = field(default_factory=dict)
    newer_neighbours: Mapping[int, frozenset[int]] = field(default_factory=dict)

    @classmethod
    def from_edges(cls, edges: Ids) -> Agglomeration:
        """Return the agglomeration of active edges, uint64 (n, 2), in any order, each once."""
        if len(edges) == 0:
            return NO_EDGES
        nodes, index = np.unique(edges.reshape(-1), return_inverse=True)
        a, b = index.reshape(-1, 2).T
        n = len(nodes)
        graph = coo_array((np.ones(len(a), dtype=np.int8), (a, b)), shape=(n, n))
        count, component = connected_components(graph, directed=False)
        smallest = np.full(count, np.iinfo(np.uint64).max, dtype=np.uint64)
        np.minimum.at(smallest, component, nodes)
        order = np.argsort(np.concatenate([a, b]), kind="stable")
        starts = np.zeros(n + 1, dtype=np.int64)
        np.cumsum(np.bincount(np.concatenate([a, b]), minlength=n), out=starts[1:])
        neighbours = nodes[np.concatenate([b, a])][order]
        return cls(nodes, smallest[component], starts, neighbours)

    def _position(self, supervoxel: int) -> int | None:
        at = int(np.searchsorted(self.nodes, np.uint64(supervoxel)))
        return at if at < len(self.nodes) and int(self.nodes[at]) == supervoxel else None

    def root_of(self, supervoxel: int) -> int:
        """Return the smallest supervoxel id of the object that `supervoxel` belongs to."""
        newer = self.newer_roots.get(supervoxel)
        if newer is not None:
            return newer
        at = self._position(supervoxel)
        return supervoxel if at is None else int(self.roots[at])

    def neighbours_of(self, supervoxel: int) -> frozenset[int]:
        """Return the supervoxels joined to one by an edge of its own."""
        newer = self.newer_neighbours.get(supervoxel)
        if newer is not None:
            return newer
        at = self._position(supervoxel)
        if at is None:
            return frozenset()
        return frozenset(self.neighbours[self.starts[at] : self.starts[at + 1]].tolist())

    def members(self, supervoxel: int) -> list[int]:
        """Return all supervoxels of the object that `supervoxel` belongs to, sorted."""
        return sorted(_reachable(supervoxel, self.neighbours_of))

    def edges_of(self, supervoxel: int) -> frozenset[Edge]:
        """Return the edges that join the object of `supervoxel`."""
        return frozenset(
            (a, b) for a in self.members(supervoxel) for b in self.neighbours_of(a) if a < b
        )

    def has_edge(self, edge: Edge) -> bool:
        """Whether an edge is active."""
        return edge[1] in self.neighbours_of(edge[0])

    def to_roots(self, supervoxels: Ids) -> Ids:
        """Return root ids for an array of supervoxel ids (uint64, any shape); 0 stays 0."""
        flat = np.ascontiguousarray(supervoxels).reshape(-1)
        out = np.empty_like(flat)
        translate(flat, *self._overlay, self.nodes, self.roots, out)
        return out.reshape(supervoxels.shape)

    @cached_property
    def _overlay(self) -> tuple[Ids, Ids]:
        keys = np.fromiter(self.newer_roots, dtype=np.uint64, count=len(self.newer_roots))
        order = np.argsort(keys)
        values = np.fromiter(self.newer_roots.values(), dtype=np.uint64, count=len(keys))
        return keys[order], values[order]

    def changed(self, added: Iterable[Edge], removed: Iterable[Edge]) -> Agglomeration:
        """Return the agglomeration after edges were added and removed.

        Costs the size of the objects touched, not of the volume.
        """
        newer = dict(self.newer_neighbours)

        def near(supervoxel: int) -> frozenset[int]:
            found = newer.get(supervoxel)
            return self.neighbours_of(supervoxel) if found is None else found

        touched: set[int] = set()
        for a, b in removed:
            newer[a], newer[b] = near(a) - {b}, near(b) - {a}
            touched.update((a, b))
        for a, b in added:
            newer[a], newer[b] = near(a) | {b}, near(b) | {a}
            touched.update((a, b))
        roots = dict(self.newer_roots)
        while touched:
            component = _reachable(touched.pop(), near)
            roots.update(dict.fromkeys(component, min(component)))
            touched -= component
        result = Agglomeration(self.nodes, self.roots, self.starts, self.neighbours, roots, newer)
        small = len(roots) <= _LARGEST_OVERLAY
        return result if small else Agglomeration.from_edges(result.all_edges())

    def all_edges(self) -> Ids:
        """Return every active edge as uint64 (n, 2), the smaller id first."""
        a = np.repeat(self.nodes, np.diff(self.starts))
        known = np.stack([a, self.neighbours], axis=1)
        changed = np.fromiter(self.newer_neighbours, np.uint64, len(self.newer_neighbours))
        # Both ends of a changed edge are in the overlay, so rows that start there are out of date.
        known = known[(known[:, 0] < known[:, 1]) & ~np.isin(known[:, 0], changed)]
        newer = [(a, b) for a, near in self.newer_neighbours.items() for b in near if a < b]
        return np.concatenate([known, np.array(newer, dtype=np.uint64).reshape(-1, 2)])


def _reachable(start: int, near: Callable[[int], frozenset[int]]) -> set[int]:
    seen = {start}
    pending = [start]
    while pending:
        fresh = near(pending.pop()) - seen
        seen |= fresh
        pending.extend(fresh)
    return seen


def _no_ids() -> Ids:
    return np.zeros(0, dtype=np.uint64)


NO_EDGES = Agglomeration(_no_ids(), _no_ids(), np.zeros(1, dtype=np.int64), _no_ids())
"""Every supervoxel is its own object."""
