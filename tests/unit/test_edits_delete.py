"""A deleted object is gone at every level, with its joins; nothing else is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from label_volumes import Editor

from segmentation_backend.edits import delete
from segmentation_backend.errors import ErrorKind, SegmentationError
from segmentation_backend.geometry import Roi


@pytest.fixture
def editor(tmp_path: Path) -> Editor:
    editor = Editor(tmp_path)
    editor.boxes((0, 0, 0), (20, 60, 60), (0, 0, 20), (0, 0, 40))
    return editor


def remove(editor: Editor, *ids: int) -> tuple[int, ...]:
    return editor.commit(delete(editor.repository.at(), ids), "delete").removed_roots


def test_an_object_goes_with_all_its_supervoxels_and_edges(editor: Editor) -> None:
    editor.merge(1, 2)
    before = editor.voxels()
    operation = editor.commit(delete(editor.repository.at(), [2]), "delete")
    assert np.array_equal(editor.voxels(), np.where(before == 1, 0, before))
    assert (operation.removed_roots, operation.added_roots) == ((1,), ())
    assert operation.bbox == Roi((0, 0, 0), (30, 70, 70))
    view = editor.repository.at()
    assert [o.root for o in view.objects(sort="root")] == [3, 4]
    assert len(view.agglomeration.all_edges()) == 0
    for level in view.levels[1:]:
        assert set(np.unique(view.read(Roi((0, 0, 0), level.shape), level.level))) <= {0, 3, 4}


def test_several_objects_go_at_once_and_come_back_at_once(editor: Editor) -> None:
    editor.merge(3, 4)
    before, objects = editor.voxels(), editor.repository.at().objects()
    assert remove(editor, 4, 1, 3, 1) == (1, 3)
    assert set(np.unique(editor.voxels())) == {0, 2}
    editor.undo(editor.repository.head)
    assert np.array_equal(editor.voxels(), before)
    assert editor.repository.at().objects() == objects
    assert editor.repository.at().members(3) == (3, 4)


def test_only_chunks_that_hold_the_object_are_written(editor: Editor) -> None:
    delta = delete(editor.repository.at(), [3])
    assert [key for key in delta.chunks if key.level == 0] == [(0, 0, 0, 0)]
    assert set(delta.statistics) == {3}
    assert not delta.moved


@pytest.mark.parametrize(
    ("ids", "kind"),
    [
        ([], ErrorKind.INVALID_PARAMETER),
        ([0], ErrorKind.BACKGROUND_NOT_AN_OBJECT),
        ([1, 99], ErrorKind.OBJECT_NOT_FOUND),
        ([1, "2"], ErrorKind.INVALID_ID),
    ],
)
def test_one_wrong_id_refuses_all(editor: Editor, ids: list[int], kind: ErrorKind) -> None:
    with pytest.raises(SegmentationError) as caught:
        remove(editor, *ids)
    assert caught.value.kind == kind
    assert editor.repository.head == 1


def test_what_is_deleted_cannot_be_deleted_again(editor: Editor) -> None:
    remove(editor, 1)
    with pytest.raises(SegmentationError) as caught:
        remove(editor, 1)
    assert caught.value.kind == ErrorKind.OBJECT_NOT_FOUND
