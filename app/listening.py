"""The listening socket: taken by the launcher, handed to gunicorn, so nobody can come between."""

from __future__ import annotations

import errno
import socket
import time

from segmentation_backend.errors import ErrorKind, InvalidInputError

__all__ = ["listen", "shown_address"]

FIRST_PORT = 8080
_TRIES = 100
_PATIENCE_S = 5.0
"""How long a port that was asked for may still belong to a server that is just stopping."""


def listen(host: str, port: int) -> socket.socket:
    """Return a bound socket on `port`; 0 means 8080, or the next free one when that is taken.

    InvalidInputError when the address cannot be had.
    """
    if port:
        return _listen_patiently(host, port)
    for candidate in range(FIRST_PORT, FIRST_PORT + _TRIES):
        try:
            return _bound(host, candidate)
        except OSError as err:
            if err.errno != errno.EADDRINUSE:
                raise _refused(host, candidate, err) from err
    raise InvalidInputError(
        f"The ports {FIRST_PORT} to {FIRST_PORT + _TRIES - 1} of {host} are all taken; name a "
        "free one with --port.",
        ErrorKind.INVALID_PARAMETER,
    )


def shown_address(bound: socket.socket, host: str) -> str:
    """Return `http://HOST:PORT` with the host as it was given."""
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{bound.getsockname()[1]}"


def _listen_patiently(host: str, port: int) -> socket.socket:
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return _bound(host, port)
        except (OSError, OverflowError) as err:
            taken = isinstance(err, OSError) and err.errno == errno.EADDRINUSE
            if not taken or time.monotonic() > deadline:
                raise _refused(host, port, err) from err
        time.sleep(0.1)


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        # A port whose last connections are still fading away is free.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen(128)
    except (OSError, OverflowError):
        bound.close()
        raise
    return bound


def _refused(host: str, port: int, err: Exception) -> InvalidInputError:
    return InvalidInputError(
        f"Cannot listen on {host} port {port} ({err}); choose another --port or --host.",
        ErrorKind.INVALID_PARAMETER,
    )
