"""Joins equal a naive search through the edges, however they were reached."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from databases import address_in
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation_backend.database import open_database
from segmentation_backend.edits import import_labels
from segmentation_backend.edits.joints import cut_members, linking_edges, rejoin
from segmentation_backend.geometry import Roi, plan_levels
from segmentation_backend.labels import Agglomeration, Delta, LabelRepository, OperationMeta
from segmentation_backend.labels.caches import net_events

Edge = tuple[int, int]
EDGES = st.tuples(st.integers(1, 12), st.integers(1, 12)).filter(lambda e: e[0] < e[1])


def naive_component(start: int, edges: set[Edge]) -> list[int]:
    seen = {start}
    while True:
        more = {v for e in edges if seen & set(e) for v in e} - seen
        if not more:
            return sorted(seen)
        seen |= more


def repository_with_ids(folder: Path, count: int) -> LabelRepository:
    """Return labels whose version 1 has a voxel of each supervoxel from 1 to `count`."""
    shape = (1, 1, count)
    engine = open_database(address_in(folder))
    levels = plan_levels(shape, (1.0, 1.0, 1.0))
    repository = LabelRepository(engine, folder / "packs", "v", levels)
    if repository.head == 0:
        labels = np.arange(1, count + 1, dtype=np.uint64).reshape(shape)
        roi = Roi((0, 0, 0), shape)
        delta = import_labels(
            repository.at(), roi, labels, repository.reserve_ids(count), "fill-empty"
        )
        repository.commit(delta, OperationMeta("import", "ann"))
    return repository


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
    joins = Agglomeration.from_edges(edges)
    check(joins, edges)
    before = joins, set(edges)
    for plus, minus in steps:
        removed, added = minus & edges, plus - edges
        edges = (edges - removed) | added
        joins = joins.changed(added, removed)
        check(joins, edges)
        check(Agglomeration.from_edges(map(tuple, joins.all_edges().tolist())), edges)
    check(*before)


@given(st.lists(st.tuples(st.booleans(), st.sets(EDGES, max_size=4)), max_size=12))
@settings(max_examples=30, deadline=None)
def test_every_version_of_a_store_joins_what_its_edges_join(
    steps: list[tuple[bool, set[Edge]]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        repository = repository_with_ids(Path(folder), 13)
        states: list[set[Edge]] = [set()]
        for is_merge, edges in steps:
            active = states[-1]
            added = edges - active if is_merge else set()
            removed = set() if is_merge else edges & active
            delta = Delta(
                base_version=repository.head,
                edges_added=frozenset(added),
                edges_removed=frozenset(removed),
            )
            repository.commit(delta, OperationMeta("merge", "ann"))
            states.append((active | added) - removed)
            check(repository.at().agglomeration, states[-1])
        cold = repository_with_ids(Path(folder), 13)
        for version in [*reversed(range(len(states))), *range(len(states))]:
            check(cold.at(version + 1).agglomeration, states[version])
            check(repository.at(version + 1).agglomeration, states[version])


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
