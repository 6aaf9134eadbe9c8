"""Short links: make one, read one."""

from __future__ import annotations

import json

from flask import Blueprint, jsonify, request, url_for
from flask.typing import ResponseReturnValue

from app.fields import Field
from app.identity import current_user
from app.neuroglancer import fill_origin, strip_origin
from app.requests import Values, takes
from app.services import services
from app.viewer import show_version

__all__ = ["blueprint"]

blueprint = Blueprint("shares", __name__, url_prefix="/api/v1/shares")


@blueprint.post("")
@takes(
    body=(
        Field("volume", "text", "The volume.", required=True),
        Field("view_state", "view_state", "Neuroglancer's view state.", required=True),
        Field("version", "integer", "The version to pin; the newest without it."),
    )
)
def create(body: Values) -> ResponseReturnValue:
    """Make a link that shows this view of this version, for ever."""
    parts = services()
    volume, version = body["volume"], body["version"]
    # Asking for the version refuses one that does not exist.
    version = parts.workspace.at(volume, version).version
    state = show_version(json.loads(strip_origin(body["view_state"])), volume, version)
    share = parts.shares.create(volume, version, state, current_user(request, parts.config))
    url = url_for("pages.open_share", share_id=share.share_id, _external=True)
    return jsonify(ok=True, share_id=share.share_id, url=url, version=version), 201


@blueprint.get("/<share_id>")
def read(share_id: str) -> ResponseReturnValue:
    """Show what a link shows: volume, version and view state."""
    share = services().shares.get(share_id)
    return jsonify(ok=True, **{**share.to_json(), "view_state": fill_origin(share.view_state)})
