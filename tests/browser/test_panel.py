"""The side panel: everything by keyboard, versions by a click, both themes, narrow windows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from looking import (
    id_under,
    look_at,
    open_volume,
    pick,
    picked,
    shown_version,
    wait_for,
    wait_until,
)
from playwright.sync_api import BrowserContext, Page
from serving import Server

Voxel = tuple[int, int, int]

_FOCUSED = """() => {
    const element = document.activeElement;
    const { outlineStyle } = getComputedStyle(element);
    const name = element.getAttribute("aria-label") ?? element.textContent;
    return { name, outlineStyle, isInPanel: document.getElementById("panel").contains(element) };
}"""

_IS_GAMMA_SHOWN = """[...document.querySelectorAll(".neuroglancer-side-panel *")]
    .some((element) => element.innerHTML === "gamma" && element.checkVisibility())"""

_CONTRASTS = """() => {
    const channels = (colour) => {
        const canvas = new OffscreenCanvas(1, 1).getContext("2d");
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
    };
    const light = (colour) => {
        const [r, g, b] = channels(colour).map((c) => {
            const v = c / 255;
            return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = (element) => {
        const { backgroundColor } = getComputedStyle(element);
        return backgroundColor === "rgba(0, 0, 0, 0)" && element.parentElement
            ? ground(element.parentElement) : backgroundColor;
    };
    const all = document.querySelectorAll("#panel *, .neuroglancer-side-panel *");
    const texts = [...all].filter((element) =>
        element.checkVisibility() && !element.closest(":disabled") &&
        [...element.childNodes].some((n) => n.nodeType === 3 &&
            /[\\p{L}\\d]/u.test(n.textContent)));
    return texts.map((element) => {
        const [a, b] = [light(getComputedStyle(element).color), light(ground(element))];
        return [element.textContent, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
    });
}"""


@pytest.fixture(scope="module")
def pair(labelled: Server) -> tuple[Voxel, Voxel]:
    """A voxel inside each of the two largest objects of the middle plane."""
    plane = labelled.labels("tissue", (48, 0, 0), (1, 192, 192), version=1)[0]
    roots, sizes = np.unique(plane[plane > 0], return_counts=True)
    first, second = roots[np.argsort(sizes)][::-1][:2]
    return inner_voxel(plane, first), inner_voxel(plane, second)


def inner_voxel(plane: np.ndarray[Any, Any], root: int) -> Voxel:
    rows, columns = np.nonzero(plane == root)
    nearest = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
    return 48, int(rows[nearest]), int(columns[nearest])


@pytest.fixture
def opened(page: Page, labelled: Server, pair: tuple[Voxel, Voxel]) -> Page:
    open_volume(page, labelled.url, "tissue")
    look_at(page, pair[0])
    return page


def test_the_whole_job_needs_no_mouse(
    opened: Page, labelled: Server, pair: tuple[Voxel, Voxel]
) -> None:
    one, other = pair

    def roots() -> tuple[int, int]:
        return labelled.root_at("tissue", one), labelled.root_at("tissue", other)

    before = roots()
    opened.keyboard.press("p")
    look_at(opened, other)
    opened.keyboard.press("p")
    assert sorted(picked(opened), key=int) == sorted(map(str, before), key=int)
    opened.keyboard.press("m")
    wait_until(opened, lambda: len(set(roots())) == 1, 5, "the two are one")

    opened.get_by_role("button", name="Share this view").focus()
    opened.keyboard.press("Control+z")
    wait_until(opened, lambda: roots() == before, 5, "undone from the panel")
    opened.keyboard.press("Control+Shift+Z")
    wait_until(opened, lambda: len(set(roots())) == 1, 5, "done again")
    # The server knows it first: the page's own next step is taken when the page shows it.
    newest = opened.locator(".entry").first
    wait_until(opened, lambda: newest.inner_text().startswith("You redid"), 5, "the page's news")

    opened.evaluate("testBridge.focus()")
    opened.keyboard.press("q")
    look_at(opened, one)
    opened.keyboard.press("w")
    opened.keyboard.press("Enter")
    verdict = opened.locator(".verdict")
    wait_until(opened, lambda: "voxels" in verdict.inner_text(), 10, "the preview's sizes")
    assert len(set(roots())) == 1
    opened.keyboard.press("Enter")
    wait_until(opened, lambda: len(set(roots())) == 2, 10, "split again")
    wait_for(opened, "!document.querySelector('details.split').open", 15)


def test_every_control_is_reached_by_tab_and_shows_it(opened: Page) -> None:
    opened.get_by_role("link", name="Mitoglance").focus()
    reached = []
    for _ in range(40):
        focused = opened.evaluate(_FOCUSED)
        if not focused["isInPanel"]:
            break
        assert focused["outlineStyle"] == "solid", focused["name"]
        reached.append(focused["name"])
        opened.keyboard.press("Tab")
    words = " ".join(reached)
    for name in ("Theme", "help", "Hide the panel", "Your name", "Slice", "Box", "Model", "Undo"):
        assert name in words
    for name in ("Orthoplane", "Parameters", "Redo", "Split an object", "imported", "Share"):
        assert name in words
    assert "All objects" in words


def test_the_least_sure_objects_are_listed_first_and_shown_by_a_click(
    opened: Page, labelled: Server, shot: Callable[..., Path]
) -> None:
    opened.locator("details", has_text="All objects").locator("summary").click()
    rows = opened.locator(".object")
    wait_until(opened, lambda: rows.count() > 0, 10, "the list")
    path = "/volumes/tissue/objects?sort=probability&limit=50"
    expected = labelled.request("GET", path)["objects"]
    assert [row.get_attribute("data-id") for row in rows.all()] == [o["id"] for o in expected]
    assert rows.first.locator(".figure").inner_text().strip() == "57%"
    assert "57%" in str(rows.first.locator(".figure").get_attribute("title"))
    rows.first.click()
    assert picked(opened) == [expected[0]["id"]]
    z, y, x = opened.evaluate("testBridge.view().panels[0].centre")
    assert [z, y, x] == pytest.approx([v + 0.5 for v in expected[0]["centroid"]], abs=0.01)
    assert rows.first.get_attribute("aria-current") == "true"
    for scheme in ("light", "dark"):
        opened.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        opened.wait_for_timeout(250)  # until colours have faded over
        shot(f"objects-{scheme}")
    opened.get_by_label("Order of the objects").select_option("-voxels")
    largest = labelled.request("GET", "/volumes/tissue/objects?limit=1")["objects"][0]
    wait_until(
        opened, lambda: rows.first.get_attribute("data-id") == largest["id"], 10, "the new order"
    )
    unknown = next(o["id"] for o in expected if o["probability"] is None)
    row = opened.locator(f".object[data-id='{unknown}']")
    assert row.locator(".figure").inner_text().strip() == "–"
    assert not opened.get_by_label("Class of the objects").is_visible(), "there is no choice"
    opened.keyboard.press("Escape")


def test_objects_of_one_class_are_listed_by_keyboard(
    page: Page, labelled: Server, shot: Callable[..., Path]
) -> None:
    open_volume(page, labelled.url, "kinds")
    page.locator("details", has_text="All objects").locator("summary").click()
    choice = page.get_by_label("Class of the objects")
    choice.wait_for(timeout=10_000)
    assert choice.locator("option").all_inner_texts() == [
        "All classes", "lipid droplet", "mitochondrion",
    ]  # fmt: skip
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.wait_for_timeout(250)  # until colours have faded over
        shot(f"classes-{scheme}")
    page.get_by_label("Order of the objects").focus()
    page.keyboard.press("Tab")
    # Pressed again before the first answer is there: what counts is what was chosen last.
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    path = "/volumes/kinds/objects?sort=probability&limit=50"
    found = labelled.request("GET", f"{path}&class=mitochondrion")["objects"]
    ids = [row["id"] for row in found]
    wait_until(
        page,
        lambda: page.locator(".object").evaluate_all("all => all.map(e => e.dataset.id)") == ids,
        10,
        "the objects of the class alone",
    )
    assert choice.input_value() == "mitochondrion"
    assert 0 < len(ids) < len(labelled.request("GET", path)["objects"])


def test_help_lists_the_bound_keys_and_closes_with_escape(
    opened: Page, shot: Callable[..., Path]
) -> None:
    opened.keyboard.press("Shift+Slash")
    dialog = opened.get_by_role("dialog")
    for text in ("Segment the slice under view", "Ctrl+Shift+Z", "Merge the picked objects"):
        assert dialog.get_by_text(text).first.is_visible()
    shot("help")
    opened.keyboard.press("Escape")
    assert not dialog.is_visible()


def test_a_click_in_the_history_shows_that_version(
    opened: Page, labelled: Server, pair: tuple[Voxel, Voxel], shot: Callable[..., Path]
) -> None:
    one, other = pair
    then = str(labelled.root_at("tissue", other, version=1))
    ids = sorted({labelled.root_at("tissue", v) for v in pair})
    labelled.request("POST", "/volumes/tissue/merge", {"ids": [str(i) for i in ids]}, user="bob")
    head = labelled.head("tissue")
    now = str(labelled.root_at("tissue", other))
    look_at(opened, one)
    wait_until(opened, lambda: shown_version(opened).endswith(f"version {head}"), 3, "the news")
    assert opened.locator(".entry").first.inner_text().startswith("bob merged 2 objects")

    opened.locator(".entry", has_text="imported").click()
    wait_until(opened, lambda: shown_version(opened) == "version 1", 5, "version 1 is shown")
    wait_for(opened, "JSON.stringify(testBridge.viewState()).includes('tissue@1')", 5)
    wait_for(opened, "viewer.isReady()")
    assert id_under(opened, other) == then
    assert opened.get_by_text("read-only").first.is_visible()
    assert opened.locator(".tile", has_text="Slice").is_disabled()
    opened.keyboard.press("Control+z")
    assert opened.locator(".toast", has_text="Edit from here").is_visible()
    assert labelled.head("tissue") == head
    shot("history-version-1")

    opened.get_by_role("button", name="Back to latest").click()
    wait_until(opened, lambda: shown_version(opened).startswith("live"), 5, "live again")
    wait_for(opened, "!JSON.stringify(testBridge.viewState()).includes('tissue@1')", 5)
    wait_for(opened, "viewer.isReady()")
    assert id_under(opened, other) == now


def test_objects_are_deleted_and_anybodys_operation_is_undone_from_the_history(
    opened: Page, labelled: Server, pair: tuple[Voxel, Voxel], shot: Callable[..., Path]
) -> None:
    one, _ = pair
    root = labelled.root_at("tissue", one)
    head = labelled.head("tissue")
    pick(opened, one)
    opened.keyboard.press("Delete")
    wait_until(opened, lambda: labelled.head("tissue") == head + 1, 5, "the object is deleted")
    newest = opened.locator(".entry").first
    wait_until(opened, lambda: "deleted 1 object" in newest.inner_text(), 5, "the page's news")
    wait_until(opened, lambda: id_under(opened, one) is None, 5, "nothing is drawn there")
    assert picked(opened) == []

    # Somebody else's later edit elsewhere does not stand in the way.
    labelled.request(
        "POST", "/volumes/tissue/paint", {"target": "new", "points": [[0, 0, 0]]}, user="bob"
    )
    wait_until(opened, lambda: "bob painted" in newest.inner_text(), 5, "bob's news")
    row = opened.locator(".history-row", has_text="deleted")
    row.hover()
    shot("history-undo-this")
    row.get_by_role("button", name="Undo this").click()
    wait_until(opened, lambda: labelled.root_at("tissue", one) == root, 5, "it is back")
    wait_until(opened, lambda: "You undid a deletion" in newest.inner_text(), 5, "the news of it")
    wait_until(opened, lambda: id_under(opened, one) == str(root), 5, "drawn again")
    assert "is-undone" in (row.first.get_attribute("class") or "")


def test_a_name_is_kept_and_signs_edits(opened: Page, labelled: Server) -> None:
    field = opened.get_by_label("Your name")
    field.fill("Zoë Ångström")
    field.press("Enter")
    open_volume(opened, labelled.url, "tissue")
    assert opened.get_by_label("Your name").input_value() == "Zoë Ångström"
    before = labelled.head("tissue")
    roots = np.unique(labelled.labels("tissue", (0, 0, 0), (96, 192, 192)))[-2:]
    opened.evaluate("(ids) => testBridge.select(ids)", [str(root) for root in roots])
    opened.keyboard.press("m")
    wait_until(opened, lambda: labelled.head("tissue") == before + 1, 10, "the merge")
    assert labelled.operations("tissue")[0]["user"] == "Zoë Ångström"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_both_themes_can_be_read(
    second_context: BrowserContext, labelled: Server, theme: Any, shot: Callable[..., Path]
) -> None:
    page = second_context.new_page()
    page.emulate_media(color_scheme=theme)
    open_volume(page, labelled.url, "tissue")
    wait_for(page, "document.querySelectorAll('.entry').length > 0")
    shot(f"page-{theme}", page)
    page.get_by_label("Contrast of the image (C)").click()
    wait_for(page, _IS_GAMMA_SHOWN)
    shot(f"contrast-{theme}", page)
    texts = page.evaluate(_CONTRASTS)
    assert {"invert", "gamma"} <= {text for text, _ in texts}
    for text, contrast in texts:
        assert contrast >= 4.5, text
    # A box that was just ticked takes the space bar, and no other key.
    page.get_by_label("Follow").focus()
    page.keyboard.press("c")
    wait_for(page, f"!({_IS_GAMMA_SHOWN})")
    page.set_viewport_size({"width": 420, "height": 760})
    page.wait_for_timeout(300)
    shot(f"narrow-{theme}", page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 420
    assert page.evaluate("testBridge.view().panels.every(({ width }) => width > 100)")
