"""Which HTTP status each error has, and the one shape in which errors leave the process."""

from __future__ import annotations

import logging
import random
from typing import Any

from flask import Flask, Response, jsonify, make_response, render_template, request
from werkzeug.exceptions import HTTPException, RequestedRangeNotSatisfiable

from segmentation_backend.errors import (
    ConflictError,
    ErrorKind,
    FormatError,
    InvalidInputError,
    NotFoundError,
    ReadOnlyError,
    ResourceError,
    SegmentationError,
)
from segmentation_backend.sources.secrets import without_secrets

__all__ = ["STATUS", "error_body", "init_app", "new_request_id", "request_id", "status_of"]

STATUS: dict[type[SegmentationError], int] = {
    NotFoundError: 404,
    InvalidInputError: 400,
    ConflictError: 409,
    ReadOnlyError: 403,
    ResourceError: 503,
    FormatError: 500,
}
"""HTTP status of each class of error; a class of its own is found through its bases."""

_KIND_OF_STATUS = {
    400: ErrorKind.INVALID_PARAMETER,
    404: ErrorKind.ROUTE_NOT_FOUND,
    405: ErrorKind.METHOD_NOT_ALLOWED,
    413: ErrorKind.INVALID_PARAMETER,
    415: ErrorKind.INVALID_JSON,
    416: ErrorKind.INVALID_PARAMETER,
}

_log = logging.getLogger(__name__)


def status_of(error: SegmentationError) -> int:
    """Return the HTTP status for an error, by the nearest of its classes in `STATUS`."""
    return next((STATUS[c] for c in type(error).__mro__ if c in STATUS), 500)


def request_id() -> str:
    """Return the identifier of the request being answered (made on first use)."""
    known: str | None = request.environ.get("mitoglance.request_id")
    if known is None:
        known = request.environ["mitoglance.request_id"] = new_request_id()
    return known


def new_request_id() -> str:
    """Return an identifier for a request."""
    # No secret; and asking the system for random bytes would let another thread take over.
    return f"{random.getrandbits(64):016x}"


def error_body(kind: ErrorKind, message: str, status: int) -> dict[str, Any]:
    """Return the one JSON shape of an error."""
    return {
        "ok": False,
        "error": {
            "kind": str(kind),
            "message": without_secrets(message),
            "status": status,
            "request_id": request_id(),
        },
    }


def init_app(app: Flask) -> None:
    """Make every failure of every route leave in the one shape."""
    app.register_error_handler(SegmentationError, _known)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _unforeseen)
    app.after_request(_stamp)


def _known(error: SegmentationError) -> tuple[Response, int]:
    status = status_of(error)
    if error.kind == ErrorKind.SERVER_BUSY:  # by design, and often: no news for a log
        _log.info("request %s: %s", request_id(), error.message)
    elif status >= 500:
        _log.error("request %s: %s: %s", request_id(), error.kind, error.message)
    return _answer(error.kind, error.message, status)


def _http(error: HTTPException) -> tuple[Response, int] | Response:
    status = error.code or 500
    if status < 400:  # a redirect is not an error
        return make_response(error.get_response())
    kind = _KIND_OF_STATUS.get(status, ErrorKind.INTERNAL)
    message = error.description or error.name
    if status == 404:
        message = f"There is nothing at {request.path}; the routes are in /api/v1/openapi.json."
    response, _ = _answer(kind, message, status)
    if isinstance(error, RequestedRangeNotSatisfiable) and error.length is not None:
        response.headers["Content-Range"] = f"{error.units} */{error.length}"
    return response, status


def _unforeseen(error: Exception) -> tuple[Response, int]:
    # The last resort, one of the two places that catch everything: whatever went wrong, the
    # caller gets the one shape, and the traceback goes to the log and nowhere else.
    _log.error("request %s failed", request_id(), exc_info=error)
    return _answer(
        ErrorKind.INTERNAL,
        f"The server failed unexpectedly; its log has the details under {request_id()}.",
        500,
    )


def _answer(kind: ErrorKind, message: str, status: int) -> tuple[Response, int]:
    body = error_body(kind, message, status)
    accepts = request.accept_mimetypes
    html = accepts.accept_html and accepts["text/html"] > accepts["application/json"]
    if html and request.method in ("GET", "HEAD") and not request.path.startswith("/api/"):
        return Response(render_template("error.html", error=body["error"])), status
    response = jsonify(body)
    response.cache_control.no_store = True
    if status == 503:
        response.headers["Retry-After"] = "1"
    return response, status


def _stamp(response: Response) -> Response:
    response.headers["X-Request-Id"] = request_id()
    return response
