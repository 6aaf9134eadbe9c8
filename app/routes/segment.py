"""Segmentation: what would be segmented, start it, follow it, cancel it."""

from __future__ import annotations

from collections.abc import Mapping
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
from segmentation_backend.workspace import GreyRange, SegmentationPlan

__all__ = ["blueprint"]

blueprint = Blueprint("segment", __name__, url_prefix="/api/v1")

_MODE_OF_VIEW = {"slice": "slice", "box": "stack", "orthoplane": "orthoplane"}
"""What a page calls it, and what the network does."""

_READ_AS = (
    Field("model", "text", "The model; the default one without it."),
    Field("level", "integer", "The image level to read; the one nearest voxel_size_nm without it."),
    Field("voxel_size_nm", "number", "The voxel size to read; the model's own without it."),
)

_VIEW = Field(
    "view",
    "object",
    "What the page shows: {panels: [{centre, right, down, width, height}], active}.",
)


@blueprint.post("/volumes/<name>/region")
@takes(
    body=(
        Field("mode", "text", "slice, box or orthoplane.", required=True),
        Field(_VIEW.name, _VIEW.kind, _VIEW.help, required=True),
        *_READ_AS,
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
        level=body["level"],
        voxel_size_nm=body["voxel_size_nm"],
        enforce_budget=False,
    )
    return jsonify(ok=True, region=_region(plan))


@blueprint.post("/volumes/<name>/segment")
@takes(
    body=(
        Field("roi", "roi", "The region, in level-0 voxels; or name a view."),
        _VIEW,
        Field("mode", "text", "slice, stack or orthoplane; with a view, box means stack."),
        Field("plane", "text", "xy (without it), xz or yz; a view has its own."),
        *_READ_AS,
        Field("parameters", "object", "Inference parameters that differ from the defaults."),
        Field("existing", "text", "replace-unedited (without it), fill-empty or replace-all."),
        Field(
            "grey_range",
            "object",
            "{low, high}: what is shown black and white; low > high: "
            "inverted. The volume's own statistics without it.",
        ),
        Field("centre", "coordinate", "The voxel near which the work begins."),
        Field("dry_run", "boolean", "Only say what would change, in the job's message and result."),
        Field(
            "class",
            "text",
            "Name or id of the model's class to look for; its first thing without it.",
        ),
        Field(
            "preset",
            "text",
            "empanada-exact: the region as empanada-napari 1.2.4 computes it, for comparison; what "
            "is found then depends on where the region ends.",
        ),
        Field(
            "engine",
            "text",
            "What runs the network: exact (without it: the fastest that gives the network's own "
            "maps), eager, fused, openvino; int8 or quantized, which lose some for speed.",
        ),
        Field("maps", "boolean", "Keep the network's maps, to be shown as layers (`/maps/<job>`)."),
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
        voxel_size_nm=body["voxel_size_nm"],
        existing=body["existing"] or "replace-unedited",
        parameters=body["parameters"],
        grey_range=_grey_range(body["grey_range"]),
        centre=body["centre"],
        is_rehearsal=bool(body["dry_run"]),
        engine=body["engine"] or "exact",
        class_name=body["class"],
        preset=body["preset"],
        keep_maps=bool(body["maps"]),
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


def _grey_range(value: Mapping[str, Any] | None) -> GreyRange | None:
    if value is None:
        return None
    ends = [value.get("low"), value.get("high")]
    numbers = [e for e in ends if isinstance(e, int | float) and not isinstance(e, bool)]
    if len(numbers) < 2 or set(value) != {"low", "high"}:
        raise InvalidInputError(
            f"grey_range must be {{low, high}}, two numbers, not {str(dict(value))[:100]}.",
            ErrorKind.INVALID_PARAMETER,
        )
    return GreyRange(*numbers)


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
