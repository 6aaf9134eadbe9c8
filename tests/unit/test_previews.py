"""Previews live in files: any process answers for any of them, for an hour."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import compressed_segmentation
import numpy as np
import pytest
from label_volumes import dumbbell

from segmentation_backend.edits import SplitPreview, import_labels, preview
from segmentation_backend.errors import ErrorKind, InvalidInputError, NotFoundError, ResourceError
from segmentation_backend.geometry import Coordinate, Roi
from segmentation_backend.labels import OperationMeta
from segmentation_backend.workspace import Workspace
from segmentation_backend.workspace.previews import KEEP_S, Previews

SHAPE = (40, 130, 100)
SEEDS = [[(20, 65, 25)], [(20, 65, 75)]]


def found(factor: Coordinate = (1, 2, 2)) -> SplitPreview:
    roi = Roi((3, 5, 7), (4, 6, 8))
    sides = np.ones(roi.downscale(factor).shape, np.uint8)
    sides[:, :, -1] = 2
    return SplitPreview(9, 4, roi, factor, sides, (100, 60))


def test_another_process_finds_what_was_saved(tmp_path: Path) -> None:
    saved = Previews(tmp_path).save("cell", found())
    other = Previews(tmp_path)
    assert other.find(saved.preview_id) == saved
    assert (saved.root, saved.version, saved.voxels) == (9, 4, (100, 60))
    sides = other.sides(saved.preview_id, saved.roi)
    assert sides.shape == saved.roi.shape
    assert set(sides[:, :, -1].ravel()) == {2}
    assert set(sides[:, :, 0].ravel()) == {1}


def test_a_preview_says_whether_it_is_exact(tmp_path: Path) -> None:
    previews = Previews(tmp_path)
    assert previews.save("cell", found((1, 1, 1))).to_json()["exact"] is True
    about = previews.save("cell", found()).to_json()
    assert about["exact"] is False
    assert about["root"] == "9"


def test_a_preview_is_swept_after_an_hour_with_whatever_else_is_old(tmp_path: Path) -> None:
    previews = Previews(tmp_path)
    old, young = previews.save("cell", found()), previews.save("cell", found())
    (tmp_path / ".left-behind").touch()
    an_hour_ago = time.time() - KEEP_S - 1
    for name in (f"{old.preview_id}.preview", ".left-behind"):
        os.utime(tmp_path / name, (an_hour_ago, an_hour_ago))
    previews.save("cell", found())
    assert not (tmp_path / ".left-behind").exists()
    assert previews.find(young.preview_id) == young
    with pytest.raises(NotFoundError) as caught:
        previews.find(old.preview_id)
    assert caught.value.kind == ErrorKind.OBJECT_NOT_FOUND


@pytest.mark.parametrize("name", ["", "0" * 32, "../../etc/passwd", "0" * 31 + "\n"])
def test_a_name_that_no_preview_has_is_not_found(tmp_path: Path, name: str) -> None:
    with pytest.raises(NotFoundError):
        Previews(tmp_path).sides(name, Roi((0, 0, 0), (1, 1, 1)))


def test_a_disk_that_takes_nothing_is_said_to(tmp_path: Path) -> None:
    previews = Previews(tmp_path / "previews")
    previews.save("cell", found())
    taken = tmp_path / "previews"
    taken.rename(tmp_path / "gone")
    taken.symlink_to(tmp_path / "nowhere")
    with pytest.raises(ResourceError) as caught:
        previews.save("cell", found())
    assert caught.value.kind == ErrorKind.SOURCE_UNAVAILABLE


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    np.savez(tmp_path / "cell.npz", em=np.zeros(SHAPE, np.uint8))
    opened = Workspace(tmp_path / "data")
    opened.register("cell", str(tmp_path / "cell.npz"), voxel_size=(8.0, 8.0, 8.0))
    labels = dumbbell(SHAPE)
    repository = opened.repository("cell")
    view, first = repository.at(), repository.reserve_ids(1)
    delta = import_labels(view, view.bounds, labels, first, "fill-empty")
    repository.commit(delta, OperationMeta("segment", "ann"))
    yield opened
    opened.close()


def test_a_coarse_preview_is_drawn_on_the_object_and_nowhere_else(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview, "LARGEST_GRID", 20_000)
    saved = workspace.split_preview("cell", SEEDS)
    assert not saved.is_exact
    inside = Roi((0, 0, 0), saved.roi.shape)
    chunk = workspace.preview_chunk(saved.preview_id, inside)
    drawn = compressed_segmentation.decompress(
        chunk.data(), (*saved.roi.shape[::-1], 1), dtype=np.uint64, block_size=(8, 8, 8), order="F"
    )
    on_object = workspace.at("cell").read(saved.roi) == saved.root
    assert np.array_equal(np.asarray(drawn)[..., 0].T > 0, on_object)
    with pytest.raises(InvalidInputError):
        workspace.preview_chunk(saved.preview_id, inside.grow((1, 0, 0)))
