"""Sessions: describe one, and choose which version it shows."""

from __future__ import annotations

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from app.boot import session_document
from app.fields import Field
from app.identity import current_user
from app.neuroglancer import fill_origin
from app.requests import Values, takes
from app.services import services
from app.sessions import Session

__all__ = ["blueprint"]

blueprint = Blueprint("sessions", __name__, url_prefix="/api/v1/sessions")


@blueprint.get("/<token>")
def session(token: str) -> ResponseReturnValue:
    """Describe a session."""
    return _answer(services().sessions.get(token))


@blueprint.post("/<token>/version")
@takes(body=(Field("version", "integer", "The version to show; null follows the newest."),))
def show(token: str, body: Values) -> ResponseReturnValue:
    """Show a version (read-only), or with null follow the newest and take edits again."""
    parts = services()
    volume, version = parts.sessions.get(token).volume, body["version"]
    if version is not None:
        # Asking for the version refuses one that does not exist.
        parts.workspace.at(volume, version)
    return _answer(parts.sessions.show_version(token, version))


def _answer(session: Session) -> ResponseReturnValue:
    parts = services()
    user = current_user(request, parts.config)
    return jsonify(
        ok=True,
        session=session_document(parts, session, user),
        view_state=fill_origin(session.view_state),
    )
