"""A brush changes what it is meant to, all that hangs on it, and nothing that is protected."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from label_volumes import Editor

from segmentation_backend.edits import brush_mask, paint
from segmentation_backend.edits.brush import LARGEST_STROKE
from segmentation_backend.errors import ConflictError, ErrorKind, SegmentationError
from segmentation_backend.geometry import Roi, ScaleLevel
from segmentation_backend.labels import Operation

BETWEEN = Roi((0, 0, 5), (10, 10, 20))
"""Half of object 1, the gap, and half of object 2."""


@pytest.fixture
def editor(tmp_path: Path) -> Editor:
    editor = Editor(tmp_path)
    editor.boxes((0, 0, 0), (0, 0, 20), (0, 0, 40))
    return editor


def stroke(
    editor: Editor, roi: Roi, target: int | None, over: Any = "all", user: str = "ann"
) -> Operation:
    view = editor.repository.at()
    mask = np.ones(roi.shape, dtype=np.bool_)
    delta = paint(view, roi, mask, target, over, editor.repository.reserve_ids)
    return editor.commit(delta, "paint", user)


def row(editor: Editor) -> list[int]:
    """Return the objects along the line that crosses all three boxes."""
    return [int(v) for v in editor.voxels()[5, 5, :50]]


@pytest.mark.parametrize(
    ("over", "kept"),
    [
        ("all", [1] * 25 + [2] * 5),
        ("background", [1] * 20 + [2] * 10),
        ([2], [1] * 10 + [0] * 10 + [1] * 5 + [2] * 5),
        ([0, 2], [1] * 25 + [2] * 5),
        ([0, 3], [1] * 20 + [2] * 10),
    ],
)
def test_over_says_who_gives_way(editor: Editor, over: str | list[int], kept: list[int]) -> None:
    stroke(editor, BETWEEN, 1, over)
    assert row(editor) == kept + [0] * 10 + [3] * 10


@pytest.mark.parametrize(
    ("over", "left"),
    [
        ("all", [1] * 5 + [0] * 20 + [2] * 5),
        ([2], [1] * 10 + [0] * 15 + [2] * 5),
        ([0, 1], [1] * 5 + [0] * 15 + [2] * 10),
    ],
)
def test_erasing_takes_only_what_it_may(
    editor: Editor, over: Collection[int], left: list[int]
) -> None:
    operation = stroke(editor, BETWEEN, 0, over)
    assert row(editor) == left + [0] * 10 + [3] * 10
    assert operation.removed_roots == operation.added_roots


def test_a_new_object_gets_a_new_id(editor: Editor) -> None:
    operation = stroke(editor, BETWEEN, None, "background")
    assert row(editor) == [1] * 10 + [4] * 10 + [2] * 10 + [0] * 10 + [3] * 10
    assert (operation.removed_roots, operation.added_roots) == ((), (4,))
    assert operation.bbox == Roi((0, 0, 10), (10, 10, 10))
    assert editor.repository.at().object(4).voxels == 1000


def test_the_supervoxel_named_grows_and_the_objects_own_voxels_keep_theirs(
    editor: Editor,
) -> None:
    editor.merge(1, 2)
    stroke(editor, BETWEEN, 2, "background")
    view = editor.repository.at()
    supervoxels = view.read_supervoxels(view.bounds)[5, 5, :30].tolist()
    assert supervoxels == [1] * 10 + [2] * 20
    stroke(editor, Roi((0, 0, 0), (10, 10, 45)), 2, "all")
    assert row(editor) == [1] * 45 + [3] * 5
    supervoxels = editor.repository.at().read_supervoxels(view.bounds)[5, 5, :45].tolist()
    assert supervoxels == [1] * 10 + [2] * 35


def test_history_tells_whose_voxels_went_where(editor: Editor) -> None:
    operation = stroke(editor, BETWEEN, 1, "all")
    assert operation.removed_roots == operation.added_roots == (1, 2)
    assert operation.merges == ((1, 2),)
    assert operation.splits == ((2, (1, 2)),)
    assert operation.bbox == Roi((0, 0, 10), (10, 10, 15))


def test_an_object_painted_over_wholly_is_gone_and_the_rest_of_it_stays_one(
    editor: Editor,
) -> None:
    editor.merge(1, 2)
    editor.merge(1, 3)
    operation = stroke(editor, Roi((0, 0, 0), (10, 10, 10)), 0)
    view = editor.repository.at()
    assert view.members(2) == view.members(3) == (2, 3)
    assert view.edges_of(2) == {(2, 3)}
    # All of it has another id now, so all of it is drawn again.
    assert operation.bbox == Roi((0, 0, 0), (10, 10, 50))
    assert (operation.removed_roots, operation.added_roots) == ((1,), (2,))
    with pytest.raises(SegmentationError) as caught:
        view.object(1)
    assert caught.value.kind == ErrorKind.OBJECT_NOT_FOUND
    editor.undo(operation.operation_id)
    assert editor.repository.at().members(1) == (1, 2, 3)


@pytest.mark.parametrize("target", [0, 1, None])
def test_undo_restores_every_level_and_size(editor: Editor, target: int | None) -> None:
    view = editor.repository.at()
    operation = stroke(editor, BETWEEN, target)
    editor.undo(operation.operation_id)
    now = editor.repository.at()
    for level in now.levels:
        roi = Roi((0, 0, 0), level.shape)
        assert np.array_equal(now.read(roi, level.level), view.read(roi, level.level))
    assert now.objects() == view.objects()


def test_boxes_shrink_where_the_surface_is_erased_across_chunks(editor: Editor) -> None:
    whole = Roi((0, 0, 0), (40, 130, 100))
    stroke(editor, whole, 1)
    for roi, left in [
        (Roi((0, 0, 0), (40, 70, 100)), Roi((0, 70, 0), (40, 60, 100))),
        (Roi((0, 70, 10), (40, 60, 90)), Roi((0, 70, 0), (40, 60, 10))),
        (Roi((1, 70, 0), (39, 59, 10)), Roi((0, 70, 0), (40, 60, 10))),
        (Roi((1, 129, 0), (38, 1, 10)), Roi((0, 70, 0), (40, 60, 10))),
        (Roi((39, 129, 0), (1, 1, 10)), Roi((0, 70, 0), (1, 60, 10))),
    ]:
        stroke(editor, roi, 0)
        assert editor.repository.at().object(1).bbox == left


def test_two_people_paint_in_one_chunk_at_once(editor: Editor) -> None:
    view, reserve = editor.repository.at(), editor.repository.reserve_ids
    deltas = []
    for roi, target in [(Roi((0, 0, 10), (10, 10, 3)), 1), (Roi((0, 0, 30), (10, 10, 3)), 2)]:
        mask = np.ones(roi.shape, dtype=np.bool_)
        deltas.append(paint(view, roi, mask, target, "all", reserve))
    editor.commit(deltas[0], "paint", "ann")
    editor.commit(deltas[1], "paint", "bob")
    assert row(editor) == [1] * 13 + [0] * 7 + [2] * 13 + [0] * 7 + [3] * 10
    with pytest.raises(ConflictError):
        editor.commit(deltas[1], "paint", "carl")


def refused(editor: Editor, **changes: Any) -> ErrorKind:
    roi = changes.pop("roi", BETWEEN)
    intent = {"mask": np.ones(BETWEEN.shape, dtype=np.bool_), "target": 1, "over": "all"} | changes
    used = editor.repository.reserve_ids(0)
    with pytest.raises(SegmentationError) as caught:
        paint(editor.repository.at(), roi, reserve_ids=editor.repository.reserve_ids, **intent)
    assert editor.repository.head == 1
    assert editor.repository.reserve_ids(0) == used
    return caught.value.kind


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"target": 99}, ErrorKind.OBJECT_NOT_FOUND),
        ({"target": 2**63}, ErrorKind.OBJECT_NOT_FOUND),
        ({"target": -1}, ErrorKind.INVALID_ID),
        ({"target": True}, ErrorKind.INVALID_ID),
        ({"target": 1.5}, ErrorKind.INVALID_ID),
        ({"over": "nothing"}, ErrorKind.INVALID_PARAMETER),
        ({"over": []}, ErrorKind.INVALID_PARAMETER),
        ({"over": [99]}, ErrorKind.OBJECT_NOT_FOUND),
        ({"over": ["2"]}, ErrorKind.INVALID_ID),
        ({"over": [1]}, ErrorKind.NOTHING_TO_CHANGE),
        ({"over": [3]}, ErrorKind.NOTHING_TO_CHANGE),
        ({"target": 0, "over": "background"}, ErrorKind.NOTHING_TO_CHANGE),
        ({"target": 0, "over": [0]}, ErrorKind.NOTHING_TO_CHANGE),
        ({"target": None, "over": [3]}, ErrorKind.NOTHING_TO_CHANGE),
        ({"mask": np.zeros(BETWEEN.shape, dtype=np.bool_)}, ErrorKind.NOTHING_TO_CHANGE),
        ({"mask": np.ones(BETWEEN.shape, dtype=np.uint8)}, ErrorKind.INVALID_PARAMETER),
        ({"mask": np.ones((2, 2, 2), dtype=np.bool_)}, ErrorKind.INVALID_PARAMETER),
        ({"roi": Roi((35, 0, 0), (10, 10, 20))}, ErrorKind.ROI_OUT_OF_BOUNDS),
        ({"roi": Roi((0, 0, 0), (0, 10, 20))}, ErrorKind.ROI_EMPTY),
    ],
)
def test_a_bad_stroke_is_refused_and_uses_up_no_id(
    editor: Editor, changes: dict[str, Any], kind: ErrorKind
) -> None:
    assert refused(editor, **changes) == kind


# The brush

LEVEL = ScaleLevel(0, (30.0, 10.0, 10.0), (20, 60, 50))


def test_a_ball_is_round_in_nm(editor: Editor) -> None:
    roi, mask = brush_mask(LEVEL, [(10, 30, 25)], 35.0)
    assert roi == Roi((9, 27, 22), (3, 7, 7))
    points = np.argwhere(np.ones(LEVEL.shape))
    distance = np.linalg.norm((points - (10, 30, 25)) * LEVEL.voxel_size, axis=1)
    expected = (distance <= 35.0).reshape(LEVEL.shape)
    assert np.array_equal(mask, expected[roi.slices()])
    assert mask.sum() == expected.sum()


def test_a_stroke_covers_what_is_near_its_line() -> None:
    way = [(2.0, 5.0, 5.0), (2.0, 40.5, 30.0), (15.0, 50.0, 44.0)]
    roi, mask = brush_mask(LEVEL, way, 4.0, "voxels")
    points = np.argwhere(np.ones(LEVEL.shape)).astype(float)
    nearest = np.full(len(points), np.inf)
    for a, b in zip(np.array(way), np.array(way)[1:], strict=False):
        t = np.clip((points - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)[:, None]
        nearest = np.minimum(nearest, np.linalg.norm(points - a - t * (b - a), axis=1))
    expected = (nearest <= 4.0).reshape(LEVEL.shape)
    assert np.array_equal(mask, expected[roi.slices()])
    assert mask.sum() == expected.sum()


@pytest.mark.parametrize("plane", [0, 1, 2])
def test_a_disc_stays_in_its_slice(plane: int) -> None:
    roi, mask = brush_mask(LEVEL, [(10, 30, 25)], 30.0, plane=plane)
    ball_roi, ball = brush_mask(LEVEL, [(10, 30, 25)], 30.0)
    assert roi.shape[plane] == 1
    middle = [slice(None)] * 3
    middle[plane] = slice(roi.offset[plane] - ball_roi.offset[plane], None)
    assert np.array_equal(mask, ball[tuple(middle)][tuple(slice(0, n) for n in mask.shape)])


def test_a_brush_thinner_than_a_voxel_marks_the_voxels_under_its_points() -> None:
    roi, mask = brush_mask(LEVEL, [(10.4, 30.4, 25.4), (10.0, 30.0, 25.6)], 0.1)
    assert (roi.offset, int(mask.sum())) == ((10, 30, 25), 2)


def test_a_stroke_is_cut_off_at_the_volumes_edge() -> None:
    roi, mask = brush_mask(LEVEL, [(0, 0, 0), (0, 0, -500)], 30.0)
    assert roi == Roi((0, 0, 0), (2, 4, 4))
    assert mask[0, 0].tolist() == [True] * 4


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({"points": []}, ErrorKind.INVALID_PARAMETER),
        ({"points": [(1, 2)]}, ErrorKind.INVALID_PARAMETER),
        ({"points": [(1, 2, float("nan"))]}, ErrorKind.INVALID_PARAMETER),
        ({"points": [(1, 2, 1e300)]}, ErrorKind.INVALID_PARAMETER),
        ({"points": [(1, 1, 1)] * 10_001}, ErrorKind.INVALID_PARAMETER),
        ({"radius": 0.0}, ErrorKind.INVALID_PARAMETER),
        ({"radius": float("inf")}, ErrorKind.INVALID_PARAMETER),
        ({"unit": "cm"}, ErrorKind.INVALID_PARAMETER),
        ({"plane": 3}, ErrorKind.INVALID_PARAMETER),
        ({"plane": 0, "points": [(1, 1, 1), (2, 1, 1)]}, ErrorKind.INVALID_PARAMETER),
        ({"points": [(-50, 0, 0)]}, ErrorKind.ROI_OUT_OF_BOUNDS),
    ],
)
def test_a_bad_brush_is_refused(arguments: dict[str, Any], kind: ErrorKind) -> None:
    with pytest.raises(SegmentationError) as caught:
        brush_mask(LEVEL, **({"points": [(1, 1, 1)], "radius": 20.0} | arguments))
    assert caught.value.kind == kind


def test_a_stroke_that_is_too_large_is_refused_before_it_takes_memory() -> None:
    level = ScaleLevel(0, (8.0, 8.0, 8.0), (100_000,) * 3)
    with pytest.raises(SegmentationError) as caught:
        brush_mask(level, [(0, 0, 0), (99_999, 99_999, 99_999)], 8.0)
    assert caught.value.kind == ErrorKind.ROI_TOO_LARGE
    assert str(LARGEST_STROKE) in str(caught.value)
