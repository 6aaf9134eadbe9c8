"""Small objects go, counted as wholes; larger ones stay, however little of them is in sight."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from label_volumes import Editor

import segmentation_backend.edits.filter as filtering
from segmentation_backend.edits import filter_small
from segmentation_backend.errors import ErrorKind, SegmentationError
from segmentation_backend.geometry import Roi


@pytest.fixture
def editor(tmp_path: Path) -> Editor:
    """Cubes of 1, 8, 27 and 64 voxels, as objects 1 to 4; the last two far from the others."""
    editor = Editor(tmp_path)
    labels = np.zeros(editor.shape, dtype=np.uint32)
    for side, (z, y, x) in enumerate([(0, 0, 0), (0, 0, 10), (20, 100, 80), (30, 120, 90)], 1):
        labels[z : z + side, y : y + side, x : x + side] = side
    editor.paint(labels)
    return editor


def left(editor: Editor) -> list[int]:
    return [o.root for o in editor.repository.at().objects(sort="root")]


@pytest.mark.parametrize(
    ("least", "stay"), [(2, [2, 3, 4]), (8, [2, 3, 4]), (8.5, [3, 4]), (65, [])]
)
def test_what_has_fewer_voxels_goes(editor: Editor, least: float, stay: list[int]) -> None:
    editor.commit(filter_small(editor.repository.at(), least), "filter")
    assert left(editor) == stay
    assert set(np.unique(editor.voxels())) == {0, *stay}


def test_sizes_are_those_of_whole_objects(editor: Editor) -> None:
    editor.merge(1, 4)
    editor.commit(filter_small(editor.repository.at(), 10), "filter")
    assert left(editor) == [1, 3]


def test_a_volume_in_nm_means_the_same_whatever_the_voxels(editor: Editor) -> None:
    editor.commit(filter_small(editor.repository.at(), min_nm3=27 * 8.0**3), "filter")
    assert left(editor) == [3, 4]


def test_a_region_spares_objects_with_no_voxel_in_it(editor: Editor) -> None:
    # The box around the joined pair spans the region, and not one of its voxels is there.
    editor.merge(1, 3)
    view = editor.repository.at()
    assert view.object(1).bbox.encloses(Roi((5, 0, 0), (10, 50, 50)))
    with pytest.raises(SegmentationError) as caught:
        filter_small(view, 100, roi=Roi((5, 0, 0), (10, 50, 50)))
    assert caught.value.kind == ErrorKind.NOTHING_TO_CHANGE
    operation = editor.commit(filter_small(view, 50, roi=Roi((0, 0, 0), (1, 1, 11))), "filter")
    assert operation.removed_roots == (1, 2)
    assert left(editor) == [4]


def test_undo_brings_all_of_them_back(editor: Editor) -> None:
    before = editor.voxels()
    editor.commit(filter_small(editor.repository.at(), 30), "filter")
    editor.undo(2)
    assert np.array_equal(editor.voxels(), before)
    assert left(editor) == [1, 2, 3, 4]


def test_more_than_one_operation_may_hold_is_refused(
    editor: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filtering, "MOST_OBJECTS", 2)
    with pytest.raises(SegmentationError) as caught:
        filter_small(editor.repository.at(), 30)
    assert caught.value.kind == ErrorKind.INVALID_PARAMETER
    assert filter_small(editor.repository.at(), 10).statistics.keys() == {1, 2}


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({}, ErrorKind.INVALID_PARAMETER),
        ({"min_voxels": 5, "min_nm3": 5}, ErrorKind.INVALID_PARAMETER),
        ({"min_voxels": 0}, ErrorKind.INVALID_PARAMETER),
        ({"min_voxels": float("nan")}, ErrorKind.INVALID_PARAMETER),
        ({"min_nm3": float("inf")}, ErrorKind.INVALID_PARAMETER),
        ({"min_voxels": 1}, ErrorKind.NOTHING_TO_CHANGE),
        ({"min_voxels": 5, "roi": Roi((0, 0, 0), (0, 5, 5))}, ErrorKind.ROI_EMPTY),
        ({"min_voxels": 5, "roi": Roi((0, 0, 0), (99, 5, 5))}, ErrorKind.ROI_OUT_OF_BOUNDS),
    ],
)
def test_bad_sizes_and_regions_are_refused(
    editor: Editor, arguments: dict[str, object], kind: ErrorKind
) -> None:
    with pytest.raises(SegmentationError) as caught:
        filter_small(editor.repository.at(), **arguments)  # type: ignore[arg-type]
    assert caught.value.kind == kind
    assert editor.repository.head == 1
