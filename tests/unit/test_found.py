"""What a running segmentation shows of its blocks before it is committed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation_backend.errors import ErrorKind, NotFoundError
from segmentation_backend.geometry import Roi
from segmentation_backend.workspace.found import FoundSoFar, found_in

FINE, COARSE = (8.0, 8.0, 8.0), (16.0, 16.0, 16.0)
ROI = Roi((3, 10, 20), (70, 90, 80))
WHOLE = Roi((0, 0, 0), ROI.shape)


def test_blocks_appear_one_after_the_other_and_go_when_the_run_has_ended(tmp_path: Path) -> None:
    found = FoundSoFar(tmp_path, "job-1", ROI, FINE)
    with pytest.raises(NotFoundError, match="nothing to show"):
        found_in(tmp_path, "job-1", WHOLE)
    labels = np.zeros((30, 40, 40), np.uint32)
    labels[5:9, 5:9, 5:9] = 7
    found.add(labels, Roi((0, 0, 0), labels.shape), FINE)
    seen = found_in(tmp_path, "job-1", WHOLE)
    # Voxels 5 to 9 of the volume; the region begins at 3, 10, 20.
    assert not seen.any()
    labels[20:25, 20:25, 30:35] = 9
    found.add(labels, Roi((0, 0, 0), labels.shape), FINE)
    seen = found_in(tmp_path, "job-1", WHOLE)
    assert np.argwhere(seen).min(0).tolist() == [17, 10, 10]
    assert len(np.unique(seen)) == 2
    assert found.blocks == 2
    found.close()
    with pytest.raises(NotFoundError) as caught:
        found_in(tmp_path, "job-1", WHOLE)
    assert caught.value.kind == ErrorKind.JOB_NOT_FOUND


@pytest.mark.parametrize("name", ["", "../x", "a/b", "x" * 65, ".."])
def test_a_run_is_named_by_letters_and_numbers(tmp_path: Path, name: str) -> None:
    with pytest.raises(NotFoundError):
        found_in(tmp_path, name, WHOLE)


@settings(max_examples=20, deadline=None)
@given(cut=st.integers(1, 63), seed=st.integers(0, 99))
def test_blocks_of_a_coarser_level_fill_the_region_without_gaps(
    tmp_path_factory: pytest.TempPathFactory, cut: int, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("found")
    level = np.random.default_rng(seed).integers(0, 3, (40, 64, 64)).astype(np.uint32)
    found = FoundSoFar(folder, "run", ROI, FINE)
    for begin, end in ((0, cut), (cut, 64)):
        box = Roi((0, 0, begin), (40, 64, end - begin))
        found.add(level[:, :, begin:end], box, COARSE)
    fine = level.repeat(2, 0).repeat(2, 1).repeat(2, 2)[ROI.slices()]
    seen = found_in(folder, "run", WHOLE)
    assert np.array_equal(seen > 0, fine > 0)
    assert np.array_equal(seen % 2**20, fine)
