"""Labels for the viewer: root ids, live under one address, each version under its own."""

from __future__ import annotations

from flask import Blueprint
from flask.typing import ResponseReturnValue

from app.precomputed import (
    LABEL_CHUNK,
    answer_chunk,
    answer_info,
    level_of,
    parse_chunk,
    volume_info,
)
from app.routes.images import check_instance
from app.services import services
from segmentation_backend.errors import ErrorKind, NotFoundError
from segmentation_backend.geometry import Roi

__all__ = ["blueprint"]

blueprint = Blueprint("labels", __name__, url_prefix="/labels")


@blueprint.get("/<source>/info")
def info(source: str) -> ResponseReturnValue:
    """Describe the labels of a volume, or of `<volume>@<version>`, in precomputed's terms."""
    parts = services()
    name, version = _named(source)
    volume = parts.workspace.volume(name)
    if version is not None:
        parts.workspace.at(name, version)
    return answer_info(
        volume_info(
            "segmentation",
            "uint64",
            volume.label_levels,
            parts.instance,
            encoding="compressed_segmentation",
            chunk=LABEL_CHUNK,
        )
    )


@blueprint.get("/<source>/<instance>/<int:level>/<chunk>")
def label_chunk(source: str, instance: str, level: int, chunk: str) -> ResponseReturnValue:
    """Send one chunk of root ids; unchanged live chunks answer 304 to their tag."""
    parts = services()
    name, version = _named(source)
    scale = level_of(parts.workspace.volume(name).label_levels, level)
    roi = parse_chunk(chunk, Roi((0, 0, 0), scale.shape), LABEL_CHUNK)
    check_instance(instance)
    encoded = parts.workspace.label_chunk(name, version, level, roi)
    return answer_chunk(encoded, parts.instance, is_immutable=version is not None)


def _named(source: str) -> tuple[str, int | None]:
    name, at, number = source.partition("@")
    if not at:
        return name, None
    if not (number.isascii() and number.isdecimal() and len(number) < 19):
        raise NotFoundError(
            f"{number[:64]!r} is not a version; versions are whole numbers.",
            ErrorKind.VERSION_NOT_FOUND,
        )
    return name, int(number)
