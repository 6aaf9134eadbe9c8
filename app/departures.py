"""Clients that went away before their answer: nothing is worked out for them."""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Any

from werkzeug.exceptions import HTTPException

__all__ = ["ClientGone", "still_wanted_by"]

# Only Linux tells that the other side has closed while its bytes are still unread.
_CLOSED = getattr(select, "POLLRDHUP", 0)


class ClientGone(HTTPException):
    """Nobody is there to read the answer; 499 is what nginx counts such requests as."""

    code = 499
    description = "The client went away before its answer."


def still_wanted_by(environ: dict[str, Any]) -> Callable[[], None]:
    """Return what raises ClientGone once the client of this request has closed its connection."""
    socket = environ.get("gunicorn.socket")
    if socket is None or not _CLOSED:
        return lambda: None
    poller = select.poll()
    poller.register(socket, _CLOSED)

    def check() -> None:
        if poller.poll(0):
            raise ClientGone

    return check
