"""A split makes one object per group of points, exactly from the old one's voxels."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from label_volumes import Editor, dumbbell
from scipy import ndimage

from segmentation_backend.edits import preview_split, split
from segmentation_backend.edits.watershed import divide
from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.geometry import Roi
from segmentation_backend.labels import LabelView

pytestmark = pytest.mark.usefixtures("database")


def check_split(editor: Editor, before: np.ndarray, root: int, parts: int) -> list[int]:
    """Check that `root` of `before` is `parts` objects now and nothing else changed."""
    after = editor.voxels()
    inside = before == root
    roots = [int(r) for r in np.unique(after[inside])]
    assert len(roots) == parts
    assert not np.isin(after[~inside], roots).any()
    assert np.array_equal(after[~inside], before[~inside])
    view = editor.repository.at()
    for part in roots:
        found = view.object(part)
        voxels = np.argwhere(after == part)
        assert found.voxels == len(voxels)
        assert found.bbox.offset == tuple(voxels.min(axis=0))
        assert found.bbox.end == tuple(voxels.max(axis=0) + 1)
        assert found.centroid == pytest.approx(voxels.mean(axis=0))
    return roots


def test_one_supervoxel_is_cut_at_its_neck(tmp_path: Path) -> None:
    editor = Editor(tmp_path)
    editor.paint(dumbbell(editor.shape))
    before = editor.voxels()
    operation = editor.split([(20, 65, 25)], [(20, 65, 75)])
    roots = check_split(editor, before, 1, 2)
    assert operation.removed_roots == (1,)
    assert list(operation.added_roots) == roots
    assert operation.splits == ((1, tuple(roots)),)
    after = editor.voxels()
    border = np.nonzero((before == 1) & (after != after[20, 65, 25]))[2].min()
    assert abs(int(border) - 50) <= 12
    for root in roots:
        assert ndimage.label(after == root)[1] == 1


def test_every_level_follows_a_split(tmp_path: Path) -> None:
    editor = Editor(tmp_path)
    editor.paint(dumbbell(editor.shape))
    editor.split([(20, 65, 25)], [(20, 65, 75)])
    view = editor.repository.at()
    coarse = view.root_of(int(view.read_supervoxels(view.bounds)[20, 65, 75]))
    level1 = view.read(Roi((0, 0, 0), view.levels[1].shape), 1)
    assert level1[10, 32, 37] == coarse
    assert level1[10, 32, 12] == view.root_at((20, 65, 25))


def test_merged_supervoxels_are_parted_without_writing_voxels(tmp_path: Path) -> None:
    editor = Editor(tmp_path)
    editor.boxes((0, 0, 0), (0, 0, 20), (0, 0, 40))
    editor.merge(1, 2, 3)
    before = editor.voxels()
    operation = editor.split([(5, 5, 5)], [(5, 5, 45)])
    assert not operation.wrote_voxels
    check_split(editor, before, 1, 2)
    assert operation.removed_roots == (1,)


def test_seeds_of_one_side_stay_together_when_the_cut_parts_them(tmp_path: Path) -> None:
    editor = Editor(tmp_path)
    editor.boxes((0, 0, 0), (0, 0, 20), (0, 0, 40))
    editor.merge(1, 2, 3)
    editor.split([(5, 5, 5), (5, 5, 45)], [(5, 5, 25)])
    view = editor.repository.at()
    assert view.members(1) == (1, 3)
    assert view.members(2) == (2,)


def test_groups_in_the_same_supervoxel_of_a_merged_object_divide_all_of_it(
    tmp_path: Path,
) -> None:
    editor = Editor(tmp_path)
    editor.boxes((0, 0, 0), (0, 0, 10), (20, 60, 60))
    editor.merge(1, 2)
    editor.merge(2, 3)
    before = editor.voxels()
    # Both seeds in box 2; box 1 touches its near side, box 3 touches nothing.
    editor.split([(5, 5, 11)], [(5, 5, 18)])
    roots = check_split(editor, before, 1, 2)
    view = editor.repository.at()
    assert view.root_at((5, 5, 5)) == view.root_at((5, 5, 11)) == roots[0]
    assert view.root_at((25, 65, 65)) == view.root_at((5, 5, 18))
    for root in roots:
        assert len(view.edges_of(root)) >= len(view.members(root)) - 1


def test_three_groups_make_three_objects(tmp_path: Path) -> None:
    editor = Editor(tmp_path)
    editor.boxes((0, 0, 0), side=30)
    before = editor.voxels()
    editor.split([(15, 15, 2)], [(15, 15, 15)], [(15, 15, 27)])
    check_split(editor, before, 1, 3)


def test_three_groups_of_supervoxels_are_parted_by_edges(tmp_path: Path) -> None:
    editor = Editor(tmp_path)
    editor.boxes((0, 0, 0), (0, 0, 20), (0, 0, 40), (0, 0, 60))
    editor.merge(1, 2, 3, 4)
    before = editor.voxels()
    operation = editor.split([(5, 5, 5)], [(5, 5, 25)], [(5, 5, 65)])
    assert not operation.wrote_voxels
    check_split(editor, before, 1, 3)


def test_an_object_one_slice_thin_is_cut_at_its_neck(tmp_path: Path) -> None:
    editor = Editor(tmp_path, voxel_size=(50.0, 8.0, 8.0))
    labels = np.zeros(editor.shape, dtype=np.uint32)
    grid_y, grid_x = np.indices(editor.shape[1:])
    for x in (30, 70):
        labels[7][(grid_y - 60) ** 2 + (grid_x - x) ** 2 <= 18**2] = 1
    labels[7, 57:63, 30:70] = 1
    editor.paint(labels)
    before = editor.voxels()
    editor.split([(7, 60, 20)], [(7, 60, 84)])
    check_split(editor, before, 1, 2)
    after = editor.voxels()
    border = np.nonzero((before[7] == 1) & (after[7] == after[7, 60, 84]))[1].min()
    assert 44 <= border <= 56


def test_a_large_object_is_cut_coarsely_and_refined_at_the_border(tmp_path: Path) -> None:
    mask = dumbbell((48, 60, 120)) > 0
    groups = [[(24, 30, 30)], [(24, 30, 90)]]
    fine = divide(mask, groups, (8.0, 8.0, 8.0))
    coarse = divide(mask, groups, (8.0, 8.0, 8.0), limit=50_000)
    assert np.array_equal(fine > 0, mask)
    assert np.array_equal(coarse > 0, mask)
    assert (fine != coarse).sum() < 0.02 * mask.sum()


def test_seeds_that_meet_on_the_coarse_grid_are_still_told_apart() -> None:
    mask = np.ones((20, 20, 40), dtype=bool)
    sides = divide(mask, [[(10, 10, 20)], [(10, 10, 21)]], (8.0, 8.0, 8.0), limit=100)
    assert sides[10, 10, 20] == 1
    assert sides[10, 10, 21] == 2
    assert sides.all()


def test_parts_that_touch_nothing_go_to_the_nearest_seed() -> None:
    mask = np.zeros((10, 10, 60), dtype=bool)
    mask[:, :, :10] = mask[:, :, 20:30] = mask[:, :, 50:] = True
    sides = divide(mask, [[(5, 5, 5)], [(5, 5, 55)]], (8.0, 8.0, 8.0))
    assert (sides[:, :, 20:30] == 1).all()


def test_a_preview_is_the_split_and_changes_nothing(tmp_path: Path) -> None:
    editor = Editor(tmp_path)
    editor.paint(dumbbell(editor.shape))
    groups = [[(20, 65, 25)], [(20, 65, 75)]]
    next_id = editor.repository.reserve_ids(1)
    preview = preview_split(editor.repository.at(), groups)
    assert (preview.root, preview.version, editor.repository.head) == (1, 1, 1)
    assert editor.repository.reserve_ids(1) == next_id + 1
    editor.split(*groups)
    after = editor.voxels()[preview.roi.slices()]
    for side, group in ((1, groups[0]), (2, groups[1])):
        root = editor.repository.at().root_at(group[0])
        assert np.array_equal(preview.sides == side, after == root)


def test_a_preview_by_edges_shows_the_same_sides(tmp_path: Path) -> None:
    editor = Editor(tmp_path)
    editor.boxes((0, 0, 0), (0, 0, 20))
    editor.merge(1, 2)
    preview = preview_split(editor.repository.at(), [[(5, 5, 25)], [(5, 5, 5)]])
    assert preview.sides[5, 5, 25] == 1
    assert preview.sides[5, 5, 5] == 2
    assert (preview.sides > 0).sum() == 2000


@pytest.mark.parametrize(
    ("groups", "kind"),
    [
        ([[(5, 5, 5)], [(35, 35, 35)]], ErrorKind.SEEDS_OUTSIDE_OBJECT),
        ([[(35, 35, 35)], [(5, 5, 5)]], ErrorKind.SEEDS_OUTSIDE_OBJECT),
        ([[(5, 5, 5)], [(5, 5, 25)]], ErrorKind.SEEDS_OUTSIDE_OBJECT),
        ([[(5, 5, 5)], []], ErrorKind.SEEDS_ON_ONE_SIDE),
        ([[(5, 5, 5)]], ErrorKind.SEEDS_ON_ONE_SIDE),
        ([], ErrorKind.SEEDS_ON_ONE_SIDE),
        ([[(5, 5, 5)], [(5, 5, 5)]], ErrorKind.SEEDS_ON_ONE_SIDE),
        ([[(5, 5, 5)], [(5, 5, 500)]], ErrorKind.ROI_OUT_OF_BOUNDS),
        ([[(5, 5, 5)], [(-1, 5, 5)]], ErrorKind.ROI_OUT_OF_BOUNDS),
        ([[(5, 5, x)] for x in range(256)], ErrorKind.INVALID_PARAMETER),
    ],
)
def test_bad_points_are_refused_and_nothing_changes(
    tmp_path: Path, groups: list[list[tuple[int, int, int]]], kind: ErrorKind
) -> None:
    editor = Editor(tmp_path)
    editor.boxes((0, 0, 0), (0, 0, 20))
    before = editor.voxels()
    for attempt in (editor.split, lambda *g: preview_split(editor.repository.at(), g)):
        with pytest.raises(InvalidInputError) as caught:
            attempt(*groups)
        assert caught.value.kind == kind
    assert editor.repository.head == 1
    assert np.array_equal(editor.voxels(), before)


def test_a_refusal_names_the_point_and_what_is_there(tmp_path: Path) -> None:
    editor = Editor(tmp_path)
    editor.boxes((0, 0, 0), (0, 0, 20))
    with pytest.raises(InvalidInputError, match=r"\[5, 5, 25\].*object 2"):
        editor.split([(5, 5, 5)], [(5, 5, 25)])
    with pytest.raises(InvalidInputError, match=r"\[35, 35, 35\].*background"):
        editor.split([(5, 5, 5)], [(35, 35, 35)])


def test_an_object_in_a_huge_box_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = Editor(tmp_path)
    editor.boxes((0, 0, 0))
    monkeypatch.setattr(sys.modules[split.__module__], "LARGEST_BOX", 999)
    with pytest.raises(InvalidInputError) as caught:
        editor.split([(5, 5, 2)], [(5, 5, 7)])
    assert caught.value.kind == ErrorKind.ROI_TOO_LARGE


def test_a_split_never_writes_by_itself(tmp_path: Path) -> None:
    editor = Editor(tmp_path)
    editor.boxes((0, 0, 0))
    view: LabelView = editor.repository.at()
    split(view, [[(5, 5, 2)], [(5, 5, 7)]], editor.repository.reserve_ids)
    assert editor.repository.head == 1
    assert [o.root for o in editor.repository.at().objects()] == [1]
