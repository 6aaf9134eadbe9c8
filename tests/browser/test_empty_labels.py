"""Where there is no label, none is asked for and none is drawn; the first one is seen at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from looking import colour_at, is_coloured, look_at, open_volume, wait_for, wait_until
from playwright.sync_api import Page, Request, Route
from serving import Server

PLACE = (48, 96, 96)
FAR = (20, 30, 160)
SEEN_S = 20

COUNT_DRAWN = """
window.drawn = 0;
const counted = new WeakSet();
function count() {
    const layer = window.viewer?.layerManager?.getLayerByName("mitochondria")?.layer;
    for (const drawing of layer?.renderLayers ?? []) {
        if (!drawing.visibleSourcesList || counted.has(drawing)) continue;
        counted.add(drawing);
        // What the viewer's own drawing begins with: it stays undone where the section is spared.
        const begin = drawing.beginChunkFormat.bind(drawing);
        drawing.beginChunkFormat = (...parts) => { window.drawn += 1; return begin(...parts); };
    }
    requestAnimationFrame(count);
}
requestAnimationFrame(count);
"""


SHOW_BACKGROUND = """(isShown) => {
    const { layer } = viewer.layerManager.getLayerByName("mitochondria");
    layer.displayState.segmentationGroupState.value.hideSegmentZero.value = !isShown;
}"""


@pytest.fixture
def asked(page: Page) -> list[str]:
    """What the page asks for below `/labels`, as it goes on."""
    addresses: list[str] = []

    def note(request: Request) -> None:
        if "/labels/" in request.url and not request.url.endswith("/info"):
            addresses.append(request.url)

    page.context.on("request", note)
    return addresses


def chunks(asked: list[str]) -> list[str]:
    return [one for one in asked if not one.endswith("/occupied")]


def paint(server: Server, place: tuple[int, int, int], target: str = "new") -> str:
    body = {"target": target, "points": [list(place)], "radius": 8}
    answer = server.request("POST", "/volumes/tissue/paint", body, user="bob")
    assert answer["ok"], answer
    return str(answer["operation"]["operation_id"])


def test_nothing_is_asked_for_or_drawn_until_there_is_a_label(
    page: Page, unlabelled: Server, asked: list[str], shot: Callable[..., Path]
) -> None:
    page.add_init_script(COUNT_DRAWN)
    open_volume(page, unlabelled.url, "tissue")
    assert len(asked) == 1
    assert asked[0].endswith("/occupied")
    # Once, when nothing happens, so that the graphics card has the program before it is needed.
    wait_for(page, "window.drawn > 0", 30)
    page.evaluate("window.drawn = 0")
    look_at(page, FAR)
    look_at(page, PLACE)
    assert page.evaluate("window.drawn") == 0
    assert chunks(asked) == []
    # Who wants to see the background as an object does.
    page.evaluate(SHOW_BACKGROUND, True)
    wait_for(page, "window.drawn > 0")
    page.evaluate(SHOW_BACKGROUND, False)
    assert not is_coloured(colour_at(page, PLACE))

    paint(unlabelled, PLACE)
    wait_until(page, lambda: is_coloured(colour_at(page, PLACE)), SEEN_S, "the first label")
    assert page.evaluate("window.drawn") > 0
    # Chunks of 128 x 128 x 64 voxels: only those of the one place.
    finest = {one.rsplit("/", 1)[1] for one in chunks(asked) if one.split("/")[-2] == "0"}
    assert finest == {"0-128_0-128_0-64"}
    shot("first-label")

    # Away from it nothing is drawn again.
    look_at(page, (80, 170, 170), scale=0.1)
    page.evaluate("window.drawn = 0")
    look_at(page, (82, 171, 171), scale=0.1)
    look_at(page, PLACE)
    assert is_coloured(colour_at(page, PLACE))


def test_a_label_made_off_screen_is_there_when_one_comes_to_it(
    page: Page, unlabelled: Server, asked: list[str]
) -> None:
    open_volume(page, unlabelled.url, "tissue")
    look_at(page, PLACE, scale=0.1)
    paint(unlabelled, FAR)
    head = unlabelled.head("tissue")
    wait_until(page, lambda: page.evaluate("testBridge !== null"), 5, "the bridge")
    wait_for(page, f"document.body.innerText.includes('{head}')", 15)
    look_at(page, FAR)
    wait_until(page, lambda: is_coloured(colour_at(page, FAR)), SEEN_S, "what was made meanwhile")
    unlabelled.request("POST", "/volumes/tissue/undo", {}, user="bob")
    wait_until(page, lambda: not is_coloured(colour_at(page, FAR)), SEEN_S, "it was undone")


def test_where_it_is_not_known_every_chunk_is_asked_for(
    page: Page, unlabelled: Server, asked: list[str]
) -> None:
    """An answer that fails is not taken for "nothing there"."""
    paint(unlabelled, PLACE)

    def fail(route: Route) -> None:
        route.fulfill(status=503, body="")

    page.context.route("**/occupied", fail)
    open_volume(page, unlabelled.url, "tissue")
    look_at(page, PLACE)
    assert is_coloured(colour_at(page, PLACE))
    finest = {one.rsplit("/", 1)[1] for one in chunks(asked) if one.split("/")[-2] == "0"}
    assert len(finest) > 1
