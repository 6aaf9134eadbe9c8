"""How chunks and the documents that lead to them are sent: tags, 304, ranges, how long to keep."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify, request

from app.neuroglancer import IMMUTABLE
from segmentation_backend.workspace import EncodedChunk

__all__ = ["answer_chunk", "answer_info", "chunk_headers"]


def answer_info(document: dict[str, Any]) -> Response:
    """Send a document; browsers ask again each time, since it leads to what they keep for ever."""
    response = jsonify(document)
    response.headers["Cache-Control"] = "no-cache"
    response.add_etag()
    response.make_conditional(request)
    return response


def chunk_headers(*, is_immutable: bool) -> tuple[tuple[str, str], ...]:
    """Return how long a chunk may be kept, and that parts of it may be asked for."""
    return (_KEPT_FOR_EVER if is_immutable else _KEPT_UNTIL_CHANGED), ("Accept-Ranges", "bytes")


EMPTY = "Mitoglance-Empty"
"""Header of a chunk in which there is no label at all, as was read, not for lack of an answer."""

_KEPT_FOR_EVER = ("Cache-Control", IMMUTABLE)
_KEPT_UNTIL_CHANGED = ("Cache-Control", "no-cache")


def answer_chunk(
    chunk: EncodedChunk, instance: str, *, is_immutable: bool, nothing: bytes | None = None
) -> Response:
    """Send a chunk, or part of it: kept for ever, or asked for again each time and mostly 304.

    One that is just `nothing` says so, that pages need not draw it.
    """
    etag = f"{instance}-{chunk.etag}"
    # A proxy that compresses on the way makes the tag a weak one; it still names this content.
    if request.if_none_match.contains_weak(etag):
        response = Response(status=304)
    else:
        data = chunk.data()
        response = Response(data, mimetype="application/octet-stream")
        if data == nothing:
            response.headers[EMPTY] = "1"
    response.set_etag(etag)
    response.headers.extend(chunk_headers(is_immutable=is_immutable))
    if response.status_code == 200 and "Range" in request.headers:
        size = response.content_length
        response.make_conditional(request, accept_ranges=True, complete_length=size)
    return response
