"""Data as others publish them: labels proofread in place, and images of every format in place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import landmarks
import numpy as np
import pytest
import zarr
from landmarks import BOX, LABELS, LANDMARKS, SIZE, box_id
from looking import (
    look_at,
    open_direct,
    open_volume,
    pick,
    picked,
    view_state,
    wait_ready,
    wait_until,
)
from mosaic import bright_run, grey_lines, ids_at, show
from playwright.sync_api import Page
from serving import Server
from static_web import StaticWeb, static_web

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


FAR = {
    "ome04": "zarr2",
    "ome05-shards": "zarr3",
    "ome-um-x-first": "zarr2",
    "daisy": "zarr2",
    "n5-cosem": "n5",
    "n5-bigdataviewer": "n5",
    "precomputed": "precomputed",
    "precomputed-shards": "precomputed",
}
"""Those that the page reads from another server itself, too, and how."""


@pytest.fixture
def web(tmp_path: Path) -> Iterator[StaticWeb]:
    with static_web(tmp_path) as double:
        yield double


@pytest.fixture
def formats(labelled: Server, web: StaticWeb, tmp_path: Path) -> dict[str, str]:
    """Volumes with the landmark, one of each format and dialect, and how the viewer reads them."""
    for name, landmark in LANDMARKS.items():
        body: dict[str, Any] = {"name": name, "image": str(landmark.write(tmp_path / name))}
        if not landmark.has_size:
            body["voxel_size"] = SIZE
        assert labelled.request("POST", "/volumes", body)["voxel_size"] == pytest.approx(SIZE)
    for name in FAR:
        body = {"name": f"far-{name}", "image": f"{web.address}/{name}"}
        assert labelled.request("POST", "/volumes", body)["voxel_size"] == pytest.approx(SIZE)
    near = {name: f"precomputed://image/{name}" for name in LANDMARKS}
    return near | {f"far-{name}": f"{kind}://direct/image/far-{name}" for name, kind in FAR.items()}


FAR_LABELS = dict(zip(LABELS, ("zarr2", "zarr3", "n5", "precomputed"), strict=True))


@pytest.fixture
def labels(
    labelled: Server, web: StaticWeb, formats: dict[str, str], tmp_path: Path
) -> dict[str, str]:
    """Its labels, beside the volumes `here` and `there`, and how the viewer reads them."""
    for name, (_, _, write) in LABELS.items():
        write(tmp_path / name)
    places = {"here": str(tmp_path), "there": web.address}
    datasets = [landmarks.dataset(name, place) for name, place in places.items()]
    landmarks.write_catalogue(labelled.data_dir, datasets)
    for name in places:
        volume = labelled.request("POST", "/volumes", {"catalogue": name})
        assert volume["published"]["beside"] == list(LABELS)
    near = {f"here-{name}": f"precomputed://beside/here/{name}" for name in LABELS}
    far = {f"there-{name}": f"{k}://direct/beside/there/{name}" for name, k in FAR_LABELS.items()}
    return near | far


def check_ids(page: Page, labels: dict[str, str], moves: dict[str, tuple[int, int, int]]) -> None:
    """In each box its own id, to the last bit, and right before it none."""
    (z, _), (y, _), (x, _) = BOX
    for step, is_inside in ((0.5, True), (-0.5, False)):
        places = [
            (url, np.add((x + step, y + 0.5, z + 0.5), moves[url]).tolist())
            for url in labels.values()
        ]
        own = [box_id(LABELS[name.partition("-")[2]][1]) * is_inside for name in labels]
        assert ids_at(page, places) == [str(one) for one in own]


def test_the_landmark_of_every_format_is_drawn_at_its_nanometre(
    page: Page,
    labelled: Server,
    formats: dict[str, str],
    labels: dict[str, str],
    web: StaticWeb,
    shot: Callable[..., Path],
) -> None:
    page.set_viewport_size({"width": 1300, "height": 860})
    asked: list[str] = []
    page.on("request", lambda r: asked.append(r.url) if "/direct/" in r.url else None)
    open_direct(page, labelled.url, "there")
    wait_ready(page)
    # How each is described and where its chunks are came with the state.
    assert not [url for url in asked if not url.endswith("/where")]
    look_at(page, [begin + 1 for begin, _ in BOX], 0.25)
    shot("labels-read-directly")
    formats |= labels
    # All of them in one picture, six in a row; per view the axis down the screen, and how many
    # voxels of x and of that axis a pixel has. From 2 on the viewer draws a coarse level.
    wrong = []
    for layout, down, scale, by in [
        ("xy", 1, 0.5, 0.5),
        ("xz", 0, 0.5, 0.25),
        ("xy", 1, 2.0, 2.0),
        ("xz", 0, 2.0, 1.0),
    ]:
        corners = [
            (i % 6 * landmarks.SHAPE[2], i // 6 * landmarks.SHAPE[down])
            for i in range(len(formats))
        ]
        middle = (6 * landmarks.SHAPE[2] / 2, 6 * landmarks.SHAPE[down] / 2)
        # Through the landmark, beside its middle: a mirrored picture would not pass.
        depth = 1 - down
        through = BOX[depth][0] + 1.5
        place = (middle[0], through, middle[1]) if layout == "xz" else (*middle, through)
        moves = [(a, b, 0) if layout == "xy" else (a, 0, b) for a, b in corners]
        tiles = list(zip(formats.values(), moves, strict=True))
        show(page, tiles, place, scale, layout)
        check_ids(page, labels, dict(tiles))
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
    # Those came from where they are, not through our server.
    assert {path.split("/")[1] for path in web.by_pages} == set(FAR) | set(LABELS)


@pytest.fixture
def narrow(labelled: Server, tmp_path: Path) -> Callable[..., str]:
    """Write a volume of 16 bits whose greys fill a sixteenth of the type; return its name."""

    def make(name: str, **channel: Any) -> str:
        em = synthetic_em((16, 128, 128), seed=5).em
        greys = 27_000 + (em.astype(np.float32) * (4000 / 255)).astype(np.uint16)
        image = zarr.create_array(
            tmp_path / f"{name}.zarr", shape=greys.shape, chunks=(16, 64, 64), dtype=greys.dtype
        )
        image[...] = greys
        image.attrs["omero"] = {"channels": [channel]}
        body = {"name": name, "image": str(tmp_path / f"{name}.zarr"), "voxel_size": [8, 8, 8]}
        labelled.request("POST", "/volumes", body)
        return name

    return make


def greys(page: Page, server: Server, name: str) -> np.ndarray[Any, Any]:
    """Open a volume as a newcomer does and return the greys across the middle of its image."""
    open_volume(page, server.url, name)
    return screen(page)


def screen(page: Page) -> np.ndarray[Any, Any]:
    look_at(page, (8, 64, 64), 0.5, layout="xy")
    return np.array(grey_lines(page, [(-100, y, 200, 1) for y in range(-90, 90, 20)]), float)


def test_narrow_greys_are_readable_at_first_sight_and_inverted_ones_turned_round(
    page: Page, labelled: Server, narrow: Callable[..., str], shot: Callable[..., Path]
) -> None:
    plain = greys(page, labelled, narrow("plain"))
    shot("contrast-narrow")
    assert np.percentile(plain, 5) < 60
    assert np.percentile(plain, 95) > 195
    assert plain.std() > 40
    # Who says "everything the type can hold" has not looked.
    everything = {"start": 0, "end": 65535, "min": 0, "max": 65535}
    np.testing.assert_array_equal(greys(page, labelled, narrow("whole", window=everything)), plain)
    window = {"start": 27_000, "end": 31_000}
    turned = greys(page, labelled, narrow("turned", window=window, inverted=True))
    shot("contrast-inverted")
    assert np.corrcoef(turned.ravel(), plain.ravel())[0, 1] < -0.85
    assert page.evaluate("testBridge.shownRange('em')") == {"low": 31_000, "high": 27_000}
    # A tick and a pull stay with the view.
    page.evaluate(
        """() => {
            const { state } = viewer.layerManager.getLayerByName("em").layer.shaderControlState;
            state.get("invert").trackable.value = false;
            state.get("gamma").trackable.value = 2;
        }"""
    )
    controls = {"gamma": 2, "contrast": {"range": [27_000, 31_000], "window": [23_000, 35_000]}}
    held = lambda: view_state(page)["layers"][0]["shaderControls"]  # noqa: E731
    wait_until(page, lambda: held() == controls, 5, "the controls are in the state")
    darker = screen(page)
    assert darker.mean() < plain.mean() - 10
    page.wait_for_timeout(700)
    page.reload()
    wait_ready(page)
    assert held() == controls
    np.testing.assert_array_equal(screen(page), darker)
    # Views from before there was a box to tick have a range that runs backwards.
    page.evaluate("(state) => viewer.state.restoreState(state)", _older(view_state(page)))
    np.testing.assert_allclose(screen(page), turned, atol=2)
    assert page.evaluate("testBridge.shownRange('em')") == {"low": 31_000, "high": 27_000}


def _older(state: dict[str, Any]) -> dict[str, Any]:
    shader = "#uicontrol invlerp contrast\nvoid main() {\n  emitGrayscale(contrast());\n}\n"
    em, *others = state["layers"]
    older = {"shader": shader, "shaderControls": {"contrast": {"range": [31_000, 27_000]}}}
    return {**state, "layers": [{**em, **older}, *others]}
