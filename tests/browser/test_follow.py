"""Follow mode: labels come as one pans, and what is no longer in view is given up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from looking import colour_at, is_coloured, look_at, open_volume, wait_ready, wait_until
from playwright.sync_api import Page, Route
from serving import Server

SCALE = 0.4
NEAR_S = 60

MOVES = """async () => {
    const { predicted, shareSeen } = await import("/static/js/follow.js");
    const at = (z, y, x, zoom = 1) =>
        ({ centre: [z, y, x], right: [0, 0, zoom], down: [0, zoom, 0], width: 100, height: 50 });
    const now = at(48, 10, 10);
    return [
        ...[now, at(48.4, 10, 60), at(49, 10, 10), at(48, 61, 10)].map((v) => shareSeen(now, v)),
        ...[at(44, 10, 10), at(48, 10, -40)].map((before) => predicted(before, now).centre),
        predicted(now, now), predicted(at(48, 10, 400), now), predicted(at(48, 10, 60, 2), now),
    ];
}"""


def jobs(server: Server, kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = server.request("GET", "/jobs?volume=tissue")["jobs"]
    return [job for job in found if job["kind"] == kind]


def status(page: Page) -> str:
    return page.locator(".status-text").inner_text()


@pytest.fixture
def empty(page: Page, labelled: Server) -> Page:
    """The page over the volume as it was before anything was labelled."""
    labelled.request("POST", "/volumes/tissue/revert", {"version": 0})
    open_volume(page, labelled.url, "tissue")
    look_at(page, (48, 96, 96), SCALE, "xy")
    return page


def test_labels_come_as_one_pans_and_what_is_left_is_given_up(
    empty: Page, labelled: Server, shot: Callable[..., Path]
) -> None:
    page = empty
    assert page.evaluate(MOVES) == [1, 0.5, 0, 0, [52, 10, 10], [48, 10, 60], None, None, None]
    head = labelled.head("tissue")
    followed = page.get_by_label("Follow")
    assert not followed.is_checked()
    page.keyboard.press("f")
    assert followed.is_checked()
    wait_until(page, lambda: labelled.head("tissue") == head + 1, NEAR_S, "the first view")
    wait_until(page, lambda: "added" in status(page), 10, "it is said")
    section = labelled.labels("tissue", (48, 60, 40), (1, 70, 110))[0]
    y, x = np.argwhere(section == np.bincount(section[section > 0].astype(int)).argmax())[50]
    at = (48, int(y) + 60, int(x) + 40)
    wait_until(page, lambda: is_coloured(colour_at(page, at)), 10, "labels are seen")
    shot("follow")
    newest = labelled.operations("tissue")[0]
    assert newest["provenance"]["purpose"] == "follow"
    assert newest["provenance"]["existing"] == "fill-empty"

    look_at(page, (50, 96, 96), SCALE, "xy")
    wait_until(page, lambda: labelled.head("tissue") == head + 2, NEAR_S, "the second view")
    assert labelled.operations("tissue")[0]["bbox"]["offset"][0] == 50
    # The next one is got ready, and is no operation.
    wait_until(
        page, lambda: [j["state"] for j in jobs(labelled, "warm")] == ["done"], NEAR_S, "warm"
    )
    assert labelled.head("tissue") == head + 2

    # While the worker is busy with somebody else's job, the view moves on twice.
    whole = {"offset": [0, 0, 0], "shape": [96, 192, 192]}
    other = {"roi": whole, "mode": "stack", "parameters": {"confidence_thr": 0.37}}
    busy = labelled.request("POST", "/volumes/tissue/segment", other)["job_id"]
    look_at(page, (30, 96, 96), SCALE, "xy")
    wait_until(page, lambda: len(jobs(labelled, "follow")) == 3, 10, "it is asked for")
    look_at(page, (20, 96, 96), SCALE, "xy")
    wait_until(page, lambda: len(jobs(labelled, "follow")) == 4, 10, "the next one is asked for")
    expected = ["queued", "cancelled", "done", "done"]
    wait_until(
        page, lambda: [j["state"] for j in jobs(labelled, "follow")] == expected, 10, "it is left"
    )
    labelled.request("DELETE", f"/jobs/{busy}")
    wait_until(page, lambda: labelled.head("tissue") == head + 3, NEAR_S, "the last view")
    assert labelled.operations("tissue")[0]["bbox"]["offset"][0] == 20

    page.keyboard.press("Escape")
    assert not followed.is_checked()
    look_at(page, (60, 96, 96), SCALE, "xy")
    page.wait_for_timeout(1200)
    assert len(jobs(labelled, "follow")) == 4


def test_it_stops_itself_on_an_error_and_is_off_in_a_new_page(
    empty: Page, labelled: Server, shot: Callable[..., Path]
) -> None:
    page = empty

    def fail(route: Route) -> None:
        error = {"kind": "internal", "message": "The disk is on fire.", "status": 500}
        route.fulfill(status=500, json={"ok": False, "error": error})

    page.route("**/volumes/tissue/segment", fail)
    # Not check(): it may have stopped again before that looks whether it is on.
    page.get_by_label("Follow").click()
    toast = page.locator(".toast.is-error")
    wait_until(page, lambda: toast.count() == 1, 10, "a toast")
    assert "Follow has stopped: The disk is on fire." in toast.inner_text()
    assert not page.get_by_label("Follow").is_checked()
    shot("follow-stopped")
    page.unroute("**/volumes/tissue/segment")
    # A view beside the volume is no error, but waited out.
    look_at(page, (48, 900, 900), SCALE, "xy")
    page.get_by_label("Follow").check()
    wait_until(page, lambda: "outside the volume" in status(page), 10, "it is said")
    assert page.get_by_label("Follow").is_checked()
    shot("follow-outside")
    page.reload()
    wait_ready(page)
    assert not page.get_by_label("Follow").is_checked()
