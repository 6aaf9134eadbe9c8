"""What a running segmentation has found so far, for the viewer."""

from __future__ import annotations

import json

from flask import Blueprint
from flask.typing import ResponseReturnValue

from app.answers import answer_chunk, answer_info
from app.precomputed import level_of, parse_chunk, volume_info
from app.routes.images import check_instance
from app.services import services
from segmentation_backend.geometry import Roi, ScaleLevel

__all__ = ["blueprint"]

blueprint = Blueprint("found", __name__, url_prefix="/found")


def _region(job_id: str) -> tuple[ScaleLevel, Roi]:
    parts = services()
    job = parts.jobs.get(job_id)
    roi = Roi.from_json(json.loads(job.plan)["roi"])
    return ScaleLevel(0, parts.workspace.volume(job.volume).voxel_size, roi.shape), roi


@blueprint.get("/<job_id>/<int:blocks>/info")
def info(job_id: str, blocks: int) -> ResponseReturnValue:
    """Describe what a job has found in precomputed's terms; `blocks` makes each address new."""
    parts = services()
    level, roi = _region(job_id)
    encoding = "compressed_segmentation"
    return answer_info(
        volume_info("segmentation", "uint64", [level], parts.instance, encoding, roi.offset)
    )


@blueprint.get("/<job_id>/<int:blocks>/<instance>/<int:level>/<chunk>")
def found_chunk(
    job_id: str, blocks: int, instance: str, level: int, chunk: str
) -> ResponseReturnValue:
    """Send one chunk of what a job has found, one number per object of a block."""
    parts = services()
    only, whole = _region(job_id)
    level_of([only], level)
    roi = parse_chunk(chunk, whole)
    check_instance(instance)
    encoded = parts.workspace.found_chunk(job_id, blocks, roi.shift([-o for o in whole.offset]))
    return answer_chunk(encoded, parts.instance, is_immutable=False)
