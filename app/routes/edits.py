"""Edits: merge, split, undo, redo, revert; each is one attributed operation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from app.fields import Field
from app.identity import current_user
from app.neuroglancer import origin
from app.requests import Values, takes
from app.services import services
from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.geometry import Coordinate
from segmentation_backend.workspace import EditContext

__all__ = ["blueprint"]

blueprint = Blueprint("edits", __name__, url_prefix="/api/v1/volumes/<name>")

_EDIT = (
    Field("request_id", "text", "A repeated id answers with the first result."),
    Field("base_version", "integer", "The version seen; 409 when its objects changed since."),
    Field("session", "text", "The page that asks; a pinned one is refused."),
)
_GROUPS = (
    Field("sources", "points", "Voxels of one part."),
    Field("sinks", "points", "Voxels of the other part."),
    Field("groups", "groups", "Voxels of each of two or more parts, instead."),
)
_ONE = (Field("operation_id", "integer", "The operation; the caller's last one without it."),)


@blueprint.post("/merge")
@takes(
    body=(
        Field("ids", "ids", "Two or more objects; or name points."),
        Field("points", "points", "Voxels of two or more objects, instead."),
        *_EDIT,
    )
)
def merge(name: str, body: Values) -> ResponseReturnValue:
    """Join two or more objects into one."""
    edit = _context(name, body)
    return _answer(
        services().workspace.merge(name, ids=body["ids"], points=body["points"], edit=edit)
    )


@blueprint.post("/split/preview")
@takes(body=(*_GROUPS, Field("session", "text", "The page that asks.")))
def split_preview(name: str, body: Values) -> ResponseReturnValue:
    """Show what a split would do, without doing it."""
    services().sessions.check_editable(body["session"], name)
    preview = services().workspace.split_preview(name, _parts(body))
    url = f"precomputed://{origin()}/previews/{preview.preview_id}"
    return jsonify(ok=True, preview={**preview.to_json(), "url": url})


@blueprint.post("/split")
@takes(body=(*_GROUPS, *_EDIT))
def split(name: str, body: Values) -> ResponseReturnValue:
    """Cut one object into parts, one for each group of voxels."""
    edit = _context(name, body)
    return _answer(services().workspace.split(name, _parts(body), edit))


@blueprint.post("/undo")
@takes(body=(*_ONE, *_EDIT))
def undo(name: str, body: Values) -> ResponseReturnValue:
    """Take back the caller's last operation, or a named one, as a new operation."""
    edit = _context(name, body)
    return _answer(services().workspace.undo(name, edit, body["operation_id"]))


@blueprint.post("/redo")
@takes(body=(*_ONE, *_EDIT))
def redo(name: str, body: Values) -> ResponseReturnValue:
    """Bring back what the caller's last undo, or a named one, took away."""
    edit = _context(name, body)
    return _answer(services().workspace.redo(name, edit, body["operation_id"]))


@blueprint.post("/revert")
@takes(body=(Field("version", "integer", "The version to go back to.", required=True), *_EDIT))
def revert(name: str, body: Values) -> ResponseReturnValue:
    """Bring the labels of an earlier version back, as a new operation."""
    edit = _context(name, body)
    return _answer(services().workspace.revert(name, body["version"], edit))


def _context(name: str, body: Values) -> EditContext:
    parts = services()
    parts.sessions.check_editable(body["session"], name)
    return EditContext(
        user=current_user(request, parts.config),
        request_id=body["request_id"],
        base_version=body["base_version"],
    )


def _parts(body: Values) -> Sequence[Sequence[Coordinate]]:
    pair = (body["sources"], body["sinks"])
    if body["groups"] is not None and pair == (None, None):
        groups: list[list[Coordinate]] = body["groups"]
        return groups
    if body["groups"] is not None or None in pair:
        raise InvalidInputError(
            "Name the parts by either sources and sinks, or groups.", ErrorKind.INVALID_PARAMETER
        )
    return pair


class _Operation(Protocol):
    @property
    def operation_id(self) -> int: ...

    def to_json(self) -> dict[str, Any]: ...


def _answer(operation: _Operation) -> ResponseReturnValue:
    document = operation.to_json()
    return jsonify(
        ok=True,
        operation_id=operation.operation_id,
        version=operation.operation_id,
        removed_roots=document["removed_roots"],
        added_roots=document["added_roots"],
        operation=document,
    )
