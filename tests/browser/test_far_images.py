"""What the page reads from its source, images and labels: what is seen when that fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from landmarks import BOX, LABELS, LANDMARKS, SIZE, box_id, dataset, write_catalogue
from looking import colour_at, look_at, open_direct, view_state, wait_ready, wait_until
from mosaic import ids_at
from playwright.sync_api import Page
from serving import Server
from static_web import StaticWeb, static_web

BRIGHT = tuple(begin + 1 for begin, _ in BOX)
CHUNKS = r"/s\d/\d+\.\d+\.\d+$"


@pytest.fixture(scope="module")
def far(labelled: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StaticWeb]:
    """Another server, with two volumes that pages read there, one with labels beside it."""
    root = tmp_path_factory.mktemp("far")
    for name in ("far", "farther"):
        LANDMARKS["ome04"].write(root / name)
    for name, (_, _, write) in LABELS.items():
        write(root / name)
    with static_web(root) as web:
        write_catalogue(labelled.data_dir, [dataset("farther", web.address, "farther")])
        for body in ({"name": "far", "image": f"{web.address}/far"}, {"catalogue": "farther"}):
            assert labelled.request("POST", "/volumes", body)["voxel_size"] == pytest.approx(SIZE)
        yield web


def open_unread(page: Page, url: str, name: str) -> None:
    """Open a volume whose chunks do not come, and look at its bright box."""
    open_direct(page, url, name)
    z, y, x = (at + 0.5 for at in BRIGHT)
    view = {"position": [x, y, z], "crossSectionScale": 0.5, "layout": "xy"}
    page.evaluate("([state]) => viewer.state.restoreState(state)", [view])


def source_of(page: Page, name: str) -> str:
    (found,) = [str(one["source"]) for one in view_state(page)["layers"] if name in one["name"]]
    return found


def test_what_does_not_come_is_waited_for_and_never_black(
    page: Page, labelled: Server, far: StaticWeb, shot: Callable[..., Path]
) -> None:
    notice = page.locator(".toast")
    with far.failing(403, CHUNKS):
        open_unread(page, labelled.url, "far")
        wait_until(page, lambda: "answers 403" in "".join(notice.all_inner_texts()), 30, "403")
        assert "It is asked again." in notice.inner_text()
        shot("far-waiting")
        for fault, said in ((500, "answers 500"), ("cut", "cannot be reached")):
            far.fault = fault
            wait_until(page, lambda: said in "".join(notice.all_inner_texts()), 30, said)  # noqa: B023
        # Nothing is drawn: the panel's own colour shows, where black would be a value.
        assert colour_at(page, BRIGHT) == (20, 22, 26)
        far.fault = "drop"
    wait_until(page, lambda: notice.count() == 0, 30, "the notice goes")
    wait_ready(page)
    look_at(page, BRIGHT, 0.5, layout="xy")
    assert min(colour_at(page, BRIGHT)) > 200


def test_what_only_the_server_can_reach_comes_through_it(
    page: Page, labelled: Server, far: StaticWeb, shot: Callable[..., Path]
) -> None:
    with far.failing("drop", CHUNKS, is_for_pages=True):
        open_unread(page, labelled.url, "farther")
        notice = page.locator(".toast")
        message = "the image now comes through the server"
        wait_until(page, lambda: message in "".join(notice.all_inner_texts()), 40, message)
        ours = "/beside/farther/mito-zarr2"
        wait_until(page, lambda: f"/direct{ours}" not in source_of(page, "mito-zarr2"), 20, ours)
        wait_ready(page)
        shot("far-through-server")
        # The image, and of the labels those whose chunks do not come; the others as before.
        assert "/direct" not in source_of(page, "em")
        assert ours in source_of(page, "mito-zarr2")
        assert "/direct/beside/farther/mito-n5" in source_of(page, "mito-n5")
        z, y, x = BRIGHT
        switch = (
            "(on) => viewer.layerManager.managedLayers.slice(1).map((one) => one.setVisible(on))"
        )
        layers = [f"{name} (published)" for name in LABELS]
        expected = [str(box_id(dtype)) for _, dtype, _ in LABELS.values()]
        # Each layer that changes its way makes all of them anew, and their chunks are read again.
        places = [(one, (x, y, z)) for one in layers]
        wait_until(page, lambda: ids_at(page, places) == expected, 30, "the ids are there")
        page.evaluate(switch, False)
        look_at(page, BRIGHT, 0.5, layout="xy")
        assert min(colour_at(page, BRIGHT)) > 200
        # This browser remembers it for a while.
        page.goto(f"{labelled.url}/d/farther")
        wait_ready(page)
        assert "/direct" not in str(view_state(page)["layers"])
    # What a proxy before the server refuses is not taken for empty labels.
    chunks = "**/beside/farther/*/*/*/*"
    page.route(chunks, lambda route: route.fulfill(status=403))
    page.evaluate(switch, True)
    said = "The server answers 403. It is asked again."
    wait_until(page, lambda: said in "".join(notice.all_inner_texts()), 20, said)
    page.unroute(chunks)
    wait_until(page, lambda: ids_at(page, places) == expected, 30, "the ids are there again")
