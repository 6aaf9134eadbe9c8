"""Published labels beside a volume's own, for the viewer: precomputed, never edited."""

from __future__ import annotations

from flask import Blueprint
from flask.typing import ResponseReturnValue

from app.answers import answer_chunk, answer_info
from app.descriptions import beside_description
from app.precomputed import LABEL_CHUNK, level_of, parse_chunk
from app.routes.images import check_instance
from app.services import services
from segmentation_backend.geometry import Roi
from segmentation_backend.workspace import encode_nothing

__all__ = ["blueprint"]

blueprint = Blueprint("beside", __name__, url_prefix="/beside")


@blueprint.get("/<name>/<layer>/info")
def info(name: str, layer: str) -> ResponseReturnValue:
    """Describe published labels in precomputed's terms."""
    return answer_info(beside_description(name, layer))


@blueprint.get("/<name>/<layer>/<instance>/<int:level>/<chunk>")
def beside_chunk(
    name: str, layer: str, instance: str, level: int, chunk: str
) -> ResponseReturnValue:
    """Send one chunk of published ids."""
    parts = services()
    scale = level_of(parts.workspace.beside_levels(name, layer), level)
    roi = parse_chunk(chunk, Roi((0, 0, 0), scale.shape), LABEL_CHUNK)
    check_instance(instance)
    encoded = parts.workspace.beside_chunk(name, layer, level, roi)
    return answer_chunk(
        encoded, parts.instance, is_immutable=True, nothing=encode_nothing(roi.shape)
    )
