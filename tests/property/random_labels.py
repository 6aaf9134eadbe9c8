"""Random labels in a repository beside the same in arrays, and what must hold after an edit."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from invariants import (
    edges_join_supervoxels_that_exist,
    levels_match_level_0,
    objects_match_the_voxels,
    statistics_match_the_voxels,
)

from segmentation_backend.database import open_database
from segmentation_backend.edits import import_labels, merge, undo
from segmentation_backend.geometry import Coordinate, Roi, plan_levels
from segmentation_backend.labels import Delta, LabelRepository, LabelView, OperationMeta

# Several chunks along two axes, odd sizes, thin and cubic voxels.
GRIDS = [((9, 70, 67), (16.0, 8.0, 8.0)), ((67, 7, 70), (8.0, 8.0, 8.0))]


@dataclass
class World:
    """Labels in a repository, and the same in arrays."""

    repository: LabelRepository
    voxels: np.ndarray
    """Supervoxels."""
    roots: np.ndarray

    @property
    def view(self) -> LabelView:
        return self.repository.at()

    @property
    def objects(self) -> list[int]:
        return [int(root) for root in np.unique(self.roots) if root]


@st.composite
def intents(draw: st.DrawFn) -> dict[str, Any]:
    """Draw labels: a grid, boxes of which later ones lie on top, noise, and what is merged."""
    shape, voxel_size = draw(st.sampled_from(GRIDS))
    boxes = draw(st.lists(st.tuples(corners(shape), st.integers(2, 40)), min_size=2, max_size=5))
    return {
        "shape": shape,
        "voxel_size": voxel_size,
        "boxes": boxes,
        "noise": draw(st.none() | st.integers(0, 2**16)),
        "merges": draw(st.lists(st.tuples(*[st.integers(0, 4)] * 2), max_size=4)),
    }


def corners(shape: Coordinate) -> st.SearchStrategy[Coordinate]:
    return st.tuples(*[st.integers(0, n - 1) for n in shape])


@contextmanager
def world(intent: dict[str, Any]) -> Iterator[World]:
    """Make the labels of an intent."""
    shape = intent["shape"]
    with tempfile.TemporaryDirectory() as folder:
        levels = plan_levels(shape, intent["voxel_size"], min_side=8)
        engine = open_database(Path(folder) / "labels.sqlite")
        repository = LabelRepository(engine, Path(folder) / "packs", "v", levels)
        labels = np.zeros(shape, dtype=np.uint32)
        for label, (corner, side) in enumerate(intent["boxes"], start=1):
            labels[tuple(slice(c, c + side) for c in corner)] = label
        if intent["noise"] is not None:
            rng = np.random.default_rng(intent["noise"])
            labels[rng.random(shape) < 0.02] = rng.integers(0, len(intent["boxes"]) + 1)
        view = repository.at()
        delta = import_labels(view, view.bounds, labels, repository.reserve_ids(5))
        repository.commit(delta, OperationMeta("segment", "ann"))
        for a, b in intent["merges"]:
            present = sorted({o.root for o in repository.at().objects()})
            a, b = present[a % len(present)], present[b % len(present)]
            if a != b:
                delta = merge(repository.at(), [a, b])
                repository.commit(delta, OperationMeta("merge", "ann"))
        view = repository.at()
        yield World(repository, view.read_supervoxels(view.bounds), view.read(view.bounds))
        engine.dispose()


def rooted(voxels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the root of each voxel: the smallest supervoxel of its group."""
    roots = np.zeros_like(voxels)
    for group in np.unique(groups[voxels > 0]):
        inside = (groups == group) & (voxels > 0)
        roots[inside] = voxels[inside].min()
    return roots


def carried(before: World, voxels: np.ndarray) -> np.ndarray:
    """Return the object each voxel is part of when supervoxels stay with their objects."""
    object_of = dict(zip(before.voxels.reshape(-1), before.roots.reshape(-1), strict=True))
    return np.vectorize(lambda s: object_of.get(s, s), otypes=[np.uint64])(voxels)


def check(before: World, delta: Delta, voxels: np.ndarray, roots: np.ndarray) -> None:
    """Commit a change, compare everything with what was expected, and take it back."""
    repository, old = before.repository, before.view
    operation = repository.commit(delta, OperationMeta("edit", "bob"))
    view = repository.at()
    assert np.array_equal(view.read_supervoxels(view.bounds), voxels)
    assert np.array_equal(view.read(view.bounds), roots)
    for invariant in (
        statistics_match_the_voxels,
        objects_match_the_voxels,
        levels_match_level_0,
        edges_join_supervoxels_that_exist,
    ):
        invariant(view)
    changed = before.roots != roots
    assert delta.bbox is not None
    assert not changed.any() or delta.bbox.encloses(Roi.of_points(np.argwhere(changed).tolist()))
    written = before.voxels != voxels
    pairs = np.unique(np.stack([before.voxels[written], voxels[written]], axis=1), axis=0)
    assert delta.moved == {(a, b) for a, b in pairs.tolist() if a and b}
    assert set(delta.statistics) == set(pairs.reshape(-1).tolist()) - {0}
    gone = set(np.unique(before.roots).tolist()) - set(np.unique(roots).tolist())
    assert gone <= set(operation.removed_roots)
    taken_back = undo(view, operation, repository.delta(operation.operation_id))
    repository.commit(taken_back, OperationMeta("undo", "bob", undoes=operation.operation_id))
    assert same(repository.at(), old)


def same(one: LabelView, other: LabelView) -> bool:
    for level in one.levels:
        roi = Roi((0, 0, 0), level.shape)
        if not np.array_equal(
            one.read_supervoxels(roi, level.level), other.read_supervoxels(roi, level.level)
        ):
            return False
    edges = [{tuple(e) for e in v.agglomeration.all_edges().tolist()} for v in (one, other)]
    return edges[0] == edges[1] and one.statistics_in(None) == other.statistics_in(None)


def after(before: World, delta: Delta) -> np.ndarray:
    """Return the supervoxels that a delta would leave."""
    chunks = {k: c.after for k, c in delta.chunks.items() if k.level == 0}
    loaded = before.view.storage.load(chunks.values())
    voxels = before.voxels.copy()
    for key, reference in chunks.items():
        place = tuple(slice(p * 64, p * 64 + 64) for p in key[1:])
        shape = voxels[place].shape
        voxels[place] = loaded[reference].cut(Roi((0, 0, 0), shape))
    return voxels
