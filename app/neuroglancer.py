"""The protocol of Neuroglancer's Python client, answered by Flask: page files, events, state."""

from __future__ import annotations

import json
import re
from typing import Any

from flask import Blueprint, Response, current_app, jsonify, request
from flask.typing import ResponseReturnValue

from app.client_files import ClientFile
from app.descriptions import descriptions_ahead, places_ahead
from app.errors import error_body
from app.requests import parse_json
from app.services import services
from app.sessions import Session
from app.viewer import ORIGIN, config_state
from segmentation_backend.errors import ErrorKind, InvalidInputError, NotFoundError

__all__ = ["blueprint", "fill_origin", "origin", "strip_origin"]

blueprint = Blueprint("neuroglancer", __name__)

IMMUTABLE = "public, max-age=31536000, immutable"

GUARD = "guard.js"
"""Watches over what the client's chunk worker fetches; see static/js/guard.js."""

_CLIENT_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def origin() -> str:
    """Return the address under which the browser reached this server, without a final slash."""
    return request.url_root.rstrip("/")


def fill_origin(view_state: str) -> dict[str, Any]:
    """Return a stored view state for the browser that asks."""
    state: dict[str, Any] = json.loads(view_state.replace(ORIGIN + "/", origin() + "/"))
    return state


def strip_origin(view_state: dict[str, Any]) -> str:
    """Return a browser's view state as it is stored: valid whatever the server's address.

    Nor does it say who reads an image from where (see `DirectReading`).
    """
    text = json.dumps(view_state).replace(origin() + "/", ORIGIN + "/")
    return services().direct.to_stored(text)


@blueprint.get("/v/<token>/<file>")
def session_file(token: str, file: str) -> ResponseReturnValue:
    """Serve a file of the client where upstream's server does, beside the page."""
    services().sessions.get(token)
    return client_file(file)


@blueprint.get("/client/<file>")
def client_file(file: str) -> ResponseReturnValue:
    """Serve a file of the client at an address that all sessions share, so it is cached once."""
    if file == GUARD:
        # Beside the client's files: it loads the chunk worker, which finds others beside itself.
        guard = current_app.send_static_file(f"js/{GUARD}")
        guard.headers["Cache-Control"] = "no-cache"
        return guard
    found: ClientFile = services().client.get(file)
    gzipped = found.compressed is not None and request.accept_encodings["gzip"] > 0
    body = found.compressed if gzipped and found.compressed is not None else found.content
    response = Response(body, mimetype=found.mimetype)
    response.headers["Cache-Control"] = IMMUTABLE if found.is_immutable else "no-cache"
    if found.compressed is not None:
        response.headers["Vary"] = "Accept-Encoding"
    if gzipped:
        response.headers["Content-Encoding"] = "gzip"
    return response


@blueprint.get("/events/<token>")
def events(token: str) -> ResponseReturnValue:
    """Answer at once with what the client lacks: as server-sent events, or JSON for `?poll=1`."""
    messages, page_state = _news(services().sessions.get(token))
    if request.args.get("poll"):
        response = jsonify(messages=messages, **_ahead(page_state))
    else:
        text = "".join(f"data: {json.dumps(message)}\n\n" for message in messages)
        response = Response(f"retry: 1000\n\n{text}", mimetype="text/event-stream")
    response.headers["Cache-Control"] = "no-store"
    return response


def _news(session: Session) -> tuple[list[dict[str, Any]], str | None]:
    """Return what the client lacks, and the state in it as text, `{origin}` not yet filled in."""
    messages: list[dict[str, Any]] = []
    config, generation = config_state()
    if request.args.get("gc") != generation:
        messages.append({"k": "c", "s": config, "g": generation})
    # A page opened with a state in its address leaves `gs` out: it keeps that state.
    known = request.args.get("gs")
    own = f"{request.args.get('c', '')}/"
    if known is None or known == session.generation or session.generation.startswith(own):
        return messages, None
    stored = session.view_state
    if request.args.get("direct") != "no":
        stored = services().direct.to_page(stored, request.host_url.rstrip("/"))
    state = fill_origin(stored)
    return [*messages, {"k": "s", "s": state, "g": session.generation}], stored


def _ahead(page_state: str | None) -> dict[str, Any]:
    """Return what a page that has no state yet will ask for as soon as it has this one."""
    if page_state is None or request.args.get("gs") != "":
        return {}
    return {
        "documents": descriptions_ahead(page_state),
        "places": places_ahead(page_state, request.host_url.rstrip("/")),
    }


@blueprint.post("/state/<token>")
def save_state(token: str) -> ResponseReturnValue:
    """Store the state a client sends, unless the session has moved on meanwhile (412)."""
    sent = parse_json(request.get_data(), "The state message")
    state, number, client = sent.get("s"), sent.get("g"), sent.get("c")
    if not isinstance(state, dict):
        raise InvalidInputError(
            f"The view state must be a JSON object, not {type(state).__name__}; nothing was saved.",
            ErrorKind.INVALID_VIEW_STATE,
        )
    if not isinstance(client, str) or not _CLIENT_ID.fullmatch(client):
        raise InvalidInputError(
            "c must name the client by 1 to 64 letters or digits.", ErrorKind.INVALID_PARAMETER
        )
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < 2**53:
        raise InvalidInputError(
            "g must be the client's counter, a whole number.", ErrorKind.INVALID_PARAMETER
        )
    return _store(token, state, sent.get("pg"), f"{client}/{number}")


def _store(
    token: str, state: dict[str, Any], before: object, generation: str
) -> ResponseReturnValue:
    sessions = services().sessions
    session = sessions.get(token)
    known = before if isinstance(before, str) else ""
    if sessions.save_state(token, strip_origin(state), before=known, generation=generation):
        return jsonify(g=generation)
    message = f"The view has changed to {session.generation} since {known!r}; nothing was saved."
    return jsonify(error_body(ErrorKind.STALE_VERSION, message, 412)), 412


@blueprint.post("/action/<token>")
def action(token: str) -> ResponseReturnValue:
    """Refuse: every action of ours is handled in the page, none is sent to the server."""
    services().sessions.get(token)
    name = parse_json(request.get_data(), "The action message").get("action")
    if not isinstance(name, str):
        raise InvalidInputError("action must be a text.", ErrorKind.INVALID_PARAMETER)
    raise NotFoundError(
        f"There is no action {name[:64]!r} on the server; the page handles its own.",
        ErrorKind.ROUTE_NOT_FOUND,
    )
