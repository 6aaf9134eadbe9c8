"""Random edits over a base that is counted bit by bit, beside a naive model: version 0 is the base.

Whatever is counted when, also by others in the middle of an edit: every version reads the same for
ever, no statistics ever contradict the voxels that are counted, and once all is counted everything
is exact.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from unittest.mock import patch

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from invariants import every_version_is_whole, naive_roots, named_packs_are_whole
from label_bases import base_of, reader_of, repository_over
from test_label_store_history import State, taken_back

from segmentation_backend.edits import import_labels, merge, revert, split, undo
from segmentation_backend.edits.delete import delete
from segmentation_backend.edits.paint import paint
from segmentation_backend.errors import ConflictError, ErrorKind, NotFoundError
from segmentation_backend.geometry import Roi
from segmentation_backend.labels import Delta, LabelRepository, OperationMeta, base_statistics

SHAPE = (9, 131, 130)  # 1 x 3 x 3 blocks of 64 voxels; odd sizes at every level
USERS = ("ann", "bob")
FIRST_NEW = 2**16


def scattered(data: st.DataObject) -> np.ndarray:
    """Return a base of boxes, several of which may share an id: objects in pieces."""
    labels = np.zeros(SHAPE, dtype=np.uint16)
    for _ in range(data.draw(st.integers(2, 9))):
        corner = [data.draw(st.integers(0, n - 1)) for n in SHAPE]
        sides = [data.draw(st.integers(1, n)) for n in (9, 90, 60)]
        value = data.draw(st.integers(1, 5))
        labels[tuple(slice(c, c + s) for c, s in zip(corner, sides, strict=True))] = value
    return labels


class BaseHistory(RuleBasedStateMachine):
    """Edits by two users on a repository over a base, while others count it."""

    @initialize(data=st.data())
    def open(self, data: st.DataObject) -> None:
        # Blocks of one chunk: as many as possible in a small volume.
        self.patches = [patch.object(base_statistics, "_SMALLEST_BLOCK", 1)]
        if data.draw(st.booleans()):
            # No search: ids that nobody pointed at stay unknown.
            self.patches.append(patch.object(base_statistics, "_MOST_VOXELS_LISTED", 1))
        for patched in self.patches:
            patched.start()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name)
        labels = scattered(data)
        self.reader = reader_of(labels, (16.0, 8.0, 8.0), stored=data.draw(st.integers(1, 2)))
        self.states = [State(labels.astype(np.uint64), frozenset(), frozenset())]
        self.reopen()

    @rule()
    def reopen(self) -> None:
        self.repository = self.another()

    def another(self) -> LabelRepository:
        """Return the same labels as another process sees them."""
        return repository_over(self.path, base_of(self.reader))

    @rule(data=st.data())
    def count_some(self, data: st.DataObject) -> None:
        base = self.repository._storage.base_statistics
        assert base is not None
        point = [data.draw(st.integers(0, n - 1)) for n in SHAPE]
        base.count_over(Roi.of_points([point]))

    def committed(self, data: st.DataObject, delta: Delta, kind: str, **meta: object) -> None:
        """Commit what was worked out, often after somebody else has counted more."""
        if data.draw(st.booleans()):
            base = self.another()._storage.base_statistics
            assert base is not None
            for _ in range(data.draw(st.integers(1, 4))):
                base.count_over(Roi.of_points([[data.draw(st.integers(0, n - 1)) for n in SHAPE]]))
        operation = self.repository.commit(delta, OperationMeta(kind, **meta))  # type: ignore[arg-type]
        assert operation.operation_id == len(self.states)

    def remember(self, voxels: np.ndarray, edges: frozenset[tuple[int, int]]) -> None:
        self.states.append(State(voxels, edges, frozenset()))
        self.check_version(len(self.states) - 1)

    def check_version(self, version: int) -> None:
        view, state = self.repository.at(version), self.states[version]
        voxels = view.read_supervoxels(view.bounds)
        assert np.array_equal(voxels, state.voxels)
        assert np.array_equal(view.read(view.bounds), state.roots())
        assert {(a, b) for a, b in view.agglomeration.all_edges().tolist()} == state.edges
        base = self.repository._storage.base_statistics
        assert base is not None
        assert base.share <= 1
        counted = base._counted.repeat(64, 0).repeat(64, 1).repeat(64, 2)
        counted = counted[tuple(slice(n) for n in SHAPE)]
        known = np.where(counted | (voxels >= FIRST_NEW), voxels, 0)
        found = view.statistics_in(None)
        assert set(found) == set(np.unique(known).tolist()) - {0}
        for supervoxel, statistics in found.items():
            points = np.argwhere(known == supervoxel)
            assert statistics.voxels == len(points)
            assert statistics.sums == tuple(points.sum(axis=0))
            assert statistics.bbox.encloses(Roi.of_points(points.tolist()))
            everywhere = Roi.of_points(np.argwhere(voxels == supervoxel).tolist())
            assert everywhere.encloses(statistics.bbox)
        # No edge leads to a supervoxel that is not known to exist.
        assert {end for edge in state.edges for end in edge} <= set(found)

    def point_in(self, data: st.DataObject) -> tuple[int, int, int] | None:
        points = np.argwhere(self.states[-1].voxels)
        if not len(points):
            return None
        z, y, x = points[data.draw(st.integers(0, len(points) - 1))].tolist()
        return (z, y, x)

    @rule(data=st.data(), user=st.sampled_from(USERS))
    def merge_two(self, data: st.DataObject, user: str) -> None:
        a, b = self.point_in(data), self.point_in(data)
        now = self.states[-1]
        if a is None or b is None or now.roots()[a] == now.roots()[b]:
            return
        view = self.repository.at()
        ids = [view.supervoxel_at(a), view.supervoxel_at(b)]
        self.committed(data, merge(view, ids), "merge", user=user)
        self.remember(now.voxels, now.edges | {(min(ids), max(ids))})

    @rule(data=st.data(), user=st.sampled_from(USERS))
    def merge_by_ids(self, data: st.DataObject, user: str) -> None:
        now = self.states[-1]
        ids = [data.draw(st.integers(1, 5)) for _ in range(2)]
        roots = naive_roots(np.array(ids, dtype=np.uint64), now.edges)
        if roots[0] == roots[1]:
            return
        refused: NotFoundError | None = None
        try:
            delta = merge(self.repository.at(), ids)
        except NotFoundError as err:
            refused = err
        if refused is not None:
            assert refused.kind == ErrorKind.OBJECT_NOT_FOUND
            exist = set(np.unique(now.voxels).tolist())
            assert not set(ids) <= exist or "mitoglance index" in str(refused)
            return
        self.committed(data, delta, "merge", user=user)
        self.remember(now.voxels, now.edges | {(min(ids), max(ids))})

    @rule(data=st.data(), user=st.sampled_from(USERS))
    def delete_one(self, data: st.DataObject, user: str) -> None:
        point = self.point_in(data)
        if point is None:
            return
        view, now = self.repository.at(), self.states[-1]
        root = view.root_at(point)
        self.committed(data, delete(view, [root]), "delete", user=user)
        after = self.repository.at()
        voxels = after.read_supervoxels(after.bounds)
        changed = voxels != now.voxels
        assert not voxels[changed].any()
        assert (now.roots()[changed] == root).all()
        assert voxels[point] == 0
        edges = frozenset((a, b) for a, b in after.agglomeration.all_edges().tolist())
        assert not {e for e in edges if root in e} - now.edges
        self.remember(voxels, edges)

    @rule(data=st.data(), user=st.sampled_from(USERS))
    def split_one(self, data: st.DataObject, user: str) -> None:
        first = self.point_in(data)
        if first is None:
            return
        now = self.states[-1]
        roots = now.roots()
        inside = np.argwhere(roots == roots[first])
        second = tuple(inside[data.draw(st.integers(0, len(inside) - 1))].tolist())
        if first == second:
            return
        view = self.repository.at()
        groups = [[first], [second]]
        delta = split(view, groups, self.repository.reserve_ids)
        self.committed(data, delta, "split", user=user)
        after = self.repository.at()
        voxels = after.read_supervoxels(after.bounds)
        edges = frozenset((a, b) for a, b in after.agglomeration.all_edges().tolist())
        changed = voxels != now.voxels
        assert (roots[changed] == roots[first]).all()
        assert (voxels[changed] >= FIRST_NEW).all()
        self.remember(voxels, edges)
        parts = self.states[-1].roots()
        assert parts[first] != parts[second]

    @rule(data=st.data(), user=st.sampled_from(USERS), erase=st.booleans())
    def paint_box(self, data: st.DataObject, user: str, erase: bool) -> None:
        roi = self.box(data)
        view, now = self.repository.at(), self.states[-1]
        if erase and not now.voxels[roi.slices()].any():
            return
        mask = np.ones(roi.shape, dtype=np.bool_)
        target = 0 if erase else None
        delta = paint(view, roi, mask, target, "all", self.repository.reserve_ids)
        self.committed(data, delta, "paint", user=user)
        voxels = now.voxels.copy()
        new = set(delta.statistics) - set(np.unique(now.voxels).tolist())
        voxels[roi.slices()] = 0 if erase else new.pop()
        after = self.repository.at()
        edges = frozenset((a, b) for a, b in after.agglomeration.all_edges().tolist())
        self.remember(voxels, edges)

    def box(self, data: st.DataObject) -> Roi:
        begin = [data.draw(st.integers(0, n - 2)) for n in SHAPE]
        end = [data.draw(st.integers(b + 1, n)) for b, n in zip(begin, SHAPE, strict=True)]
        return Roi.from_bounds(begin, end)

    @rule(data=st.data(), user=st.sampled_from(USERS))
    def segment_box(self, data: st.DataObject, user: str) -> None:
        roi = self.box(data)
        labels = np.zeros(roi.shape, dtype=np.uint32)
        labels[: max(1, roi.shape[0] // 2)] = 1
        existing = data.draw(st.sampled_from(["fill-empty", "replace-unedited"]))
        view, now = self.repository.at(), self.states[-1]
        first = self.repository.reserve_ids(1)
        delta = import_labels(view, roi, labels, first, existing)
        self.committed(data, delta, "segment", user=user)
        after = self.repository.at()
        voxels = after.read_supervoxels(after.bounds)
        outside = np.ones(SHAPE, dtype=np.bool_)
        outside[roi.slices()] = False
        assert np.array_equal(voxels[outside], now.voxels[outside])
        self.remember(voxels, now.edges)

    @precondition(lambda self: len(self.states) > 1)
    @rule(data=st.data(), user=st.sampled_from(USERS))
    def take_back(self, data: st.DataObject, user: str) -> None:
        at = len(self.states) - data.draw(st.integers(1, min(5, len(self.states) - 1)))
        target = self.repository.operation(at)
        if target.undone_by is not None:
            return
        view = self.repository.at()
        expected = taken_back(self.states[-1], self.states[at - 1], self.states[at])
        refused: ConflictError | None = None
        try:
            delta = undo(view, target, self.repository.delta(at))
        except ConflictError as err:
            refused = err
        if refused is not None:
            assert refused.kind == ErrorKind.STALE_VERSION
            # Whether a supervoxel is gone depends on what is counted of it.
            assert expected is None or self.repository.counted_share < 1
            return
        kind = "redo" if target.kind == "undo" else "undo"
        self.committed(data, delta, kind, user=user, undoes=at)
        before, after, now = self.states[at - 1], self.states[at], self.states[-1]
        changed = before.voxels != after.voxels
        assert np.array_equal(now.voxels[changed], after.voxels[changed])
        edges = (now.edges - (after.edges - before.edges)) | (before.edges - after.edges)
        self.remember(np.where(changed, before.voxels, now.voxels), edges)

    @precondition(lambda self: len(self.states) > 1)
    @rule(data=st.data(), user=st.sampled_from(USERS))
    def go_back(self, data: st.DataObject, user: str) -> None:
        version = data.draw(st.sampled_from([0, len(self.states) // 2]))
        delta = revert(self.repository.at(), version)
        self.committed(data, delta, "revert", user=user)
        self.remember(self.states[version].voxels, self.states[version].edges)

    def teardown(self) -> None:
        if not hasattr(self, "states"):
            return
        for version in range(len(self.states)):
            self.check_version(version)
        shares = list(self.repository.count_base())
        assert shares == sorted(shares)
        assert self.repository.counted_share == 1
        for version in range(len(self.states)):
            self.check_version(version)
        every_version_is_whole(self.repository)
        storage = self.repository._storage
        named_packs_are_whole(storage.engine, storage.packs)
        storage.engine.dispose()
        self.folder.cleanup()
        for patched in self.patches:
            patched.stop()


BaseHistory.TestCase.settings = settings(
    max_examples=6,
    stateful_step_count=12,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestBaseHistory = BaseHistory.TestCase
