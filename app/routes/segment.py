"""Segmentation: what would be segmented, start it, follow it, cancel it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from app.asked_region import REGION_FIELDS, asked_region
from app.fields import Field
from app.identity import current_user
from app.job_waits import LONGEST_WAIT_MS
from app.jobs import FINISHED
from app.requests import Values, takes
from app.routes.events import news_since
from app.routes.volumes import natural, row_limit
from app.services import services
from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.workspace import GreyRange, SegmentationPlan

__all__ = ["blueprint"]

blueprint = Blueprint("segment", __name__, url_prefix="/api/v1")

_READ_AS = (
    Field("model", "text", "The model; the default one without it."),
    Field("level", "integer", "The image level to read; the one nearest voxel_size_nm without it."),
    Field("voxel_size_nm", "number", "The voxel size to read; the model's own without it."),
)


@blueprint.post("/volumes/<name>/region")
@takes(
    body=(
        Field("mode", "text", "With a view slice, box or orthoplane; box means stack.", True),
        *REGION_FIELDS,
        *_READ_AS,
    )
)
def region(name: str, body: Values) -> ResponseReturnValue:
    """Say which region a view shows, or was drawn, and whether one job may segment it."""
    asked = asked_region(body, services().workspace.volume(name))
    plan = services().workspace.plan_segmentation(
        name,
        **asked._asdict(),
        model=body["model"],
        level=body["level"],
        voxel_size_nm=body["voxel_size_nm"],
        enforce_budget=False,
    )
    return jsonify(ok=True, region=_region(plan))


@blueprint.post("/volumes/<name>/segment")
@takes(
    body=(
        Field("mode", "text", "slice, stack or orthoplane; with a view, box means stack."),
        *REGION_FIELDS,
        *_READ_AS,
        Field(
            "parameters",
            "object",
            "Inference parameters that differ from the model's own, and the defaults.",
        ),
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
            "The model's class to look for: name or id; several with commas between, or all. Its "
            "first thing without it. Objects keep the class (`class` of an object); a voxel that "
            "two classes claim is of the one that the model names first.",
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
        Field(
            "purpose",
            "text",
            "segment (without it); follow: it follows a view, fills what is empty, and is no "
            "operation where that adds nothing; warm: it is only computed beforehand, when no "
            "other job waits. Of the last two a page (session) has one each: a newer one cancels "
            "the one before.",
        ),
        Field("maps", "boolean", "Keep the network's maps, to be shown as layers (`/maps/<job>`)."),
        Field(
            "stacks",
            "boolean",
            "Mode orthoplane: keep what the xy, xz and yz sections show by themselves, before the "
            "vote, as label layers to look at (`/maps/<job>/stack-xy`); nothing in other modes.",
        ),
        Field("session", "text", "The page that asks; a pinned one is refused."),
        Field("request_id", "text", "A repeated id answers with the first job."),
    )
)
def segment(name: str, body: Values) -> ResponseReturnValue:
    """Start segmenting a region; the answer names the job that will."""
    parts = services()
    parts.sessions.check_editable(body["session"], name)
    asked = asked_region(body, parts.workspace.volume(name))
    plan = parts.workspace.plan_segmentation(
        name,
        **asked._asdict(),
        model=body["model"],
        level=body["level"],
        voxel_size_nm=body["voxel_size_nm"],
        existing=body["existing"],
        parameters=body["parameters"],
        grey_range=_grey_range(body["grey_range"]),
        centre=body["centre"],
        is_rehearsal=bool(body["dry_run"]),
        engine=body["engine"] or "exact",
        class_name=body["class"],
        preset=body["preset"],
        purpose=body["purpose"] or "segment",
        keep_maps=bool(body["maps"]),
        keep_stacks=bool(body["stacks"]),
    )
    user = current_user(request, parts.config)
    job = parts.jobs.submit(
        plan.purpose, name, plan.to_json(), user, body["request_id"], _page(body, plan)
    )
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
@takes(
    query=(
        Field(
            "wait_ms",
            "integer",
            f"0 (without it) to {LONGEST_WAIT_MS}: the answer may take so long, and comes at once "
            "when the job ends. A busy server does not wait.",
        ),
        Field(
            "since",
            "integer",
            "The version that the page shows: when the job has ended, the answer has, as `news`, "
            "what `/events` says since then.",
        ),
    )
)
def job(job_id: str, query: Values) -> ResponseReturnValue:
    """Say how far a job is."""
    parts = services()
    wait_ms = natural(query["wait_ms"] or 0, "wait_ms")
    if wait_ms > LONGEST_WAIT_MS:
        raise InvalidInputError(
            f"wait_ms must be at most {LONGEST_WAIT_MS}, not {wait_ms}; ask again instead.",
            ErrorKind.INVALID_PARAMETER,
        )
    since = None if query["since"] is None else natural(query["since"], "since")
    found = parts.waits.ended(job_id, wait_ms / 1000)
    news = None
    if since is not None and found.state in FINISHED:
        news = news_since(found.volume, since)
    return jsonify(ok=True, job=found.to_json(), news=news)


@blueprint.delete("/jobs/<job_id>")
def cancel(job_id: str) -> ResponseReturnValue:
    """Cancel a job: nothing of it will be seen, unless it has ended already (409)."""
    return jsonify(ok=True, job=services().jobs.cancel(job_id).to_json())


def _page(body: Values, plan: SegmentationPlan) -> str | None:
    """Return the page whose earlier jobs of this kind are no longer wanted, if any."""
    if plan.purpose == "segment":
        return None
    if body["session"] is None or plan.is_rehearsal:
        raise InvalidInputError(
            f"A job that is to {plan.purpose} needs the session it is for, and no dry run.",
            ErrorKind.INVALID_PARAMETER,
        )
    return str(body["session"])


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


def _region(plan: SegmentationPlan) -> dict[str, Any]:
    limit = services().workspace.max_voxels
    fits = plan.voxels <= limit
    z, y, x = plan.level_roi.shape
    size = f"{z} x {y} x {x} voxels (z, y, x) at level {plan.level}"
    if plan.sections is not None:
        size = f"{len(plan.sections)} sections within {size}"
    message = f"{size}, {plan.voxels / 1e6:,.1f} million"
    if not fits:
        message += f"; the limit is {limit / 1e6:,.1f} million. Zoom in, or segment a slice."
    return {
        "roi": plan.roi.to_json(),
        "plane": plan.plane,
        "mode": plan.mode,
        "sections": None if plan.sections is None else len(plan.sections),
        "level": plan.level,
        "voxel_size": list(plan.level_voxel_size),
        "voxels": plan.voxels,
        "limit": limit,
        "fits": fits,
        "message": message,
    }
