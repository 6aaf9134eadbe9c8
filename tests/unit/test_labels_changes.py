"""The difference of two versions as objects: which, what became of them, and nobody else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from label_volumes import Editor, dumbbell

from segmentation_backend.edits import delete, paint, revert
from segmentation_backend.geometry import Roi
from segmentation_backend.labels import ObjectChange, object_changes

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def editor(tmp_path: Path) -> Editor:
    editor = Editor(tmp_path)
    editor.boxes((0, 0, 0), (0, 0, 20), (0, 0, 40), (20, 60, 60))
    return editor


def changes(editor: Editor, before: int, after: int | None = None) -> dict[int, ObjectChange]:
    after = editor.repository.head if after is None else after
    found = object_changes(editor.repository.at().storage, before, after)
    return {change.root: change for change in found}


def kinds(editor: Editor, before: int, after: int | None = None) -> dict[int, str]:
    return {root: change.kind for root, change in changes(editor, before, after).items()}


def brush(editor: Editor, roi: Roi, target: int | None, user: str = "ann") -> int:
    view = editor.repository.at()
    mask = np.ones(roi.shape, dtype=bool)
    delta = paint(view, roi, mask, target, "all", editor.repository.reserve_ids)
    return editor.commit(delta, "paint", user).operation_id


def test_an_import_adds_objects_and_its_undo_removes_them(editor: Editor) -> None:
    assert kinds(editor, 0) == dict.fromkeys((1, 2, 3, 4), "added")
    added = changes(editor, 0)[4]
    assert (added.before, added.voxels) == (None, (0, 1000))
    assert added.bbox == Roi((20, 60, 60), (10, 10, 10))
    assert (added.came_from, added.became) == ((), ())
    assert kinds(editor, 1, 0) == dict.fromkeys((1, 2, 3, 4), "removed")


def test_a_merge_lists_what_went_into_what(editor: Editor) -> None:
    editor.merge(2, 3)
    found = changes(editor, 1)
    assert kinds(editor, 1) == {2: "merged", 3: "merged"}
    assert (found[2].voxels, found[3].voxels) == ((1000, 2000), (1000, 0))
    assert (found[2].came_from, found[2].became) == ((2, 3), (2,))
    assert (found[3].came_from, found[3].became) == ((), (2,))
    assert found[3].after is None
    assert found[2].bbox == Roi((0, 0, 20), (10, 10, 30))


def test_a_split_lists_the_parts_and_backwards_it_is_a_merge(editor: Editor) -> None:
    editor.paint(dumbbell(editor.shape))
    before = editor.repository.head
    root = editor.repository.at().root_at((20, 65, 25))
    operation = editor.split([(20, 65, 25)], [(20, 65, 75)])
    parts = operation.added_roots
    assert kinds(editor, before) == dict.fromkeys(parts, "split")
    assert changes(editor, before)[root].became == parts
    new = max(parts)
    assert changes(editor, before)[new].came_from == (root,)
    assert kinds(editor, editor.repository.head, before) == dict.fromkeys(parts, "merged")


def test_an_object_with_the_same_voxels_is_not_listed(editor: Editor) -> None:
    editor.merge(1, 2)
    editor.undo(2)
    assert changes(editor, 1) == {}
    editor.merge(1, 2)
    editor.merge(1, 3)
    editor.split([(5, 5, 5)], [(5, 5, 45)])
    assert changes(editor, 4) == {}
    brush(editor, Roi((0, 0, 0), (2, 2, 2)), 0)
    editor.undo(editor.repository.head)
    assert changes(editor, 4) == {}


def test_a_join_by_another_edge_is_no_change(editor: Editor) -> None:
    editor.merge(1, 2, 3)
    editor.split([(5, 5, 5)], [(5, 5, 25), (5, 5, 45)])
    editor.merge(1, 3)
    assert editor.repository.at().edges_of(1) != editor.repository.at(2).edges_of(1)
    assert changes(editor, 2) == {}


def test_an_object_that_lost_its_smallest_supervoxel_is_renamed(editor: Editor) -> None:
    editor.merge(1, 2)
    brush(editor, Roi((0, 0, 0), (10, 10, 10)), 0)
    found = changes(editor, 2)
    assert kinds(editor, 2) == {1: "renamed", 2: "renamed"}
    assert (found[1].voxels, found[1].became) == ((2000, 0), (2,))
    assert (found[2].voxels, found[2].came_from) == ((0, 1000), (1,))


def test_painting_changes_the_objects_that_exchange_voxels(editor: Editor) -> None:
    brush(editor, Roi((0, 0, 8), (4, 4, 14)), 1)
    assert kinds(editor, 1) == {1: "changed", 2: "changed"}
    found = changes(editor, 1)
    assert found[1].came_from == (1, 2)
    assert found[2].became == (1, 2)
    brush(editor, Roi((0, 0, 20), (10, 10, 10)), 1)
    assert kinds(editor, 1) == {1: "merged", 2: "merged"}


def test_several_objects_made_into_several_others_are_regrouped(editor: Editor) -> None:
    editor.merge(1, 2)
    editor.split([(5, 5, 5)], [(5, 5, 25)])
    editor.merge(2, 3)
    assert kinds(editor, 2, 4) == {1: "regrouped", 2: "regrouped", 3: "regrouped"}


def test_branches_are_compared_like_versions(editor: Editor) -> None:
    editor.repository.create_branch("trial", "bob")
    trial = editor.on("trial")
    trial.merge(1, 2, user="bob")
    editor.merge(3, 4)
    ours, theirs = editor.repository.head, trial.repository.head
    assert kinds(editor, ours, theirs) == {1: "merged", 2: "merged", 3: "split", 4: "split"}
    assert kinds(editor, theirs, ours) == {1: "split", 2: "split", 3: "merged", 4: "merged"}


def test_the_largest_objects_come_first_and_a_limit_cuts(editor: Editor) -> None:
    editor.merge(3, 4)
    editor.commit(delete(editor.repository.at(), [1]), "delete")
    storage = editor.repository.at().storage
    assert [c.root for c in object_changes(storage, 1, 3)] == [3, 1, 4]
    assert [c.root for c in object_changes(storage, 1, 3, limit=1)] == [3]


def test_no_voxel_is_read(editor: Editor, monkeypatch: pytest.MonkeyPatch) -> None:
    editor.merge(3, 4)
    brush(editor, Roi((0, 0, 0), (2, 2, 2)), 2)
    editor.commit(revert(editor.repository.at(), 1), "revert")
    monkeypatch.setattr(type(editor.repository.at().storage), "load", None)
    assert kinds(editor, 1) == {}
    assert kinds(editor, 1, 3).keys() == {1, 2, 3, 4}


def test_a_change_shows_ids_as_strings_in_json(editor: Editor) -> None:
    editor.merge(2, 3)
    shown = changes(editor, 1)[3].to_json()
    assert shown == {
        "id": "3",
        "kind": "merged",
        "bbox": {"offset": [0, 0, 40], "shape": [10, 10, 10]},
        "before": editor.repository.at(1).object(3).to_json(),
        "after": None,
        "came_from": [],
        "became": ["2"],
    }
