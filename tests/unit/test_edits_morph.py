"""One object changes its shape by a ball that is round in nm; no other object loses a voxel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from label_volumes import Editor

from segmentation_backend.edits import morph
from segmentation_backend.errors import ErrorKind, SegmentationError
from segmentation_backend.labels import Operation

CUBE = (slice(10, 21), slice(60, 71), slice(58, 69))
"""Eleven voxels a side, across the corner of eight chunks along y and x."""


def shape(editor: Editor, operation: Any, radius: float = 1.0, **options: Any) -> Operation:
    target = options.pop("object_id", 1)
    delta = morph(editor.repository.at(), target, operation, radius, **options)
    return editor.commit(delta, "morph")


def cube(tmp_path: Path, voxel_size: tuple[float, float, float] = (8.0, 8.0, 8.0)) -> Editor:
    editor = Editor(tmp_path, voxel_size=voxel_size)
    labels = np.zeros(editor.shape, dtype=np.uint32)
    labels[CUBE] = 1
    editor.paint(labels)
    return editor


def extent(editor: Editor, object_id: int = 1) -> tuple[int, int, int]:
    return editor.repository.at().object(object_id).bbox.shape


@pytest.mark.parametrize(
    ("operation", "side"), [("dilate", 15), ("erode", 7), ("open", 11), ("close", 11)]
)
def test_a_cube_grows_and_shrinks_by_the_radius(tmp_path: Path, operation: str, side: int) -> None:
    editor = cube(tmp_path)
    if operation == "close":
        with pytest.raises(SegmentationError) as caught:
            shape(editor, operation, 2)
        assert caught.value.kind == ErrorKind.NOTHING_TO_CHANGE
        return
    shape(editor, operation, 2)
    assert extent(editor) == (side,) * 3
    # Opening and dilation round the corners.
    assert (editor.repository.at().object(1).voxels == side**3) == (operation == "erode")


def test_nm_reach_as_far_along_thick_voxels(tmp_path: Path) -> None:
    editor = cube(tmp_path, (24.0, 8.0, 8.0))
    shape(editor, "dilate", 24.0, unit="nm")
    assert extent(editor) == (13, 17, 17)
    shape(editor, "erode", 24.0, unit="nm")
    assert extent(editor) == (11, 11, 11)


def test_in_a_plane_every_slice_is_treated_on_its_own(tmp_path: Path) -> None:
    editor = cube(tmp_path)
    shape(editor, "dilate", 3, plane=0)
    assert extent(editor) == (11, 17, 17)
    shape(editor, "erode", 3, plane=2)
    assert extent(editor) == (5, 11, 17)


def test_nothing_erodes_from_the_volumes_edge(tmp_path: Path) -> None:
    editor = Editor(tmp_path)
    labels = np.zeros(editor.shape, dtype=np.uint32)
    labels[:10, :10] = 1
    editor.paint(labels)
    shape(editor, "erode", 2)
    assert extent(editor) == (8, 8, 100)


def test_closing_does_not_stick_to_the_volumes_edge(tmp_path: Path) -> None:
    editor = Editor(tmp_path)
    labels = np.zeros(editor.shape, dtype=np.uint32)
    labels[2:10, 2:10, 2:10] = 1
    labels[4:6, 2:10, 4:6] = 0
    editor.paint(labels)
    shape(editor, "close", 3)
    assert extent(editor) == (8, 8, 8)
    assert editor.repository.at().object(1).voxels > 8**3 - 2 * 2 * 8


def test_growth_stops_at_other_objects_and_does_not_jump_over_them(tmp_path: Path) -> None:
    editor = Editor(tmp_path)
    labels = np.zeros(editor.shape, dtype=np.uint32)
    labels[:, :, :10] = 1
    labels[:, :, 11] = 2  # a wall, one voxel away
    editor.paint(labels)
    shape(editor, "dilate", 5)
    found = editor.voxels()
    assert (found[:, :, :11] == 1).all()
    assert (found[:, :, 11] == 2).all()
    assert not found[:, :, 12:].any()


@pytest.fixture
def shell(tmp_path: Path) -> Editor:
    """A hollow cube 1 with a cube 2 inside that holds a hole of its own."""
    editor = Editor(tmp_path)
    labels = np.zeros(editor.shape, dtype=np.uint32)
    labels[5:25, 55:75, 55:75] = 1
    labels[6:24, 56:74, 56:74] = 0
    labels[10:20, 60:70, 60:70] = 2
    labels[12:15, 62:65, 62:65] = 0
    editor.paint(labels)
    return editor


def test_a_hole_is_filled_around_what_lies_in_it(shell: Editor) -> None:
    before = shell.voxels()
    shape(shell, "fill_holes")
    after = shell.voxels()
    inside = np.zeros(before.shape, dtype=bool)
    inside[6:24, 56:74, 56:74] = True
    inside[10:20, 60:70, 60:70] = False
    assert np.array_equal(after, np.where(inside, 1, before))
    shape(shell, "fill_holes", object_id=2)
    assert shell.repository.at().object(2).voxels == 1000


def test_large_holes_can_be_left_open(shell: Editor) -> None:
    with pytest.raises(SegmentationError) as caught:
        shape(shell, "fill_holes", largest_hole=18**3 - 1)
    assert caught.value.kind == ErrorKind.NOTHING_TO_CHANGE
    assert shape(shell, "fill_holes", largest_hole=18**3).wrote_voxels


def test_a_tube_has_holes_in_slices_only(tmp_path: Path) -> None:
    editor = Editor(tmp_path)
    labels = np.zeros(editor.shape, dtype=np.uint32)
    labels[:, 60:70, 60:70] = 1
    labels[:, 63:67, 63:67] = 0
    editor.paint(labels)
    with pytest.raises(SegmentationError) as caught:
        shape(editor, "fill_holes")
    assert caught.value.kind == ErrorKind.NOTHING_TO_CHANGE
    shape(editor, "fill_holes", plane=0)
    assert editor.repository.at().object(1).voxels == 40 * 100


def test_new_voxels_go_to_the_nearest_supervoxel(tmp_path: Path) -> None:
    editor = Editor(tmp_path)
    labels = np.zeros(editor.shape, dtype=np.uint32)
    labels[10:20, 60:70, 50:60] = 1
    labels[10:20, 60:70, 60:70] = 2
    editor.paint(labels)
    editor.merge(1, 2)
    before = editor.repository.at().read_supervoxels(editor.repository.at().bounds)
    shape(editor, "dilate", 3)
    view = editor.repository.at()
    after = view.read_supervoxels(view.bounds)
    assert np.array_equal(after[before > 0], before[before > 0])
    assert set(np.unique(after[:, :, :60])) == {0, 1}
    assert set(np.unique(after[:, :, 60:])) == {0, 2}
    assert view.members(1) == (1, 2)


def test_a_supervoxel_that_erodes_away_leaves_the_object_whole(tmp_path: Path) -> None:
    editor = Editor(tmp_path)
    labels = np.zeros(editor.shape, dtype=np.uint32)
    labels[10, 10, 20:30] = 1  # a thread between two cubes
    labels[5:15, 5:15, 10:20] = 2
    labels[5:15, 5:15, 30:40] = 3
    editor.paint(labels)
    editor.merge(2, 1, 3)
    operation = shape(editor, "open", 1.5)
    view = editor.repository.at()
    assert view.members(2) == (2, 3)
    assert (operation.removed_roots, operation.added_roots) == ((1,), (2,))
    assert operation.bbox is not None
    assert operation.bbox.encloses(view.object(2).bbox)


@pytest.mark.parametrize("operation", ["dilate", "erode", "open"])
def test_undo_restores_every_voxel(tmp_path: Path, operation: str) -> None:
    editor = cube(tmp_path)
    before, found = editor.voxels(), editor.repository.at().object(1)
    shape(editor, operation, 3)
    assert not np.array_equal(editor.voxels(), before)
    editor.undo(2)
    assert np.array_equal(editor.voxels(), before)
    assert editor.repository.at().object(1) == found


@pytest.mark.parametrize("operation", ["erode", "open"])
def test_an_object_is_never_lost_by_its_shape(tmp_path: Path, operation: str) -> None:
    editor = cube(tmp_path)
    with pytest.raises(SegmentationError) as caught:
        shape(editor, operation, 6)
    assert caught.value.kind == ErrorKind.INVALID_PARAMETER
    assert "would leave nothing" in str(caught.value)
    assert editor.repository.head == 1


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"operation": "skeleton"}, ErrorKind.INVALID_PARAMETER),
        ({"radius": 0}, ErrorKind.INVALID_PARAMETER),
        ({"radius": float("nan")}, ErrorKind.INVALID_PARAMETER),
        ({"radius": 300}, ErrorKind.INVALID_PARAMETER),
        ({"unit": "cm"}, ErrorKind.INVALID_PARAMETER),
        ({"plane": 3}, ErrorKind.INVALID_PARAMETER),
        ({"operation": "fill_holes", "largest_hole": 0}, ErrorKind.INVALID_PARAMETER),
        ({"object_id": 0}, ErrorKind.BACKGROUND_NOT_AN_OBJECT),
        ({"object_id": 99}, ErrorKind.OBJECT_NOT_FOUND),
        ({"operation": "fill_holes"}, ErrorKind.NOTHING_TO_CHANGE),
        ({"operation": "erode", "radius": 0.5}, ErrorKind.NOTHING_TO_CHANGE),
    ],
)
def test_bad_requests_are_refused(tmp_path: Path, options: dict[str, Any], kind: ErrorKind) -> None:
    editor = cube(tmp_path)
    with pytest.raises(SegmentationError) as caught:
        shape(editor, **({"operation": "dilate"} | options))
    assert caught.value.kind == kind
    assert editor.repository.head == 1


def test_a_box_that_is_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segmentation_backend.edits.object_box.LARGEST_BOX", 11**3)
    editor = cube(tmp_path)
    with pytest.raises(SegmentationError) as caught:
        shape(editor, "dilate")
    assert caught.value.kind == ErrorKind.ROI_TOO_LARGE
