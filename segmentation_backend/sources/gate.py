"""A door between tensorstore and servers that nobody vouches for: no answer is larger than a limit.

tensorstore takes what a web server sends to its end, whatever was asked for, and unpacks what is
sent packed: a server made for it fills the memory. So it is given the address of a small server in
this process (on the loopback interface, behind a word that nobody can guess), which asks the real
one, looks at the answer, and hands it on whole or not at all.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from hashlib import blake2b
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import urlsplit

from segmentation_backend.sources.bombs import BombError, Suspicion, check_body, inflated
from segmentation_backend.sources.web_documents import (
    DocumentTooLargeError,
    certificates,
    read_body,
    without_user,
)

__all__ = ["FIRST_LIMIT", "Gate", "KeyAddress", "Passage", "own_gate", "with_real_addresses"]

FIRST_LIMIT = 2**24
"""Bytes that an answer may always have: metadata, lists of what is in a shard."""

_HERE = "http://127.0.0.1"
_TIMEOUT_S = 30.0
_DEADLINE_S = 110.0
_IDLE_S = 60.0
_PASSED_ON = ("Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since")
_HANDED_BACK = ("ETag", "Last-Modified", "Date", "Cache-Control", "Content-Range", "Age")
_STALE = (ConnectionError, HTTPException)
_ERROR_BYTES, _SHOWN_BYTES = 2**16, 2**10
_AMAZON = ".s3.amazonaws.com/"
_REGION = re.compile(r"[a-z]{2}[a-z0-9-]{1,30}")
_Connections: TypeAlias = dict[tuple[str, str], HTTPConnection]


class KeyAddress(NamedTuple):
    """Where the keys of a store are on the web: before + key + after."""

    before: str
    after: str = ""
    is_quoted: bool = False
    """Whether the slashes of a key are written %2F."""

    def of(self, key: str) -> str:
        """Return the address of a key, whose other letters are quoted already."""
        return self.before + (key.replace("/", "%2F") if self.is_quoted else key) + self.after


@dataclass
class Passage:
    """Where the keys of a store really are, and what may come back."""

    place: KeyAddress
    limit: int = FIRST_LIMIT
    """Bytes of a whole object, as they are sent and as they are handed on."""
    part_limit: int = FIRST_LIMIT
    """Bytes of a part, which may be several chunks of a shard."""
    suspicion: Suspicion = field(default_factory=Suspicion)
    """What an answer is looked at for."""


class Gate:
    """The server, for as long as the process lives."""

    def __init__(self) -> None:
        """Listen; a thread for each connection of tensorstore's."""
        self._word = secrets.token_bytes(32)
        self.passages: dict[str, Passage] = {}
        self._server = _Server(("127.0.0.1", 0), partial(_Handler, self))
        self._address = f"{_HERE}:{self._server.server_port}"
        self._own = re.compile(rf"{re.escape(self._address)}/([0-9a-f]{{40}})/")
        threading.Thread(
            target=self._server.serve_forever, daemon=True, name="mitoglance gate"
        ).start()

    def store(self, place: KeyAddress, tail: str) -> tuple[dict[str, Any], Passage]:
        """Return tensorstore's specification of the keys below an address, and their passage.

        The same address has the same passage, so that chunks in memory are shared. `tail` is what
        of the key is known: a folder, which ends with a slash, or an archive.
        """
        token = blake2b(json.dumps([place, tail]).encode(), key=self._word).hexdigest()[:40]
        passage = self.passages.setdefault(token, Passage(place))
        return {"driver": "http", "base_url": self._address, "path": f"/{token}/{tail}"}, passage

    def real_addresses(self, text: str) -> str:
        """Return a message of tensorstore's with the servers that were meant, not this one."""

        def real(match: re.Match[str]) -> str:
            passage = self.passages.get(match[1])
            return match[0] if passage is None else passage.place.before

        return self._own.sub(real, text)


@lru_cache(maxsize=1)
def _gate_of(process: int) -> Gate:
    del process
    return Gate()


def own_gate() -> Gate:
    """Return the gate of this process; threads do not survive a fork, so a child has its own."""
    return _gate_of(os.getpid())


def with_real_addresses(text: str) -> str:
    """Return a message of tensorstore's without the gate in it."""
    return own_gate().real_addresses(text) if _HERE in text else text


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


class _Handler(BaseHTTPRequestHandler):
    """One connection of tensorstore's, and those to servers that were needed for it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = _IDLE_S

    def __init__(self, gate: Gate, *arguments: object) -> None:
        self._gate = gate
        self._connections: _Connections = {}
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        token, _, key = self.path[1:].partition("/")
        passage = self._gate.passages.get(token)
        if passage is None:
            # Not 404, which would be a chunk that was never written.
            self._give(HTTPStatus.FORBIDDEN, {}, b"no such passage")
            return
        try:
            self._give(*self._fetch(passage, key))
        except (BombError, DocumentTooLargeError) as err:
            self._give(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {}, str(err).encode())
        except (OSError, HTTPException) as err:
            self._forget()
            self._give(HTTPStatus.SERVICE_UNAVAILABLE, {}, f"no answer: {err}".encode())

    def _fetch(self, passage: Passage, key: str) -> tuple[int, Mapping[str, str], bytes]:
        """Return the status, headers and body of an answer that may be handed on."""
        deadline = time.monotonic() + _DEADLINE_S
        headers = {name: self.headers[name] for name in _PASSED_ON if name in self.headers}
        answer = self._ask(passage.place.of(key), headers)
        moved = _in_its_region(answer, passage.place)
        if moved is not None:
            self._forget()
            passage.place = moved
            answer = self._ask(moved.of(key), headers)
        kept = {name: answer.headers[name] for name in _HANDED_BACK if name in answer.headers}
        if answer.status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
            return answer.status, kept, self._words_of(answer, deadline)
        try:
            limit = _limit(answer, headers.get("Range", ""), passage)
            body = read_body(answer, limit, deadline)
            body = inflated(body, answer.headers.get("Content-Encoding", ""), limit)
            check_body(body, passage.suspicion)
        except (DocumentTooLargeError, BombError) as err:
            self._forget()
            raise BombError(f"larger than a chunk of this array can be: {err}") from err
        return answer.status, kept, body

    def _words_of(self, answer: HTTPResponse, deadline: float) -> bytes:
        try:
            return read_body(answer, _ERROR_BYTES, deadline)[:_SHOWN_BYTES]
        except DocumentTooLargeError:
            self._forget()
            return b""

    def _ask(self, url: str, headers: dict[str, str]) -> HTTPResponse:
        address, who = without_user(url)
        parts = urlsplit(address)
        place = (parts.scheme, parts.netloc)
        target = address.partition(parts.netloc)[2] or "/"
        sent = {"User-Agent": "mitoglance", "Accept-Encoding": "identity", **headers, **who}
        known = self._connections.get(place)
        if known is not None:
            try:
                known.request("GET", target, headers=sent)
                return known.getresponse()
            except _STALE:
                # It was closed while nobody used it.
                known.close()
        connection = self._connections[place] = _connection(*place)
        connection.request("GET", target, headers=sent)
        return connection.getresponse()

    def _give(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != HTTPStatus.NOT_MODIFIED:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(b"" if status == HTTPStatus.NOT_MODIFIED else body)

    def _forget(self) -> None:
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:
            # tensorstore has hung up: nobody waits any more.
            self.close_connection = True

    def finish(self) -> None:
        self._forget()
        try:
            super().finish()
        except ConnectionError:
            self.close_connection = True

    def log_message(self, *arguments: object) -> None:
        """Say nothing: addresses may hold keys."""


def _limit(answer: HTTPResponse, part: str, passage: Passage) -> int:
    """Return how many bytes may come: what was asked for, and not all instead of a part of it."""
    if not part:
        return passage.limit
    if answer.status == HTTPStatus.OK:
        if answer.length is None or answer.length > FIRST_LIMIT:
            raise BombError("the byte range was ignored by server")
        return FIRST_LIMIT
    first, _, last = part.removeprefix("bytes=").partition("-")
    asked = passage.part_limit
    if last.isdecimal():
        asked = int(last) if not first else int(last) - int(first) + 1
    return min(passage.part_limit, asked)


def _in_its_region(answer: HTTPResponse, place: KeyAddress) -> KeyAddress | None:
    """Return where a bucket of Amazon's is, when it says that it is in another region."""
    region = answer.headers.get("x-amz-bucket-region", "")
    is_moved = answer.status in (HTTPStatus.MOVED_PERMANENTLY, HTTPStatus.TEMPORARY_REDIRECT)
    if not is_moved or not place.before.endswith(_AMAZON) or not _REGION.fullmatch(region):
        return None
    return place._replace(before=place.before.replace(_AMAZON, f".s3.{region}.amazonaws.com/"))


def _connection(scheme: str, server: str) -> HTTPConnection:
    if scheme == "https":
        connection: HTTPConnection = HTTPSConnection(
            server, timeout=_TIMEOUT_S, context=certificates()
        )
    else:
        connection = HTTPConnection(server, timeout=_TIMEOUT_S)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection
