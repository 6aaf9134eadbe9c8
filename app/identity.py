"""Who is asking: a name for operations, taken from the request."""

from __future__ import annotations

from urllib.parse import unquote

from flask import Request

from app.config import Config
from segmentation_backend.errors import ErrorKind, InvalidInputError

__all__ = ["COOKIE", "HEADER", "current_user"]

HEADER = "X-Mitoglance-User"
COOKIE = "mitoglance_user"
LONGEST = 64


def current_user(request: Request, config: Config) -> str:
    """Return the caller's name: header (URL-encoded), else cookie, else the configured one.

    A name has 1 to 64 printable characters; another is an InvalidInputError.
    """
    sent = request.headers.get(HEADER) or request.cookies.get(COOKIE)
    if not sent:
        return config.user
    name = unquote(sent).strip()
    if not 1 <= len(name) <= LONGEST or not name.isprintable():
        raise InvalidInputError(
            f"The user name {name[:80]!r} must have 1 to {LONGEST} printable characters.",
            ErrorKind.INVALID_NAME,
        )
    return name
