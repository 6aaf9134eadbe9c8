"""Edits: what joins, cuts, paints or removes objects; each is one attributed operation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from app.fields import KINDS, Field
from app.identity import current_user
from app.neuroglancer import origin
from app.requests import Values, takes
from app.services import services
from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.geometry import Coordinate
from segmentation_backend.workspace import EditContext, Stroke, decode_mask

__all__ = ["blueprint"]

MAIN = "main"
"""The branch that an edit is for when it names none."""

blueprint = Blueprint("edits", __name__, url_prefix="/api/v1/volumes/<name>")

_EDIT = (
    Field("request_id", "text", "A repeated id answers with the first result."),
    Field("base_version", "integer", "The version seen; 409 when its objects changed since."),
    Field("branch", "text", "The branch to edit; main without it."),
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
        Field("points", "points", "Voxels of two or more objects, instead or for each id."),
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
@takes(
    body=(
        *_GROUPS,
        Field("branch", "text", "The branch to look at; main without it."),
        Field("session", "text", "The page that asks."),
    )
)
def split_preview(name: str, body: Values) -> ResponseReturnValue:
    """Show what a split would do, without doing it."""
    services().sessions.check_editable(body["session"], name)
    preview = services().workspace.split_preview(name, _parts(body), body["branch"] or MAIN)
    url = f"precomputed://{origin()}/previews/{preview.preview_id}"
    return jsonify(ok=True, preview={**preview.to_json(), "url": url})


@blueprint.post("/split")
@takes(body=(*_GROUPS, *_EDIT))
def split(name: str, body: Values) -> ResponseReturnValue:
    """Cut one object into parts, one for each group of voxels."""
    edit = _context(name, body)
    return _answer(services().workspace.split(name, _parts(body), edit))


@blueprint.post("/cleave")
@takes(body=(Field("supervoxels", "ids", "Supervoxels of one object.", required=True), *_EDIT))
def cleave(name: str, body: Values) -> ResponseReturnValue:
    """Split supervoxels off their object; together they become one of their own."""
    edit = _context(name, body)
    return _answer(services().workspace.cleave(name, body["supervoxels"], edit))


@blueprint.post("/delete")
@takes(body=(Field("ids", "ids", "The objects to remove.", required=True), *_EDIT))
def delete(name: str, body: Values) -> ResponseReturnValue:
    """Remove objects."""
    edit = _context(name, body)
    return _answer(services().workspace.delete(name, body["ids"], edit))


@blueprint.post("/paint")
@takes(
    body=(
        Field("target", "text", "The object that gets the voxels; or new, or erase.", True),
        Field("over", "text", "What gives way: all (the default) or background."),
        Field("over_ids", "ids", "The objects that give way, instead; 0 is background."),
        Field("points", "points", "The way of the brush, voxels."),
        Field("radius", "number", "The brush's radius; 1 without it."),
        Field("unit", "text", "The radius's unit: nm or voxels (the default)."),
        Field("plane", "text", "A disc in xy, xz or yz; a ball without it."),
        Field("roi", "roi", "The painted region, instead of points."),
        Field("mask", "mask", "Its voxels: base64 of zlib of bits, z slowest, first bit highest."),
        *_EDIT,
    )
)
def paint(name: str, body: Values) -> ResponseReturnValue:
    """Give voxels to an object, to a new one, or to none."""
    edit = _context(name, body)
    return _answer(services().workspace.paint(name, _stroke(body), edit))


@blueprint.post("/morph")
@takes(
    body=(
        Field("id", "id", "The object.", required=True),
        Field("operation", "text", "erode, dilate, open, close or fill_holes.", required=True),
        Field("radius", "number", "The ball's radius; 1 without it."),
        Field("unit", "text", "The radius's unit: nm or voxels (the default)."),
        Field("plane", "text", "Slice by slice in xy, xz or yz; in 3D without it."),
        Field("largest_hole", "integer", "Fill only holes of at most so many voxels."),
        *_EDIT,
    )
)
def morph(name: str, body: Values) -> ResponseReturnValue:
    """Erode, dilate, open, close or fill the holes of one object."""
    edit = _context(name, body)
    operation = services().workspace.morph(
        name,
        body["id"],
        body["operation"],
        edit,
        radius=1.0 if body["radius"] is None else body["radius"],
        unit=body["unit"] or "voxels",
        plane=body["plane"],
        largest_hole=body["largest_hole"],
    )
    return _answer(operation)


@blueprint.post("/relabel")
@takes(
    body=(
        Field("id", "id", "The object.", required=True),
        Field("connectivity", "integer", "6, 18 or 26 (the default)."),
        Field("dust", "integer", "Erase parts of fewer voxels; none without it."),
        *_EDIT,
    )
)
def relabel(name: str, body: Values) -> ResponseReturnValue:
    """Make an object of each connected part of one."""
    edit = _context(name, body)
    connectivity = 26 if body["connectivity"] is None else body["connectivity"]
    dust = body["dust"] or 0
    operation = services().workspace.relabel(
        name, body["id"], edit, connectivity=connectivity, dust=dust
    )
    return _answer(operation)


@blueprint.post("/filter")
@takes(
    body=(
        Field("min_voxels", "number", "Objects of fewer voxels go."),
        Field("min_nm3", "number", "Objects of less volume go, instead."),
        Field("roi", "roi", "Only objects with a voxel in this region."),
        *_EDIT,
    )
)
def filter_small(name: str, body: Values) -> ResponseReturnValue:
    """Remove every object that is too small."""
    edit = _context(name, body)
    operation = services().workspace.filter_small(
        name,
        edit,
        min_voxels=body["min_voxels"],
        min_nm3=body["min_nm3"],
        roi=body["roi"],
    )
    return _answer(operation)


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
        branch=body["branch"] or MAIN,
    )


def _stroke(body: Values) -> Stroke:
    roi, mask = body["roi"], body["mask"]
    if (roi is None) != (mask is None):
        raise InvalidInputError(
            "A painted region needs both roi and mask.", ErrorKind.INVALID_PARAMETER
        )
    if body["over"] is not None and body["over_ids"] is not None:
        raise InvalidInputError(
            "Say what gives way by either over or over_ids.", ErrorKind.INVALID_PARAMETER
        )
    return Stroke(
        target=_target(body["target"]),
        over=body["over_ids"] or body["over"] or "all",
        points=body["points"] or (),
        radius=1.0 if body["radius"] is None else body["radius"],
        unit=body["unit"] or "voxels",
        plane=body["plane"],
        region=None if roi is None else (roi, decode_mask(mask, roi)),
    )


def _target(text: str) -> int | None:
    if text in ("new", "erase"):
        return None if text == "new" else 0
    target: int = KINDS["id"].check("target", text)
    return target


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
