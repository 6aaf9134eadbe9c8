"""What of an address is a secret: who asks, and what a query proves."""

from __future__ import annotations

import re

__all__ = ["without_secrets"]

# A name and password before the server, and values after `?`, such as signatures and tokens.
_WHO = re.compile(r"(?<=://)[^\s/@'\"]+@")
_QUERY = re.compile(r"(://[^\s'\"?]*\?)[^\s'\"|)]+")


def without_secrets(text: str) -> str:
    """Return a text in which addresses are shown without user, password and query."""
    return _QUERY.sub(r"\1…", _WHO.sub("…@", text)) if "://" in text else text
