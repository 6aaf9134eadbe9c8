"""Every level follows a change, wherever it falls, and only the chunks around it are written."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from label_volumes import Editor

from segmentation_backend.edits import import_labels
from segmentation_backend.errors import InvalidInputError
from segmentation_backend.geometry import Coordinate, Roi, ScaleLevel, VoxelSize
from segmentation_backend.labels import LabelRepository, LabelView
from segmentation_backend.labels.kernels import mode_pool

pytestmark = pytest.mark.usefixtures("database")


def check_levels(view: LabelView) -> None:
    below = view.read_supervoxels(view.bounds)
    for factor, level in zip(view.storage.factors, view.levels[1:], strict=True):
        below = mode_pool(below, *factor)
        found = view.read_supervoxels(Roi((0, 0, 0), level.shape), level.level)
        assert np.array_equal(found, below)


@pytest.mark.parametrize("voxel_size", [(8.0, 8.0, 8.0), (40.0, 8.0, 8.0)])
@pytest.mark.parametrize("shape", [(67, 131, 129), (1, 200, 70)])
def test_levels_follow_changes_at_odd_places(
    tmp_path: Path, shape: Coordinate, voxel_size: VoxelSize
) -> None:
    editor = Editor(tmp_path, shape, voxel_size)
    rng = np.random.default_rng(2)
    for existing in ("fill-empty", "replace-unedited", "fill-empty", "replace-unedited"):
        begin = [int(rng.integers(0, n)) for n in shape]
        end = [min(n, b + int(rng.integers(1, 40))) for b, n in zip(begin, shape, strict=True)]
        roi = Roi.from_bounds(begin, end)
        labels = rng.integers(0, 4, roi.shape).astype(np.uint32)
        first = editor.repository.reserve_ids(4)
        delta = import_labels(editor.repository.at(), roi, labels, first, existing)  # type: ignore[arg-type]
        editor.commit(delta, "segment")
        check_levels(editor.repository.at())


def test_only_chunks_around_the_change_are_written(tmp_path: Path) -> None:
    editor = Editor(tmp_path, (200, 200, 200))
    editor.boxes((0, 0, 0), side=190)
    view = editor.repository.at()
    delta = import_labels(view, Roi((195, 195, 195), (2, 2, 2)), np.ones((2, 2, 2), int), 9)
    assert len(delta.chunks) <= len(view.levels)
    assert [key for key in delta.chunks if key.level == 0] == [(0, 3, 3, 3)]


def test_levels_that_neither_keep_nor_halve_an_axis_are_refused(tmp_path: Path) -> None:
    editor = Editor(tmp_path)
    fine = ScaleLevel(0, (8.0, 8.0, 8.0), (64, 64, 64))
    for coarse in (
        ScaleLevel(1, (32.0, 8.0, 8.0), (16, 64, 64)),
        ScaleLevel(1, (16.0, 16.0, 16.0), (31, 32, 32)),
        ScaleLevel(1, (4.0, 8.0, 8.0), (64, 64, 64)),
    ):
        with pytest.raises(InvalidInputError):
            LabelRepository(
                editor.repository.at().storage.engine, tmp_path, f"w{coarse}", (fine, coarse)
            )


def test_factors_follow_the_voxel_sizes(tmp_path: Path) -> None:
    editor = Editor(tmp_path, (1, 200, 70), (40.0, 8.0, 8.0))
    storage = editor.repository.at().storage
    assert storage.factors[0] == (1, 2, 2)
    assert len(storage.factors) == len(list(pairwise(editor.levels)))
