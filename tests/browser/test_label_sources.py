"""The viewer reads labels by every address we give out: zarr and precomputed, live and pinned."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from looking import alike, colour_at, is_coloured, look_at, open_volume, wait_for, wait_until
from playwright.sync_api import Page, Response
from serving import Server

Voxel = tuple[int, int, int]
Z = 48
LAYER = "mitochondria"

_VALUE = """([layer, z, y, x]) => {
    const { names } = viewer.coordinateSpace.value;
    const at = Float32Array.from(names, (name) => ({ z, y, x })[name]);
    const { layer: shown } = viewer.layerManager.getLayerByName(layer);
    const value = shown.getValueAt(at, { pickedRenderLayer: null });
    return value ? String(value) : null;
}"""


def middles(plane: np.ndarray[Any, Any], least: int) -> dict[int, Voxel]:
    """Return a voxel well inside each object of a plane, the largest object first."""
    from scipy import ndimage

    roots, sizes = np.unique(plane[plane > 0], return_counts=True)
    found = {}
    for root in roots[np.argsort(sizes)][::-1][: int((sizes >= least).sum())]:
        depth = ndimage.distance_transform_edt(np.pad(plane == root, 1))[1:-1, 1:-1]
        y, x = np.unravel_index(int(np.argmax(depth)), depth.shape)
        found[int(root)] = (Z, int(y), int(x))
    return found


@pytest.fixture(scope="module")
def objects(labelled: Server) -> dict[int, Voxel]:
    """The objects of version 1 in a plane; the largest two of them are one at version 2."""
    found = middles(labelled.labels("tissue", (Z, 0, 0), (1, 192, 192), 1)[0], 150)
    ids = [str(root) for root in list(found)[:2]]
    assert labelled.request("POST", "/volumes/tissue/merge", {"ids": ids})["version"] == 2
    return found


@pytest.fixture
def chunks(page: Page) -> list[Response]:
    """What the page was answered to its requests for label chunks of the zarr source."""
    answers: list[Response] = []
    page.on("response", lambda r: answers.append(r) if "/c/" in r.url else None)
    return answers


def show(page: Page, server: Server, source: str, scale: float = 0.5) -> None:
    """Show nothing but the image and one source of labels."""
    scheme, _, path = source.partition("://")
    layers = [
        {"type": "image", "name": "em", "source": f"precomputed://{server.url}/image/tissue"},
        {"type": "segmentation", "name": LAYER, "source": f"{scheme}://{server.url}/{path}"},
    ]
    look_at(page, (Z, 96, 96), scale, layout="xy")
    page.evaluate("([layers]) => viewer.state.restoreState({ layers })", [layers])
    page.wait_for_timeout(100)
    wait_for(page, "viewer.isReady()")


def value_at(page: Page, voxel: Voxel, shift: float) -> int | None:
    """Return what the viewer itself has at a voxel whose middle is `shift` from its index."""
    found = page.evaluate(_VALUE, [LAYER, *(v + shift for v in voxel)])
    return int(found) if found else None


@pytest.mark.parametrize(
    ("source", "version"),
    [
        ("zarr3://zarr/tissue", 2),
        ("zarr3://zarr/tissue@1", 1),
        ("precomputed://labels/tissue", 2),
        ("precomputed://labels/tissue@1", 1),
    ],
)
def test_the_right_ids_are_drawn_where_they_are(
    page: Page,
    labelled: Server,
    objects: dict[int, Voxel],
    chunks: list[Response],
    shot: Callable[..., Path],
    source: str,
    version: int,
) -> None:
    open_volume(page, labelled.url, "tissue")
    show(page, labelled, source)
    # OME-NGFF puts the middle of voxel 0 at 0, precomputed its corner.
    is_zarr = source.startswith("zarr")
    shift = 0.0 if is_zarr else 0.5
    truth = labelled.labels("tissue", (Z, 0, 0), (1, 192, 192), version)[0]
    places = [*objects.values(), (Z, 0, 0), (Z, 100, 191), (Z, 191, 100)]
    for voxel in places:
        assert value_at(page, voxel, shift) == (int(truth[voxel[1:]]) or None), voxel
    one, other, third = (colour_at(page, voxel) for voxel in list(objects.values())[:3])
    assert is_coloured(one)
    assert is_coloured(third)
    assert alike(one, other) == (version == 2)
    assert not alike(one, third)
    shot(f"source-{source.partition('://')[0]}-{version}")
    assert bool(chunks) == is_zarr
    assert {answer.status for answer in chunks} <= {200, 304}


def test_coarse_levels_of_zarr_lie_where_the_fine_ones_do(
    page: Page, labelled: Server, objects: dict[int, Voxel], chunks: list[Response]
) -> None:
    open_volume(page, labelled.url, "tissue")
    show(page, labelled, "zarr3://zarr/tissue@1", scale=2.0)
    levels = {unquote(answer.url).split("/tissue@1/")[1][0] for answer in chunks}
    assert "1" in levels
    assert "0" not in levels
    for root, voxel in objects.items():
        assert value_at(page, voxel, 0.0) == root


def test_a_zarr_chunk_that_cannot_be_read_is_waited_for(
    page: Page, labelled: Server, objects: dict[int, Voxel]
) -> None:
    refused: list[str] = []

    def refuse_once(route: Any) -> None:
        if route.request.url in refused:
            route.continue_()
        else:
            refused.append(route.request.url)
            route.fulfill(status=503, headers={"Retry-After": "1"}, body="{}")

    open_volume(page, labelled.url, "tissue")
    page.route("**/zarr/tissue%401/*/c/**", refuse_once)
    show(page, labelled, "zarr3://zarr/tissue@1")
    root, voxel = next(iter(objects.items()))
    wait_until(page, lambda: value_at(page, voxel, 0.0) == root, 20, "the chunk came after all")
    assert refused
