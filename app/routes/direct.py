"""Images that pages read from their source: how they are described, and where their chunks are."""

from __future__ import annotations

import re

from flask import Blueprint, jsonify, redirect, request
from flask.typing import ResponseReturnValue

from app.answers import answer_info
from app.services import services
from segmentation_backend.errors import ErrorKind, NotFoundError, ResourceError
from segmentation_backend.sources.direct import DirectLevel

__all__ = ["blueprint", "page_origin"]

blueprint = Blueprint("direct", __name__, url_prefix="/direct")

_CHUNK = re.compile(r"s?(?P<level>[0-9]{1,2})/(?P<key>[0-9a-z][0-9a-z._/-]{0,199})")
_PRECOMPUTED = re.compile(r"([0-9]+)-([0-9]+)_([0-9]+)-([0-9]+)_([0-9]+)-([0-9]+)")


def page_origin() -> str:
    """Return the origin of the page that asks, as its browser names it: scheme, host and port."""
    return request.host_url.rstrip("/")


@blueprint.get("/<name>/where")
def where(name: str) -> ResponseReturnValue:
    """Say where the chunks of each level are for this page, or why they come from the server."""
    parts = services()
    parts.workspace.volume(name)
    verdict = parts.direct.verdict(name, page_origin(), within_s=30)
    response = jsonify(verdict.to_json())
    response.headers["Cache-Control"] = "no-store"
    return response


@blueprint.get("/<name>/<path:key>")
def document(name: str, key: str) -> ResponseReturnValue:
    """Describe the image, or lead to a chunk of it: pages of ours go there without asking."""
    parts = services()
    parts.workspace.volume(name)
    image = parts.direct.description(name)
    if image is not None and key in image.documents:
        return answer_info(dict(image.documents[key]))
    found = _CHUNK.fullmatch(key)
    if image is None or found is None or int(found["level"]) >= len(image.levels):
        raise NotFoundError(f"{name} has no {key[:100]!r}.", ErrorKind.ROUTE_NOT_FOUND)
    verdict = parts.direct.verdict(name, page_origin(), within_s=30)
    if not verdict.is_open:
        raise ResourceError(
            f"{name} is not read from its source ({verdict.openness.reason}); its voxels are at "
            f"/image/{name}.",
            ErrorKind.SOURCE_UNAVAILABLE,
        )
    response = redirect(_chunk_address(image.levels[int(found["level"])], found["key"]), code=307)
    response.headers["Cache-Control"] = "no-store"
    return response


def _chunk_address(level: DirectLevel, key: str) -> str:
    named = _PRECOMPUTED.fullmatch(key)
    if named:
        x, y, z = level.offset
        ends = zip(map(int, named.groups()), (x, x, y, y, z, z), strict=True)
        a, b, c, d, e, f = (at + by for at, by in ends)
        key = f"{a}-{b}_{c}-{d}_{e}-{f}"
    return level.place.address(key)
