"""Small files of web servers, which may be hostile: never more in memory than was asked for.

tensorstore has no bound on what an http server answers: one without an end fills the memory. So
the metadata, which come first and say whether there is an image at all, are read here.
"""

from __future__ import annotations

import ssl
import time
import urllib.request
from base64 import b64encode
from functools import lru_cache
from http.client import HTTPException, HTTPResponse
from urllib.error import HTTPError
from urllib.parse import quote, unquote, urlsplit

from segmentation_backend.sources.redirects import NoRedirects

__all__ = [
    "DocumentTooLargeError",
    "certificates",
    "key_url",
    "read_body",
    "read_web_document",
    "without_user",
]

_TIMEOUT_S = 30.0
_DEADLINE_S = 120.0
_PAUSES_S = (0.2, 0.4, 0.8, 1.6)
"""Before each further attempt, where the server is busy or does not answer."""
_PIECE = 2**16
_SAFE = "/~!$&'()*+,;=:@"
_STATUS = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED"}
_MAY_PASS = (408, 429)
_MISSING = (404, 410)


class DocumentTooLargeError(Exception):
    """The document is larger than allowed; what is known of its size is in the message."""


def key_url(server: str, path: str, name: str) -> str:
    """Return the address of a file below a path; a query of the server belongs to every file."""
    base, mark, query = server.partition("?")
    key = "/".join(part for part in (path, name) if part)
    return f"{base}/{quote(key, safe=_SAFE)}{mark}{query}"


def read_web_document(url: str, limit: int) -> bytes | None:
    """Return what an address serves, or None where there is nothing.

    At most one byte more than `limit` is read, nothing waits for longer than two minutes, and no
    redirection is followed: it could lead to where nobody may look, and voxels would not come that
    way either. Raises DocumentTooLargeError, and ValueError that begins with the status code that
    tensorstore would give.
    """
    deadline = time.monotonic() + _DEADLINE_S
    for pause in (*_PAUSES_S, None):
        try:
            with _open(url) as answer:
                return read_body(answer, limit, deadline)
        except HTTPError as err:
            err.close()
            if err.code in _MISSING:
                return None
            if err.code < 500 and err.code not in _MAY_PASS:
                raise ValueError(_refusal(err)) from err
            failure: Exception = err
        except (OSError, HTTPException) as err:
            failure = err
        if pause is None or time.monotonic() + pause > deadline:
            break
        time.sleep(pause)
    raise ValueError(f"UNAVAILABLE: {getattr(failure, 'reason', None) or failure}") from failure


def _refusal(error: HTTPError) -> str:
    status = _STATUS.get(error.code, "FAILED_PRECONDITION")
    other = error.headers.get("Location", "")[:200]
    hint = f": it is at {other} now; open that address" if 300 <= error.code < 400 else ""
    return f"{status}: HTTP {error.code} {error.reason}{hint}"


def _open(url: str) -> HTTPResponse:
    opener = urllib.request.build_opener(
        NoRedirects(), urllib.request.HTTPSHandler(context=certificates())
    )
    address, who = without_user(url)
    # Some servers send away what says that it is a script.
    request = urllib.request.Request(address, headers={"User-Agent": "mitoglance", **who})
    answer: HTTPResponse = opener.open(request, timeout=_TIMEOUT_S)
    return answer


def without_user(url: str) -> tuple[str, dict[str, str]]:
    """Return an address without the user and password in it, and the header that says them."""
    parts = urlsplit(url)
    who, has_name, server = parts.netloc.rpartition("@")
    if not has_name:
        return url, {}
    header = f"Basic {b64encode(unquote(who).encode()).decode()}"
    return parts._replace(netloc=server).geturl(), {"Authorization": header}


@lru_cache(maxsize=1)
def certificates() -> ssl.SSLContext:
    """Return what servers under TLS are checked by."""
    return ssl.create_default_context()


def read_body(answer: HTTPResponse, limit: int, deadline: float) -> bytes:
    """Return the body of an answer, of which at most a byte more than `limit` is read.

    Raises DocumentTooLargeError, TimeoutError at the `deadline` (`time.monotonic`) and
    HTTPException for one that was cut.
    """
    promised = answer.length
    if promised is not None and promised > limit:
        raise DocumentTooLargeError(f"{promised} bytes")
    body = bytearray()
    # One read of the socket at a time: a server that sends a byte now and then meets the deadline.
    while piece := answer.read1(min(_PIECE, limit + 1 - len(body))):
        body += piece
        if len(body) > limit:
            raise DocumentTooLargeError(f"more than {limit} bytes")
        if time.monotonic() > deadline:
            raise TimeoutError(f"not all of it came within {_DEADLINE_S:.0f} s")
    if promised is not None and len(body) < promised:
        raise HTTPException(f"{len(body)} of {promised} bytes arrived")
    # `read1` leaves it open, and then nothing more can be asked on the same connection.
    answer.close()
    return bytes(body)
