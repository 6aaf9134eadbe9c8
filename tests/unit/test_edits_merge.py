"""A merge joins existing, different objects; anything else is refused and changes nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from label_volumes import Editor

from segmentation_backend.errors import ErrorKind, SegmentationError

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def editor(tmp_path: Path) -> Editor:
    editor = Editor(tmp_path)
    editor.boxes((0, 0, 0), (0, 0, 20), (0, 0, 40), (0, 0, 60))
    return editor


def test_many_objects_merge_at_once(editor: Editor) -> None:
    operation = editor.merge(4, 2, 3)
    assert operation.merges == ((2, 3, 4),)
    view = editor.repository.at()
    assert view.members(3) == (2, 3, 4)
    assert view.edges_of(2) == {(2, 4), (2, 3)}


def test_a_supervoxel_stands_for_its_object(editor: Editor) -> None:
    editor.merge(1, 2)
    operation = editor.merge(2, 3)
    assert operation.merges == ((1, 3),)
    assert editor.repository.at().edges_of(1) == {(1, 2), (2, 3)}


def test_an_object_named_twice_is_joined_once(editor: Editor) -> None:
    editor.merge(1, 2)
    operation = editor.merge(1, 2, 3)
    assert operation.merges == ((1, 3),)


@pytest.mark.parametrize(
    ("ids", "kind"),
    [
        ([3, 3], ErrorKind.MERGE_SAME_OBJECT),
        ([1, 2], ErrorKind.MERGE_SAME_OBJECT),
        ([3], ErrorKind.MERGE_SAME_OBJECT),
        ([], ErrorKind.MERGE_SAME_OBJECT),
        ([0, 3], ErrorKind.BACKGROUND_NOT_AN_OBJECT),
        ([3, 99], ErrorKind.OBJECT_NOT_FOUND),
        ([3, 2**63], ErrorKind.OBJECT_NOT_FOUND),
        ([3, 2**64 - 1], ErrorKind.OBJECT_NOT_FOUND),
        ([3, 2**64], ErrorKind.INVALID_ID),
        ([3, -1], ErrorKind.INVALID_ID),
        ([3, "4"], ErrorKind.INVALID_ID),
        ([3, 4.0], ErrorKind.INVALID_ID),
        ([3, True], ErrorKind.INVALID_ID),
    ],
)
def test_bad_ids_are_refused_and_nothing_changes(
    editor: Editor, ids: list[int], kind: ErrorKind
) -> None:
    editor.merge(1, 2)
    before = editor.voxels()
    with pytest.raises(SegmentationError) as caught:
        editor.merge(*ids)
    assert caught.value.kind == kind
    assert editor.repository.head == 2
    assert np.array_equal(editor.voxels(), before)
