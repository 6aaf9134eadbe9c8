"""Edges inside one object: cut them between groups, and keep every part in one piece."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

from segmentation_backend.labels import Agglomeration
from segmentation_backend.labels.delta import Edge, edge_between

__all__ = ["cut_members", "linking_edges", "rejoin"]


def cut_members(
    members: Sequence[int], edges: Collection[Edge], groups: Sequence[Collection[int]]
) -> dict[int, int]:
    """Return for each member the side (1 for the first group) it falls on.

    Each group is separated from all later ones by the fewest edges (maximum flow, Ford and
    Fulkerson 1956; isolating cuts for more than two groups, Dahlhaus et al. 1994); the last group
    gets what is left. No member may be in two groups.
    """
    sides = dict.fromkeys(members, len(groups))
    remaining = set(members)
    for side, group in enumerate(groups[:-1], start=1):
        others = {member for later in groups[side:] for member in later}
        inner = [e for e in edges if e[0] in remaining and e[1] in remaining]
        near = _source_side(sorted(remaining), inner, group, others)
        sides.update(dict.fromkeys(near, side))
        remaining -= near
    return sides


def _source_side(
    nodes: Sequence[int], edges: Sequence[Edge], sources: Collection[int], sinks: Collection[int]
) -> set[int]:
    position = {node: at for at, node in enumerate(nodes)}
    source, sink = len(nodes), len(nodes) + 1
    unlimited = len(edges) + 1
    entries = [(position[a], position[b], 1) for a, b in edges]
    entries += [(b, a, 1) for a, b, _ in entries]
    entries += [(source, position[node], unlimited) for node in sources]
    entries += [(position[node], sink, unlimited) for node in sinks]
    rows, columns, capacities = np.array(entries, dtype=np.int32).T
    size = len(nodes) + 2
    graph = csr_array((capacities, (rows, columns)), shape=(size, size), dtype=np.int32)
    residual = csr_array(graph - maximum_flow(graph, source, sink).flow)
    residual.data = np.maximum(residual.data, 0)
    residual.eliminate_zeros()
    reached = breadth_first_order(residual, source, return_predecessors=False)
    return {nodes[at] for at in reached.tolist() if at < len(nodes)}


def linking_edges(nodes: Collection[int], edges: Collection[Edge]) -> set[Edge]:
    """Return the edges still needed to make one component of `nodes`, by their smallest ids."""
    graph = Agglomeration.from_edges(np.array(sorted(edges), dtype=np.uint64).reshape(-1, 2))
    roots = sorted({graph.root_of(node) for node in nodes})
    return {edge_between(a, b) for a, b in pairwise(roots)}


def rejoin(
    pieces: Mapping[tuple[int, int], int], edges: Collection[Edge]
) -> tuple[frozenset[Edge], frozenset[Edge]]:
    """Return (edges to add, edges to remove) so that each side of a cut object is one component.

    `pieces` maps (old supervoxel, side) to the supervoxel that piece is now; `edges` are the
    object's edges before. Pieces of joined supervoxels on the same side stay joined.
    """
    sides: dict[int, set[int]] = {}
    pieces_of: dict[int, set[int]] = {}
    for (supervoxel, side), piece in pieces.items():
        sides.setdefault(side, set()).add(piece)
        pieces_of.setdefault(supervoxel, set()).add(side)
    wanted: set[Edge] = set()
    for a, b in edges:
        for side in pieces_of[a] & pieces_of[b]:
            wanted.add(edge_between(pieces[a, side], pieces[b, side]))
    for nodes in sides.values():
        inner = [edge for edge in wanted if edge[0] in nodes]
        wanted |= linking_edges(nodes, inner)
    before = frozenset(edges)
    return frozenset(wanted - before), frozenset(before - wanted)
