"""Proofreading published labels in place, from the page: objects are known by pointing at them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr
from looking import look_at, open_volume, pick, picked, wait_until
from playwright.sync_api import Page
from serving import Server

from segmentation_backend.sources.synthetic import synthetic_em

SHAPE = (64, 160, 160)
ONE, OTHER = (32, 60, 50), (32, 60, 110)


@pytest.fixture
def published(labelled: Server, tmp_path: Path) -> str:
    """A volume over labels that nobody has counted yet: two bars, a small gap apart."""
    labels = np.zeros(SHAPE, np.uint64)
    labels[20:44, 45:75, 20:78], labels[20:44, 45:75, 82:140] = 7, 2**40
    for name, voxels in (("em", synthetic_em(SHAPE, seed=5).em), ("labels", labels)):
        array = zarr.create_array(
            tmp_path / f"{name}.zarr", shape=SHAPE, chunks=(32, 32, 32), dtype=voxels.dtype
        )
        array[...] = voxels
    sources = {"image": str(tmp_path / "em.zarr"), "labels": str(tmp_path / "labels.zarr")}
    body = {"name": "published", **sources, "voxel_size": [8, 8, 8]}
    assert labelled.request("POST", "/volumes", body)["labels"]["counted"] == 0
    return "published"


def test_objects_of_published_labels_are_merged_and_deleted_by_picking_them(
    page: Page, labelled: Server, published: str, shot: Callable[..., Path]
) -> None:
    open_volume(page, labelled.url, published)
    look_at(page, ONE, 0.5, layout="xy")
    pick(page, ONE)
    pick(page, OTHER)
    assert picked(page) == ["7", str(2**40)]
    page.keyboard.press("m")
    wait_until(page, lambda: labelled.head(published) == 1, 10, "the merge")
    assert labelled.root_at(published, OTHER) == 7
    shot("published-merged")
    wait_until(page, lambda: picked(page) == ["7"], 10, "one object picked")
    page.keyboard.press("Delete")
    wait_until(page, lambda: labelled.head(published) == 2, 10, "the deletion")
    assert not labelled.labels(published, (0, 0, 0), SHAPE).any()
    assert labelled.labels(published, (0, 0, 0), SHAPE, 0).max() == 2**40
