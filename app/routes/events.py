"""What has happened to a volume since a version; pages ask about every second."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from app.fields import Field
from app.requests import Values, takes
from app.routes.volumes import natural
from app.services import services

__all__ = ["blueprint", "news_since"]

blueprint = Blueprint("events", __name__, url_prefix="/api/v1")

MOST_OPERATIONS = 200


@blueprint.get("/events")
@takes(
    query=(
        Field("volume", "text", "The volume.", required=True),
        Field("since", "integer", "The version that the page shows.", required=True),
    )
)
def events(query: Values) -> ResponseReturnValue:
    """List the operations after a version; `reset` when the page had better start afresh."""
    response = jsonify(ok=True, **news_since(query["volume"], natural(query["since"], "since")))
    response.cache_control.no_store = True
    return response


def news_since(volume: str, since: int) -> dict[str, Any]:
    """Return the newest version, the operations after `since`, and whether they were too many."""
    workspace = services().workspace
    head = workspace.head(volume)
    # A page ahead of the store (a restored backup) and one far behind both have to read anew.
    reset = since > head or head - since > MOST_OPERATIONS
    found = (
        []
        if reset or since == head
        else workspace.operations(volume, since=since, limit=MOST_OPERATIONS)
    )
    ascending = sorted(found, key=lambda operation: operation.operation_id)
    return {"version": head, "operations": [o.to_json() for o in ascending], "reset": reset}
