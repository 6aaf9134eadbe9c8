"""What happened: branches and tags, differences of versions, lineage of objects, who did it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from app.fields import KINDS, Field
from app.identity import current_user
from app.requests import Values, takes
from app.routes.edits import MAIN
from app.routes.volumes import row_limit
from app.services import services
from segmentation_backend.workspace import EditContext

if TYPE_CHECKING:
    from segmentation_backend.edits.merge_conflicts import Choice

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


@blueprint.post("/branches/<branch>/merge")
@takes(
    body=(
        Field("into", "text", "The branch that takes the changes; main without it."),
        Field("choices", "object", "ours, theirs or skip, by the id of a conflict."),
        Field("dry_run", "boolean", "Only say what would be done."),
        Field("request_id", "text", "A repeated id answers with the first result."),
        Field("base_version", "integer", "The version of `into` seen."),
    )
)
def merge_branch(name: str, branch: str, body: Values) -> ResponseReturnValue:
    """Bring what a branch changed into another; conflicts are listed, and decided by `choices`.

    What only one of them changed merges by itself. `conflicts` are those still to be decided.
    """
    parts = services()
    into = body["into"] or MAIN
    choices = _choices(body["choices"] or {})
    if body["dry_run"]:
        plan = parts.workspace.plan_branch_merge(name, branch, choices, into)
        return jsonify(ok=True, operation=None, **plan.to_json())
    edit = EditContext(
        user=current_user(request, parts.config),
        request_id=body["request_id"],
        base_version=body["base_version"],
        branch=into,
    )
    operation = parts.workspace.merge_branch(name, branch, edit, choices)
    left = parts.workspace.plan_branch_merge(name, branch, branch=into)
    document = left.to_json() | {"applied": operation.provenance.get("applied", [])}
    return jsonify(ok=True, operation=operation.to_json(), **document)


@blueprint.get("/diff")
@takes(
    query=(
        Field("from", "integer", "The version before.", required=True),
        Field("to", "integer", "The version after.", required=True),
        Field("limit", "integer", "How many objects at most; 1000 without it."),
    )
)
def diff(name: str, query: Values) -> ResponseReturnValue:
    """List the objects that differ between two versions of any branches, the largest first."""
    limit = row_limit(query["limit"], 1000)
    before, after = query["from"], query["to"]
    found = services().workspace.object_changes(name, before, after, limit)
    changes = [change.to_json() for change in found]
    return jsonify({"ok": True, "from": before, "to": after, "objects": changes})


@blueprint.get("/objects/<root>/lineage")
@takes(
    query=(
        Field("version", "integer", "The version at which the id is meant; the newest without."),
        Field("to", "integer", "Follow it up to this version; the newest without it."),
        Field("limit", "integer", "How many operations at most each way; 1000 without it."),
    )
)
def object_lineage(name: str, root: str, query: Values) -> ResponseReturnValue:
    """Show where an object came from and what became of it, with every operation and user."""
    found = services().workspace.lineage(
        name,
        KINDS["id"].check("The object id", root),
        query["version"],
        query["to"],
        row_limit(query["limit"], 1000),
    )
    return jsonify(ok=True, **found.to_json())


@blueprint.get("/blame")
@takes(
    query=(
        Field("point", "coordinate", "The voxel, z,y,x.", required=True),
        Field("version", "integer", "The version; the newest without it."),
    )
)
def voxel_blame(name: str, query: Values) -> ResponseReturnValue:
    """Say which operation gave a voxel what it holds, and which last changed the object there."""
    found = services().workspace.blame(name, query["point"], query["version"])
    return jsonify(ok=True, **found.to_json())


@blueprint.get("/at")
@takes(
    query=(
        Field("time", "time", "ISO 8601 with a zone, such as 2026-01-31T12:00:00Z.", True),
        Field("branch", "text", "The branch; main without it."),
    )
)
def version_at(name: str, query: Values) -> ResponseReturnValue:
    """Say which version was the newest at a time; 0 before the first."""
    version = services().workspace.version_at(name, query["time"], query["branch"] or MAIN)
    return jsonify(ok=True, version=version)


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


def _choices(given: Mapping[str, Any]) -> dict[int, Choice]:
    return {KINDS["id"].check("A conflict's id", key): given[key] for key in given}
