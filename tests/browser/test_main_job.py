"""The whole product once, on real FIB-SEM, in a real browser: pixels and label values."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from looking import (
    colour_at,
    id_under,
    is_coloured,
    look_at,
    open_volume,
    pick,
    point_at,
    shown_version,
    view_state,
    wait_for,
    wait_ready,
    wait_until,
)
from playwright.sync_api import BrowserContext, Page
from serving import FIBSEM, Server

Ids = npt.NDArray[np.uint64]
Voxel = tuple[int, int, int]

Z = 110
"""A plane with true labels that the embedded model was not trained on."""
CENTRE = (Z, 100, 110)
SIDE = 128
HALF = SIDE // 2 - 14
"""Of the part of a plane that is surely on screen, away from the viewer's buttons."""


def truth() -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return where mitochondria are, and where the truth counts (z 0-119)."""
    with np.load(FIBSEM / "mito_labels_z000-119.npz") as arrays:
        return arrays["inst"] > 0, arrays["ignore"] == 0


def overlap(labels: Ids, offset: list[int]) -> float:
    """Return the foreground IoU of a box of labels with the truth."""
    is_mito, counts = truth()
    box = tuple(slice(o, o + s) for o, s in zip(offset, labels.shape, strict=True))
    is_mito, counts = is_mito[box], counts[box]
    found = (labels[: is_mito.shape[0]] > 0) & counts
    is_mito = is_mito & counts
    return float((found & is_mito).sum() / (found | is_mito).sum())


def finish_job(page: Page, seconds: float) -> str:
    """Wait for the running segmentation and return what the panel says then."""
    status = page.locator(".status-text")
    wait_until(page, lambda: status.inner_text().startswith("Done"), seconds, "the job is done")
    return status.inner_text()


def inner_voxels(plane: Ids, z: int, least: int = 80) -> dict[int, Voxel]:
    """Return, largest object first, a voxel well inside each object of a plane."""
    from scipy import ndimage

    found = {}
    roots, sizes = np.unique(plane[plane > 0], return_counts=True)
    for root in roots[np.argsort(sizes)][::-1][: int((sizes >= least).sum())]:
        depth = ndimage.distance_transform_edt(np.pad(plane == root, 1))[1:-1, 1:-1]
        y, x = np.unravel_index(int(np.argmax(depth)), depth.shape)
        found[int(root)] = (z, int(y), int(x))
    return found


def far_apart(plane: Ids, root: int, z: int) -> tuple[Voxel, Voxel]:
    """Return a voxel well inside each of the two outer thirds of an object, along its length."""
    from scipy import ndimage

    depth = ndimage.distance_transform_edt(plane == root)
    points = np.argwhere(depth > 0)
    centred = points - points.mean(0)
    along = centred @ np.linalg.svd(centred, full_matrices=False)[2][0]
    low, high = np.quantile(along, (0.33, 0.67))
    inside = depth[tuple(points.T)]
    (y0, x0), (y1, x1) = (
        points[np.argmax(np.where(part, inside, 0))] for part in (along < low, along > high)
    )
    return (z, int(y0), int(x0)), (z, int(y1), int(x1))


@pytest.fixture
def other_page(second_context: BrowserContext, fibsem: Server) -> Page:
    """A colleague's page: another browser profile on the same volume."""
    page = second_context.new_page()
    open_volume(page, fibsem.url, "fly")
    return page


def segment_slice(page: Page, server: Server, shot: Callable[..., Path]) -> None:
    look_at(page, CENTRE, scale=0.7)
    point_at(page, (Z, 130, 120))
    page.keyboard.press("g")
    assert "object" in finish_job(page, 60)
    plane = server.labels("fly", (Z, 0, 0), (1, 250, 250))
    assert overlap(plane, [Z, 0, 0]) > 0.6
    for voxel in list(inner_voxels(plane[0], Z).values())[:3]:
        assert is_coloured(colour_at(page, voxel))
    assert page.evaluate("performance.getEntriesByName('mitoglance:segment', 'measure').length")
    shot("main-2-slice")


def segment_box(page: Page, server: Server, shot: Callable[..., Path]) -> int:
    """Segment a box of about 128³; return its plane with most objects, which is shown then."""
    side = page.evaluate("Math.min(...testBridge.view().panels.map((p) => p.width))")
    scale = SIDE / side
    look_at(page, CENTRE, scale)
    page.keyboard.press("Shift+G")
    finish_job(page, 420)
    roi = server.operations("fly")[0]["bbox"]
    assert min(roi["shape"]) > 60
    assert max(roi["shape"]) <= SIDE + 4
    box = server.labels("fly", roi["offset"], roi["shape"])
    assert overlap(box, roi["offset"]) > 0.6
    shot("main-3-box")
    first = roi["offset"][0]
    z = max(
        range(first + 4, first + box.shape[0] - 4, 3),
        key=lambda z: len(inner_voxels(in_view(plane_of(server, z)), z)),
    )
    look_at(page, (z, *CENTRE[1:]), scale)
    return z


def plane_of(server: Server, z: int) -> Ids:
    return server.labels("fly", (z, 0, 0), (1, 250, 250))[0]


def in_view(plane: Ids) -> Ids:
    """Return the plane with only what is surely on screen."""
    shown = np.zeros_like(plane)
    window = tuple(slice(centre - HALF, centre + HALF) for centre in CENTRE[1:])
    shown[window] = plane[window]
    return shown


def merge_two(page: Page, other: Page, server: Server, voxels: tuple[Voxel, Voxel]) -> None:
    look_at(other, (voxels[0][0], *CENTRE[1:]), scale=0.4)
    for voxel in voxels:
        pick(page, voxel)
    one, two = (server.root_at("fly", voxel) for voxel in voxels)
    kept = str(min(one, two))
    page.keyboard.press("m")
    wait_for(page, f"testBridge.selection().join() === '{kept}'", 0.5)
    wait_until(page, lambda: server.root_at("fly", voxels[0]) == int(kept), 2, "merged")
    wait_until(page, lambda: shown_version(other) == shown_version(page), 2, "the colleague's news")
    for which in (page, other):
        assert [id_under(which, voxel) for voxel in voxels] == [kept, kept]


def split_one(page: Page, server: Server, ends: tuple[Voxel, Voxel], shot: Any) -> None:
    page.keyboard.press("x")
    for voxel, key in zip(ends, ("q", "w"), strict=True):
        point_at(page, voxel)
        page.keyboard.press(key)
    page.keyboard.press("Enter")
    verdict = page.locator(".verdict")
    wait_until(page, lambda: "voxels" in verdict.inner_text(), 20, "the preview's sizes")
    assert page.locator(".side .chip").count() == 2
    sizes = [int(n.replace(",", "")) for n in re.findall(r"([\d,]+) voxels", verdict.inner_text())]
    assert min(sizes) > 100, sizes
    wait_for(page, "viewer.isReady()")
    for voxel, (strong, weak) in zip(ends, ((2, 0), (0, 2)), strict=True):
        # Right beside the point, whose marker hides the part under it.
        z, y, x = voxel
        colour = colour_at(page, (z, y, x + 3))
        assert colour[strong] > colour[weak] + 20, "side A is blue, side B orange"
    shot("main-4-preview")
    page.keyboard.press("Enter")
    wait_until(page, lambda: len({server.root_at("fly", v) for v in ends}) == 2, 20, "two objects")
    wait_for(page, "!document.querySelector('details.split').open", 20)
    under = [id_under(page, voxel) for voxel in ends]
    assert under == [str(server.root_at("fly", voxel)) for voxel in ends]


@pytest.mark.timeout(900)
def test_the_main_job_on_real_data(
    page: Page,
    other_page: Page,
    fibsem: Server,
    browser: Any,
    browser_context_args: dict[str, Any],
    shot: Callable[..., Path],
) -> None:
    page.set_viewport_size({"width": 1000, "height": 740})
    open_volume(page, fibsem.url, "fly")
    shot("main-1-open")
    segment_slice(page, fibsem, shot)
    z = segment_box(page, fibsem, shot)
    before = plane_of(fibsem, z)
    roots = inner_voxels(in_view(before), z)
    assert len(roots) >= 3, roots
    (long, _), (_, one), (_, two), *_ = roots.items()

    merge_two(page, other_page, fibsem, (one, two))
    merged = plane_of(fibsem, z)
    split_one(page, fibsem, far_apart(in_view(merged), long, z), shot)

    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    undone = lambda: bool(np.array_equal(plane_of(fibsem, z), before))  # noqa: E731
    wait_until(page, undone, 20, "both are undone")
    page.keyboard.press("Control+Shift+Z")
    redone = lambda: bool(np.array_equal(plane_of(fibsem, z), merged))  # noqa: E731
    wait_until(page, redone, 20, "the merge is back")

    link, state, voxel, then = share(page, fibsem, roots, shot)
    fresh = browser.new_context(**browser_context_args)
    try:
        opened_by_link(fresh.new_page(), fibsem, link, state, voxel, then, shot)
    finally:
        fresh.close()


def share(
    page: Page, server: Server, roots: dict[int, Voxel], shot: Callable[..., Path]
) -> tuple[str, dict[str, Any], Voxel, int]:
    """Share; then someone changes the object with the largest id, which so loses its id."""
    then = max(roots)
    voxel = roots[then]
    pick(page, voxel)
    state = view_state(page)
    page.keyboard.press("k")
    wait_for(page, "document.querySelector('.link').value !== ''", 5)
    link = page.locator(".link").input_value()
    assert link.startswith(f"{server.url}/s/")
    shot("main-5-shared")
    now = server.root_at("fly", voxel)
    small = min(int(root) for root in np.unique(plane_of(server, voxel[0])) if root)
    ids = [str(small), str(now)]
    server.request("POST", "/volumes/fly/merge", {"ids": ids}, user="bob")
    assert server.root_at("fly", voxel) == small != now
    return link, state, voxel, now


def opened_by_link(
    page: Page,
    server: Server,
    link: str,
    state: dict[str, Any],
    voxel: Voxel,
    then: int,
    shot: Callable[..., Path],
) -> None:
    page.set_viewport_size({"width": 1000, "height": 740})
    page.goto(link)
    wait_ready(page)
    shown = view_state(page)
    for key in ("position", "crossSectionScale", "layout"):
        assert shown[key] == state[key]
    picks = [layer.get("segments") for layer in shown["layers"]]
    assert picks == [layer.get("segments") for layer in state["layers"]]
    assert id_under(page, voxel) == str(then)
    assert server.root_at("fly", voxel) != then
    assert page.get_by_text("read-only").first.is_visible()
    assert page.locator(".tile", has_text="Box").is_disabled()
    shot("main-6-link", page)

    page.get_by_role("button", name="Edit from here").click()
    wait_until(page, lambda: shown_version(page).startswith("live"), 5, "live")
    wait_for(page, "!/labels.fly@/.test(JSON.stringify(testBridge.viewState()))", 5)
    wait_for(page, "viewer.isReady()")
    assert id_under(page, voxel) == str(server.root_at("fly", voxel))
    assert page.locator(".tile", has_text="Box").is_enabled()


def test_a_region_over_the_budget_is_refused_with_the_way_out(
    page: Page, fibsem: Server, shot: Callable[..., Path]
) -> None:
    open_volume(page, fibsem.url, "fly")
    look_at(page, CENTRE, scale=1.2)
    head = fibsem.head("fly")
    jobs = fibsem.request("GET", "/jobs?volume=fly")["jobs"]
    box = page.locator(".tile", has_text="Box")
    wait_until(page, lambda: "too large" in box.inner_text(), 5, "the button says so")
    page.keyboard.press("Shift+G")
    refusal = page.locator(".status.is-error")
    refusal.wait_for()
    # What it had, the limit, and what to do.
    for part in ("250", "4.0 million", "Zoom in"):
        assert part in refusal.inner_text()
    shot("too-large")
    assert fibsem.head("fly") == head
    assert fibsem.request("GET", "/jobs?volume=fly")["jobs"] == jobs
