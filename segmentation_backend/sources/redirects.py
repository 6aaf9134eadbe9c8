"""Requests that are answered by the address that was asked, and by no other."""

from __future__ import annotations

import urllib.request
from http.client import HTTPMessage
from typing import IO

__all__ = ["NoRedirects"]


class NoRedirects(urllib.request.HTTPRedirectHandler):
    """Follows no redirection, which may lead to where nobody was let; it is an HTTPError."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> None:
        """Return no request: the answer is what its status says."""
