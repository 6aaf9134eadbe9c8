"""Random edits on the store beside a naive model: every version reads the same for ever."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from databases import address_in, note_url, server
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from invariants import every_version_is_whole, naive_roots, named_packs_are_whole

from segmentation_backend.database import open_database
from segmentation_backend.edits import import_labels, merge, revert, split, undo
from segmentation_backend.errors import ConflictError, ErrorKind, SegmentationError
from segmentation_backend.geometry import Roi, plan_levels
from segmentation_backend.labels import LabelRepository, OperationMeta, PackFolder

SHAPE = (9, 70, 67)  # more than one chunk along y and x; odd sizes at every level
LEVELS = plan_levels(SHAPE, (16.0, 8.0, 8.0), min_side=8)
USERS = ("ann", "bob")


@dataclass
class State:
    """One version of the model: what every voxel holds, and which edges there are."""

    voxels: np.ndarray
    edges: frozenset[tuple[int, int]]
    changed_by_people: frozenset[int]

    def roots(self) -> np.ndarray:
        return naive_roots(self.voxels, self.edges)


def taken_back(now: State, before: State, after: State) -> State | None:
    """Return `now` without what led from `before` to `after`; None where others interfere."""
    changed = before.voxels != after.voxels
    added, removed = after.edges - before.edges, before.edges - after.edges
    if not (now.voxels[changed] == after.voxels[changed]).all():
        return None
    if not added <= now.edges or removed & now.edges:
        return None
    voxels = np.where(changed, before.voxels, now.voxels)
    edges = (now.edges - added) | removed
    exist = set(np.unique(voxels).tolist())
    for supervoxel in set(np.unique(before.voxels[changed])) | set(
        np.unique(after.voxels[changed])
    ):
        if (supervoxel in exist) != bool((before.voxels == supervoxel).any()):
            return None
    if not {end for edge in edges for end in edge} <= exist:
        return None
    return State(voxels, edges, now.changed_by_people)


class LabelHistory(RuleBasedStateMachine):
    """Edits by two users, on the store and on the model."""

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name)
        self.choose_database()
        self.states = [State(np.zeros(SHAPE, dtype=np.uint64), frozenset(), frozenset())]
        self.reopen()

    def choose_database(self) -> None:
        """Leave the database where it is by default: a SQLite file in the folder."""

    @rule()
    def reopen(self) -> None:
        self.engine = open_database(address_in(self.path))
        self.repository = LabelRepository(self.engine, self.path / "packs", "v", LEVELS)

    def committed(self, delta: object, kind: str, state: State, **meta: object) -> None:
        operation = self.repository.commit(delta, OperationMeta(kind, **meta))  # type: ignore[arg-type]
        assert operation.operation_id == len(self.states)
        self.states.append(state)
        self.check_version(operation.operation_id)
        old, new = (s.roots() for s in self.states[-2:])
        changed = old != new
        if changed.any():
            assert operation.bbox is not None
            box = Roi.of_points(np.argwhere(changed).tolist())
            assert operation.bbox.encloses(box)
        vanished = set(np.unique(old).tolist()) - set(np.unique(new).tolist())
        appeared = set(np.unique(new).tolist()) - set(np.unique(old).tolist())
        assert vanished <= set(operation.removed_roots)
        assert appeared <= set(operation.added_roots)

    def check_version(self, version: int) -> None:
        view = self.repository.at(version)
        assert np.array_equal(view.read_supervoxels(view.bounds), self.states[version].voxels)
        assert np.array_equal(view.read(view.bounds), self.states[version].roots())

    @rule(
        data=st.data(),
        user=st.sampled_from(USERS),
        existing=st.sampled_from(["fill-empty", "replace-unedited"]),
        count=st.integers(1, 4),
    )
    def import_boxes(self, data: st.DataObject, user: str, existing: str, count: int) -> None:
        begin = [data.draw(st.integers(0, n - 2)) for n in SHAPE]
        end = [data.draw(st.integers(b + 1, n)) for b, n in zip(begin, SHAPE, strict=True)]
        roi = Roi.from_bounds(begin, end)
        labels = np.zeros(roi.shape, dtype=np.uint32)
        for label in range(1, count + 1):
            corner = [data.draw(st.integers(0, n - 1)) for n in roi.shape]
            labels[tuple(slice(c, c + 6 + 3 * a) for a, c in enumerate(corner))] = label
        view = self.repository.at()
        first = self.repository.reserve_ids(count)
        delta = import_labels(view, roi, labels, first, existing)  # type: ignore[arg-type]
        now = self.states[-1]
        voxels = now.voxels.copy()
        inside = voxels[roi.slices()]
        if existing != "fill-empty":
            edited = np.array(sorted(now.changed_by_people), dtype=np.uint64)
            inside[~np.isin(inside, edited)] = 0
        ranks = np.unique(labels[labels > 0])
        new = np.where(labels > 0, np.searchsorted(ranks, labels) + first, 0).astype(np.uint64)
        inside[...] = np.where(inside > 0, inside, new)
        state = State(voxels, now.edges, now.changed_by_people)
        self.committed(delta, "segment", state, user=user)

    def present(self) -> list[int]:
        return [int(s) for s in np.unique(self.states[-1].voxels) if s]

    @precondition(lambda self: len(np.unique(self.states[-1].roots())) > 2)
    @rule(data=st.data(), user=st.sampled_from(USERS))
    def merge_two(self, data: st.DataObject, user: str) -> None:
        now = self.states[-1]
        roots = now.roots()
        a = data.draw(st.sampled_from(self.present()))
        root = roots[now.voxels == a][0]
        others = np.unique(now.voxels[(roots != root) & (roots != 0)])
        b = int(data.draw(st.sampled_from(others.tolist())))
        edge = (min(a, b), max(a, b))
        state = State(now.voxels, now.edges | {edge}, now.changed_by_people | {a, b})
        self.committed(merge(self.repository.at(), [a, b]), "merge", state, user=user)

    @precondition(lambda self: self.present())
    @rule(data=st.data(), user=st.sampled_from(USERS))
    def split_one(self, data: st.DataObject, user: str) -> None:
        now = self.states[-1]
        roots = now.roots()
        root = data.draw(st.sampled_from([int(r) for r in np.unique(roots) if r]))
        points = np.argwhere(roots == root)
        if len(points) < 2:
            return
        ends = data.draw(
            st.lists(st.integers(0, len(points) - 1), min_size=2, max_size=3, unique=True)
        )
        groups = [[tuple(points[end].tolist())] for end in ends]
        view = self.repository.at()
        delta = split(view, groups, self.repository.reserve_ids)
        # The flooding itself is not modelled: what it may do is.
        operation = self.repository.commit(delta, OperationMeta("split", user))
        after = self.repository.at()
        voxels = after.read_supervoxels(after.bounds)
        edges = frozenset((a, b) for a, b in after.agglomeration.all_edges().tolist())
        cut = set(np.unique(now.voxels[now.voxels != voxels]).tolist())
        people = cut | {end for e in edges ^ now.edges for end in e}
        people |= set(np.unique(voxels[now.voxels != voxels]).tolist())
        self.states.append(State(voxels, edges, now.changed_by_people | people))
        parts = self.states[-1].roots()
        inside = roots == root
        assert np.array_equal(parts[~inside], roots[~inside])
        assert {int(parts[g[0]]) for g in groups} == set(operation.added_roots)
        assert set(np.unique(parts[inside]).tolist()) == set(operation.added_roots)
        assert len(operation.added_roots) == len(groups)
        assert not set(operation.added_roots) & set(np.unique(parts[~inside]).tolist())
        self.check_version(operation.operation_id)

    @precondition(lambda self: len(self.states) > 1)
    @rule(data=st.data(), user=st.sampled_from(USERS))
    def take_back(self, data: st.DataObject, user: str) -> None:
        back = data.draw(st.integers(1, min(6, len(self.states) - 1)))
        target = self.repository.operation(len(self.states) - back)
        at = target.operation_id
        if target.undone_by is not None:
            return
        expected = taken_back(self.states[-1], self.states[at - 1], self.states[at])
        kind = "redo" if target.kind == "undo" else "undo"
        if expected is None:
            with pytest.raises(ConflictError) as caught:
                undo(self.repository.at(), target, self.repository.delta(at))
            assert caught.value.kind == ErrorKind.STALE_VERSION
            assert self.repository.head == len(self.states) - 1
            return
        delta = undo(self.repository.at(), target, self.repository.delta(at))
        self.committed(delta, kind, expected, user=user, undoes=at)
        assert self.repository.operation(at).undone_by == len(self.states) - 1

    @precondition(lambda self: len(self.states) > 1)
    @rule(data=st.data(), user=st.sampled_from(USERS))
    def go_back(self, data: st.DataObject, user: str) -> None:
        version = data.draw(st.integers(0, len(self.states) - 1))
        state, now = self.states[version], self.states[-1]
        state = State(state.voxels, state.edges, now.changed_by_people)
        delta = revert(self.repository.at(), version)
        self.committed(delta, "revert", state, user=user)

    @precondition(lambda self: len(self.states) > 1)
    @rule(data=st.data())
    def repeat_a_request(self, data: st.DataObject) -> None:
        view = self.repository.at()
        meta = OperationMeta("revert", "ann", request_id=f"r{len(self.states)}")
        delta = revert(view, view.version - 1)
        first = self.repository.commit(delta, meta)
        state, now = self.states[-2], self.states[-1]
        self.states.append(State(state.voxels, state.edges, now.changed_by_people))
        assert self.repository.commit(delta, meta) == first
        assert self.repository.head == len(self.states) - 1

    @rule()
    def refuse_nonsense(self) -> None:
        view = self.repository.at()
        for attempt in (
            lambda: merge(view, [0, 1]),
            lambda: split(view, [[(0, 0, 0)], []], self.repository.reserve_ids),
            lambda: revert(view, view.version + 1),
        ):
            with pytest.raises(SegmentationError):
                attempt()
        assert self.repository.head == len(self.states) - 1

    def teardown(self) -> None:
        if not hasattr(self, "states"):
            return
        for version in range(len(self.states)):
            self.check_version(version)
        every_version_is_whole(self.repository)
        named_packs_are_whole(self.engine, PackFolder(self.path / "packs"))
        self.engine.dispose()
        self.folder.cleanup()


class LabelHistoryOnPostgresql(LabelHistory):
    """The same on PostgreSQL."""

    def choose_database(self) -> None:
        self.url = server().create()
        note_url(self.path, self.url)

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "url"):
            server().drop(self.url)


LabelHistory.TestCase.settings = settings(
    max_examples=8,
    stateful_step_count=14,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestLabelHistory = LabelHistory.TestCase
LabelHistoryOnPostgresql.TestCase.settings = settings(
    LabelHistory.TestCase.settings, max_examples=3
)
TestLabelHistoryOnPostgresql = LabelHistoryOnPostgresql.TestCase
