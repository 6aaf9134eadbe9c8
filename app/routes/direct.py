"""What pages read from its source: how it is described, and where the chunks are.

An address here is that of the server's own route, `image/<volume>` or `beside/<volume>/<labels>`,
behind `direct/`.
"""

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

_ANSWERS_WITHIN_S = 30.0

_CHUNK = re.compile(r"s?(?P<level>[0-9]{1,2})/(?P<key>[0-9a-z][0-9a-z._/-]{0,199})")
_PRECOMPUTED = re.compile(r"([0-9]+)-([0-9]+)_([0-9]+)-([0-9]+)_([0-9]+)-([0-9]+)")


def page_origin() -> str:
    """Return the origin of the page that asks, as its browser names it: scheme, host and port."""
    return request.host_url.rstrip("/")


@blueprint.get("/image/<name>/where")
@blueprint.get("/beside/<name>/<labels>/where")
def where(name: str, labels: str | None = None) -> ResponseReturnValue:
    """Say where the chunks of each level are for this page, or why they come from the server."""
    verdict = services().direct.verdict(_own(name, labels), page_origin(), _ANSWERS_WITHIN_S)
    response = jsonify(verdict.to_json())
    response.headers["Cache-Control"] = "no-store"
    return response


@blueprint.get("/image/<name>/<path:key>")
@blueprint.get("/beside/<name>/<labels>/<path:key>")
def document(name: str, key: str, labels: str | None = None) -> ResponseReturnValue:
    """Describe it, or lead to a chunk of it: pages of ours go there without asking."""
    own, direct = _own(name, labels), services().direct
    layer = direct.description(own)
    if layer is not None and key in layer.documents:
        return answer_info(dict(layer.documents[key]))
    found = _CHUNK.fullmatch(key)
    if layer is None or found is None or int(found["level"]) >= len(layer.levels):
        raise NotFoundError(f"{labels or name} has no {key[:100]!r}.", ErrorKind.ROUTE_NOT_FOUND)
    verdict = direct.verdict(own, page_origin(), _ANSWERS_WITHIN_S)
    if not verdict.is_open:
        raise ResourceError(
            f"{labels or name} is not read from its source ({verdict.openness.reason}); its voxels "
            f"are at /{own}.",
            ErrorKind.SOURCE_UNAVAILABLE,
        )
    response = redirect(_chunk_address(layer.levels[int(found["level"])], found["key"]), code=307)
    response.headers["Cache-Control"] = "no-store"
    return response


def _own(name: str, labels: str | None) -> str:
    """Return the server's own address of an image or of labels, or raise NotFoundError."""
    workspace = services().workspace
    workspace.volume(name)
    if labels is None:
        return f"image/{name}"
    workspace.beside_levels(name, labels)
    return f"beside/{name}/{labels}"


def _chunk_address(level: DirectLevel, key: str) -> str:
    named = _PRECOMPUTED.fullmatch(key)
    if named:
        x, y, z = level.offset
        ends = zip(map(int, named.groups()), (x, x, y, y, z, z), strict=True)
        a, b, c, d, e, f = (at + by for at, by in ends)
        key = f"{a}-{b}_{c}-{d}_{e}-{f}"
    return level.place.address(key)
