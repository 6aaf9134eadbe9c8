"""Whether the server is alive, whether it is ready, and what it has been doing."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify
from flask.typing import ResponseReturnValue

from app.metrics import render, requests_served
from app.openapi import document
from app.services import Services, services
from segmentation_backend.errors import SegmentationError

__all__ = ["blueprint"]

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def alive() -> ResponseReturnValue:
    """Answer: this process answers."""
    return jsonify(ok=True)


@blueprint.get("/readyz")
def ready() -> ResponseReturnValue:
    """Answer 200 when database, label packs and a dispatcher of jobs are there, else 503."""
    parts = services()
    checks = {
        "database": _database_answers(parts),
        "packs": _packs_answer(parts),
    }
    checks["workers"] = checks["database"] and parts.jobs.has_dispatcher()
    is_ready = all(checks.values())
    response = jsonify(ok=is_ready, checks=checks)
    response.cache_control.no_store = True
    return response, 200 if is_ready else 503


@blueprint.get("/metrics")
def metrics() -> ResponseReturnValue:
    """Show counters in Prometheus' text format; requests are those of the answering process."""
    parts = services()
    jobs = {f'state="{state}"': n for state, n in sorted(parts.jobs.count_by_state().items())}
    versions = {
        f'volume="{info.name}"': parts.workspace.head(info.name)
        for info in parts.workspace.volumes()
    }
    text = (
        render("mitoglance_requests_total", "counter", "Requests answered.", requests_served())
        + render("mitoglance_jobs", "gauge", "Jobs by state.", jobs)
        + render("mitoglance_volume_version", "gauge", "Newest version of each volume.", versions)
    )
    return Response(text, mimetype="text/plain; version=0.0.4")


@blueprint.get("/api/v1/openapi.json")
def openapi() -> ResponseReturnValue:
    """Show this document: every route, generated from the code that answers it."""
    return jsonify(document())


def _database_answers(parts: Services) -> bool:
    try:
        parts.jobs.count_by_state()
    except SegmentationError:
        return False
    return True


def _packs_answer(parts: Services) -> bool:
    try:
        parts.workspace.check_packs()
    except SegmentationError:
        return False
    return True
