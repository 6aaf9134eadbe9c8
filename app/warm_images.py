"""Image chunks that are in memory leave before Flask sees the request: that halves their cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from app.answers import chunk_headers
from app.errors import new_request_id
from app.metrics import Requests
from app.precomputed import named_roi
from app.security import HEADERS
from app.services import Services
from segmentation_backend.workspace import ImageChunk

__all__ = ["WarmImages"]

ROUTE = "/image/<name>/<instance>/<int:level>/<chunk>"
_PREFIX = "/image/"


class WarmImages:
    """The outermost layer of the application: the plain GET of a chunk that is kept, nothing else.

    Whatever is not just that (unknown, conditional, a range, HEAD) goes on to Flask, which answers
    with the same headers.
    """

    def __init__(
        self, wsgi_app: Callable[..., Iterable[bytes]], parts: Services, requests: Requests
    ) -> None:
        """Stand before `wsgi_app`, and count what is answered here in `requests`."""
        self._wsgi_app = wsgi_app
        self._images = parts.images
        self._instance = parts.instance
        self._requests = requests

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Answer a request."""
        chunk = self._find(environ)
        if chunk is None:
            return self._wsgi_app(environ, start_response)
        self._requests.add("GET", ROUTE, 200)
        start_response(
            "200 OK",
            [
                ("Content-Type", "application/octet-stream"),
                ("Content-Length", str(len(chunk.data))),
                ("ETag", f'"{self._instance}-{chunk.etag}"'),
                *chunk_headers(is_immutable=True),
                *HEADERS,
                ("X-Request-Id", new_request_id()),
            ],
        )
        return [chunk.data]

    def _find(self, environ: dict[str, Any]) -> ImageChunk | None:
        path: str = environ.get("PATH_INFO", "")
        if (
            not path.startswith(_PREFIX)
            or environ["REQUEST_METHOD"] != "GET"
            or "HTTP_RANGE" in environ
            or "HTTP_IF_NONE_MATCH" in environ
        ):
            return None
        parts = path.split("/")
        if len(parts) != 6 or parts[3] != self._instance or parts[4] not in _LEVELS:
            return None
        roi = named_roi(parts[5])
        return None if roi is None else self._images.kept(parts[2], _LEVELS[parts[4]], roi)


_LEVELS = {str(level): level for level in range(64)}
