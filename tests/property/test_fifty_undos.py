"""Fifty edits of every kind by two users, undone in reverse order: bit for bit what there was."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from invariants import (
    edges_join_supervoxels_that_exist,
    levels_match_level_0,
    objects_match_the_voxels,
    statistics_match_the_voxels,
)

from segmentation_backend import edits
from segmentation_backend.database import open_database
from segmentation_backend.errors import InvalidInputError
from segmentation_backend.geometry import Roi, plan_levels
from segmentation_backend.labels import Delta, LabelRepository, LabelView
from segmentation_backend.workspace import EditContext
from segmentation_backend.workspace.editing import Editor

SHAPE = (20, 70, 90)
LEVELS = plan_levels(SHAPE, (16.0, 8.0, 8.0), min_side=8)
USERS = ("ann", "bob")
COUNT = 50


class Hand:
    """Makes one random edit after another."""

    def __init__(self, repository: LabelRepository, seed: int) -> None:
        self.repository = repository
        self.random = random.Random(seed)
        self.kinds: tuple[Callable[[LabelView], Delta], ...] = (
            self.merge,
            self.split,
            self.paint,
            self.paint,
            self.delete,
            self.morph,
            self.cleave,
            self.relabel,
            self.segment,
            self.clean,
        )

    def edit(self) -> str:
        kind = self.random.choice(self.kinds)
        context = EditContext(self.random.choice(USERS))
        Editor(self.repository).commit(kind.__name__, {}, context, kind)
        return kind.__name__

    def objects(self, view: LabelView, count: int) -> list[int]:
        roots = [o.root for o in view.objects(limit=10**6)]
        if len(roots) < count:
            raise InvalidInputError("too few objects", "invalid-parameter")  # type: ignore[arg-type]
        return self.random.sample(roots, count)

    def joined(self, view: LabelView) -> int:
        joined = [o.root for o in view.objects(limit=10**6) if o.supervoxels > 1]
        if not joined:
            raise InvalidInputError("nothing is joined", "invalid-parameter")  # type: ignore[arg-type]
        return self.random.choice(joined)

    def merge(self, view: LabelView) -> Delta:
        return edits.merge(view, self.objects(view, self.random.randint(2, 4)))

    def split(self, view: LabelView) -> Delta:
        (root,) = self.objects(view, 1)
        points = np.argwhere(view.read(view.bounds) == root).tolist()
        if len(points) < 2:
            raise InvalidInputError("too small", "invalid-parameter")  # type: ignore[arg-type]
        groups = [[tuple(point)] for point in self.random.sample(points, 2)]
        return edits.split(view, groups, self.repository.reserve_ids)

    def paint(self, view: LabelView) -> Delta:
        ends = [[self.random.randrange(n) for n in SHAPE] for _ in range(2)]
        roi, mask = edits.brush_mask(LEVELS[0], ends, self.random.uniform(1, 6), "voxels")
        target = self.random.choice([0, None, *self.objects(view, 1)])
        over = self.random.choice(["all", "background"] if target != 0 else ["all"])
        return edits.paint(view, roi, mask, target, over, self.repository.reserve_ids)

    def delete(self, view: LabelView) -> Delta:
        return edits.delete(view, self.objects(view, 1))

    def morph(self, view: LabelView) -> Delta:
        operation = self.random.choice(["erode", "dilate", "open", "close", "fill_holes"])
        return edits.morph(view, self.objects(view, 1)[0], operation)

    def cleave(self, view: LabelView) -> Delta:
        members = view.members(self.joined(view))
        return edits.cleave(view, [self.random.choice(members)])

    def relabel(self, view: LabelView) -> Delta:
        reserve_ids = self.repository.reserve_ids
        return edits.relabel_components(view, self.joined(view), reserve_ids, 6)

    def segment(self, view: LabelView) -> Delta:
        begin = [self.random.randrange(n - 8) for n in SHAPE]
        roi = Roi((begin[0], begin[1], begin[2]), (8, 8, 8))
        labels = np.zeros(roi.shape, dtype=np.uint64)
        labels[1:7, 1:7, 1:4], labels[1:7, 1:7, 5:8] = 1, 2
        return edits.import_labels(view, roi, labels, self.repository.reserve_ids(2), "fill-empty")

    def clean(self, view: LabelView) -> Delta:
        return edits.filter_small(view, min_voxels=self.random.choice([5, 20]))


def filled(folder: Path) -> LabelRepository:
    repository = LabelRepository(
        open_database(folder / "labels.sqlite"), folder / "packs", "v", LEVELS
    )
    labels = np.zeros(SHAPE, dtype=np.uint64)
    for number, (z, y, x) in enumerate(np.ndindex(2, 6, 6), start=1):
        at = (slice(1 + 10 * z, 9 + 10 * z), slice(2 + 11 * y, 12 + 11 * y))
        labels[(*at, slice(3 + 14 * x, 14 + 14 * x))] = number
    roi = Roi((0, 0, 0), SHAPE)
    first = repository.reserve_ids(72)
    context = EditContext("ann")
    Editor(repository).commit(
        "import",
        {},
        context,
        lambda view: edits.import_labels(view, roi, labels, first, "fill-empty"),
    )
    return repository


def content(view: LabelView) -> tuple[object, ...]:
    """Return all there is to read at a version."""
    levels = [
        view.read_supervoxels(Roi((0, 0, 0), level.shape), level.level).tobytes()
        for level in view.levels
    ]
    edges = view.agglomeration.all_edges().tolist()
    return (*levels, edges, view.statistics_in(None), view.objects(limit=10**6))


@pytest.mark.parametrize("seed", [1, 2])
def test_fifty_edits_are_undone_in_reverse_order(tmp_path: Path, seed: int) -> None:
    repository = filled(tmp_path)
    hand = Hand(repository, seed)
    seen = set()
    while repository.head < COUNT + 1:
        try:
            seen.add(hand.edit())
        except InvalidInputError:
            continue
    assert len(seen) >= 8
    last = repository.at()
    for check in (
        statistics_match_the_voxels,
        objects_match_the_voxels,
        levels_match_level_0,
        edges_join_supervoxels_that_exist,
    ):
        check(last)
    kept = {version: content(repository.at(version)) for version in range(COUNT + 2)}
    editor = Editor(repository)
    for operation_id in range(COUNT + 1, 1, -1):
        editor.undo(EditContext("ann"), operation_id)
        assert content(repository.at()) == kept[operation_id - 1]
    for operation_id in range(repository.head, COUNT + 1, -1):
        editor.redo(EditContext("bob"), operation_id)
    assert content(repository.at()) == kept[COUNT + 1]
    for version, before in kept.items():
        assert content(repository.at(version)) == before
