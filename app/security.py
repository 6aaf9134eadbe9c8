"""Headers that keep a page from doing what it has no need to do."""

from __future__ import annotations

from collections.abc import Sequence

from flask import Flask, Response

__all__ = ["HEADERS", "init_app", "policy"]

HEADERS = (("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "same-origin"))
"""Of every answer."""

_RULES = (
    "default-src 'self'",
    # The client compiles its decoders from wasm. Nothing of ours makes scripts from text, but
    # scripted browsers (Playwright's `wait_for_function`) do, and facilities drive pages so.
    "script-src 'self' 'unsafe-eval' 'wasm-unsafe-eval'",
    "worker-src 'self' blob:",
    # Rules that the client writes into elements; no remote sheet can be loaded.
    "style-src 'self' 'unsafe-inline'",
    "font-src 'self' data:",
    # A user may add a layer of public data beside ours.
    "connect-src 'self' https: data: blob:",
    "object-src 'none'",
    "base-uri 'none'",
    "form-action 'self'",
    "frame-ancestors 'self'",
)


def policy(images: Sequence[str] = ()) -> str:
    """Return the policy of a page, which may show pictures of these origins besides our own."""
    return "; ".join((*_RULES, " ".join(("img-src 'self' data: blob:", *images))))


def init_app(app: Flask) -> None:
    """Send the headers with every answer."""
    app.after_request(_protect)


def _protect(response: Response) -> Response:
    for name, value in HEADERS:
        response.headers.setdefault(name, value)
    if response.mimetype == "text/html":
        response.headers.setdefault("Content-Security-Policy", policy())
        # Pages hold session tokens and are made per request.
        response.headers.setdefault("Cache-Control", "no-store")
    return response
