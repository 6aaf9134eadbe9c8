"""The vote of three stacks as empanada-napari 1.2.4 holds it.

Detections of different stacks that overlap are a graph. In each connected part, detections with a
large IoU are clusters; clusters that overlap are merged greedily from the one with most neighbours.
Clusters seen by enough stacks vote voxel by voxel.

Which of equals comes first decides ids, so orders are the original's, too. It walks over networkx's
nodes and Python's sets, whose order follows from how small integers are hashed: sets are built here
in the same order as there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TypeAlias

import numpy as np

from segmentation_backend.inference.exact_kernels import shared_voxels
from segmentation_backend.inference.exact_objects import RunObject, unite, vote

__all__ = ["consensus"]

_LEAST_IOU = 0.01
_LEAST_VOXELS = 100
"""Overlaps above either are more than trivial."""

Neighbours: TypeAlias = dict[int, dict[int, "_Overlap"]]
"""For each node the nodes it overlaps, both in the order in which they were added."""


@dataclass(frozen=True, slots=True)
class _Overlap:
    iou: float
    voxels: int

    @property
    def is_trivial(self) -> bool:
        return self.iou <= _LEAST_IOU and self.voxels <= _LEAST_VOXELS


def consensus(
    stacks: Sequence[Sequence[RunObject]],
    votes: int,
    cluster_iou_thr: float,
    allow_one_view: bool,
) -> list[RunObject]:
    """Return the objects that enough stacks agree on, in empanada's order.

    With fewer votes than a majority needs, every overlap makes a cluster.
    """
    smallest = 1 if allow_one_view else len(stacks) // 2 + 1
    threshold = 0.0 if votes < smallest else cluster_iou_thr
    items = [item for stack in stacks for item in stack]
    graph = _overlap_graph(stacks)
    found: list[RunObject] = []
    for part in _connected(graph):
        if len(part) < smallest:
            continue
        clusters = _merged(_clusters(_subgraph(graph, part), threshold))
        voted = [
            vote([items[node] for node in cluster], votes)
            for cluster in clusters
            if len(cluster) >= smallest
        ]
        found += _united([item for item in voted if item is not None])
    return found


def _overlap_graph(stacks: Sequence[Sequence[RunObject]]) -> Neighbours:
    """Return which objects of different stacks overlap; nodes count through all stacks."""
    items = [item for stack in stacks for item in stack]
    source = np.repeat(np.arange(len(stacks)), [len(stack) for stack in stacks])
    graph: Neighbours = {node: {} for node in range(len(items))}
    if not items:
        return graph
    boxes = np.array([item.box for item in items])
    for a in range(len(items)):
        meets = (boxes[a, :3] < boxes[a + 1 :, 3:]) & (boxes[a + 1 :, :3] < boxes[a, 3:])
        for b in a + 1 + np.flatnonzero(meets.all(1) & (source[a + 1 :] != source[a])):
            overlap = _overlap(items[a], items[int(b)])
            if overlap.iou > 0:
                graph[a][int(b)] = graph[int(b)][a] = overlap
    return graph


def _overlap(a: RunObject, b: RunObject) -> _Overlap:
    voxels = int(shared_voxels(a.starts, a.lengths, b.starts, b.lengths))
    return _Overlap(voxels / (a.size + b.size - voxels), voxels)


def _connected(graph: Mapping[int, Iterable[int]]) -> Iterator[set[int]]:
    """Yield the connected parts, each set filled breadth first."""
    seen: set[int] = set()
    for source in graph:
        if source in seen:
            continue
        part = {source}
        level = [source]
        while level:
            following = []
            for node in level:
                for other in graph[node]:
                    if other not in part:
                        part.add(other)
                        following.append(other)
            level = following
        seen.update(part)
        yield part


def _subgraph(graph: Neighbours, part: set[int]) -> Neighbours:
    """Return a part on its own, its nodes in the order of networkx's copy of a subgraph.

    That is the order of a set where the part is less than half of the graph, and the graph's own
    otherwise; a node is first met as a neighbour of nodes before it.
    """
    chosen = set()
    for node in part:  # one by one: a set that is copied whole may be ordered otherwise
        chosen.add(node)
    order = list(chosen) if 2 * len(chosen) < len(graph) else sorted(chosen)
    copy: Neighbours = {node: {} for node in order}
    for node in order:
        for other, overlap in graph[node].items():
            copy[node][other] = overlap
            copy[other][node] = overlap
    return copy


@dataclass(frozen=True, slots=True)
class _Clusters:
    """Sets of detections, and which of them overlap more than trivially."""

    members: list[set[int]]
    neighbours: list[list[int]]
    """Numbers of the clusters that each overlaps, ascending."""


def _clusters(graph: Neighbours, threshold: float) -> _Clusters:
    """Return the clusters of detections whose IoU is above a threshold."""
    close = {
        node: [other for other, overlap in others.items() if overlap.iou > threshold]
        for node, others in graph.items()
    }
    members = list(_connected(close))
    owner = {node: number for number, cluster in enumerate(members) for node in cluster}
    touching = {
        tuple(sorted((owner[node], owner[other]))) for node in graph for other in graph[node]
    }
    neighbours: list[list[int]] = [[] for _ in members]
    for a, b in sorted(touching):
        if a != b and not _mean_overlap(graph, members[a], members[b]).is_trivial:
            neighbours[a].append(b)
            neighbours[b].append(a)
    return _Clusters(members, [sorted(others) for others in neighbours])


def _mean_overlap(graph: Neighbours, first: set[int], second: set[int]) -> _Overlap:
    """Return the mean over all pairs, most of which may not overlap at all."""
    iou, voxels = 0.0, 0
    for node in first:
        for other in second:
            overlap = graph[node].get(other)
            if overlap is not None:
                iou += overlap.iou
                voxels += overlap.voxels
    pairs = len(first) * len(second)
    return _Overlap(iou / pairs, voxels / pairs)  # type: ignore[arg-type]


def _merged(clusters: _Clusters) -> list[set[int]]:
    """Return the clusters after merging, in order.

    The cluster with most neighbours is given to each of them if one of them is larger; otherwise
    it takes them all in, but not their neighbours.
    """
    members = dict(enumerate(clusters.members))
    neighbours = {number: list(others) for number, others in enumerate(clusters.neighbours)}
    while any(neighbours.values()):
        centre = max(neighbours, key=lambda number: len(neighbours[number]))
        around = sorted(neighbours[centre], key=lambda number: -len(members[number]))
        if len(members[around[0]]) > len(members[centre]):
            for other in around:
                members[other] = members[other].union(members[centre])
            gone = [centre]
        else:
            for other in around:
                members[centre] = members[centre].union(members[other])
            gone = around
        for number in gone:
            for other in neighbours.pop(number):
                if other in neighbours:
                    neighbours[other].remove(number)
            del members[number]
    return list(members.values())


def _united(objects: Sequence[RunObject]) -> list[RunObject]:
    """Return objects of one part with those made one that still overlap more than trivially."""
    graph: dict[int, list[int]] = {number: [] for number in range(len(objects))}
    for a, b in combinations(graph, 2):
        if not _overlap(objects[a], objects[b]).is_trivial:
            graph[a].append(b)
            graph[b].append(a)
    return [unite([objects[n] for n in sorted(part)]) for part in _connected(graph)]
