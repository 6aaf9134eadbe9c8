"""Supervoxels are split off by removing edges; both sides stay whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from label_volumes import Editor

from segmentation_backend.edits import cleave
from segmentation_backend.errors import ErrorKind, SegmentationError
from segmentation_backend.geometry import Roi
from segmentation_backend.labels import Operation


@pytest.fixture
def editor(tmp_path: Path) -> Editor:
    """Five boxes in a row, 1 to 4 joined in a chain."""
    editor = Editor(tmp_path)
    editor.boxes(*((0, 0, x) for x in (0, 20, 40, 60, 80)))
    editor.merge(1, 2, 3, 4)
    return editor


def split_off(editor: Editor, *supervoxels: int) -> Operation:
    return editor.commit(cleave(editor.repository.at(), supervoxels), "cleave")


def test_the_middle_of_a_chain_comes_off_and_the_ends_stay_joined(editor: Editor) -> None:
    before = editor.repository.at().read_supervoxels(Roi((0, 0, 0), editor.shape))
    operation = split_off(editor, 2, 3)
    view = editor.repository.at()
    assert (view.members(1), view.members(2)) == ((1, 4), (2, 3))
    assert view.edges_of(1) == {(1, 4)}
    assert view.edges_of(2) == {(2, 3)}
    assert operation.splits == ((1, (1, 2)),)
    assert not operation.wrote_voxels
    assert operation.bbox == Roi((0, 0, 20), (10, 10, 30))
    assert np.array_equal(view.read_supervoxels(view.bounds), before)


def test_the_side_without_the_smallest_supervoxel_gets_another_id(editor: Editor) -> None:
    operation = split_off(editor, 1)
    assert operation.added_roots == (1, 2)
    assert operation.bbox == Roi((0, 0, 20), (10, 10, 50))
    assert editor.repository.at().members(2) == (2, 3, 4)


def test_supervoxels_that_touch_no_other_of_their_side_are_joined(editor: Editor) -> None:
    split_off(editor, 1, 3)
    view = editor.repository.at()
    assert (view.members(1), view.members(2)) == ((1, 3), (2, 4))


def test_undo_joins_them_again(editor: Editor) -> None:
    before, edges = editor.voxels(), editor.repository.at().edges_of(1)
    split_off(editor, 2)
    editor.undo(editor.repository.head)
    assert np.array_equal(editor.voxels(), before)
    assert editor.repository.at().edges_of(1) == edges


@pytest.mark.parametrize(
    ("supervoxels", "kind"),
    [
        ([], ErrorKind.SEEDS_ON_ONE_SIDE),
        ([1, 2, 3, 4], ErrorKind.SEEDS_ON_ONE_SIDE),
        ([5], ErrorKind.SEEDS_ON_ONE_SIDE),
        ([1, 5], ErrorKind.SEEDS_OUTSIDE_OBJECT),
        ([1, 99], ErrorKind.OBJECT_NOT_FOUND),
        ([0], ErrorKind.BACKGROUND_NOT_AN_OBJECT),
        ([1, -3], ErrorKind.INVALID_ID),
    ],
)
def test_bad_supervoxels_are_refused_and_nothing_changes(
    editor: Editor, supervoxels: list[int], kind: ErrorKind
) -> None:
    with pytest.raises(SegmentationError) as caught:
        split_off(editor, *supervoxels)
    assert caught.value.kind == kind
    assert editor.repository.head == 2
