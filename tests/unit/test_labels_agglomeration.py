"""Joins equal a naive search through the edges, however they were reached."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation_backend.edits.joints import cut_members, linking_edges, rejoin
from segmentation_backend.labels import Agglomeration, agglomeration
from segmentation_backend.labels.agglomeration import NO_EDGES
from segmentation_backend.labels.caches import AgglomerationCache, net_events

Edge = tuple[int, int]
EDGES = st.tuples(st.integers(1, 12), st.integers(1, 12)).filter(lambda e: e[0] < e[1])


def naive_component(start: int, edges: set[Edge]) -> list[int]:
    seen = {start}
    while True:
        more = {v for e in edges if seen & set(e) for v in e} - seen
        if not more:
            return sorted(seen)
        seen |= more


def check(joins: Agglomeration, edges: set[Edge]) -> None:
    ids = np.arange(14, dtype=np.uint64).reshape(2, 7)
    roots = joins.to_roots(ids)
    for supervoxel in range(1, 14):
        members = naive_component(supervoxel, edges)
        assert joins.members(supervoxel) == members
        assert joins.root_of(supervoxel) == members[0] == roots.reshape(-1)[supervoxel]
        assert joins.edges_of(supervoxel) == {e for e in edges if e[0] in members}
    assert roots[0, 0] == 0
    assert {(a, b) for a, b in joins.all_edges().tolist()} == edges


@given(st.sets(EDGES), st.lists(st.tuples(st.sets(EDGES), st.sets(EDGES)), max_size=5))
@settings(max_examples=60, deadline=None)
def test_joins_equal_a_naive_search_after_any_changes(
    edges: set[Edge], steps: list[tuple[set[Edge], set[Edge]]]
) -> None:
    array = np.array(sorted(edges), dtype=np.uint64).reshape(-1, 2)
    joins = Agglomeration.from_edges(array)
    check(joins, edges)
    before = joins, set(edges)
    for plus, minus in steps:
        removed, added = minus & edges, plus - edges
        edges = (edges - removed) | added
        joins = joins.changed(added, removed)
        check(joins, edges)
        check(Agglomeration.from_edges(joins.all_edges()), edges)
    check(*before)


def test_a_large_overlay_is_packed_into_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "segmentation_backend.labels.agglomeration._LARGEST_OVERLAY", 3, raising=True
    )
    joins = NO_EDGES
    for edge in ((1, 2), (3, 4), (5, 6)):
        joins = joins.changed([edge], [])
    assert len(joins.nodes) >= 4
    check(joins, {(1, 2), (3, 4), (5, 6)})
    assert agglomeration.NO_EDGES is NO_EDGES


class Log:
    """A log of one edge event per version, counting what is read of it."""

    def __init__(self, events: list[tuple[Edge, bool]]) -> None:
        self.events = events
        self.read = 0

    def __call__(self, after: int, upto: int) -> tuple[np.ndarray, np.ndarray]:
        part = self.events[after:upto]
        self.read += len(part)
        edges = np.array([e for e, _ in part], dtype=np.uint64).reshape(-1, 2)
        return edges, np.array([plus for _, plus in part], dtype=bool)


def state(events: list[tuple[Edge, bool]], version: int) -> set[Edge]:
    edges: set[Edge] = set()
    for edge, plus in events[:version]:
        edges = edges | {edge} if plus else edges - {edge}
    return edges


@pytest.mark.parametrize("longest_step", [0, 3, 4096])
def test_any_version_can_be_asked_for_in_any_order(
    monkeypatch: pytest.MonkeyPatch, longest_step: int
) -> None:
    monkeypatch.setattr("segmentation_backend.labels.caches._LONGEST_STEP", longest_step)
    rng = np.random.default_rng(0)
    events: list[tuple[Edge, bool]] = []
    for _ in range(40):
        a, b = sorted(rng.choice(np.arange(1, 13), 2, replace=False).tolist())
        events.append(((a, b), (a, b) not in state(events, len(events))))
    cache = AgglomerationCache(Log(events), lambda low, high: low <= high)
    for version in [40, 3, 39, 0, 20, 40, 21, 1, *range(40)]:
        check(cache.at(version), state(events, version))


def test_the_next_version_reads_only_its_own_events() -> None:
    events = [((k, k + 1), True) for k in range(1, 101)]
    log = Log(events)
    cache = AgglomerationCache(log, lambda low, high: low <= high)
    cache.at(99)
    log.read = 0
    cache.at(100)
    cache.at(100)
    assert log.read == 1


def test_events_that_cancel_are_left_out() -> None:
    edges = np.array([(1, 2), (1, 2), (3, 4), (5, 6)], dtype=np.uint64)
    added = np.array([True, False, False, True])
    assert net_events(edges, added) == ([(5, 6)], [(3, 4)])


def test_a_cut_removes_the_fewest_edges() -> None:
    # Two triangles joined by one edge.
    edges = {(1, 2), (2, 3), (1, 3), (3, 4), (4, 5), (5, 6), (4, 6)}
    sides = cut_members(range(1, 7), edges, [{1}, {6}])
    assert sides == {1: 1, 2: 1, 3: 1, 4: 2, 5: 2, 6: 2}
    added, removed = rejoin({(m, side): m for m, side in sides.items()}, edges)
    assert (added, removed) == (frozenset(), {(3, 4)})


def test_three_groups_are_cut_apart() -> None:
    edges = {(1, 2), (2, 3), (3, 4), (4, 5)}
    sides = cut_members(range(1, 6), edges, [{1}, {3}, {5}])
    assert (sides[1], sides[3], sides[5]) == (1, 2, 3)
    assert set(sides.values()) == {1, 2, 3}


@given(st.sets(EDGES, max_size=14), st.data())
@settings(max_examples=60, deadline=None)
def test_sides_of_a_cut_are_connected_and_apart(edges: set[Edge], data: st.DataObject) -> None:
    component = naive_component(1, edges)
    if len(component) < 2:
        return
    inner = {e for e in edges if e[0] in component}
    chosen = data.draw(st.lists(st.sampled_from(component), min_size=2, max_size=4, unique=True))
    groups = [set(chosen[:1]), set(chosen[1:])]
    sides = cut_members(component, inner, groups)
    assert all(sides[m] == side for side, group in enumerate(groups, 1) for m in group)
    added, removed = rejoin({(m, side): m for m, side in sides.items()}, inner)
    after = (inner - removed) | added
    assert removed <= inner
    assert not added & inner
    for side in (1, 2):
        members = [m for m in component if sides[m] == side]
        assert naive_component(members[0], after) == members


def test_linking_joins_components_by_their_smallest_ids() -> None:
    assert linking_edges({1, 2, 3, 7}, {(2, 3)}) == {(1, 2), (2, 7)}
    assert linking_edges({4}, set()) == set()
