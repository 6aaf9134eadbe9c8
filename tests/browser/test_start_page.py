"""The start page: published datasets are found by typing, opened by a key, seen where they lie."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from looking import (
    colour_at,
    id_under,
    is_coloured,
    look_at,
    pick,
    picked,
    wait_ready,
    wait_until,
)
from openorganelle_bucket import ONE, ONE_NM, OTHER, OTHER_NM
from playwright.sync_api import BrowserContext, Page
from serving import Server


def names(page: Page) -> list[str]:
    found: list[str] = page.locator(".dataset:not([hidden]) .name").all_text_contents()
    return found


def test_a_dataset_is_found_by_typing_and_opened_by_a_key(
    page: Page, openorganelle_server: Server, shot: Callable[..., Path]
) -> None:
    # Nobody may reach out of this machine: a picture that never comes must disturb nothing.
    page.route("https://**", lambda route: route.abort())
    page.goto(openorganelle_server.url)
    assert len(names(page)) == 47
    page.keyboard.press("/")
    page.keyboard.type("MOUSE kid")
    wait_until(page, lambda: len(names(page)) == 3, 5, "three kidneys")
    assert page.locator("#found").inner_text() == "3 datasets"
    shot("start-page")
    # Pictures that did not come leave the mark.
    broken = page.locator(".dataset:not([hidden]) img.is-missing")
    wait_until(page, lambda: broken.count() == 3, 5, "no broken pictures")
    page.keyboard.type("ney empanada")
    wait_until(page, lambda: names(page) == ["jrc_mus-kidney"], 5, "one kidney")
    page.keyboard.press("Enter")
    page.wait_for_url("**/v/**")
    wait_ready(page)
    credit = page.locator(".credit-line")
    assert credit.inner_text() == "Mouse Kidney · CC BY 4.0 · cite 1 · cite 2"
    assert page.locator(".notes").count() == 0

    # The published objects lie on the image, by nanometres: where it is dark.
    one, other = ([int(c // 16) for c in place] for place in (ONE_NM, OTHER_NM))
    # Not on the lines of the axes.
    beside = [one[0], one[1] + 4, one[2] + 12]
    look_at(page, one, 0.25, layout="xy")
    assert id_under(page, one) == str(ONE)
    assert is_coloured(colour_at(page, one))
    assert not is_coloured(colour_at(page, beside))
    # And are proofread there.
    look_at(page, other, 0.25, layout="xy")
    pick(page, other)
    assert picked(page) == [str(OTHER)]
    page.keyboard.press("Delete")
    wait_until(page, lambda: openorganelle_server.head("jrc_mus-kidney") == 1, 10, "the deletion")
    assert openorganelle_server.root_at("jrc_mus-kidney", other) == 0
    shot("published-kidney")


def test_filters_go_together_and_what_cannot_be_opened_says_why(
    page: Page, openorganelle_server: Server, shot: Callable[..., Path]
) -> None:
    page.route("https://**", lambda route: route.abort())
    page.goto(openorganelle_server.url)
    page.get_by_label("With published mitochondria").check()
    assert "jrc_hela-2" in names(page)
    assert "jrc_hela-21" not in names(page)
    page.get_by_label("Organism").select_option("Zebrafish")
    assert names(page) == []
    assert page.locator("#nothing").is_visible()
    page.get_by_label("With published mitochondria").uncheck()
    assert names(page) == ["ours", "jrc_zf-cardiac-1"] or set(names(page)) == {
        "ours", "jrc_zf-cardiac-1"
    }  # fmt: skip
    # Words of a catalogue are text, never markup.
    assert page.locator(".dataset b").count() == 0
    button = page.get_by_role("button", name="Liver of ours, <b>fasted</b>")
    button.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#trouble:visible")
    assert page.locator("#trouble").inner_text().startswith("ours could not be opened. ")
    assert button.is_enabled()
    shot("start-page-trouble")


def test_the_blogs_view_is_one_click(page: Page, openorganelle_server: Server) -> None:
    page.route("https://**", lambda route: route.abort())
    page.goto(openorganelle_server.url)
    # Nobody has to look for it.
    assert names(page)[0] == "jrc_mus-kidney"
    with page.expect_request("**/d/jrc_mus-kidney?view=empanada-blog"):
        page.get_by_text("A view like that of the empanada blog post").click()
    page.wait_for_url("**/v/**")


def test_the_start_page_fits_narrow_and_light_screens(
    second_context: BrowserContext, openorganelle_server: Server, shot: Callable[..., Path]
) -> None:
    page = second_context.new_page()
    page.route("https://**", lambda route: route.abort())
    page.emulate_media(color_scheme="light")
    for width in (1100, 700, 360):
        page.set_viewport_size({"width": width, "height": 800})
        page.goto(openorganelle_server.url)
        page.wait_for_selector(".dataset")
        overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert overflow <= 0
        shot(f"start-page-{width}", of=page)
