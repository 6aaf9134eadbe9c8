"""Addresses that are read over TLS only, or from this machine itself; so are redirections."""

from __future__ import annotations

import urllib.request
from http.client import HTTPMessage, HTTPResponse
from typing import IO
from urllib.parse import urlsplit

from segmentation_backend.errors import ErrorKind, InvalidInputError

__all__ = ["open_tls"]

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def open_tls(url: str, timeout_s: float, advice: str) -> HTTPResponse:
    """Return the answer of an https:// address, or of an http:// one of this machine.

    The server's certificate is verified, and a redirection is followed only to an address that
    would have been taken at first. Raises InvalidInputError (INVALID_PARAMETER) for any other
    address, with `advice` as the rest of the sentence, and what `urllib.request` raises.
    """
    _check(url, advice)
    answer: HTTPResponse = _opener(advice).open(url, timeout=timeout_s)
    return answer


def _check(url: str, advice: str) -> None:
    if not _is_taken(url):
        raise InvalidInputError(
            f"{url[:200]} is not an https:// address; {advice}", ErrorKind.INVALID_PARAMETER
        )


def _is_taken(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)


class _CheckedRedirects(urllib.request.HTTPRedirectHandler):
    def __init__(self, advice: str) -> None:
        self._advice = advice

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        _check(newurl, self._advice)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener(advice: str) -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_CheckedRedirects(advice))
