"""Which supervoxels are joined at one version: edges → objects, looked up where they are asked for.

Nothing of an agglomeration is ever loaded as a whole: the root of each supervoxel, the members of
each object and the edges between them are look-ups, so that a reader's memory and the way to an old
version cost what is looked at, not what the volume holds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt

from segmentation_backend.labels.delta import Edge
from segmentation_backend.labels.kernels import distinct_ids, translate

__all__ = ["NO_EDGES", "Agglomeration", "JoinSource", "components"]

Ids = npt.NDArray[np.uint64]


class JoinSource(Protocol):
    """Where an agglomeration looks things up; never changes."""

    def roots_of(self, supervoxels: Collection[int]) -> Mapping[int, int]:
        """Return the roots of supervoxels; absent where it is the supervoxel itself."""
        ...

    def members_of(self, roots: Collection[int]) -> Mapping[int, Collection[int]]:
        """Return the supervoxels of each root; absent where it is the only one."""
        ...

    def edges_at(self, supervoxels: Collection[int]) -> set[Edge]:
        """Return the active edges with an end among supervoxels."""
        ...

    def all_edges(self) -> set[Edge]:
        """Return every active edge."""
        ...


def components(edges: Iterable[Edge]) -> dict[int, int]:
    """Return the smallest id of each component, by its members (union-find, halving paths)."""
    parent: dict[int, int] = {}

    def find(node: int) -> int:
        while parent.setdefault(node, node) != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for a, b in edges:
        low, high = sorted((find(a), find(b)))
        parent[high] = low
    return {node: find(node) for node in parent}


class Agglomeration:
    """The joins of one version. A supervoxel without an edge is its own root."""

    def __init__(self, source: JoinSource) -> None:
        """Look things up in `source`."""
        self._source = source

    @classmethod
    def from_edges(cls, edges: Iterable[Edge]) -> Agglomeration:
        """Return the agglomeration of active edges, each once, held in memory."""
        return cls(_InMemory(frozenset((min(e), max(e)) for e in edges)))

    def roots_of(self, supervoxels: Collection[int]) -> dict[int, int]:
        """Return the root of each supervoxel: the smallest id of its object."""
        found = self._source.roots_of(supervoxels)
        return {s: found.get(s, s) for s in supervoxels}

    def root_of(self, supervoxel: int) -> int:
        """Return the smallest supervoxel id of the object that `supervoxel` belongs to."""
        return self.roots_of([supervoxel])[supervoxel]

    def members_of(self, supervoxels: Collection[int]) -> dict[int, list[int]]:
        """Return all supervoxels, sorted, of the object that each of `supervoxels` belongs to."""
        roots = self.roots_of(supervoxels)
        found = self._source.members_of(set(roots.values()))
        return {s: sorted(found.get(root, (root,))) for s, root in roots.items()}

    def members(self, supervoxel: int) -> list[int]:
        """Return all supervoxels of the object that `supervoxel` belongs to, sorted."""
        return self.members_of([supervoxel])[supervoxel]

    def edges_of(self, supervoxel: int) -> frozenset[Edge]:
        """Return the edges that join the object of `supervoxel`."""
        return frozenset(self._source.edges_at(self.members(supervoxel)))

    def edges_at(self, supervoxels: Collection[int]) -> set[Edge]:
        """Return the edges with an end among supervoxels."""
        return self._source.edges_at(supervoxels)

    def neighbours_of(self, supervoxel: int) -> frozenset[int]:
        """Return the supervoxels joined to one by an edge of its own."""
        edges = self._source.edges_at([supervoxel])
        return frozenset(b if a == supervoxel else a for a, b in edges)

    def has_edge(self, edge: Edge) -> bool:
        """Whether an edge is active."""
        return edge in self._source.edges_at([edge[0]])

    def to_roots(self, supervoxels: Ids, ids: Ids | None = None) -> Ids:
        """Return root ids for an array of supervoxel ids (uint64, any shape); 0 stays 0.

        `ids` are the sorted ids in it, or more than those (no 0), where they are known.
        """
        flat = np.ascontiguousarray(supervoxels).reshape(-1)
        ids = distinct_ids(flat) if ids is None else ids
        roots = self._source.roots_of(ids.tolist())
        if not roots:
            return flat.reshape(supervoxels.shape).copy()
        out = np.empty_like(flat)
        values = np.array([roots.get(s, s) for s in ids.tolist()], dtype=np.uint64)
        translate(flat, ids[:0], ids[:0], ids, values, out)
        return out.reshape(supervoxels.shape)

    def changed(self, added: Collection[Edge], removed: Collection[Edge]) -> Agglomeration:
        """Return the agglomeration after edges were added and removed.

        Costs the size of the objects touched, not of the volume.
        """
        return Agglomeration(_Changed(self, frozenset(added), frozenset(removed)))

    def changed_roots(self) -> Mapping[int, int]:
        """Return the supervoxels whose root `changed` made another, with their new roots."""
        source = self._source
        return source.changed_roots if isinstance(source, _Changed) else {}

    def all_edges(self) -> Ids:
        """Return every active edge as uint64 (n, 2), the smaller id first."""
        edges = sorted(self._source.all_edges())
        return np.array(edges, dtype=np.uint64).reshape(-1, 2)


class _InMemory:
    def __init__(self, edges: frozenset[Edge]) -> None:
        self._edges = edges
        self._roots = components(edges)
        self._members = _grouped(self._roots)

    def roots_of(self, supervoxels: Collection[int]) -> Mapping[int, int]:
        return self._roots

    def members_of(self, roots: Collection[int]) -> Mapping[int, Collection[int]]:
        return self._members

    def edges_at(self, supervoxels: Collection[int]) -> set[Edge]:
        ends = set(supervoxels)
        return {edge for edge in self._edges if edge[0] in ends or edge[1] in ends}

    def all_edges(self) -> set[Edge]:
        return set(self._edges)


class _Changed:
    """An agglomeration with some edges added and some removed."""

    def __init__(
        self, before: Agglomeration, added: frozenset[Edge], removed: frozenset[Edge]
    ) -> None:
        self._before = before
        self._added = added
        self._removed = removed
        self.changed_roots: dict[int, int]
        """The supervoxels with another root than before, and that root."""
        self._groups: dict[int, list[int]] = {}
        """All supervoxels of the objects that were regrouped, by root."""
        self._came: dict[int, list[int]] = {}
        """The supervoxels that were joined to an object, by root."""
        old = before.roots_of({end for edge in added | removed for end in edge})
        if removed:
            self._regroup(old)
        else:
            self._join(old)

    def _regroup(self, old: Mapping[int, int]) -> None:
        groups = self._before.members_of(set(old.values()))
        inside = {s for group in groups.values() for s in group}
        roots = components((self._before.edges_at(inside) - self._removed) | self._added)
        self._groups = _grouped({s: roots.get(s, s) for s in inside})
        was = {s: root for root, group in groups.items() for s in group}
        now = {s: root for root, group in self._groups.items() for s in group}
        self.changed_roots = {s: root for s, root in now.items() if root != was[s]}

    def _join(self, old: Mapping[int, int]) -> None:
        # Whole objects are joined: their inner edges need not be looked at, and of those that keep
        # their root, not even the members.
        merged = components((old[a], old[b]) for a, b in self._added)
        losers = self._before.members_of([r for r, root in merged.items() if r != root])
        self.changed_roots = {s: merged[r] for r, group in losers.items() for s in group}
        self._came = _grouped(self.changed_roots)

    def roots_of(self, supervoxels: Collection[int]) -> Mapping[int, int]:
        found = {s: self.changed_roots[s] for s in supervoxels if s in self.changed_roots}
        rest = [s for s in supervoxels if s not in found]
        return found | self._before.roots_of(rest) if rest else found

    def members_of(self, roots: Collection[int]) -> Mapping[int, Collection[int]]:
        found: dict[int, Collection[int]] = {r: self._groups[r] for r in roots if r in self._groups}
        rest = [r for r in roots if r not in found]
        if rest:
            before = self._before.members_of(rest)
            found |= {r: [*group, *self._came.get(r, ())] for r, group in before.items()}
        return found

    def edges_at(self, supervoxels: Collection[int]) -> set[Edge]:
        ends = set(supervoxels)
        added = {edge for edge in self._added if edge[0] in ends or edge[1] in ends}
        return (self._before.edges_at(supervoxels) - self._removed) | added

    def all_edges(self) -> set[Edge]:
        before = {(a, b) for a, b in self._before.all_edges().tolist()}
        return (before - self._removed) | self._added


def _grouped(roots: Mapping[int, int]) -> dict[int, list[int]]:
    groups: dict[int, list[int]] = defaultdict(list)
    for supervoxel, root in roots.items():
        groups[root].append(supervoxel)
    return dict(groups)


NO_EDGES = Agglomeration.from_edges(())
"""Every supervoxel is its own object."""
