"""Segmentation: what would be segmented, start it, follow it, cancel it."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from app.fields import Field
from app.identity import current_user
from app.requests import Values, takes
from app.routes.volumes import row_limit
from app.services import services
from app.visible_roi import parse_view, visible_roi
from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.geometry import Roi
from segmentation_backend.workspace import SegmentationPlan

__all__ = ["blueprint"]

blueprint = Blueprint("segment", __name__, url_prefix="/api/v1")

_MODE_OF_VIEW = {"slice": "slice", "box": "stack"}
"""What a page calls it, and what the network does."""

_VIEW = Field(
    "view",
    "object",
    "What the page shows: {panels: [{centre, right, down, width, height}], active}.",
)


@blueprint.post("/volumes/<name>/region")
@takes(
    body=(
        Field("mode", "text", "slice or box.", required=True),
        Field(_VIEW.name, _VIEW.kind, _VIEW.help, required=True),
        Field("model", "text", "The model; the default one without it."),
    )
)
def region(name: str, body: Values) -> ResponseReturnValue:
    """Say which region a view shows, and whether one job may segment it."""
    roi, plane = _seen(name, body["view"], body["mode"])
    plan = services().workspace.plan_segmentation(
        name,
        roi,
        mode=_MODE_OF_VIEW[body["mode"]],
        plane=plane,
        model=body["model"],
        enforce_budget=False,
    )
    return jsonify(ok=True, region=_region(plan))


@blueprint.post("/volumes/<name>/segment")
@takes(
    body=(
        Field("roi", "roi", "The region, in level-0 voxels; or name a view."),
        _VIEW,
        Field("mode", "text", "slice or stack with a roi; slice or box with a view."),
        Field("plane", "text", "xy (without it), xz or yz; a view has its own."),
        Field("level", "integer", "The image level to read; the model's best without it."),
        Field("model", "text", "The model; the default one without it."),
        Field("parameters", "object", "Inference parameters that differ from the model's."),
        Field("existing", "text", "replace-unedited (without it) or keep: objects already there."),
        Field("session", "text", "The page that asks; a pinned one is refused."),
        Field("request_id", "text", "A repeated id answers with the first job."),
    )
)
def segment(name: str, body: Values) -> ResponseReturnValue:
    """Start segmenting a region; the answer names the job that will."""
    parts = services()
    parts.sessions.check_editable(body["session"], name)
    roi, plane, mode = _asked(name, body)
    plan = parts.workspace.plan_segmentation(
        name,
        roi,
        mode=mode,
        plane=plane,
        model=body["model"],
        level=body["level"],
        existing=body["existing"] or "replace-unedited",
        parameters=body["parameters"],
    )
    user = current_user(request, parts.config)
    job = parts.jobs.submit("segment", name, plan.to_json(), user, body["request_id"])
    return jsonify(ok=True, job_id=job.job_id, job=job.to_json(), region=_region(plan)), 202


@blueprint.get("/jobs")
@takes(
    query=(
        Field("volume", "text", "Only this volume's."),
        Field("limit", "integer", "How many at most; 100 without it."),
    )
)
def jobs(query: Values) -> ResponseReturnValue:
    """List jobs, newest first."""
    found = services().jobs.newest(query["volume"], row_limit(query["limit"], 100))
    return jsonify(ok=True, jobs=[job.to_json() for job in found])


@blueprint.get("/jobs/<job_id>")
def job(job_id: str) -> ResponseReturnValue:
    """Say how far a job is."""
    return jsonify(ok=True, job=services().jobs.get(job_id).to_json())


@blueprint.delete("/jobs/<job_id>")
def cancel(job_id: str) -> ResponseReturnValue:
    """Cancel a job: nothing of it will be seen, unless it has ended already (409)."""
    return jsonify(ok=True, job=services().jobs.cancel(job_id).to_json())


def _asked(name: str, body: Values) -> tuple[Roi, str, str]:
    if (body["roi"] is None) == (body["view"] is None):
        raise InvalidInputError(
            "Name the region by either roi or view, not both.", ErrorKind.INVALID_PARAMETER
        )
    mode = body["mode"] or "slice"
    if body["roi"] is not None:
        return body["roi"], body["plane"] or "xy", mode
    roi, plane = _seen(name, body["view"], mode)
    return roi, plane, _MODE_OF_VIEW[mode]


def _seen(name: str, view: object, mode: str) -> tuple[Roi, str]:
    info = services().workspace.volume(name)
    panels, active = parse_view(view)
    return visible_roi(panels, active, mode, info.bounds, info.voxel_size)


def _region(plan: SegmentationPlan) -> dict[str, Any]:
    limit = services().workspace.max_voxels
    fits = plan.voxels <= limit
    z, y, x = plan.level_roi.shape
    size = f"{z} x {y} x {x} voxels (z, y, x) at level {plan.level}"
    message = f"{size}, {plan.voxels / 1e6:,.1f} million"
    if not fits:
        message += f"; the limit is {limit / 1e6:,.1f} million. Zoom in, or segment a slice."
    return {
        "roi": plan.roi.to_json(),
        "plane": plan.plane,
        "mode": plan.mode,
        "level": plan.level,
        "voxel_size": list(plan.level_voxel_size),
        "voxels": plan.voxels,
        "limit": limit,
        "fits": fits,
        "message": message,
    }
