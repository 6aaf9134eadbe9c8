"""A preview shows the split before it is made: a small one exactly, a large one closely."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from label_volumes import Editor, dumbbell

from segmentation_backend.edits import preview, preview_split, split, voxel_sides
from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.geometry import Roi

SEEDS = [[(20, 65, 25)], [(20, 65, 75)]]


def shown(editor: Editor, found: preview.SplitPreview) -> np.ndarray:
    """Return the sides as a viewer gets them: on the object only."""
    sides = voxel_sides(found, found.roi)
    sides[editor.repository.at(found.version).read(found.roi) != found.root] = 0
    return sides


def committed(editor: Editor, roi: Roi) -> np.ndarray:
    """Return the sides that a split of `SEEDS` has made."""
    view = editor.repository.at()
    labels = view.read(roi)
    sides = np.zeros(roi.shape, np.uint8)
    for side, group in enumerate(SEEDS, start=1):
        sides[labels == view.root_at(group[0])] = side
    return sides


def test_a_small_object_is_previewed_voxel_for_voxel(tmp_path: Path) -> None:
    editor = Editor(tmp_path)
    editor.paint(dumbbell(editor.shape))
    found = preview_split(editor.repository.at(), SEEDS)
    editor.split(*SEEDS)
    after = committed(editor, found.roi)
    assert found.factor == (1, 1, 1)
    assert found.voxels == tuple(np.bincount(after.ravel())[1:])
    assert np.array_equal(voxel_sides(found, found.roi), after)
    assert np.array_equal(found.sides, after)


def test_a_large_object_is_previewed_on_a_coarser_level(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview, "LARGEST_GRID", 20_000)
    editor = Editor(tmp_path)
    editor.paint(dumbbell(editor.shape))
    found = preview_split(editor.repository.at(), SEEDS)
    editor.split(*SEEDS)
    after = committed(editor, found.roi)
    sides = shown(editor, found)
    assert found.factor == (2, 2, 2)
    assert found.sides.shape == found.roi.downscale((2, 2, 2)).shape
    assert np.array_equal(sides > 0, after > 0)
    assert (sides != after).sum() < 0.03 * (after > 0).sum()
    sizes = np.bincount(after.ravel())[1:]
    assert sum(found.voxels) == sizes.sum()
    assert found.voxels == pytest.approx(sizes, rel=0.03)


def test_any_part_of_a_preview_is_the_same_part_of_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview, "LARGEST_GRID", 20_000)
    editor = Editor(tmp_path)
    labels = np.roll(dumbbell(editor.shape), (1, 3, -1), axis=(0, 1, 2))
    editor.paint(labels)
    found = preview_split(editor.repository.at(), [[(21, 68, 24)], [(21, 68, 74)]])
    assert found.factor == (2, 2, 2)
    assert any(o % 2 for o in found.roi.offset)
    whole = voxel_sides(found, found.roi)
    half = [n // 2 + 1 for n in found.roi.shape]
    for begin in np.ndindex(2, 2, 2):
        low = [o + b * h for o, b, h in zip(found.roi.offset, begin, half, strict=True)]
        part = Roi(tuple(low), tuple(half)).intersect(found.roi)
        assert np.array_equal(voxel_sides(found, part), whole[part.slices(found.roi.offset)])


def test_seeds_in_one_cell_are_previewed_on_a_finer_level(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview, "LARGEST_GRID", 100)
    editor = Editor(tmp_path)
    editor.boxes((0, 0, 0), side=30)
    found = preview_split(editor.repository.at(), [[(15, 15, 14)], [(15, 15, 15)]])
    assert found.factor == (1, 1, 1)
    assert sum(found.voxels) == 30**3


def test_a_seed_on_a_thread_too_thin_for_the_level_is_previewed_on_a_finer_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview, "LARGEST_GRID", 100)
    editor = Editor(tmp_path)
    labels = np.zeros(editor.shape, np.uint32)
    labels[10:30, 40:60, 10:30] = labels[20, 50, 30:80] = 1
    editor.paint(labels)
    found = preview_split(editor.repository.at(), [[(20, 50, 20)], [(20, 50, 79)]])
    assert found.factor == (1, 1, 1)
    assert voxel_sides(found, Roi((20, 50, 70), (1, 1, 10))).all()


def test_a_cut_between_supervoxels_has_exact_sizes_on_any_level(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview, "LARGEST_GRID", 1000)
    editor = Editor(tmp_path)
    editor.boxes((0, 0, 0), (0, 0, 30), (0, 0, 60), side=29)
    editor.merge(1, 2, 3)
    found = preview_split(editor.repository.at(), [[(5, 5, 5)], [(5, 5, 65)]])
    assert found.factor != (1, 1, 1)
    assert sorted(found.voxels) == [29**3, 2 * 29**3]
    sides = shown(editor, found)
    assert sides[5, 5, 5] == 1
    assert sides[5, 5, 65] == 2


def test_an_object_that_cannot_be_split_is_not_previewed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = Editor(tmp_path)
    editor.boxes((0, 0, 0))
    monkeypatch.setattr(sys.modules[split.__module__], "LARGEST_BOX", 999)
    with pytest.raises(InvalidInputError) as caught:
        preview_split(editor.repository.at(), [[(5, 5, 2)], [(5, 5, 7)]])
    assert caught.value.kind == ErrorKind.ROI_TOO_LARGE
