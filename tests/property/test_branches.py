"""Random edits on random branches beside a naive model: nobody disturbs anybody, and what a branch
merge brings is what a three-way merge of whole arrays brings.
"""

from __future__ import annotations

import tempfile
from collections import deque
from pathlib import Path

import numpy as np
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from invariants import (
    edges_join_supervoxels_that_exist,
    levels_match_level_0,
    objects_match_the_voxels,
    statistics_match_the_voxels,
)
from label_bases import base_of, reader_of, repository_over
from naive_branches import History, State, latest_roots, merged, standings

from segmentation_backend.database import open_database
from segmentation_backend.edits import (
    delete,
    import_labels,
    merge,
    paint,
    plan_merge,
    split,
    undo,
)
from segmentation_backend.errors import ConflictError, InvalidInputError
from segmentation_backend.geometry import Roi, plan_levels
from segmentation_backend.labels import (
    Delta,
    LabelRepository,
    Operation,
    OperationMeta,
    blame,
    lineage,
    merge_base,
    object_changes,
)

SHAPE = (3, 70, 11)  # two chunks along y, odd sizes
LEVELS = plan_levels(SHAPE, (8.0, 8.0, 8.0), min_side=8)
USERS = st.sampled_from(["ann", "bob"])
BRANCHES = ("main", "one", "two", "three", "four")
ROW_TABLES = ("chunks", "edges", "supervoxels", "roots", "members", "operations")


class Branches(RuleBasedStateMachine):
    """Edits by two users on several branches, on the store and on the model."""

    @initialize(over_base=st.booleans())
    def open(self, over_base: bool) -> None:
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name)
        labels = np.zeros(SHAPE, dtype=np.uint32)
        for k in range(6):
            labels[:, 12 * k : 12 * k + 9, 1:9] = k + 1
        self.history = History()
        self.heads = {"main": 0}
        if over_base:
            self.main = repository_over(path, base_of(reader_of(labels)))
            self.states = {0: State(labels.astype(np.uint64), frozenset())}
        else:
            engine = open_database(path / "labels.sqlite")
            self.main = LabelRepository(engine, path / "packs", "v", LEVELS)
            self.states = {0: State(np.zeros(SHAPE, dtype=np.uint64), frozenset())}
            self.import_array(labels, "main", "ann")
        for name in BRANCHES[1:3]:
            self.main.create_branch(name, "bob")
            self.heads[name] = self.heads["main"]

    # What every rule does at its end

    def commit(self, name: str, delta: Delta, kind: str, **meta: object) -> Operation:
        parent = self.heads[name]
        operation = self.main.branch(name).commit(delta, OperationMeta(kind, **meta))  # type: ignore[arg-type]
        at = operation.operation_id
        view = self.main.at(at)
        edges = frozenset((a, b) for a, b in view.agglomeration.all_edges().tolist())
        self.states[at] = State(view.read_supervoxels(view.bounds), edges)
        self.history.parent[at] = parent
        self.heads[name] = at
        if operation.undoes is not None:
            self.history.undoes[at] = operation.undoes
        changed = self.states[parent].roots() != self.states[at].roots()
        if changed.any():
            assert operation.bbox is not None
            assert operation.bbox.encloses(Roi.of_points(np.argwhere(changed).tolist()))
        return operation

    def check_version(self, version: int) -> None:
        view = self.main.at(version)
        assert np.array_equal(view.read_supervoxels(view.bounds), self.states[version].voxels)
        assert np.array_equal(view.read(view.bounds), self.states[version].roots())

    def draw_box(self, data: st.DataObject) -> Roi:
        begin = [data.draw(st.integers(0, n - 1)) for n in SHAPE]
        sides = [data.draw(st.integers(1, side)) for side in (3, 24, 8)]
        return Roi.from_bounds(
            begin, [min(b + s, n) for b, s, n in zip(begin, sides, SHAPE, strict=True)]
        )

    def now(self, name: str) -> State:
        return self.states[self.heads[name]]

    def branch(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(self.heads)))

    # Edits

    @rule(data=st.data(), user=USERS)
    def import_boxes(self, data: st.DataObject, user: str) -> None:
        name = self.branch(data)
        labels = np.zeros(SHAPE, dtype=np.uint32)
        for label in range(1, data.draw(st.integers(2, 4))):
            labels[self.draw_box(data).slices()] = label
        self.import_array(labels, name, user)

    def import_array(self, labels: np.ndarray, name: str, user: str) -> None:
        view = self.main.at(self.heads[name])
        first = self.main.reserve_ids(int(labels.max()))
        before = self.now(name).voxels
        self.commit(
            name,
            import_labels(view, view.bounds, labels, first, "fill-empty"),
            "segment",
            user=user,
        )
        ranks = np.unique(labels[labels > 0])
        new = np.where(labels > 0, np.searchsorted(ranks, labels) + first, 0).astype(np.uint64)
        assert np.array_equal(self.now(name).voxels, np.where(before > 0, before, new))

    @rule(data=st.data(), user=USERS)
    def merge_two(self, data: st.DataObject, user: str) -> None:
        name = self.branch(data)
        now = self.now(name)
        roots = now.root_of(now.supervoxels())
        if len(set(roots.values())) < 2:
            return
        a = data.draw(st.sampled_from(sorted(roots)))
        b = data.draw(st.sampled_from(sorted(s for s, r in roots.items() if r != roots[a])))
        self.commit(name, merge(self.main.at(self.heads[name]), [a, b]), "merge", user=user)
        edges = now.edges | {(min(a, b), max(a, b))}
        assert self.now(name).edges == edges
        assert np.array_equal(self.now(name).voxels, now.voxels)

    @rule(data=st.data(), user=USERS)
    def split_one(self, data: st.DataObject, user: str) -> None:
        name = self.branch(data)
        roots = self.now(name).roots()
        if not roots.any():
            return
        root = data.draw(st.sampled_from([int(r) for r in np.unique(roots) if r]))
        points = np.argwhere(roots == root)
        if len(points) < 2:
            return
        ends = data.draw(
            st.lists(st.integers(0, len(points) - 1), min_size=2, max_size=2, unique=True)
        )
        groups = [[tuple(points[end].tolist())] for end in ends]
        view = self.main.at(self.heads[name])
        self.commit(name, split(view, groups, self.main.reserve_ids), "split", user=user)
        after = self.now(name).roots()
        assert np.array_equal(after[roots != root], roots[roots != root])

    @rule(data=st.data(), user=USERS)
    def paint_box(self, data: st.DataObject, user: str) -> None:
        name = self.branch(data)
        now = self.now(name)
        target = data.draw(st.sampled_from([None, 0, *sorted(now.supervoxels())]))
        roi = self.draw_box(data)
        mask = np.ones(roi.shape, dtype=bool)
        view = self.main.at(self.heads[name])
        try:
            delta = paint(view, roi, mask, target, "all", self.main.reserve_ids)
        except InvalidInputError:
            return
        self.commit(name, delta, "paint", user=user)
        changed = self.now(name).voxels != now.voxels
        assert not changed[now.voxels == target].any() or target is None
        changed[roi.slices()] = False
        assert not changed.any()

    @rule(data=st.data(), user=USERS)
    def delete_one(self, data: st.DataObject, user: str) -> None:
        name = self.branch(data)
        present = sorted(self.now(name).supervoxels())
        if present:
            victim = data.draw(st.sampled_from(present))
            self.commit(name, delete(self.main.at(self.heads[name]), [victim]), "delete", user=user)
            assert victim not in self.now(name).supervoxels()

    @rule(data=st.data(), user=USERS)
    def take_back(self, data: st.DataObject, user: str) -> None:
        name = self.branch(data)
        line = self.history.line(self.heads[name])[:4]
        at = data.draw(st.sampled_from(line))
        if at == 0 or at in self.history.undone(self.heads[name]):
            return
        now, target = self.now(name), self.main.branch(name).operation(at)
        try:
            delta = undo(self.main.at(self.heads[name]), target, self.main.delta(at))
        except ConflictError:
            return
        kind = "redo" if target.kind == "undo" else "undo"
        self.commit(name, delta, kind, user=user, undoes=at)
        before, after = self.states[self.history.parent[at]], self.states[at]
        changed = before.voxels != after.voxels
        expected = np.where(changed, before.voxels, now.voxels)
        assert np.array_equal(self.now(name).voxels, expected)
        edges = (now.edges - (after.edges - before.edges)) | (before.edges - after.edges)
        assert self.now(name).edges == edges

    # Branches

    def count_rows(self) -> list[int]:
        with self.main.at().storage.engine.connect() as connection:
            return [
                connection.scalar(sa.text(f"SELECT COUNT(*) FROM label_{table}"))
                for table in ROW_TABLES
            ]

    @precondition(lambda self: len(self.heads) < len(BRANCHES))
    @rule(data=st.data(), user=USERS)
    def make_branch(self, data: st.DataObject, user: str) -> None:
        name, parent = BRANCHES[len(self.heads)], self.branch(data)
        version = data.draw(st.sampled_from([None, *self.states]))
        rows = self.count_rows()
        self.main.branch(parent).create_branch(name, user, version)
        assert self.count_rows() == rows
        self.heads[name] = self.heads[parent] if version is None else version
        assert self.main.branch(name).head == self.heads[name]

    @rule(data=st.data(), user=USERS)
    def merge_branches(self, data: st.DataObject, user: str) -> None:
        target, source = self.draw_two(data)
        self.bring(data, source, target, self.heads[source], user)

    @rule(data=st.data(), user=USERS)
    def merge_crosswise(self, data: st.DataObject, user: str) -> None:
        """Each of two branches takes what the other was before it took its own."""
        target, source = self.draw_two(data)
        before = self.heads[target]
        self.bring(data, source, target, self.heads[source], user)
        self.bring(data, target, source, before, user)

    def draw_two(self, data: st.DataObject) -> tuple[str, str]:
        one = self.branch(data)
        return one, data.draw(st.sampled_from(sorted(self.heads.keys() - {one})))

    def bring(self, data: st.DataObject, source: str, target: str, theirs: int, user: str) -> None:
        ours = self.heads[target]
        view, other = self.main.at(ours), self.main.at(theirs)
        base = merge_base(view.storage, ours, theirs)
        assert base.versions == self.history.bases(ours, theirs)
        assert base.open_conflicts == self.history.open_conflicts(ours, theirs)
        expected = standings(
            self.states[ours],
            self.states[theirs],
            [self.states[version] for version in base.versions],
            base.open_conflicts,
        )
        conflicts = {key: ids for key, (standing, ids) in expected.items() if standing == "both"}
        plan = plan_merge(base, view, other, {})
        assert [c.id for c in plan.conflicts] == sorted(plan.undecided) == sorted(conflicts)
        options = st.sampled_from(["theirs", "ours", "skip", None])
        drawn = {key: data.draw(options) for key in sorted(conflicts)}
        choices = {key: choice for key, choice in drawn.items() if choice is not None}
        plan = plan_merge(base, view, other, choices)  # type: ignore[arg-type]
        taken = [ids for standing, ids in expected.values() if standing == "theirs"]
        taken += [ids for key, ids in conflicts.items() if drawn[key] == "theirs"]
        wanted = merged(self.states[ours], self.states[theirs], taken)
        self.commit(target, plan.delta, "merge-branch", user=user, merges=plan.merges)
        assert np.array_equal(self.now(target).voxels, wanted.voxels)
        assert self.now(target).edges == wanted.edges
        left = [ids for key, ids in conflicts.items() if drawn[key] in ("skip", None)]
        assert set(plan.merges.skipped) == set().union(*left)
        self.history.source[self.heads[target]] = theirs
        self.history.skipped[self.heads[target]] = frozenset(plan.merges.skipped)
        self.check_whole(self.heads[target])
        self.check_asked_again(target, theirs, left)

    def check_asked_again(self, target: str, theirs: int, left: list[set[int]]) -> None:
        """The same merge again changes nothing and asks about what was left open, only that."""
        head = self.heads[target]
        base = merge_base(self.main.at().storage, head, theirs)
        again = plan_merge(base, self.main.at(head), self.main.at(theirs), {})
        assert again.delta.is_empty
        for conflict in again.conflicts:
            assert any(conflict.supervoxels <= ids for ids in left)
        for ids in left:
            assert any(conflict.supervoxels <= ids for conflict in again.conflicts)

    def check_whole(self, version: int) -> None:
        view = self.main.at(version)
        if view.storage.base_statistics is not None:
            deque(view.storage.base_statistics.count_all(), maxlen=0)
        statistics_match_the_voxels(view)
        objects_match_the_voxels(view)
        levels_match_level_0(view)
        edges_join_supervoxels_that_exist(view)

    # At the end

    def check_changes(self, before: int, after: int) -> None:
        old, new = self.states[before].roots(), self.states[after].roots()
        differing = {
            int(root)
            for root in np.unique(np.stack([old, new]))
            if root and not np.array_equal(old == root, new == root)
        }
        found = object_changes(self.main.at().storage, before, after)
        assert {change.root for change in found} == differing
        for change in found:
            counts = tuple(int((roots == change.root).sum()) for roots in (old, new))
            assert change.voxels == counts

    def check_lineage(self, head: int) -> None:
        line = self.history.line(head)[::-1]
        middle = line[len(line) // 2]
        for root in sorted(set(self.states[middle].root_of(
            self.states[middle].supervoxels()).values()))[:3]:  # fmt: skip
            found = lineage(self.main.at().storage, root, middle, head)
            after = line[len(line) // 2 :]
            assert set(found.latest) == latest_roots(after, self.states, root)
            assert found.complete

    def check_blame(self, head: int) -> None:
        line = self.history.line(head)
        for point in [(0, 0, 0), (1, 30, 5), (2, 64, 3), (1, 66, 9), (0, 12, 2)]:
            found = blame(self.main.at().storage, point, head)
            values = [int(self.states[version].voxels[point]) for version in line]
            assert found.supervoxel == values[0]
            writer = next(
                (v for v, a, b in zip(line, values, values[1:], strict=False) if a != b), None
            )
            by = found.voxel if found.brought_by is None else found.brought_by
            assert (by and by.operation_id) == writer

    def teardown(self) -> None:
        if not hasattr(self, "states"):
            return
        for version in self.states:
            self.check_version(version)
        for name, head in self.heads.items():
            assert self.main.branch(name).head == head
            self.check_whole(head)
            self.check_lineage(head)
            self.check_blame(head)
            self.check_changes(self.heads["main"], head)
        self.main.at().storage.engine.dispose()
        self.folder.cleanup()


Branches.TestCase.settings = settings(
    max_examples=12,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestBranches = Branches.TestCase
