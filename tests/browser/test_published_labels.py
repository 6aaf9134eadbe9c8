"""Data as others publish them: labels proofread in place, and images of every format in place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import landmarks
import numpy as np
import pytest
import zarr
from landmarks import BOX, LANDMARKS, SIZE
from looking import look_at, open_volume, pick, picked, wait_until
from mosaic import bright_run, grey_lines, show
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


@pytest.fixture
def formats(labelled: Server, tmp_path: Path) -> list[str]:
    """Volumes with the landmark, one of each format and dialect."""
    for name, landmark in LANDMARKS.items():
        body: dict[str, Any] = {"name": name, "image": str(landmark.write(tmp_path / name))}
        if not landmark.has_size:
            body["voxel_size"] = SIZE
        assert labelled.request("POST", "/volumes", body)["voxel_size"] == pytest.approx(SIZE)
    return list(LANDMARKS)


def test_the_landmark_of_every_format_is_drawn_at_its_nanometre(
    page: Page, labelled: Server, formats: list[str], shot: Callable[..., Path]
) -> None:
    open_volume(page, labelled.url, formats[0])
    # All of them in one picture, five in a row; per view the axis down the screen, and how many
    # voxels of x and of that axis a pixel has. From 2 on the viewer draws a coarse level.
    wrong = []
    for layout, down, scale, by in [
        ("xy", 1, 0.5, 0.5),
        ("xz", 0, 0.5, 0.25),
        ("xy", 1, 2.0, 2.0),
        ("xz", 0, 2.0, 1.0),
    ]:
        corners = [
            (i % 5 * landmarks.SHAPE[2], i // 5 * landmarks.SHAPE[down])
            for i in range(len(formats))
        ]
        middle = (5 * landmarks.SHAPE[2] / 2, 4 * landmarks.SHAPE[down] / 2)
        # Through the landmark, beside its middle: a mirrored picture would not pass.
        depth = 1 - down
        through = BOX[depth][0] + 1.5
        place = (middle[0], through, middle[1]) if layout == "xz" else (*middle, through)
        moves = [(a, b, 0) if layout == "xy" else (a, 0, b) for a, b in corners]
        show(page, list(zip(formats, moves, strict=True)), place, scale, layout)
        lines = []
        for a, b in corners:
            left, top = round((a - middle[0]) / scale), round((b - middle[1]) / by)
            at_x = round((a + BOX[2][0] + 3.5 - middle[0]) / scale)
            at_y = round((b + BOX[down][0] + 1.5 - middle[1]) / by)
            lines.append((left, at_y, round(landmarks.SHAPE[2] / scale), 1))
            lines.append((at_x, top, 1, round(landmarks.SHAPE[down] / by)))
        greys = grey_lines(page, lines)
        shot(f"landmarks-{layout}-{scale:g}")
        for index, name in enumerate(formats):
            for axis, pixel, line in ((2, scale, 2 * index), (down, by, 2 * index + 1)):
                found = [edge * pixel for edge in bright_run(greys[line])]
                # To half a voxel, or a pixel where that is more.
                if np.abs(np.subtract(found, BOX[axis])).max() > max(0.5, pixel):
                    wrong.append((name, layout, scale, "zyx"[axis], found))
    assert not wrong
