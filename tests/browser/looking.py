"""What a page shows: voxels to pixels, pixels to colours, and waiting until it is drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from playwright.sync_api import Page

Voxel = Sequence[float]

TIMEOUT_S = 60.0

_BRIDGE = """async () => {
    const { src } = document.querySelector("script[type=module]");
    const { Bridge } = await import(new URL("bridge.js", src));
    window.testBridge ??= new Bridge(window.viewer, "mitochondria");
}"""

_COLOUR = """([x, y]) => {
    viewer.display.draw();
    const canvas = document.querySelector("#neuroglancer-container canvas");
    const { left, top } = canvas.getBoundingClientRect();
    const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d");
    copy.drawImage(canvas, 0, 0);
    return [...copy.getImageData(Math.round(x - left), Math.round(y - top), 1, 1).data].slice(0, 3);
}"""

_PLACE = """([z, y, x]) => {
    const panel = testBridge.slicePanels()[0];
    const view = testBridge.view().panels[0];
    const { left, top, width, height } = panel.element.getBoundingClientRect();
    return [
        left + width / 2 + (x - view.centre[2]) / view.right[2],
        top + height / 2 + (y - view.centre[1]) / view.down[1],
    ];
}"""


def open_volume(page: Page, url: str, name: str) -> None:
    """Open a volume as a newcomer does, and wait until everything is drawn."""
    page.goto(f"{url}/d/{name}")
    wait_ready(page)


def open_direct(page: Page, url: str, name: str) -> None:
    """Open a volume of which the page reads all from its source but the labels to be proofread."""
    for _ in range(6):
        page.goto(f"{url}/d/{name}")
        wait_panel(page)
        wait_for(page, "viewer.layerManager.managedLayers.length > 1")
        if all("/direct/" in str(layer["source"]) for layer in view_state(page)["layers"][:-1]):
            return
        # A busy server did not know soon enough, and has now found out.
        page.wait_for_timeout(500)
    raise AssertionError(f"{name} is read through the server: {view_state(page)['layers']}")


def wait_ready(page: Page) -> None:
    wait_for(page, "window.viewer?.isReady() ?? false")
    wait_panel(page)


def wait_panel(page: Page) -> None:
    """Wait until the panel is there, whatever has been drawn."""
    page.wait_for_selector("#panel.is-ready")
    page.evaluate(_BRIDGE)


def wait_for(page: Page, expression: str, seconds: float = TIMEOUT_S) -> None:
    """Wait until an expression is true in the page (whose policy forbids Playwright's own wait)."""
    wait_until(page, lambda: bool(page.evaluate(expression)), seconds, f"not yet: {expression}")


def wait_until(page: Page, condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait for something outside the page, while its events go on."""
    for _ in range(round(seconds / 0.05)):
        if condition():
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"after {seconds} s: {what}")


def look_at(page: Page, voxel: Voxel, scale: float = 0.5, layout: str = "4panel") -> None:
    """Centre the view on the middle of a voxel (z, y, x), `scale` voxels per pixel."""
    z, y, x = (float(v) for v in voxel)
    page.evaluate(
        """([state]) => viewer.state.restoreState(state)""",
        [
            {
                "position": [x + 0.5, y + 0.5, z + 0.5],
                "crossSectionScale": scale,
                "layout": layout,
            }
        ],
    )
    page.wait_for_timeout(100)
    wait_for(page, "viewer.isReady()")


def place_of(page: Page, voxel: Voxel) -> tuple[float, float]:
    """Return where the middle of a voxel is on the page, in the first panel (xy, unrotated)."""
    x, y = page.evaluate(_PLACE, [float(v) + 0.5 for v in voxel])
    return x, y


def colour_at(page: Page, voxel: Voxel) -> tuple[int, int, int]:
    """Return the colour in which a voxel is drawn in the first panel."""
    red, green, blue = page.evaluate(_COLOUR, list(place_of(page, voxel)))
    return red, green, blue


def is_coloured(colour: Sequence[int]) -> bool:
    """Whether a colour is that of a label over grey EM."""
    return max(colour) - min(colour) > 20


def alike(one: Sequence[int], other: Sequence[int]) -> bool:
    """Whether two colours have the same hue, over whatever grey."""
    mean_one, mean_other = sum(one) / 3, sum(other) / 3
    return all(abs((a - mean_one) - (b - mean_other)) < 22 for a, b in zip(one, other, strict=True))


def point_at(page: Page, voxel: Voxel) -> None:
    page.mouse.move(*place_of(page, voxel))
    page.wait_for_timeout(150)


def pick(page: Page, voxel: Voxel) -> None:
    """Double-click a voxel of the first panel."""
    point_at(page, voxel)
    before = picked(page)
    page.mouse.dblclick(*place_of(page, voxel))
    wait_until(page, lambda: picked(page) != before, 5, f"no pick at {list(voxel)}")


def picked(page: Page) -> list[str]:
    found: list[str] = page.evaluate("testBridge.selection()")
    return found


def id_under(page: Page, voxel: Voxel) -> str | None:
    """Return the object that the viewer itself has under a voxel of the first panel."""
    point_at(page, voxel)
    found: str | None = page.evaluate("testBridge.pointer().id")
    return found


def view_state(page: Page) -> dict[str, Any]:
    state: dict[str, Any] = page.evaluate("testBridge.viewState()")
    return state


def shown_version(page: Page) -> str:
    return page.locator(".badge").inner_text()
