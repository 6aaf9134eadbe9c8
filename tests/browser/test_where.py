"""Where to segment: a box or polygon drawn in the viewer, numbers, and listed sections."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from looking import look_at, open_volume, place_of, wait_for, wait_ready, wait_until
from playwright.sync_api import Page, Request
from serving import Server

CENTRE = (48, 96, 96)

TEXTS = """async () => {
    const { annotationOf, boxFromText, boxText, outlineOf } = await import("/static/js/outline.js");
    const bounds = { offset: [0, 0, 0], shape: [9, 20, 30] };
    const right = ["z 3", "Z 1-2,x 5-9", "x 7, y 0-0"];
    const wrong = ["x 9-7", "x 1, x 2", "w 3", "", "1-2", "x -4"];
    const back = { polygon: [[1.5, 2, 3], [1.5, 9, 3], [1.5, 9, 8]] };
    return [
        ...right.map((text) => boxText(boxFromText(text, bounds))),
        ...wrong.map((text) => boxFromText(text, bounds)),
        ...[back, { box: bounds }].map((one) =>
            JSON.stringify(outlineOf(annotationOf(one))) === JSON.stringify(one)),
        outlineOf({ type: "point", point: [1, 2, 3] }),
        outlineOf({ type: "polyline", points: [[1, 2, 3], [1, "b", 3], [4, 4, 4]] }),
    ];
}"""
TEXTS_MEAN = [
    *("x 0-29, y 0-19, z 3", "x 5-9, y 0-19, z 1-2", "x 7, y 0, z 0-8"),
    *(None,) * 6,
    *(True, True, None, None),
]


@pytest.fixture
def opened(page: Page, labelled: Server) -> Page:
    open_volume(page, labelled.url, "tissue")
    look_at(page, CENTRE, 0.4)
    return page


@pytest.fixture
def sent(opened: Page) -> list[dict[str, Any]]:
    bodies: list[dict[str, Any]] = []

    def note(request: Request) -> None:
        if request.method == "POST" and request.url.endswith("/volumes/tissue/segment"):
            bodies.append(json.loads(request.post_data or "{}"))

    opened.on("request", note)
    return bodies


def mark(page: Page, voxel: tuple[float, float, float], key: str = "") -> None:
    x, y = place_of(page, voxel)
    page.mouse.move(x, y)
    page.wait_for_timeout(150)
    if key:
        page.keyboard.press(key)
    else:
        page.keyboard.down("Control")
        page.mouse.click(x, y)
        page.keyboard.up("Control")


def status(page: Page) -> str:
    return page.locator(".status-text").inner_text()


def tile(page: Page, name: str) -> str:
    return page.locator(".tile", has_text=name).inner_text()


def ended(page: Page) -> str:
    wait_until(page, lambda: status(page).startswith("Done"), 120, "it is done")
    return status(page)


def newest(server: Server) -> dict[str, Any]:
    return server.operations("tissue")[0]


def test_a_drawn_box_is_segmented_and_may_be_corrected_in_numbers(
    opened: Page, labelled: Server, sent: list[dict[str, Any]], shot: Callable[..., Path]
) -> None:
    opened.get_by_label("Where").select_option("box")
    opened.wait_for_timeout(400)
    assert "not drawn" in tile(opened, "Slice")
    shot("where-box-empty")
    opened.locator(".tile", has_text="Slice").click()
    assert status(opened) == "Draw the box first. Nothing was sent."
    opened.locator(".outline .button").click()
    shot("where-box-drawing")
    mark(opened, (48, 60, 70))
    mark(opened, (48, 120, 130), "q")
    numbers = opened.get_by_label("Box", exact=True)
    drawn = [int(number) for number in re.findall(r"\d+", numbers.input_value())]
    assert drawn == pytest.approx([70, 130, 60, 120, 48], abs=1)
    size = f"{drawn[1] - drawn[0] + 1}×{drawn[3] - drawn[2] + 1}"
    wait_until(opened, lambda: size in tile(opened, "Slice"), 5, "the tile says its size")
    assert "split" not in json.dumps(opened.evaluate("testBridge.viewState().layers"))
    shot("where-box")
    opened.locator(".tile", has_text="Slice").click()
    ended(opened)
    assert sent[-1]["within"]["box"]["offset"] == [drawn[4], drawn[2], drawn[0]]
    assert newest(labelled)["provenance"]["roi"] == sent[-1]["within"]["box"]
    # Numbers that are written stand in for corners that were to be marked.
    opened.locator(".outline .button").click()
    numbers.fill("x 60-99, z 40-50")
    numbers.press("Tab")
    assert opened.locator(".outline-hint").is_hidden()
    wait_until(opened, lambda: "40×192×11" in tile(opened, "Box"), 5, "the numbers are taken")
    assert numbers.input_value() == "x 60-99, y 0-191, z 40-50"
    numbers.fill("x 60-")
    numbers.press("Tab")
    assert numbers.get_attribute("aria-invalid") == "true"
    opened.wait_for_timeout(400)
    shot("where-box-wrong")
    opened.locator(".tile", has_text="Slice").click()
    assert "Nothing was sent" in status(opened)
    assert len(sent) == 1
    assert opened.evaluate(TEXTS) == TEXTS_MEAN
    # It is part of the view, so it is still there after a reload, and goes with the choice.
    opened.wait_for_timeout(1500)
    opened.reload()
    wait_ready(opened)
    wait_until(opened, lambda: opened.get_by_label("Where").input_value() == "box", 10, "kept")
    assert numbers.input_value() == "x 60-99, y 0-191, z 40-50"
    opened.get_by_label("Where").select_option("view")
    wait_for(opened, "viewer.layerManager.getLayerByName('region') === undefined", 5)


def test_a_polygon_over_listed_sections_is_one_operation(
    opened: Page, labelled: Server, sent: list[dict[str, Any]], shot: Callable[..., Path]
) -> None:
    head = labelled.head("tissue")
    # What can but be drawn is being drawn at once: Q marks a corner, not a split.
    opened.get_by_label("Where").select_option("polygon")
    corners = [(48, 40, 60), (48, 140, 50), (48, 150, 140), (48, 70, 150)]
    mark(opened, corners[0], "q")
    mark(opened, corners[1])
    assert "split" not in json.dumps(opened.evaluate("testBridge.viewState().layers"))
    opened.keyboard.press("Enter")
    assert "three corners" in opened.locator(".toast").inner_text()
    opened.keyboard.press("Escape")
    opened.locator(".outline .button").click()
    for corner in corners:
        mark(opened, corner)
    shot("where-polygon-drawing")
    opened.keyboard.press("Enter")
    assert opened.locator(".outline-text").inner_text() == "4 corners, on z 48"
    opened.locator(".where .field input").fill("40, 47-48")
    wait_until(opened, lambda: "3 × xy" in tile(opened, "Slice"), 5, "the tile counts sections")
    shot("where-polygon")
    opened.keyboard.press("Escape")
    opened.locator(".tile", has_text="Slice").click()
    assert "found" in ended(opened)
    (body,) = sent
    assert body["sections"] == "40, 47-48"
    assert len(body["within"]["polygon"]) == 4
    assert labelled.head("tissue") == head + 1
    provenance = newest(labelled)["provenance"]
    assert provenance["sections"] == [40, 47, 48]
    assert len(provenance["polygon"]) == 4
    said = opened.locator("#panel", has_text="segmented 3 slices in a polygon")
    opened.keyboard.press("h")
    wait_until(opened, lambda: said.count() == 1, 5, "the history says so")
    shot("where-polygon-done")


@pytest.mark.parametrize("theme", ["light"])
def test_the_choice_is_seen_in_the_other_theme(
    page: Page, labelled: Server, theme: Any, shot: Callable[..., Path]
) -> None:
    page.emulate_media(color_scheme=theme)
    open_volume(page, labelled.url, "tissue")
    page.get_by_label("Where").select_option("polygon")
    page.locator(".where .field input").fill("10, 20-30, 45")
    page.wait_for_timeout(400)
    shot("where-light")
