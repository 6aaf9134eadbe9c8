"""Pins what static/js/bridge.js relies on inside the viewer; an upgrade of the wheel fails here."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from looking import (
    alike,
    colour_at,
    id_under,
    is_coloured,
    look_at,
    open_volume,
    place_of,
    point_at,
    view_state,
    wait_for,
    wait_ready,
    wait_until,
)
from playwright.sync_api import Page, Request, Route
from serving import Server

IDENTITY = (0.0, 0.0, 0.0, 1.0)
TILTED = (0.18257418, 0.36514837, 0.54772256, 0.73029674)

_SAMPLE_EVERY_FRAME = """() => {
    const canvas = document.querySelector("#neuroglancer-container canvas");
    const copy = new OffscreenCanvas(canvas.width, canvas.height)
        .getContext("2d", { willReadFrequently: true });
    window.sampled = [];
    window.sampling = true;
    const sample = () => {
        if (!window.sampling) return;
        viewer.display.draw();
        copy.drawImage(canvas, 0, 0);
        const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
        let coloured = 0;
        for (let i = 0; i < data.length; i += 16) {
            const [r, g, b] = [data[i], data[i + 1], data[i + 2]];
            if (Math.max(r, g, b) - Math.min(r, g, b) > 20) ++coloured;
        }
        window.sampled.push(coloured);
        requestAnimationFrame(sample);
    };
    sample();
}"""

_LINK_AND_LOOK = """async ([ids, x, y]) => {
    const canvas = document.querySelector("#neuroglancer-container canvas");
    const { left, top } = canvas.getBoundingClientRect();
    window.linked = testBridge.links.add(ids, null);
    await new Promise(requestAnimationFrame);
    viewer.display.draw();
    const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d");
    copy.drawImage(canvas, 0, 0);
    return [...copy.getImageData(Math.round(x - left), Math.round(y - top), 1, 1).data].slice(0, 3);
}"""

_REST = """async () => {
    const { Rest } = await import("/static/js/rest.js");
    const layerManager = { managedLayers: [] };
    let looks = 0, isReady = true, came = 0;
    const rest = new Rest({ layerManager, isReady: () => ((looks += 1), isReady) });
    await rest.within(150);
    const withoutLayers = looks;
    isReady = false;
    layerManager.managedLayers.push({});
    const all = [rest.come(), rest.come(), rest.come()].map((one) => one.then(() => (came += 1)));
    await rest.within(250);
    const before = came, shared = looks <= 4;
    isReady = true;
    await Promise.all(all);
    return [withoutLayers, before, shared, came];
}"""


def middles(server: Server, z: int, least: int = 60) -> dict[str, tuple[int, int, int]]:
    """Return a voxel well inside each object of a plane, by id: one on the object's own column."""
    plane = server.labels("tissue", (z, 0, 0), (1, 192, 192))[0]
    found = {}
    for root in np.unique(plane[plane > 0]):
        rows, columns = np.nonzero(plane == root)
        if rows.size < least:
            continue
        middle = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
        found[str(root)] = (z, int(rows[middle]), int(columns[middle]))
    return found


@pytest.fixture
def opened(page: Page, labelled: Server) -> Page:
    open_volume(page, labelled.url, "tissue")
    look_at(page, (48, 96, 96), scale=0.5)
    return page


def rotation(quaternion: tuple[float, ...]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the rotation matrix of a unit quaternion (x, y, z, w)."""
    x, y, z, w = quaternion
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


@pytest.mark.parametrize(
    ("orientation", "scale"), [(IDENTITY, 0.5), (IDENTITY, 1.7), (TILTED, 0.8)]
)
def test_panels_are_where_the_view_state_puts_them(
    opened: Page, orientation: tuple[float, ...], scale: float
) -> None:
    opened.evaluate(
        "([state]) => viewer.state.restoreState(state)",
        [{"crossSectionOrientation": orientation, "crossSectionScale": scale}],
    )
    wait_for(opened, "viewer.isReady()")
    state, view = view_state(opened), opened.evaluate("testBridge.view()")
    half = math.sqrt(0.5)
    for panel, turn in zip(
        view["panels"], [IDENTITY, (half, 0, 0, half), (0, half, 0, half)], strict=True
    ):
        axes = rotation(orientation) @ rotation(turn) * scale  # (x y z, right down normal)
        assert np.allclose(panel["right"][::-1], axes[:, 0], atol=1e-5)
        assert np.allclose(panel["down"][::-1], axes[:, 1], atol=1e-5)
        assert np.allclose(panel["centre"][::-1], state["position"], atol=1e-3)
        assert panel["width"] > 300
        assert panel["height"] > 200
    assert view["active"] == 0


def test_the_panel_last_under_the_mouse_is_the_active_one(opened: Page) -> None:
    rectangles = opened.evaluate(
        "testBridge.slicePanels().map(({element}) => element.getBoundingClientRect().toJSON())"
    )
    for number in (2, 1, 0):
        at = rectangles[number]
        opened.mouse.move(at["x"] + at["width"] / 2, at["y"] + at["height"] / 2)
        assert opened.evaluate("testBridge.view().active") == number


def test_all_who_wait_for_rest_look_together_and_some_not_for_ever(opened: Page) -> None:
    # Before the view has come there is nothing to be ready; three wait, one of them for so long.
    assert opened.evaluate(_REST) == [0, 0, True, 3]


def test_states_travel_by_short_polls_alone(page: Page, labelled: Server) -> None:
    held: list[Request] = []
    page.on("request", lambda r: held.append(r) if r.resource_type == "eventsource" else None)
    open_volume(page, labelled.url, "tissue")
    token = page.url.rstrip("/").split("/")[-1]

    def kept() -> Any:
        return labelled.request("GET", f"/sessions/{token}")["view_state"]["position"]

    look_at(page, (40, 80, 100))
    wait_until(page, lambda: kept() == [100.5, 80.5, 40.5], 5, "the move reached the server")
    answer = labelled.request("POST", f"/sessions/{token}/version", {"version": 1})
    assert answer["session"]["pinned_version"] == 1
    wait_for(page, "JSON.stringify(testBridge.viewState()).includes('/labels/tissue@1')", 5)
    assert view_state(page)["position"] == [100.5, 80.5, 40.5]
    assert not held
    assert not page.get_by_text("Connecting to Python server").is_visible()


def test_the_first_poll_runs_ahead_of_the_viewer_which_asks_itself_where_that_fails(
    page: Page, labelled: Server
) -> None:
    asked: list[str] = []

    def fail_once(route: Route) -> None:
        asked.append(route.request.url)
        if len(asked) == 1:
            route.abort()
        else:
            route.continue_()

    described: list[str] = []
    page.on("request", lambda r: described.append(r.url) if r.url.endswith("/info") else None)
    page.route("**/events/**", fail_once)
    open_volume(page, labelled.url, "tissue")
    # Only the viewer knows its own name.
    assert ["&c=" in url or "?c=" in url for url in asked[:2]] == [False, True]
    infos = [f"{labelled.url}/{kind}/tissue/info" for kind in ("image", "labels")]
    assert sorted(described) == infos
    asked[:] = [""]
    described.clear()
    page.reload()
    wait_for(page, "window.viewer?.layerManager.managedLayers.length > 1")
    wait_ready(page)
    assert "gs=&" in asked[1]
    assert all("gs=&" not in url for url in asked[2:])
    # Its answer said how the layers are described, once: whoever asks again is told what is so now.
    assert not described
    twice = "Promise.all([1, 2].map(() => fetch('/labels/tissue/info'))).then((all) => all.length)"
    assert page.evaluate(twice) == 2
    assert described == [infos[1]] * 2


def test_a_link_recolours_in_the_next_frame_and_asks_for_no_chunk(
    opened: Page, labelled: Server
) -> None:
    (kept, first), (_, other), *_ = sorted(
        middles(labelled, 48).items(), key=lambda item: int(item[0])
    )
    gone = next(root for root, voxel in middles(labelled, 48).items() if voxel == other)
    before = colour_at(opened, first)
    assert is_coloured(before)
    assert not alike(before, colour_at(opened, other))
    asked: list[str] = []
    opened.on("request", lambda r: asked.append(r.url) if "/labels/" in r.url else None)

    linked = opened.evaluate(_LINK_AND_LOOK, [[kept, gone], *place_of(opened, other)])

    assert alike(linked, before)
    assert id_under(opened, other) == kept
    opened.evaluate("testBridge.links.drop(linked)")
    assert not alike(colour_at(opened, other), before)
    assert not asked


def test_labels_are_read_again_without_a_blank_frame(opened: Page, labelled: Server) -> None:
    """Someone else merges; the page reads every label chunk again, slowly."""
    kept, gone = sorted(middles(labelled, 48), key=int)[:2]
    voxel = middles(labelled, 48)[gone]

    scales: list[str] = []

    def slowly(route: Route) -> None:
        if not route.request.url.endswith("/occupied"):
            scales.append(route.request.url.split("/")[-2])
        opened.wait_for_timeout(60)
        route.continue_()

    opened.route("**/labels/**", slowly)
    opened.evaluate(_SAMPLE_EVERY_FRAME)
    labelled.request("POST", "/volumes/tissue/merge", {"ids": [kept, gone]}, user="bob")
    opened.evaluate("testBridge.refreshLabels()")
    opened.evaluate("window.sampling = false")
    wait_for(opened, "viewer.isReady()")
    opened.unroute("**/labels/**")

    # What is on screen is asked for first: coarser scales would be waited for.
    finest = scales.count("0")
    assert finest > 0
    assert scales[:finest] == ["0"] * finest
    frames = opened.evaluate("window.sampled")
    assert len(frames) > 5
    assert min(frames) > 0.97 * frames[0] > 0
    opened.evaluate("testBridge.links.clear()")
    assert id_under(opened, voxel) == kept
    labelled.request("POST", "/volumes/tissue/undo", {}, user="bob")


def test_keys_and_gestures_reach_the_page_as_actions(opened: Page) -> None:
    opened.evaluate("""() => {
        window.performed = [];
        for (const name of ["segment-slice", "segment-box", "segment-orthoplane", "cancel",
            "pick-here", "clear-picks", "merge", "split-source", "split-sink", "confirm", "undo",
            "redo", "share", "history"])
            document.addEventListener(`action:mitoglance-${name}`, (event) => {
                window.performed.push(name);
                event.stopImmediatePropagation();
            }, true);
    }""")
    x, y = place_of(opened, (48, 96, 96))
    point_at(opened, (48, 96, 96))
    for key in ("g", "Shift+G", "t", "Escape", "p", "x", "m", "q", "w", "Enter", "Control+z"):
        opened.keyboard.press(key)
    for key in ("Control+Shift+Z", "Control+y", "k", "h"):
        opened.keyboard.press(key)
    opened.keyboard.down("Control")
    opened.mouse.click(x, y)
    opened.keyboard.down("Shift")
    opened.mouse.click(x, y)
    opened.keyboard.up("Shift")
    opened.keyboard.up("Control")
    # fmt: off
    assert opened.evaluate("window.performed") == [
        "segment-slice", "segment-box", "segment-orthoplane", "cancel", "pick-here",
        "clear-picks", "merge",
        "split-source", "split-sink", "confirm", "undo", "redo", "redo", "share", "history",
        "split-source", "split-sink",
    ]
    # fmt: on


def test_a_layer_comes_and_goes_and_leaves_the_others_alone(opened: Page) -> None:
    before = view_state(opened)["layers"]
    point_at(opened, (48, 90, 90))
    opened.evaluate("""() => {
        window.kept = viewer.layerManager.getLayerByName("mitochondria").layer;
        testBridge.setLayer({ name: "points", type: "annotation", source: "local://annotations",
            annotations: [{ type: "point", id: "a", point: [90, 90, 48] }] });
    }""")
    assert [layer["name"] for layer in view_state(opened)["layers"]][-1] == "points"
    assert opened.evaluate("viewer.layerManager.getLayerByName('mitochondria').layer === kept")
    opened.evaluate("testBridge.removeLayer('points')")
    assert view_state(opened)["layers"] == before


def test_a_state_that_comes_in_under_the_pointer_leaves_the_viewer_alive(
    opened: Page, labelled: Server
) -> None:
    voxel = next(iter(middles(labelled, 48).values()))
    point_at(opened, voxel)
    wait_for(opened, "viewer.mouseState.active")
    opened.evaluate("viewer.state.restoreState(viewer.state.toJSON())")
    wait_for(opened, "viewer.isReady()")
    layers = "[...viewer.layerManager.managedLayers].every(({ layer }) => layer !== null)"
    assert opened.evaluate(layers)
    assert is_coloured(colour_at(opened, voxel))


def test_a_link_made_while_labels_are_read_again_is_drawn_at_once(opened: Page) -> None:
    held, after = opened.evaluate(
        """(ids) => {
            const isHeld = () => Object.hasOwn(viewer.display, "draw");
            void testBridge.refreshLabels();
            const before = isHeld();
            testBridge.links.add(ids, null);
            return [before, isHeld()];
        }""",
        ["1", "2"],
    )
    assert (held, after) == (True, False)
