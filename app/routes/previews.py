"""Split previews for the viewer: a small label volume where the object is."""

from __future__ import annotations

from flask import Blueprint
from flask.typing import ResponseReturnValue

from app.answers import answer_chunk, answer_info
from app.precomputed import level_of, parse_chunk, volume_info
from app.routes.images import check_instance
from app.services import services
from segmentation_backend.geometry import ScaleLevel

__all__ = ["blueprint"]

blueprint = Blueprint("previews", __name__, url_prefix="/previews")


@blueprint.get("/<preview_id>/info")
def info(preview_id: str) -> ResponseReturnValue:
    """Describe a preview in precomputed's terms."""
    parts = services()
    preview = parts.workspace.preview(preview_id)
    voxel_size = parts.workspace.volume(preview.volume).voxel_size
    return answer_info(
        volume_info(
            "segmentation",
            "uint64",
            [ScaleLevel(0, voxel_size, preview.roi.shape)],
            parts.instance,
            encoding="compressed_segmentation",
            offset=preview.roi.offset,
        )
    )


@blueprint.get("/<preview_id>/<instance>/<int:level>/<chunk>")
def preview_chunk(preview_id: str, instance: str, level: int, chunk: str) -> ResponseReturnValue:
    """Send one chunk of a preview: 1 for the first part, 2 for the second, and so on."""
    parts = services()
    preview = parts.workspace.preview(preview_id)
    level_of([ScaleLevel(0, (1.0, 1.0, 1.0), preview.roi.shape)], level)
    roi = parse_chunk(chunk, preview.roi)
    check_instance(instance)
    back = [-offset for offset in preview.roi.offset]
    encoded = parts.workspace.preview_chunk(preview_id, roi.shift(back))
    return answer_chunk(encoded, parts.instance, is_immutable=True)
