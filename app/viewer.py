"""What Neuroglancer is told to show; the only importer of the neuroglancer package.

It is imported where it is needed: the package brings a web server of its own, which is never
started and which processes that show no page need not load.
"""

from __future__ import annotations

import hashlib
import json
import re
from functools import cache
from typing import Any

from app.keymap import ACTION_PREFIX, KEYMAP
from app.shading import SHADER, shader_controls
from segmentation_backend.workspace import CatalogueView, VolumeInfo

__all__ = [
    "IMAGE_LAYER",
    "LABEL_LAYER",
    "ORIGIN",
    "config_state",
    "initial_state",
    "label_source",
    "show_place",
    "show_version",
]

IMAGE_LAYER = "em"
LABEL_LAYER = "mitochondria"

ORIGIN = "{origin}"
"""Stands in stored states for the address under which a browser reaches this server."""

_PANEL_PX = 450
"""A typical panel side, to choose a first zoom that shows the whole volume."""

_BACKGROUND = "#14161a"
"""Around the data: calm in both themes; the page's own `--viewer`."""

_FROM_THE_SIDE = (-0.28, 0.36, 0.12, 0.88)
"""Quaternion (x, y, z, w) of the first 3D view: all three planes are seen."""


def label_source(volume: str, version: int | None) -> str:
    """Return the source URL of a volume's labels: live, or pinned to a version."""
    at = "" if version is None else f"@{version}"
    return f"precomputed://{ORIGIN}/labels/{volume}{at}"


def initial_state(info: VolumeInfo, version: int | None) -> dict[str, Any]:
    """Return the first view of a volume (global coordinates x, y, z in level-0 voxels)."""
    from neuroglancer.coordinate_space import CoordinateSpace
    from neuroglancer.viewer_state import ImageLayer, SegmentationLayer, ViewerState

    z, y, x = info.bounds.shape
    oz, oy, ox = info.bounds.offset
    edges = info.voxel_size
    finest = min(edges)
    widest = max(side * edge / finest for side, edge in zip((z, y, x), edges, strict=True))
    state = ViewerState(
        dimensions=CoordinateSpace(names=["x", "y", "z"], units="nm", scales=edges[::-1]),
        position=[ox + x / 2, oy + y / 2, oz + z // 2 + 0.5],
        cross_section_scale=max(0.1, round(widest / _PANEL_PX, 3)),
        projection_scale=widest * 1.7,
        projection_orientation=_FROM_THE_SIDE,
        layout="4panel",
        cross_section_background_color=_BACKGROUND,
        projection_background_color=_BACKGROUND,
        # The frame of the volume in bright yellow draws the eye away from what is in it.
        show_default_annotations=False,
        hide_cross_section_background_3d=True,
    )
    state.layers[IMAGE_LAYER] = ImageLayer(
        source=f"precomputed://{ORIGIN}/image/{info.name}",
        shader=SHADER,
        shader_controls=shader_controls(info),
    )
    for labels in info.published.beside if info.published else ():
        layer = SegmentationLayer(
            source=f"precomputed://{ORIGIN}/beside/{info.name}/{labels.name}",
            selected_alpha=0.4,
            not_selected_alpha=0.15,
        )
        # Where there are labels to proofread, others must be asked for.
        state.layers.append(
            name=f"{labels.name} (published)", layer=layer, visible=info.labels is None
        )
    state.layers[LABEL_LAYER] = SegmentationLayer(
        source=label_source(info.name, version),
        selected_alpha=0.5,
        not_selected_alpha=0.22,
    )
    document: dict[str, Any] = json.loads(json.dumps(state.to_json()))
    # The package has no name for it: beside the controls the shader's text is only in the way.
    document["layers"][0]["codeVisible"] = False
    return document


def show_place(state: dict[str, Any], info: VolumeInfo, view: CatalogueView) -> dict[str, Any]:
    """Return a view state that looks at a place of the catalogue."""
    place = zip(view.position_nm, info.voxel_size, strict=True)
    finest = min(info.voxel_size)
    return {
        **state,
        "position": [nm / edge for nm, edge in place][::-1],
        "crossSectionScale": view.nm_per_pixel / finest,
        "projectionScale": view.extent_nm / finest,
    }


def show_version(state: dict[str, Any], volume: str, version: int | None) -> dict[str, Any]:
    """Return a view state whose label layers of `volume` show a version (None: the newest).

    Joined ids that the page showed ahead of the server are dropped: they belong to one version.
    """
    # The client may rewrite a URL (`precomputed://X` as `X/|neuroglancer-precomputed:`), so only
    # the part that is ours is looked for.
    ours = re.compile(re.escape(f"{ORIGIN}/labels/{volume}") + r"(@[^/|\"]+)?(?=[/|\"]|$)")
    wanted = label_source(volume, version).removeprefix("precomputed://")
    document: dict[str, Any] = json.loads(json.dumps(state))
    layers = document.get("layers")
    for layer in layers if isinstance(layers, list) else []:
        if isinstance(layer, dict) and ours.search(json.dumps(layer.get("source"))):
            layer["source"] = _with_urls(layer["source"], ours, wanted)
            layer.pop("equivalences", None)
    return document


def _with_urls(source: object, pattern: re.Pattern[str], wanted: str) -> object:
    if isinstance(source, list):
        return [_with_urls(one, pattern, wanted) for one in source]
    if isinstance(source, dict):
        return {**source, "url": _with_urls(source.get("url"), pattern, wanted)}
    return pattern.sub(wanted, source) if isinstance(source, str) else source


@cache
def config_state() -> tuple[dict[str, Any], str]:
    """Return the viewer's configuration and its generation (equal content, equal generation)."""
    from neuroglancer.viewer_config_state import ConfigState

    config = ConfigState(
        show_help_button=False,
        show_settings_button=True,
        show_screenshot_button=True,
        show_tool_palette_button=False,
        show_layer_list_panel_button=False,
        show_selection_panel_button=False,
    )
    bindings = config.input_event_bindings
    for binding in KEYMAP:
        if binding.scope == "native":
            continue
        for event in binding.events:
            # A data panel has the focus while the mouse is over it, and asks its own table first.
            bindings.data_view[event] = ACTION_PREFIX + binding.action
            if binding.scope == "viewer":
                bindings.viewer[event] = ACTION_PREFIX + binding.action
    document: dict[str, Any] = json.loads(json.dumps(config.to_json()))
    document["showEditStateButton"] = False
    text = json.dumps(document, sort_keys=True)
    return document, hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
