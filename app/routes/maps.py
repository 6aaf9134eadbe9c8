"""The network's maps of a segmentation, as image layers: how probable, and where centres are.

And of an orthoplane run, as label layers, what each of its three stacks shows by itself.
"""

from __future__ import annotations

import json

from flask import Blueprint
from flask.typing import ResponseReturnValue

from app.answers import answer_chunk, answer_info
from app.precomputed import level_of, parse_chunk, volume_info
from app.routes.images import check_instance
from app.services import services
from segmentation_backend.errors import ErrorKind, NotFoundError
from segmentation_backend.geometry import Roi, ScaleLevel
from segmentation_backend.workspace import SegmentationPlan

__all__ = ["blueprint"]

blueprint = Blueprint("maps", __name__, url_prefix="/maps")


_STACK = "stack-"


def _region(job_id: str, kind: str) -> tuple[ScaleLevel, Roi]:
    """Return the level that a job read, cut to its region, and where that lies."""
    plan = SegmentationPlan.from_json(json.loads(services().jobs.get(job_id).plan))
    is_stack = kind.startswith(_STACK)
    if not (plan.keep_stacks if is_stack else plan.keep_maps):
        what = "stacks" if is_stack else "maps"
        raise NotFoundError(
            f"The job {job_id} was not asked to keep its {what}; segment again with {what}.",
            ErrorKind.JOB_NOT_FOUND,
        )
    return ScaleLevel(0, plan.level_voxel_size, plan.level_roi.shape), plan.level_roi


@blueprint.get("/<job_id>/<kind>/<int:blocks>/info")
def info(job_id: str, kind: str, blocks: int) -> ResponseReturnValue:
    """Describe a map in precomputed's terms; `blocks` makes each address new."""
    level, roi = _region(job_id, kind)
    stem = services().instance
    if kind.startswith(_STACK):
        # Asked for first, so that a viewer hears of stacks that are gone, and shows no empty ones.
        services().workspace.stack_chunk(job_id, _plane(kind), Roi((0, 0, 0), (1, 1, 1))).data()
        encoding = "compressed_segmentation"
        return answer_info(
            volume_info("segmentation", "uint64", [level], stem, encoding, roi.offset)
        )
    return answer_info(volume_info("image", "uint8", [level], stem, "raw", roi.offset))


@blueprint.get("/<job_id>/<kind>/<int:blocks>/<instance>/<int:level>/<chunk>")
def map_chunk(
    job_id: str, kind: str, blocks: int, instance: str, level: int, chunk: str
) -> ResponseReturnValue:
    """Send one chunk of a map: 0 where nothing is known, else 1 to 255 for 0 to 1."""
    parts = services()
    only, whole = _region(job_id, kind)
    level_of([only], level)
    roi = parse_chunk(chunk, whole)
    check_instance(instance)
    if kind.startswith(_STACK):
        place = roi.shift([-o for o in whole.offset])
        encoded = parts.workspace.stack_chunk(job_id, _plane(kind), place)
    else:
        encoded = parts.workspace.map_chunk(job_id, kind, blocks, roi)
    return answer_chunk(encoded, parts.instance, is_immutable=False)


def _plane(kind: str) -> str:
    return kind.removeprefix(_STACK)
