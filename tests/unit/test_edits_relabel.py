"""Parts of an object that do not touch become objects; what belongs together keeps its id."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from label_volumes import Editor

import segmentation_backend.edits.relabel as relabelling
from segmentation_backend.edits import relabel_components
from segmentation_backend.errors import ErrorKind, SegmentationError
from segmentation_backend.geometry import Roi
from segmentation_backend.labels import Operation


@pytest.fixture
def editor(tmp_path: Path) -> Editor:
    """Object 1: a bar in two chunks, a cube and one voxel; object 2 somewhere else."""
    editor = Editor(tmp_path)
    labels = np.zeros(editor.shape, dtype=np.uint32)
    labels[:5, :5, 40:90] = 1
    labels[20:25, 20:25, 20:25] = 1
    labels[39, 129, 99] = 1
    labels[30:35, 60:65, 60:65] = 2
    editor.paint(labels)
    return editor


def apart(editor: Editor, object_id: int = 1, **options: Any) -> Operation:
    repository = editor.repository
    delta = relabel_components(repository.at(), object_id, repository.reserve_ids, **options)
    return editor.commit(delta, "relabel")


def sizes(editor: Editor) -> dict[int, int]:
    return {o.root: o.voxels for o in editor.repository.at().objects()}


def test_the_largest_part_keeps_the_id(editor: Editor) -> None:
    operation = apart(editor)
    assert sizes(editor) == {1: 1250, 3: 125, 4: 1, 2: 125}
    assert operation.splits == ((1, (1, 3, 4)),)
    assert operation.bbox == Roi((20, 20, 20), (20, 110, 80))
    # The bar was not written again.
    assert not [k for k in editor.repository.delta(2).chunks if k[:3] == (0, 0, 0) and k.x == 1]


def test_dust_is_erased_and_the_largest_part_never_is(editor: Editor) -> None:
    apart(editor, dust=2)
    assert sizes(editor) == {1: 1250, 3: 125, 2: 125}
    editor.undo(2)
    apart(editor, dust=10_000)
    assert sizes(editor) == {1: 1250, 2: 125}


def test_undo_makes_one_object_of_them_again(editor: Editor) -> None:
    before = editor.voxels()
    apart(editor)
    editor.undo(2)
    assert np.array_equal(editor.voxels(), before)
    assert sizes(editor) == {1: 1376, 2: 125}


@pytest.mark.parametrize(("connectivity", "parts"), [(6, 3), (18, 2), (26, 1)])
def test_connectivity_says_what_touches(tmp_path: Path, connectivity: int, parts: int) -> None:
    editor = Editor(tmp_path)
    labels = np.zeros(editor.shape, dtype=np.uint32)
    labels[0, 0, :3] = 1
    labels[1, 1, 2] = 1  # across an edge
    labels[2, 2, 3] = 1  # across a corner
    editor.paint(labels)
    if parts == 1:
        with pytest.raises(SegmentationError) as caught:
            apart(editor, connectivity=connectivity)
        assert caught.value.kind == ErrorKind.NOTHING_TO_CHANGE
        return
    apart(editor, connectivity=connectivity)
    assert len(sizes(editor)) == parts


def test_whole_supervoxels_come_apart_without_a_voxel_written(editor: Editor) -> None:
    apart(editor)
    editor.merge(2, 3, 4)
    operation = apart(editor, 3)
    assert not operation.wrote_voxels
    assert operation.added_roots == (2, 3, 4)
    # Object 2 keeps its id: what is drawn again is only the others.
    assert operation.bbox == Roi((20, 20, 20), (20, 110, 80))


def test_pieces_of_joined_supervoxels_stay_joined_in_their_part(tmp_path: Path) -> None:
    editor = Editor(tmp_path)
    labels = np.zeros(editor.shape, dtype=np.uint32)
    labels[:10, :10, :20] = 1
    labels[:10, :10, 20:40] = 2
    labels[4:6] = 0
    labels[8, :10, :40] = 0
    editor.paint(labels)
    editor.merge(1, 2)
    apart(editor)
    view = editor.repository.at()
    assert len(view.objects()) == 3
    for found in view.objects():
        assert found.supervoxels == 2
        assert len(view.edges_of(found.root)) == 1
    assert view.members(1) == (1, 2)
    assert view.object(1).voxels == 4 * 10 * 40


def test_too_many_pieces_are_refused(editor: Editor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relabelling, "MOST_PIECES", 1)
    with pytest.raises(SegmentationError) as caught:
        apart(editor)
    assert caught.value.kind == ErrorKind.INVALID_PARAMETER
    apart(editor, dust=2)
    assert len(sizes(editor)) == 3


@pytest.mark.parametrize(
    ("object_id", "options", "kind"),
    [
        (2, {}, ErrorKind.NOTHING_TO_CHANGE),
        (0, {}, ErrorKind.BACKGROUND_NOT_AN_OBJECT),
        (99, {}, ErrorKind.OBJECT_NOT_FOUND),
        (-1, {}, ErrorKind.INVALID_ID),
        (1, {"connectivity": 8}, ErrorKind.INVALID_PARAMETER),
        (1, {"dust": -1}, ErrorKind.INVALID_PARAMETER),
    ],
)
def test_bad_requests_are_refused_and_use_up_no_id(
    editor: Editor, object_id: int, options: dict[str, Any], kind: ErrorKind
) -> None:
    used = editor.repository.reserve_ids(0)
    with pytest.raises(SegmentationError) as caught:
        apart(editor, object_id, **options)
    assert caught.value.kind == kind
    assert (editor.repository.head, editor.repository.reserve_ids(0)) == (1, used)


def test_an_object_whose_box_is_too_large_is_refused(
    editor: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segmentation_backend.edits.object_box.LARGEST_BOX", 1000)
    with pytest.raises(SegmentationError) as caught:
        apart(editor)
    assert caught.value.kind == ErrorKind.ROI_TOO_LARGE
