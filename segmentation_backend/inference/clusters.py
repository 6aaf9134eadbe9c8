"""Clusters of cells: which cells of three stacks are one object (see `consensus`)."""

from __future__ import annotations

from heapq import heapify, heappop, heappush

import numpy as np
from numpy.typing import NDArray

__all__ = ["cluster_cells"]

_ANCHOR = 0.25
"""Share of a label that a cluster must hold, in one stack at least, to be an object: a cluster that
is only the rim where labels of other objects meet holds less of each."""
_MEMBER = 0.5
"""Share of a label, or of a cluster, from which the label votes for the cluster."""

Cells = NDArray[np.int64]
_Entry = tuple[float, int, int, int, int]
"""A pair of clusters in the order of their turn: agreement and both sizes, negative, and who."""


def cluster_cells(cells: Cells, whole: Cells) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the cluster of each cell, and which stacks' labels there belong to that cluster.

    `cells` are (n, 4): the labels of three stacks, 0 = none, and the number of voxels; their order
    decides ties. `whole` (n, 3) are all voxels of those labels, in cells or not. Clusters are
    numbered from 0 in the order of their first cells, -1 for cells that are part of nothing. The
    second result is bool (n, 3).
    """
    labels, sizes = _compact(cells[:, :3]), cells[:, 3]
    clusters = _Clusters(labels, sizes)
    clusters.grow(_candidates(labels, sizes))
    roots = np.array([clusters.find(k) for k in range(len(cells))], np.int64)
    _, cluster = np.unique(roots, return_inverse=True)
    shares = _Shares(labels, sizes, cluster)
    cluster = _dissolve_rims(cluster, shares, whole)
    return _renumbered(cluster), _Shares(labels, sizes, cluster).belongs()


def _compact(labels: Cells) -> NDArray[np.int64]:
    """Return (n, 3) each stack's labels as 0 (none) and 1..m."""
    columns = []
    for stack in range(3):
        values, index = np.unique(labels[:, stack], return_inverse=True)
        columns.append(index if len(values) and values[0] == 0 else index + 1)
    return np.stack(columns, 1).astype(np.int64)


def _candidates(labels: NDArray[np.int64], sizes: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return pairs of cells to begin with: each with the largest that shares one or two labels.

    A majority for joining needs two shared labels, or one and silence, and clusters inherit the
    pairs of their cells, so the pairs are linear in the number of cells.
    """
    pairs: set[tuple[int, int]] = set()
    largest_first = np.argsort(-sizes, kind="stable")
    for stacks in ((0,), (1,), (2,), (0, 1), (0, 2), (1, 2)):
        chosen = largest_first[(labels[largest_first][:, stacks] > 0).all(1)]
        keys = labels[chosen][:, stacks]
        _, first, group = np.unique(keys, axis=0, return_index=True, return_inverse=True)
        hubs = chosen[first[group.reshape(-1)]]
        links = zip(chosen.tolist(), hubs.tolist(), strict=True)
        pairs.update((min(a, b), max(a, b)) for a, b in links if a != b)
    return sorted(pairs)


class _Clusters:
    """Disjoint sets of cells with the voxels of each label that they hold."""

    def __init__(self, labels: NDArray[np.int64], sizes: NDArray[np.int64]) -> None:
        self._parent = list(range(len(sizes)))
        self._size = sizes.tolist()
        self._held: list[list[dict[int, int]]] = [
            [{label: size} if label else {} for label in row]
            for row, size in zip(labels.tolist(), self._size, strict=True)
        ]
        self._seen = [[sum(stack.values()) for stack in held] for held in self._held]

    def find(self, cell: int) -> int:
        """Return the first cell of the cluster that a cell is in."""
        while self._parent[cell] != cell:
            self._parent[cell] = self._parent[self._parent[cell]]
            cell = self._parent[cell]
        return cell

    def grow(self, pairs: list[tuple[int, int]]) -> None:
        """Join clusters while there is a majority for it, the greatest first.

        Pairs wait with the agreement that they had when they were last looked at, and are looked at
        again when their turn comes, since their clusters may have grown. Among equal agreements
        larger clusters go first.
        """
        while pairs:
            heap = [entry for entry in (self._entry(a, b) for a, b in pairs) if entry[0] < 0]
            heapify(heap)
            joined = self._join_best(heap)
            found = {self._sorted_roots(a, b) for a, b in pairs}
            pairs = sorted((a, b) for a, b in found if a != b) if joined else []

    def _join_best(self, heap: list[_Entry]) -> bool:
        joined = False
        while heap:
            noted = heappop(heap)
            a, b = self._sorted_roots(*noted[3:])
            if a == b:
                continue
            now = self._entry(a, b)
            if now == noted:
                self._join(a, b)
                joined = True
            elif now[0] < 0:
                heappush(heap, now)
        return joined

    def _sorted_roots(self, a: int, b: int) -> tuple[int, int]:
        low, high = sorted((self.find(a), self.find(b)))
        return low, high

    def _entry(self, a: int, b: int) -> _Entry:
        less, more = sorted((self._size[a], self._size[b]))
        return -self._agreement(a, b), -less, -more, a, b

    def _agreement(self, a: int, b: int) -> float:
        """Return the stacks for joining two clusters less those against, from -3 to 3."""
        total = 0.0
        for stack in range(3):
            seen = min(self._seen[a][stack], self._seen[b][stack])
            if seen == 0:
                continue
            fewer, more = sorted((self._held[a][stack], self._held[b][stack]), key=len)
            shared = sum(min(n, more.get(label, 0)) for label, n in fewer.items())
            weight = min(self._seen[a][stack] / self._size[a], self._seen[b][stack] / self._size[b])
            total += weight * (2 * shared / seen - 1)
        # A hair above 0 is rounding, not a majority.
        return round(total, 9)

    def _join(self, a: int, b: int) -> None:
        self._parent[b] = a
        self._size[a] += self._size[b]
        for stack in range(3):
            self._seen[a][stack] += self._seen[b][stack]
            less, more = sorted((self._held[a][stack], self._held[b][stack]), key=len)
            for label, n in less.items():
                more[label] = more.get(label, 0) + n
            self._held[a][stack] = more
        self._held[b] = [{}, {}, {}]


class _Shares:
    """How the voxels of each stack's labels are divided among clusters."""

    def __init__(
        self, labels: NDArray[np.int64], sizes: NDArray[np.int64], cluster: NDArray[np.int64]
    ) -> None:
        self.labels = labels
        self.voted = np.zeros(labels.shape, np.float64)
        """(n, 3) for each cell the voxels of its label in each stack that are in cells, and"""
        self.here = np.zeros(labels.shape, np.float64)
        """those of them that are in the cell's cluster, and"""
        self.seen = np.zeros(labels.shape, np.float64)
        """the voxels of its cluster that have any label in the stack."""
        self.cluster = cluster
        self.sizes = sizes
        for stack in range(3):
            column = labels[:, stack]
            labelled = np.where((column > 0) & (cluster >= 0), sizes, 0)
            self.voted[:, stack] = np.bincount(column, sizes)[column]
            codes = column * (cluster.max(initial=-1) + 2) + cluster + 1
            _, index = np.unique(codes, return_inverse=True)
            self.here[:, stack] = np.bincount(index, labelled)[index]
            self.seen[:, stack] = np.bincount(cluster + 1, labelled)[cluster + 1]

    def belongs(self) -> NDArray[np.bool_]:
        """Return (n, 3) whether a cell's label in each stack votes for the cell's cluster."""
        smaller = np.minimum(self.voted, self.seen)
        enough: NDArray[np.bool_] = (self.here > 0) & (self.here >= _MEMBER * smaller)
        enough[self.labels == 0] = False
        return enough

    def anchored(self, whole: Cells) -> NDArray[np.bool_]:
        """Return (n,) whether a cell's cluster holds enough of a whole label in any stack."""
        holds = ((self.labels > 0) & (self.here >= _ANCHOR * whole)).any(1)
        count = int(self.cluster.max(initial=-1)) + 1
        return np.bincount(self.cluster, holds, count)[self.cluster] > 0


def _dissolve_rims(cluster: NDArray[np.int64], shares: _Shares, whole: Cells) -> NDArray[np.int64]:
    """Give the cells of clusters that are no objects to the objects that most of their labels name.

    A label names the object that holds most of it. Where labels name different objects, the cell
    goes to none.
    """
    anchored = shares.anchored(whole)
    if anchored.all():
        return cluster
    named = np.full(shares.labels.shape, -1, np.int64)
    for stack in range(3):
        named[:, stack] = _main_cluster(shares, stack, anchored)
    result = np.where(anchored, cluster, -1)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        agreed = ~anchored & (named[:, one] >= 0) & (named[:, one] == named[:, other])
        result[agreed] = named[agreed, one]
    alone = ~anchored & ((shares.labels > 0).sum(1) == 1)
    result[alone] = named[alone].max(1)
    return result


def _main_cluster(shares: _Shares, stack: int, anchored: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return for each cell the anchored cluster that holds most of its label in a stack, or -1."""
    column = shares.labels[:, stack]
    named = np.full(int(column.max(initial=0)) + 1, -1, np.int64)
    usable = np.flatnonzero(anchored & (column > 0))
    # The last written wins: that which holds most, among equals the first cluster.
    order = usable[np.lexsort((-shares.cluster[usable], shares.here[usable, stack]))]
    named[column[order]] = shares.cluster[order]
    named[0] = -1
    return named[column]


def _renumbered(cluster: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return clusters numbered from 0 without gaps in the order of first cells, -1 as it is."""
    present, first, index = np.unique(cluster, return_index=True, return_inverse=True)
    rank = np.empty(len(present), np.int64)
    real = present >= 0
    rank[~real] = -1
    rank[np.flatnonzero(real)[np.argsort(first[real])]] = np.arange(int(real.sum()))
    renumbered: NDArray[np.int64] = rank[index]
    return renumbered
