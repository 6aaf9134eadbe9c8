"""Whether a web page may read a place: asked as a browser would ask, without any key.

Only what a browser needs is looked at: that metadata, and keys that are not there, are answered
for everybody, and that the answers may be read by pages from elsewhere (CORS).
"""

from __future__ import annotations

import secrets
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPException
from urllib.parse import urlsplit

from segmentation_backend.sources.direct import DirectLayer, KeyPlace
from segmentation_backend.sources.redirects import NoRedirects

__all__ = ["TIMEOUT_S", "Openness", "check_openness"]

TIMEOUT_S = 3.0
"""Of each of at most three questions; a place that takes longer is read by the server."""

_READ_AT_MOST = 2**16


@dataclass(frozen=True, slots=True)
class Openness:
    """What was found out."""

    reason: str | None
    """Why a page cannot read there, as the end of a sentence; None: it can."""
    missing: int = 404
    """The status of a key that is not there: 403 in buckets that may not be listed."""


def check_openness(layer: DirectLayer, origin: str) -> Openness:
    """Ask a place whether pages of `origin` (`scheme://host:port`) may read a layer there."""
    first = layer.levels[0]
    if _scheme(origin) == "https" and _scheme(first.place.prefix) != "https":
        return Openness("it is not encrypted, and this page is")
    known = _ask(first.mark, origin, {"Range": "bytes=0-1"} if first.is_sharded else {})
    if known is None:
        return Openness("it does not answer")
    if known.status not in (200, 206):
        return Openness(f"it answers {known.status} without a key")
    if not known.is_readable:
        return Openness("its answers may not be read by other pages (CORS)")
    if first.is_sharded and known.status != 206:
        return Openness("it does not send parts of files")
    return _check_missing(first.place, origin)


def _check_missing(place: KeyPlace, origin: str) -> Openness:
    # What a page cannot tell from a broken line would never be shown.
    missing = _ask(place.address(f"none-{secrets.token_hex(8)}"), origin, {})
    if missing is None or missing.status not in (403, 404):
        return Openness("what it answers for keys that are not there is unusual")
    if not missing.is_readable:
        return Openness("what is not there cannot be told from what cannot be read (CORS)")
    return Openness(None, missing.status)


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    is_readable: bool


def _ask(url: str, origin: str, headers: Mapping[str, str]) -> _Answer | None:
    request = urllib.request.Request(url, headers={"Origin": origin, **headers})
    try:
        with _OPENER.open(request, timeout=TIMEOUT_S) as answer:
            # To its end, or the server finds its line cut.
            answer.read(_READ_AT_MOST)
            return _Answer(answer.status, _is_readable(answer.headers, origin))
    except urllib.error.HTTPError as err:
        with err:
            return _Answer(err.code, _is_readable(err.headers, origin))
    except (OSError, HTTPException, ValueError):
        return None


def _is_readable(headers: Message, origin: str) -> bool:
    return headers.get("Access-Control-Allow-Origin") in ("*", origin)


def _scheme(url: str) -> str:
    return urlsplit(url).scheme


_OPENER = urllib.request.build_opener(NoRedirects)
