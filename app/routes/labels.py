"""Labels for the viewer: root ids, live under one address, each version under its own."""

from __future__ import annotations

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from app.answers import answer_chunk, answer_info
from app.descriptions import labels_description
from app.label_address import find_labels
from app.precomputed import LABEL_CHUNK, level_of, parse_chunk
from app.routes.images import check_instance
from app.services import services
from segmentation_backend.geometry import Roi
from segmentation_backend.workspace import encode_nothing

__all__ = ["blueprint"]

blueprint = Blueprint("labels", __name__, url_prefix="/labels")


@blueprint.get("/<source>/info")
def info(source: str) -> ResponseReturnValue:
    """Describe the labels of a volume, or of `<volume>@<version>`, in precomputed's terms."""
    return answer_info(labels_description(source))


@blueprint.get("/<source>/<instance>/occupied")
def occupied(source: str, instance: str) -> ResponseReturnValue:
    """Say which chunks may hold labels (`z_y_x`, counted from 0), so that others are not asked."""
    check_instance(instance)
    labels = find_labels(source)
    version, levels = services().workspace.occupied_chunks(
        labels.volume, labels.version, LABEL_CHUNK
    )
    named = None
    if levels is not None:
        named = [["_".join(map(str, place)) for place in sorted(level)] for level in levels]
    response = jsonify({"version": version, "levels": named})
    response.headers["Cache-Control"] = "no-store"
    return response


@blueprint.get("/<source>/<instance>/<int:level>/<chunk>")
def label_chunk(source: str, instance: str, level: int, chunk: str) -> ResponseReturnValue:
    """Send one chunk of root ids; unchanged live chunks answer 304 to their tag."""
    parts = services()
    labels = find_labels(source)
    scale = level_of(parts.workspace.volume(labels.volume).label_levels, level)
    roi = parse_chunk(chunk, Roi((0, 0, 0), scale.shape), LABEL_CHUNK)
    check_instance(instance)
    encoded = parts.workspace.label_chunk(labels.volume, labels.version, level, roi)
    return answer_chunk(
        encoded,
        parts.instance,
        is_immutable=labels.is_immutable,
        nothing=encode_nothing(roi.shape),
    )
