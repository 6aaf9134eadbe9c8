"""A segmentation goes where nothing is, and replaces only what no person touched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from label_volumes import Editor

from segmentation_backend.edits import Part, import_labels, import_parts
from segmentation_backend.errors import ErrorKind, SegmentationError
from segmentation_backend.geometry import Roi

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def editor(tmp_path: Path) -> Editor:
    return Editor(tmp_path)


def import_into(editor: Editor, roi: Roi, labels: np.ndarray, existing: str) -> int:
    first = editor.repository.reserve_ids(int(labels.max()))
    delta = import_labels(editor.repository.at(), roi, labels, first, existing)  # type: ignore[arg-type]
    editor.commit(delta, "segment")
    return first


def check_statistics(editor: Editor) -> None:
    view = editor.repository.at()
    voxels = view.read_supervoxels(view.bounds)
    found = view.statistics_in(None)
    assert set(found) == set(np.unique(voxels).tolist()) - {0}
    for supervoxel, statistics in found.items():
        points = np.argwhere(voxels == supervoxel)
        assert statistics.voxels == len(points)
        assert statistics.sums == tuple(points.sum(axis=0))
        assert statistics.bbox == Roi.of_points(points.tolist())


def test_labels_get_consecutive_new_ids_in_their_order(editor: Editor) -> None:
    labels = np.zeros((1, 4, 4), dtype=np.uint64)
    labels[0, 0, 0], labels[0, 3, 3] = 7, 2**60
    delta = import_labels(editor.repository.at(), Roi((3, 5, 5), (1, 4, 4)), labels, 100)
    editor.commit(delta, "import")
    view = editor.repository.at()
    assert (view.root_at((3, 5, 5)), view.root_at((3, 8, 8))) == (100, 101)
    assert delta.bbox == Roi((3, 5, 5), (1, 4, 4))
    check_statistics(editor)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint32, np.int64, np.uint64])
def test_any_whole_number_dtype_is_taken(editor: Editor, dtype: type) -> None:
    import_into(editor, Roi((0, 0, 0), (2, 2, 2)), np.ones((2, 2, 2), dtype=dtype), "fill-empty")
    assert editor.repository.at().object(1).voxels == 8


def test_keep_writes_only_where_there_is_no_label(editor: Editor) -> None:
    editor.boxes((0, 0, 0))
    roi = Roi((0, 0, 0), (10, 10, 20))
    import_into(editor, roi, np.ones(roi.shape, dtype=np.uint32), "fill-empty")
    view = editor.repository.at()
    assert view.object(1).voxels == 1000
    assert view.object(2).bbox == Roi((0, 0, 10), (10, 10, 10))
    check_statistics(editor)


def test_a_label_that_is_covered_wholly_makes_no_object(editor: Editor) -> None:
    editor.boxes((0, 0, 0))
    roi = Roi((2, 2, 2), (3, 3, 3))
    import_into(editor, roi, np.ones(roi.shape, dtype=np.uint32), "fill-empty")
    assert [o.root for o in editor.repository.at().objects()] == [1]
    assert editor.repository.operation(2).added_roots == ()


def test_replace_clears_inside_the_region_and_keeps_the_rest(editor: Editor) -> None:
    editor.boxes((0, 0, 0), (0, 0, 12))
    roi = Roi((0, 0, 0), (10, 10, 16))
    labels = np.zeros(roi.shape, dtype=np.uint32)
    labels[:, :, 8:10] = 1
    import_into(editor, roi, labels, "replace-unedited")
    expected = np.zeros(editor.shape, dtype=np.uint64)
    expected[:10, :10, 16:22] = 2
    expected[:10, :10, 8:10] = 3
    assert np.array_equal(editor.voxels(), expected)
    operation = editor.repository.operation(2)
    assert (operation.removed_roots, operation.added_roots) == ((1, 2), (2, 3))
    check_statistics(editor)
    editor.undo(2)
    assert np.array_equal(editor.voxels(), editor.voxels(1))
    check_statistics(editor)


def test_replace_keeps_what_was_merged_even_after_the_merge_was_undone(editor: Editor) -> None:
    editor.boxes((0, 0, 0), (0, 0, 12), (0, 0, 24))
    editor.merge(1, 2)
    editor.undo(2)
    roi = editor.repository.at().bounds
    import_into(editor, roi, np.zeros(roi.shape, dtype=np.uint32), "replace-unedited")
    assert [o.root for o in editor.repository.at().objects(sort="root")] == [1, 2]


def test_replace_keeps_what_was_split(editor: Editor) -> None:
    editor.boxes((0, 0, 0), (0, 0, 20))
    editor.split([(5, 5, 2)], [(5, 5, 7)])
    before = editor.voxels()
    roi = Roi((0, 0, 0), (10, 10, 40))
    import_into(editor, roi, np.ones(roi.shape, dtype=np.uint32), "replace-unedited")
    after = editor.voxels()
    assert np.array_equal(after[:, :, :10], before[:, :, :10])
    assert not (after == 2).any()
    check_statistics(editor)


def test_replace_may_clear_an_import_that_was_undone_and_redone(editor: Editor) -> None:
    editor.boxes((0, 0, 0))
    editor.undo(1)
    editor.undo(2, kind="redo")
    roi = editor.repository.at().bounds
    import_into(editor, roi, np.zeros(roi.shape, dtype=np.uint32), "replace-unedited")
    assert editor.repository.at().objects() == []


def test_importing_the_same_slice_again_gives_fresh_objects(editor: Editor) -> None:
    roi = Roi((5, 0, 0), (1, 130, 100))
    labels = np.zeros(roi.shape, dtype=np.uint32)
    labels[0, 20:40, 20:40] = 1
    import_into(editor, roi, labels, "replace-unedited")
    import_into(editor, roi, labels, "replace-unedited")
    assert [o.root for o in editor.repository.at().objects()] == [2]


def test_an_empty_result_is_an_operation_that_changes_nothing(editor: Editor) -> None:
    roi = editor.repository.at().bounds
    import_into(editor, roi, np.zeros(roi.shape, dtype=np.uint32), "fill-empty")
    operation = editor.repository.operation(1)
    assert (operation.bbox, operation.wrote_voxels) == (None, False)


@pytest.mark.parametrize(
    ("roi", "labels", "first_id", "existing", "kind"),
    [
        (Roi((0, 0, 0), (2, 2, 2)), np.ones((2, 2, 3), int), 1, "fill-empty", "INVALID_PARAMETER"),
        (Roi((0, 0, 0), (2, 2, 2)), -np.ones((2, 2, 2), int), 1, "fill-empty", "INVALID_PARAMETER"),
        (Roi((0, 0, 0), (2, 2, 2)), np.ones((2, 2, 2)), 1, "fill-empty", "UNSUPPORTED_DTYPE"),
        (Roi((0, 0, 0), (2, 2, 2)), np.ones((2, 2, 2), int), 0, "fill-empty", "INVALID_PARAMETER"),
        (
            Roi((0, 0, 0), (2, 2, 2)),
            np.ones((2, 2, 2), int),
            2**63,
            "fill-empty",
            "INVALID_PARAMETER",
        ),
        (Roi((0, 0, 0), (2, 2, 2)), np.ones((2, 2, 2), int), 1, "all", "INVALID_PARAMETER"),
        (Roi((0, 0, 0), (0, 2, 2)), np.ones((0, 2, 2), int), 1, "fill-empty", "ROI_EMPTY"),
        (Roi((39, 0, 0), (2, 2, 2)), np.ones((2, 2, 2), int), 1, "fill-empty", "ROI_OUT_OF_BOUNDS"),
    ],
)
def test_bad_results_are_refused(
    editor: Editor, roi: Roi, labels: np.ndarray, first_id: int, existing: str, kind: str
) -> None:
    with pytest.raises(SegmentationError) as caught:
        import_labels(editor.repository.at(), roi, labels, first_id, existing)  # type: ignore[arg-type]
    assert caught.value.kind == ErrorKind[kind]
    assert editor.repository.head == 0


def test_what_is_not_within_stays_whatever_is_replaced(editor: Editor) -> None:
    roi = Roi((2, 60, 60), (1, 8, 8))  # over four chunks
    first = import_into(editor, roi, np.ones(roi.shape, np.uint32), "fill-empty")
    within = np.tri(8, dtype=bool)[None]
    labels = np.full(roi.shape, 5, np.uint32)
    delta = import_parts(editor.repository.at(), [Part(roi, labels, within)], 100)
    editor.commit(delta, "segment")
    found = editor.repository.at().read_supervoxels(roi)
    assert np.array_equal(found, np.where(within, 100, first))
    check_statistics(editor)


def test_parts_far_apart_are_one_change_with_one_numbering(editor: Editor) -> None:
    before = import_into(
        editor, Roi((0, 0, 0), (9, 4, 4)), np.ones((9, 4, 4), np.uint32), "fill-empty"
    )
    rois = [Roi((z, 0, 0), (1, 4, 4)) for z in (1, 3, 8)]
    labels = [np.full((1, 4, 4), n, np.uint32) for n in (1, 2, 3)]
    labels[1][0, 0] = 0
    parts = [Part(roi, part) for roi, part in zip(rois, labels, strict=True)]
    editor.commit(import_parts(editor.repository.at(), parts, 50), "segment")
    found = editor.repository.at().read_supervoxels(Roi((0, 0, 0), (9, 4, 4)))
    expected = np.full((9, 4, 4), before)
    expected[1], expected[3], expected[8], expected[3, 0] = 50, 51, 52, 0
    assert np.array_equal(found, expected)
    check_statistics(editor)
