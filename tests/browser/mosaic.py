"""Many volumes side by side in one picture of the viewer, and the bright runs in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from looking import wait_for
from playwright.sync_api import Page

_SHOW = """([tiles, position, scale, layout]) => {
    const units = { x: [8e-9, "m"], y: [8e-9, "m"], z: [16e-9, "m"] };
    const shader = "#uicontrol invlerp grey(range=[0,255])\\nvoid main(){emitGrayscale(grey());}";
    const kinds = {
        image: { type: "image", shader, opacity: 1, blend: "additive" },
        beside: {
            type: "segmentation", selectedAlpha: 1, notSelectedAlpha: 1,
            segmentDefaultColor: "#ffffff",
        },
    };
    const layers = tiles.map(([volume, [x, y, z]]) => ({
        ...kinds[/image|beside/.exec(volume)[0]], name: volume,
        source: {
            url: volume.replace("://", `://${location.origin}/`),
            transform: {
                outputDimensions: units,
                matrix: /^zarr(?!.*x-first$)/.test(volume)
                    ? [[0, 0, 1, x], [0, 1, 0, y], [1, 0, 0, z]]
                    : [[1, 0, 0, x], [0, 1, 0, y], [0, 0, 1, z]],
            },
        },
    }));
    viewer.state.restoreState({
        dimensions: units, position, crossSectionScale: scale, layout, layers, showAxisLines: false,
    });
}"""

_LINES = """([lines]) => {
    viewer.display.draw();
    const panel = [...viewer.display.panels].find((one) => one.sliceView);
    const canvas = document.querySelector("#neuroglancer-container canvas");
    const page = canvas.getBoundingClientRect();
    const box = panel.element.getBoundingClientRect();
    const size = panel.sliceView.projectionParameters.value;
    const left = box.left + panel.element.clientLeft - page.left + size.logicalWidth / 2;
    const top = box.top + panel.element.clientTop - page.top + size.logicalHeight / 2;
    const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d");
    copy.drawImage(canvas, 0, 0);
    return lines.map(([x, y, width, height]) => {
        const { data } = copy.getImageData(left + x, top + y, width, height);
        return [...data].filter((_, index) => index % 4 === 0);
    });
}"""


_IDS = """([places]) => places.map(([name, place]) => {
    const { layer } = viewer.layerManager.getLayerByName(name);
    return String(layer.getValueAt(Float32Array.from(place), { pickedRenderLayer: null }));
})"""


def show(
    page: Page,
    tiles: Sequence[tuple[str, Sequence[float]]],
    centre: Sequence[float],
    scale: float,
    layout: str,
) -> None:
    """Show images and labels (`format://path`) round a centre, each moved by x, y, z voxels."""
    page.evaluate(_SHOW, [tiles, centre, scale, layout])
    page.wait_for_timeout(100)
    wait_for(page, "viewer.isReady()")


def ids_at(page: Page, places: Sequence[tuple[str, Sequence[float]]]) -> list[str]:
    """Return the ids that the viewer has for layers, each at a place (x, y, z in voxels)."""
    found: Any = page.evaluate(_IDS, [places])
    return list(found)


def grey_lines(page: Page, lines: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return the greys of lines [x, y, width, height], pixels from the middle of the panel."""
    greys: Any = page.evaluate(_LINES, [lines])
    return list(greys)


def bright_run(greys: Sequence[int]) -> tuple[int, int]:
    """Return where the one bright run of a line begins and ends."""
    bright = [index for index, grey in enumerate(greys) if grey > 130]
    assert bright == list(range(bright[0], bright[-1] + 1))
    assert max(greys) > 200
    return bright[0], bright[-1] + 1
