"""The card that segments: three ways, parameters that are sent and kept, and asking first."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from looking import colour_at, look_at, open_volume, view_state, wait_for, wait_ready, wait_until
from playwright.sync_api import BrowserContext, Locator, Page, Request
from serving import Server, workers_at_rest

CENTRE = (48, 96, 96)
CLOSE = 0.11
"""A zoom at which the visible box is a small one: about 45 voxels a side."""

MAPS = ("probability", "centres")
SEGMENTS = "/api/v1/volumes/tissue/segment"


@pytest.fixture
def opened(page: Page, labelled: Server) -> Page:
    open_volume(page, labelled.url, "tissue")
    look_at(page, CENTRE, CLOSE)
    return page


@pytest.fixture
def sent(opened: Page) -> list[dict[str, Any]]:
    """The bodies of every request to segment, as they come."""
    bodies: list[dict[str, Any]] = []

    def note(request: Request) -> None:
        if request.method == "POST" and request.url.endswith(SEGMENTS):
            bodies.append(json.loads(request.post_data or "{}"))

    opened.on("request", note)
    return bodies


def unfold(page: Page) -> None:
    page.locator(".parameters summary").click()


def chips(page: Page) -> list[str]:
    return page.locator(".parameters .chip").all_inner_texts()


def tile(page: Page, name: str) -> Locator:
    return page.locator(".tile", has_text=name)


def ended(page: Page, seconds: float = 240) -> str:
    """Wait for the end of the running segmentation and return what the card says then."""
    line = page.locator(".status")
    # It began with the click: the line said so before the click's handler ended.
    wait_until(
        page, lambda: "is-running" not in (line.get_attribute("class") or ""), seconds, "it ended"
    )
    return line.locator(".status-text").inner_text()


def newest(server: Server) -> dict[str, Any]:
    return server.operations("tissue")[0]


def test_parameters_are_sent_and_stand_in_the_history(
    opened: Page, labelled: Server, sent: list[dict[str, Any]]
) -> None:
    models = opened.get_by_label("Model")
    marked = models.locator("optgroup[label='Research only'] option")
    assert marked.all_inner_texts() == ["mitoglance_research"]
    note = opened.get_by_text("Research only, not for commercial use")
    assert not note.is_visible()
    models.select_option("mitoglance_research")
    assert note.is_visible()
    models.select_option("mitoglance_small")
    assert not note.is_visible()
    unfold(opened)
    opened.get_by_label("Confidence", exact=True).fill("0.7")
    opened.get_by_label("Fine boundaries").check()
    opened.get_by_label("Voxel size").fill("20")
    opened.get_by_label("Existing labels").select_option("fill-empty")
    opened.get_by_label("Arithmetic").select_option("empanada-exact")
    wait_until(opened, lambda: "20 nm" in tile(opened, "Slice").inner_text(), 10, "the other level")
    tile(opened, "Slice").click()
    assert ended(opened).startswith("Done")
    (body,) = sent
    assert body["parameters"] == {"confidence_thr": 0.7, "fine_boundaries": True}
    assert (body["voxel_size_nm"], body["existing"], body["mode"]) == (20, "fill-empty", "slice")
    assert body["centre"] == list(CENTRE)
    assert not {"grey_range", "dry_run", "engine"} & set(body)
    provenance = newest(labelled)["provenance"]
    assert body["preset"] == provenance["preset"] == "empanada-exact"
    assert provenance["parameters"]["confidence_thr"] == 0.7
    assert provenance["parameters"]["fine_boundaries"] is True
    assert (provenance["level"], provenance["existing"]) == (1, "fill-empty")


def test_heat_maps_lie_over_the_image_where_they_are_known(
    opened: Page,
    labelled: Server,
    sent: list[dict[str, Any]],
    second_context: BrowserContext,
    shot: Callable[..., Path],
) -> None:
    look_at(opened, (60, 90, 90), 0.35)
    unfold(opened)
    opened.get_by_label("Keep heat maps").check()
    opened.get_by_label("Mirror images").check()
    unfold(opened)
    assert sorted(chips(opened)) == ["keep heat maps", "mirror images"]
    tile(opened, "Slice").click()
    assert ended(opened).startswith("Done")
    assert sent[0]["maps"] is True
    assert sent[0]["parameters"] == {"test_time_augmentation": True}
    layers = {layer["name"]: layer for layer in view_state(opened)["layers"]}
    assert layers["probability"]["type"] == layers["centres"]["type"] == "image"
    assert layers["probability"].get("visible", True)
    assert layers["centres"]["visible"] is False
    wait_for(opened, "viewer.isReady()")
    # Labels aside: what is left are grey values and the map over them.
    opened.evaluate("testBridge.removeLayer('mitochondria')")
    wait_for(opened, "viewer.isReady()")
    shot("heat-map")
    roi = newest(labelled)["provenance"]["roi"]
    (_, y0, x0), (_, height, width) = roi["offset"], roi["shape"]
    inside = [(60, y0 + height * k // 9, x0 + width * k // 9) for k in range(1, 9)]
    assert all(is_tinted(colour_at(opened, voxel)) for voxel in inside)
    look_at(opened, (64, 90, 90), 0.35)
    assert not any(is_tinted(colour_at(opened, (64, y, x))) for _, y, x in inside)
    # Switched by hand, the layers stay as they are through a reload and a share.
    for name in MAPS:
        opened.locator(".neuroglancer-layer-item", has_text=name).locator(
            ".neuroglancer-layer-item-label"
        ).click()
    opened.wait_for_timeout(1500)
    opened.reload()
    wait_ready(opened)
    look_at(opened, (60, 90, 90), 0.35)
    address = opened.get_by_label("Link to this view")
    opened.keyboard.press("k")
    wait_until(opened, lambda: "/s/" in address.input_value(), 10, "a link")
    guest = second_context.new_page()
    guest.goto(address.input_value())
    wait_ready(guest)
    for page in (opened, guest):
        layers = {layer["name"]: layer for layer in view_state(page)["layers"]}
        assert [layers[name].get("visible", True) for name in MAPS] == [False, True]
        assert all(is_tinted(colour_at(page, voxel)) for voxel in inside)


def is_tinted(colour: tuple[int, int, int]) -> bool:
    return max(colour) - min(colour) > 3


def test_what_differs_is_seen_on_the_closed_form_kept_and_reset(
    opened: Page, labelled: Server
) -> None:
    assert chips(opened) == []
    unfold(opened)
    opened.get_by_label("Min size").fill("90")
    opened.get_by_label("One view is enough").check()
    opened.get_by_label("Existing labels").select_option("replace-all")
    unfold(opened)
    expected = ["one view is enough", "min size 90", "replace all"]
    assert chips(opened) == expected
    open_volume(opened, labelled.url, "tissue")
    assert chips(opened) == expected
    opened.get_by_role("button", name="Reset").click()
    assert chips(opened) == []
    unfold(opened)
    assert opened.get_by_label("Min size").input_value() == "500"
    open_volume(opened, labelled.url, "tissue")
    assert chips(opened) == []


def test_a_kept_text_that_is_no_longer_right_is_as_if_nothing_were_kept(
    opened: Page, labelled: Server
) -> None:
    for text in ("{oops", '{"confidence_thr": 9, "colour": "red", "min_size": 40}', "null", "[]"):
        opened.evaluate("(t) => localStorage.setItem('mitoglance-parameters:/tissue', t)", text)
        open_volume(opened, labelled.url, "tissue")
        assert chips(opened) == (["min size 40"] if "40" in text else [])


def test_a_wrong_value_is_shown_at_its_field_and_never_sent(
    opened: Page, sent: list[dict[str, Any]], shot: Callable[..., Path]
) -> None:
    jobs = opened.evaluate("document.querySelector('.status-text').textContent")
    assert jobs == ""
    unfold(opened)
    for label, wrong, says in (
        ("Confidence", "1.5", "Must be from 0.1 to 0.9."),
        ("Median sections", "4", "Must be odd, from 1 to 11."),
        ("Erode", "0.5", "Must be a whole number from 0 to 50."),
        ("Voxel size", "0", "Must be from 0.1 to 10,000."),
    ):
        field = opened.get_by_label(label, exact=True)
        usual = field.input_value()
        field.fill(wrong)
        row = opened.locator(".setting", has=field)
        assert row.get_by_role("alert").inner_text() == says
        assert field.get_attribute("aria-invalid") == "true"
        unfold(opened)
        assert "not valid" in chips(opened)[0]
        tile(opened, "Slice").click()
        if label == "Median sections":
            shot("parameters-wrong")
        assert "Correct the marked parameter" in opened.locator(".status.is-error").inner_text()
        assert field.is_visible()
        assert opened.evaluate("document.activeElement.id") == field.get_attribute("id")
        field.fill(usual)
        assert not row.get_by_role("alert").is_visible()
    assert sent == []
    assert opened.evaluate("localStorage.getItem('mitoglance-parameters:/tissue')") is None


def test_an_emptied_field_means_the_default(opened: Page, sent: list[dict[str, Any]]) -> None:
    unfold(opened)
    field = opened.get_by_label("Median sections")
    field.fill("7")
    field.fill("")
    field.press("Tab")
    assert field.input_value() == "3"
    assert chips(opened) == []


def test_the_arrow_keys_go_from_one_sensible_value_to_the_next(opened: Page) -> None:
    unfold(opened)
    for label, expected in (("Confidence", "0.55"), ("Median sections", "5"), ("Voxel size", "1")):
        field = opened.get_by_label(label, exact=True)
        field.press("ArrowUp")
        assert field.input_value() == expected
    opened.get_by_label("Voxel size").press("ArrowUp")
    assert opened.get_by_label("Voxel size").input_value() == "2"
    opened.mouse.move(*centre_of(opened.get_by_label("Voxel size")))
    opened.mouse.wheel(0, 40)
    assert kept_values(opened) == {"confidence_thr": 0.55, "median_slices": 5, "voxel_size_nm": 2}


def centre_of(control: Locator) -> tuple[float, float]:
    box = control.bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def kept_values(page: Page) -> dict[str, Any]:
    kept: str = page.evaluate("localStorage.getItem('mitoglance-parameters:/tissue')")
    found: dict[str, Any] = json.loads(kept)
    return found


def test_a_model_has_its_own_defaults_and_a_choice_against_them_is_kept(
    opened: Page, labelled: Server, sent: list[dict[str, Any]], shot: Callable[..., Path]
) -> None:
    models, mirrors = opened.get_by_label("Model"), opened.get_by_label("Mirror images")
    chips = opened.locator(".parameters .chip")
    unfold(opened)
    assert not mirrors.is_checked()
    models.select_option("mitoglance_research")
    assert mirrors.is_checked()
    assert chips.count() == 0
    mirrors.uncheck()
    assert chips.all_inner_texts() == ["not mirror images"]
    mirrors.scroll_into_view_if_needed()
    shot("segment-own-defaults")
    models.select_option("mitoglance_small")
    assert not mirrors.is_checked()
    assert chips.count() == 0
    opened.reload()
    models.wait_for()
    models.select_option("mitoglance_research")
    unfold(opened)
    assert not mirrors.is_checked()
    tile(opened, "Slice").click()
    ended(opened)
    assert sent[0]["parameters"] == {"test_time_augmentation": False}
    opened.get_by_role("button", name="Reset").click()
    assert mirrors.is_checked()


def test_asking_first_changes_nothing_and_do_it_does_it(
    opened: Page, labelled: Server, sent: list[dict[str, Any]], shot: Callable[..., Path]
) -> None:
    unfold(opened)
    opened.get_by_label("Existing labels").select_option("replace-all")
    unfold(opened)
    head = labelled.head("tissue")
    opened.get_by_role("button", name="What would Slice change?").click()
    said = ended(opened)
    assert said.startswith("Slice: ")
    assert said.endswith("Nothing was changed.")
    assert "would be added" in said
    assert labelled.head("tissue") == head
    do_it = opened.get_by_role("button", name="Do it")
    shot("segment-do-it")
    do_it.click()
    assert ended(opened).startswith("Done")
    assert labelled.head("tissue") == head + 1
    assert not do_it.is_visible()
    first, second = sent
    assert first.pop("dry_run") is True
    assert first.pop("request_id") != second.pop("request_id")
    assert first == second
    assert newest(labelled)["provenance"]["existing"] == "replace-all"


def test_what_was_offered_is_withdrawn_when_something_else_would_be_sent(opened: Page) -> None:
    do_it = opened.get_by_role("button", name="Do it")
    for withdraw in (
        lambda: opened.keyboard.press("Escape"),
        lambda: opened.get_by_label("Existing labels").select_option("fill-empty"),
    ):
        unfold(opened)
        opened.get_by_label("Existing labels").select_option("replace-all")
        opened.get_by_role("button", name="What would Slice change?").click()
        ended(opened)
        assert do_it.is_visible()
        withdraw()
        assert not do_it.is_visible()
        unfold(opened)


@pytest.mark.timeout(600)
def test_three_planes_vote_on_a_small_box(
    opened: Page, labelled: Server, sent: list[dict[str, Any]]
) -> None:
    unfold(opened)
    opened.get_by_label("Keep the three stacks").check()
    unfold(opened)
    opened.keyboard.press("t")
    texts = []
    line = opened.locator(".status-text")
    wait_until(
        opened,
        lambda: bool(texts.append(line.inner_text()) or texts[-1].startswith("Done")),
        500,
        "the job is done",
    )
    assert any("ection" in text or "lock" in text for text in texts), "progress is shown"
    assert sent[0]["mode"] == "orthoplane"
    provenance = newest(labelled)["provenance"]
    assert (provenance["mode"], provenance["plane"]) == ("orthoplane", "xy")
    assert provenance["centre"] == list(CENTRE)
    assert max(provenance["level_roi"]["shape"]) < 64
    # What each plane shows by itself lies beside the result, to be switched on.
    assert sent[0]["stacks"] is True
    layers = {layer["name"]: layer for layer in view_state(opened)["layers"]}
    stacks = [layers[f"stack {plane}"] for plane in ("xy", "xz", "yz")]
    assert all((s["type"], s["visible"]) == ("segmentation", False) for s in stacks)


def test_contrast_as_shown_is_sent_and_inverted_when_the_range_is(
    opened: Page, labelled: Server, sent: list[dict[str, Any]]
) -> None:
    unfold(opened)
    opened.get_by_label("Contrast", exact=True).select_option("shown")
    note = opened.locator(".setting-note")
    for low, high, says in ((40, 200, "black 40, white 200"), (210, 30, "white 30: inverted")):
        show(opened, low, high)
        wait_until(opened, lambda says=says: says in note.inner_text(), 5, "the range is said")
        tile(opened, "Slice").click()
        assert ended(opened).startswith("Done")
        assert sent[-1]["grey_range"] == {"low": low, "high": high}
        assert newest(labelled)["provenance"]["grey_range"] == {"low": low, "high": high}
    # The range of the data type itself is left out of the viewer's state.
    show(opened, 0, 255)
    wait_until(opened, lambda: "white 255" in note.inner_text(), 5, "the range is said")
    assert "range" not in json.dumps(opened.evaluate("testBridge.viewState().layers[0]"))
    show(opened, 90, 90)
    wait_until(opened, lambda: not note.is_visible(), 5, "there is none")
    tile(opened, "Slice").click()
    assert "same grey" in opened.locator(".setting-problem:visible").inner_text()
    assert len(sent) == 2


def show(page: Page, low: float, high: float) -> None:
    """Move the ends of the contrast control of the image layer."""
    page.evaluate(
        """([low, high]) => {
            const { state } = viewer.layerManager.getLayerByName("em").layer.shaderControlState;
            const { trackable } = state.get("contrast");
            trackable.value = { ...trackable.value, range: [low, high] };
        }""",
        [low, high],
    )


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_card_is_seen_in_both_themes(
    second_context: BrowserContext, labelled: Server, theme: Any, shot: Callable[..., Path]
) -> None:
    page = second_context.new_page()
    page.emulate_media(color_scheme=theme)
    open_volume(page, labelled.url, "tissue")
    wait_for(page, "!document.querySelector('.tiles').textContent.includes('…')")
    shot(f"segment-closed-{theme}", page)
    unfold(page)
    page.get_by_label("Confidence", exact=True).fill("0.65")
    page.get_by_label("Contrast", exact=True).select_option("shown")
    page.get_by_label("Existing labels").select_option("replace-all")
    page.set_viewport_size({"width": 1100, "height": 1120})
    page.wait_for_timeout(300)
    shot(f"segment-open-{theme}", page)
    unfold(page)
    page.wait_for_timeout(200)
    shot(f"segment-chips-{theme}", page)
    for name in page.evaluate(
        "[...document.querySelectorAll('.tile-name, .tile-size, .setting label')]"
        ".filter((e) => e.scrollWidth > e.clientWidth).map((e) => e.textContent)"
    ):
        raise AssertionError(f"cut off: {name}")


def test_finished_blocks_are_seen_while_others_are_computed(
    opened: Page, labelled: Server, shot: Callable[..., Path]
) -> None:
    before = labelled.head("tissue")
    # 90 sections: three blocks, the middle one first.
    look_at(opened, CENTRE, 0.22)
    tile(opened, "Box").click()
    layer = "viewer.layerManager.getLayerByName('found so far')"
    wait_for(opened, f"{layer} !== undefined", 120)
    with workers_at_rest():
        wait_for(opened, "viewer.isReady()", 60)
        shot("found-so-far")
        assert labelled.head("tissue") == before
    assert ended(opened).startswith("Done")
    assert labelled.head("tissue") == before + 1
    wait_for(opened, f"{layer} === undefined", 10)
