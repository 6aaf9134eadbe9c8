"""Volumes: list, register, describe; their objects, operations and raw voxels."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from flask import Blueprint, Response, jsonify
from flask.typing import ResponseReturnValue

from app.fields import Field
from app.requests import Values, takes
from app.routes.edits import MAIN
from app.services import services
from segmentation_backend.errors import ErrorKind, InvalidInputError, ReadOnlyError
from segmentation_backend.geometry import Roi
from segmentation_backend.workspace import VolumeInfo

__all__ = ["blueprint"]

blueprint = Blueprint("volumes", __name__, url_prefix="/api/v1/volumes")

MOST_ROWS = 10_000
"""The longest list that one answer holds."""


def _described(info: VolumeInfo) -> dict[str, Any]:
    workspace = services().workspace
    document = {**info.to_json(), "version": workspace.head(info.name)}
    if info.labels is not None:
        document["labels"]["counted"] = workspace.counted_share(info.name)
    return document


@blueprint.get("")
def listing() -> ResponseReturnValue:
    """List the volumes."""
    volumes = services().workspace.volumes()
    return jsonify(ok=True, volumes=[_described(info) for info in volumes])


@blueprint.post("")
@takes(
    body=(
        Field("name", "text", "What to call it: letters, digits, '_', '-', '.'."),
        Field(
            "image",
            "text",
            "A path or URL (zarr, N5, precomputed, zip, TIFF, HDF5, MRC, NPZ, NPY, pictures).",
        ),
        Field("dataset", "text", "Which array, where the file holds several."),
        Field("voxel_size", "voxel_size", "Edges in nm, z, y, x, where the data do not say."),
        Field(
            "labels",
            "text",
            "A path or URL (zarr, N5, precomputed) of labels to begin from; with `catalogue` the "
            "name of published ones, or none.",
        ),
        Field("catalogue", "text", "A dataset of the catalogue, in place of `image`."),
        Field("em", "text", "Which image of that dataset; its first without it."),
    )
)
def register(body: Values) -> ResponseReturnValue:
    """Register a volume; the same name with the same image is answered with what is there.

    Either `name` and `image` are needed, or `catalogue`, whose name it gets without another. What
    the server's setting `sources` does not let through is refused (403, `source-refused`).
    """
    parts = services()
    if not parts.config.allow_registration:
        raise ReadOnlyError(
            "This server takes no new volumes over the network; ask whoever runs it to add one.",
            ErrorKind.READ_ONLY,
        )
    _check_either(body)
    if body["catalogue"]:
        info = parts.workspace.register_published(
            body["catalogue"],
            name=body["name"],
            em=body["em"],
            labels=body["labels"],
            sources=parts.config.open_over_network,
        )
        return jsonify(ok=True, **_described(info)), 201
    info = parts.workspace.register(
        body["name"],
        body["image"],
        dataset=body["dataset"],
        voxel_size=body["voxel_size"],
        labels=body["labels"],
        sources=parts.config.open_over_network,
    )
    return jsonify(ok=True, **_described(info)), 201


def _check_either(body: Values) -> None:
    """Refuse what is neither a file with a name nor a dataset of the catalogue, or is both."""
    refused = ("image", "dataset", "voxel_size") if body["catalogue"] else ("em",)
    needed = () if body["catalogue"] else ("name", "image")
    for field in needed:
        if body[field] is None:
            raise InvalidInputError(
                f"The body needs the field {field!r}: give a name and an image (a path or URL), "
                "or the name of a dataset as catalogue.",
                ErrorKind.INVALID_PARAMETER,
            )
    for field in refused:
        if body[field] is not None:
            raise InvalidInputError(
                f"The field {field!r} does not go with "
                f"{'catalogue' if body['catalogue'] else 'image'}; leave one of them out.",
                ErrorKind.INVALID_PARAMETER,
            )


@blueprint.get("/<name>")
def volume(name: str) -> ResponseReturnValue:
    """Describe a volume: bounds, levels, voxel size, newest version."""
    return jsonify(ok=True, **_described(services().workspace.volume(name)))


@blueprint.get("/<name>/objects")
@takes(
    query=(
        Field("version", "integer", "The version to look at; the newest without it."),
        Field("roi", "roi", "Only objects whose box meets z,y,x,dz,dy,dx (offset, shape)."),
        Field(
            "sort",
            "text",
            "voxels, probability or root, with '-' for largest first; -voxels without it.",
        ),
        Field("class", "text", "Only objects of this class, as `class` names it."),
        Field("after", "id", "Begin behind this object: the last one of the page before."),
        Field("limit", "integer", "How many at most; 1000 without it."),
    )
)
def objects(name: str, query: Values) -> ResponseReturnValue:
    """List objects with their boxes, sizes and centroids, and how sure the network was.

    `probability` is the mean over an object's voxels, `agreement` the share of the planes that
    found something there; null where no network made the object. Such objects come last by
    probability. `class` is what the run that made the object looked for; null where none did.

    `complete` is false while base labels are not counted everywhere: objects may be missing, and
    sizes may be too small.
    """
    workspace = services().workspace
    version = _version_of(name, query["version"])
    found = workspace.objects(
        name,
        version=version,
        roi=query["roi"],
        sort=query["sort"] or "-voxels",
        limit=row_limit(query["limit"], 1000),
        after=query["after"],
        class_name=query["class"],
    )
    classes = workspace.object_classes(name, [stats.root for stats in found], version)
    rows = [
        {**stats.to_json(), **_physical(name, stats.voxels), "class": classes.get(stats.root)}
        for stats in found
    ]
    complete = workspace.counted_share(name) == 1
    return jsonify(ok=True, version=version, complete=complete, objects=rows)


@blueprint.get("/<name>/classes")
@takes(query=(Field("version", "integer", "The version to look at; the newest without it."),))
def classes(name: str, query: Values) -> ResponseReturnValue:
    """List the classes of a version's objects, as `class` names them; see the list of objects."""
    version = _version_of(name, query["version"])
    names = services().workspace.class_names(name, version)
    return jsonify(ok=True, version=version, classes=names)


@blueprint.get("/<name>/objects/<root>")
@takes(
    query=(
        Field("version", "integer", "The version to look at; the newest without it."),
        Field(
            "point",
            "coordinate",
            "Where it was seen: z,y,x. Over base labels, counting starts there.",
        ),
    )
)
def one_object(name: str, root: str, query: Values) -> ResponseReturnValue:
    """Describe one object of a version."""
    if not (root.isascii() and root.isdecimal() and len(root) <= 20 and int(root) < 2**64):
        raise InvalidInputError(
            f"{root[:64]!r} is not an object id; ids are whole numbers from 1 to 2**64 - 1.",
            ErrorKind.INVALID_ID,
        )
    version = _version_of(name, query["version"])
    workspace = services().workspace
    stats = workspace.object(name, int(root), version, query["point"])
    kind = workspace.object_classes(name, [stats.root], version).get(stats.root)
    described = {**stats.to_json(), **_physical(name, stats.voxels), "class": kind}
    return jsonify(ok=True, version=version, object=described)


@blueprint.get("/<name>/operations")
@takes(
    query=(
        Field("since", "integer", "Only operations after this one, oldest first."),
        Field("limit", "integer", "How many at most; 100 without it."),
        Field("user", "text", "Only this user's."),
        Field("branch", "text", "The branch; main without it."),
    )
)
def operations(name: str, query: Values) -> ResponseReturnValue:
    """List operations: the newest first, or (with `since`) those after it, oldest first."""
    workspace = services().workspace
    branch = query["branch"] or MAIN
    found = workspace.operations(
        name,
        since=natural(query["since"], "since"),
        limit=row_limit(query["limit"], 100),
        user=query["user"],
        branch=branch,
    )
    head = workspace.head(name, branch)
    return jsonify(ok=True, version=head, operations=[o.to_json() for o in found])


@blueprint.get("/<name>/cutout")
@takes(
    query=(
        Field("offset", "coordinate", "z,y,x of the first voxel, at the level.", required=True),
        Field("shape", "coordinate", "Voxels along z,y,x, at the level.", required=True),
        Field("level", "integer", "The scale level; 0, the finest, without it."),
        Field("version", "integer", "The version of the labels; the newest without it."),
        Field("layer", "text", "labels (root ids; the default) or image."),
    )
)
def cutout(name: str, query: Values) -> ResponseReturnValue:
    """Send voxels as a NumPy file (z, y, x): root ids as uint64, or the image in its own type."""
    roi = Roi.from_json({"offset": list(query["offset"]), "shape": list(query["shape"])})
    array = services().workspace.cutout(
        name,
        roi,
        level=query["level"] or 0,
        version=query["version"],
        layer=query["layer"] or "labels",
    )
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return Response(buffer.getvalue(), mimetype="application/x-npy")


def natural(value: int | None, name: str) -> int:
    """Return a count that was sent, 0 when it was not; a negative one is refused."""
    if value is not None and value < 0:
        raise InvalidInputError(
            f"{name} must not be negative; it is {value}.", ErrorKind.INVALID_PARAMETER
        )
    return value or 0


def row_limit(value: int | None, default: int) -> int:
    """Return how many rows to answer with; at least 1 must be asked for."""
    if value is not None and value < 1:
        raise InvalidInputError(
            f"limit must be at least 1; it is {value}.", ErrorKind.INVALID_PARAMETER
        )
    return min(value or default, MOST_ROWS)


def _version_of(name: str, version: int | None) -> int:
    return services().workspace.head(name) if version is None else version


def _physical(name: str, voxels: int) -> dict[str, float]:
    z, y, x = services().workspace.volume(name).voxel_size
    return {"volume_nm3": voxels * z * y * x}
