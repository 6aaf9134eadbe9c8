"""How layers are described to a viewer, and what a new page is told of them before it asks.

A viewer reads metadata step by step, and each step waits for the one before. Sent along with the
first state, all of them are there at once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from app.label_address import find_labels
from app.precomputed import LABEL_CHUNK, volume_info
from app.services import services
from app.viewer import ORIGIN
from segmentation_backend.errors import SegmentationError
from segmentation_backend.geometry import ScaleLevel

__all__ = [
    "beside_description",
    "descriptions_ahead",
    "image_description",
    "labels_description",
    "places_ahead",
]

_MOST_LAYERS = 48
"""More than so many are asked for by the page as ever: a state stays small enough to be sent."""

_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}"
_LAYER = re.compile(
    rf"{re.escape(ORIGIN)}/(?P<path>(?P<direct>direct/)?"
    rf"(?:image/{_NAME}|beside/{_NAME}/{_NAME}|labels/{_NAME}(?:@{_NAME})?))(?=[/|\"])"
)


def image_description(name: str) -> dict[str, Any]:
    """Return the `info` of a volume's image as this server sends it."""
    parts = services()
    volume = parts.workspace.volume(name)
    return volume_info("image", volume.dtype, volume.levels, parts.instance, encoding="raw")


def labels_description(source: str) -> dict[str, Any]:
    """Return the `info` of the labels of a volume, or of `<volume>@<version>`."""
    parts = services()
    labels = find_labels(source)
    volume = parts.workspace.volume(labels.volume)
    if labels.version is not None:
        parts.workspace.at(labels.volume, labels.version)
    return _ids(volume.label_levels)


def beside_description(name: str, layer: str) -> dict[str, Any]:
    """Return the `info` of published labels beside a volume's own as this server sends them."""
    return _ids(services().workspace.beside_levels(name, layer))


def _ids(levels: Sequence[ScaleLevel]) -> dict[str, Any]:
    """Return the `info` of 64-bit ids at these levels."""
    return volume_info(
        "segmentation",
        "uint64",
        levels,
        services().instance,
        encoding="compressed_segmentation",
        chunk=LABEL_CHUNK,
    )


def descriptions_ahead(view_state: str) -> dict[str, dict[str, Any] | None]:
    """Return what the layers of a page's state will be asked for, by path below the server's root.

    None where the viewer looks and there is nothing. `view_state` is as a page gets it, `{origin}`
    not yet filled in. What cannot be described is left out: the page asks for it, and is told why.
    """
    documents: dict[str, dict[str, Any] | None] = {}
    for path in _paths(view_state):
        try:
            documents.update(_documents(path))
        except SegmentationError:
            continue
    return documents


def places_ahead(view_state: str, page_origin: str) -> dict[str, dict[str, Any]]:
    """Return where the chunks are of all that a page's state reads directly, by own address."""
    direct = services().direct
    found = (path.removeprefix("direct/") for path in _paths(view_state) if path[:7] == "direct/")
    return {own: direct.verdict(own, page_origin, 0.0).to_json() for own in found}


def _paths(view_state: str) -> list[str]:
    return list(dict.fromkeys(m["path"] for m in _LAYER.finditer(view_state)))[:_MOST_LAYERS]


def _documents(path: str) -> dict[str, dict[str, Any] | None]:
    """Return the documents that describe one layer."""
    kind, *names = path.split("/")
    if kind == "direct":
        layer = services().direct.description("/".join(names))
        if layer is None:
            return {}
        found = {f"{path}/{key}": dict(document) for key, document in layer.documents.items()}
        return dict.fromkeys(_looked_for(path, layer.format)) | found
    describe = {"image": image_description, "labels": labels_description}.get(kind)
    return {f"{path}/info": describe(*names) if describe else beside_description(*names)}


def _looked_for(path: str, kind: str) -> list[str]:
    """Return where the viewer looks for more than a description needs: an array, folders above."""
    if kind == "zarr2":
        return [f"{path}/.zarray"]
    if kind == "n5":
        folders = path.split("/")
        return ["/".join([*folders[:n], "attributes.json"]) for n in range(1, len(folders))]
    return []
