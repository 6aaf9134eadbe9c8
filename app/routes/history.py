"""Names for versions: branches, which move on, and tags, which stay."""

from __future__ import annotations

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from app.fields import Field
from app.identity import current_user
from app.requests import Values, takes
from app.services import services

__all__ = ["blueprint"]

blueprint = Blueprint("history", __name__, url_prefix="/api/v1/volumes/<name>")

_VERSION = Field("version", "integer", "The version; the newest of main without it.")


@blueprint.get("/branches")
def branches(name: str) -> ResponseReturnValue:
    """List the branches of a volume's labels, the oldest first."""
    found = services().workspace.branches(name)
    return jsonify(ok=True, branches=[branch.to_json() for branch in found])


@blueprint.post("/branches")
@takes(
    body=(
        Field("name", "text", "What to call it; the same again is answered with it.", True),
        _VERSION,
    )
)
def create_branch(name: str, body: Values) -> ResponseReturnValue:
    """Make a branch at a version; nothing is copied."""
    parts = services()
    user = current_user(request, parts.config)
    branch = parts.workspace.create_branch(name, body["name"], user, body["version"])
    return jsonify(ok=True, branch=branch.to_json()), 201


@blueprint.delete("/branches/<branch>")
def delete_branch(name: str, branch: str) -> ResponseReturnValue:
    """Take a branch out of the list; its versions can be read until they are collected."""
    services().workspace.delete_branch(name, branch)
    return jsonify(ok=True)


@blueprint.get("/tags")
def tags(name: str) -> ResponseReturnValue:
    """List the tags of a volume's labels, the newest version first."""
    return jsonify(ok=True, tags=[tag.to_json() for tag in services().workspace.tags(name)])


@blueprint.post("/tags")
@takes(
    body=(
        Field("name", "text", "What to call the version; a tag never moves.", True),
        _VERSION,
        Field("note", "text", "Why, for whoever finds it."),
    )
)
def create_tag(name: str, body: Values) -> ResponseReturnValue:
    """Name a version for ever."""
    parts = services()
    user = current_user(request, parts.config)
    note = body["note"] or ""
    tag = parts.workspace.create_tag(name, body["name"], user, body["version"], note)
    return jsonify(ok=True, tag=tag.to_json()), 201


@blueprint.delete("/tags/<tag>")
def delete_tag(name: str, tag: str) -> ResponseReturnValue:
    """Delete a tag; the version it named stays."""
    services().workspace.delete_tag(name, tag)
    return jsonify(ok=True)
