"""The HTML pages, and the short addresses that lead to them."""

from __future__ import annotations

import json

from flask import Blueprint, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug import Response

from app.boot import session_document
from app.catalogue_cards import (
    MOST_CARDS,
    catalogue_cards,
    image_origins,
    published_view,
    size_text,
)
from app.identity import current_user
from app.security import policy
from app.services import services
from app.sessions import Session
from app.viewer import initial_state, show_place, show_version

__all__ = ["blueprint"]

blueprint = Blueprint("pages", __name__)

_COOKIE_AGE_S = 90 * 24 * 3600


@blueprint.get("/")
def start() -> ResponseReturnValue:
    """Show the volumes, and how to open one's own data."""
    parts = services()
    workspace = parts.workspace
    volumes = workspace.volumes()
    known = workspace.catalogue.known()
    opened = {info.published.dataset: info.name for info in volumes if info.published}
    page = render_template(
        "start.html",
        cards=[(info, workspace.head(info.name)) for info in volumes],
        known=known,
        datasets=catalogue_cards(workspace.catalogue.search(), opened)[:MOST_CARDS],
        may_open=parts.config.allow_registration,
        size_text=size_text,
    )
    response = make_response(page)
    response.headers["Content-Security-Policy"] = policy(image_origins(known.datasets.values()))
    return response


@blueprint.get("/d/<name>")
def open_volume(name: str) -> ResponseReturnValue:
    """Lead to a new page of a volume, at the place that the caller last looked at.

    `?view=` names a view of the catalogue instead.
    """
    parts = services()
    info = parts.workspace.volume(name)
    cookie = f"mitoglance_session_{name}"
    # A session of its own for each tab: two that shared one would move each other's camera.
    last = parts.sessions.find(request.cookies.get(cookie))
    wanted = request.args.get("view")
    if last is None or last.volume != name:
        state = initial_state(info, None)
    else:
        state = show_version(json.loads(last.view_state), name, None)
    if wanted:
        state = show_place(initial_state(info, None), info, published_view(info, wanted))
    session = parts.sessions.create(name, current_user(request, parts.config), state)
    response = _lead_to(session)
    response.set_cookie(cookie, session.token, max_age=_COOKIE_AGE_S, httponly=True, samesite="Lax")
    return response


@blueprint.get("/s/<share_id>")
def open_share(share_id: str) -> ResponseReturnValue:
    """Lead to a new page that shows exactly what was shared."""
    parts = services()
    share = parts.shares.get(share_id)
    session = parts.sessions.create(
        share.volume,
        current_user(request, parts.config),
        json.loads(share.view_state),
        pinned_version=share.version,
        share_id=share_id,
    )
    return _lead_to(session)


@blueprint.get("/v/<token>/")
def viewer(token: str) -> ResponseReturnValue:
    """Show the proofreading page of a session."""
    parts = services()
    session = parts.sessions.get(token)
    # Known when the page asks for its state.
    parts.direct.begin(session.view_state, request.host_url.rstrip("/"))
    boot = session_document(parts, session, current_user(request, parts.config))
    return render_template(
        "viewer.html",
        boot=boot,
        scripts=parts.client.scripts,
        styles=parts.client.styles,
    )


def _lead_to(session: Session) -> Response:
    response = redirect(url_for("pages.viewer", token=session.token), code=302)
    response.headers["Cache-Control"] = "no-store"
    return response
