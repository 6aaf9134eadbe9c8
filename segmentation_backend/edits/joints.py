"""Edges inside one object: cut them between groups, and keep every part in one piece."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

from segmentation_backend.geometry import Roi
from segmentation_backend.labels import LabelView
from segmentation_backend.labels.agglomeration import components
from segmentation_backend.labels.delta import Edge, edge_between

__all__ = ["JoinsChange", "box_of", "cut_members", "linking_edges", "rejoin", "unhook"]


class JoinsChange(NamedTuple):
    """What an edit does to the joins of the supervoxels it writes."""

    added: frozenset[Edge]
    removed: frozenset[Edge]
    bbox: Roi
    """Around all voxels that belong to another root id now although nobody wrote them; may be
    empty."""


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
    roots_of = components(edges)
    roots = sorted({roots_of.get(node, node) for node in nodes})
    return {edge_between(a, b) for a, b in pairwise(roots)}


def rejoin(
    pieces: Mapping[tuple[int, int], int], edges: Collection[Edge]
) -> tuple[frozenset[Edge], frozenset[Edge]]:
    """Return (edges to add, edges to remove) so that each side of a cut object is one component.

    `pieces` maps (old supervoxel, side) to the supervoxel that piece is now; `edges` are the
    object's edges before. Pieces of joined supervoxels on the same side stay joined.
    """
    sides: dict[int, set[int]] = defaultdict(set)
    sides_of: dict[int, set[int]] = defaultdict(set)
    for (supervoxel, side), piece in pieces.items():
        sides[side].add(piece)
        sides_of[supervoxel].add(side)
    wanted: dict[int, set[Edge]] = defaultdict(set)
    for a, b in edges:
        for side in sides_of[a] & sides_of[b]:
            wanted[side].add(edge_between(pieces[a, side], pieces[b, side]))
    for side, nodes in sides.items():
        wanted[side] |= linking_edges(nodes, wanted[side])
    before, after = frozenset(edges), frozenset[Edge]().union(*wanted.values())
    return after - before, before - after


def unhook(view: LabelView, vanished: Collection[int]) -> JoinsChange:
    """Return the joins when supervoxels lose their last voxel: what is left of an object stays one.

    Where an object loses its smallest supervoxel, the others get another root id.
    """
    gone = set(vanished)
    joins = view.agglomeration
    removed = joins.edges_at(gone) if gone else set()
    hooked = {end for edge in removed for end in edge}
    added: set[Edge] = set()
    renamed: set[int] = set()
    groups = joins.members_of(hooked) if hooked else {}
    for members in {tuple(group) for group in groups.values()}:
        rest = set(members) - gone
        if rest:
            added |= linking_edges(rest, joins.edges_at(rest) - removed)
            # The smallest member is the root.
            renamed |= rest if members[0] in gone else set()
    return JoinsChange(frozenset(added), frozenset(removed), box_of(view, renamed))


def box_of(view: LabelView, supervoxels: Collection[int]) -> Roi:
    """Return the box around supervoxels; empty for none."""
    box = Roi((0, 0, 0), (0, 0, 0))
    for statistics in view.statistics_of(supervoxels).values() if supervoxels else ():
        box = box.union(statistics.bbox)
    return box
