"""A server between a client and an S3 double that loses, cuts, delays and refuses on demand."""

from __future__ import annotations

import http.client
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias
from urllib.parse import urlsplit

Answer: TypeAlias = tuple[int, dict[str, str], bytes]
"""Status, headers, body."""


@dataclass(frozen=True)
class Request:
    """What a client asked for."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request."""

    forwarded: bool = True
    """Whether the server gets the request at all."""
    status: int | None = None
    """Answer this instead of what the server says."""
    code: str = "Fault"
    """The S3 error code of that answer."""
    drop: bool = False
    """Close the connection without an answer."""
    cut: int | None = None
    """Send only so many bytes of the body, then close the connection."""
    short: int | None = None
    """Send only so many bytes of the body as if it were all."""
    flip: int | None = None
    """Invert one byte of the body."""
    delay_s: float = 0.0
    """Wait before the server gets the request."""
    late_s: float = 0.0
    """Wait before the client gets the answer."""


LOST_ANSWER = Fault(drop=True)
LOST_REQUEST = Fault(forwarded=False, drop=True)
BUSY = Fault(forwarded=False, status=503, code="SlowDown")


class FaultProxy:
    """Passes requests on, and counts them, except where a fault was planned."""

    def __init__(self, target: str) -> None:
        self.requests: list[Request] = []
        self.page: int | None = None
        """How many keys one answer of a listing holds; the server's own choice without it."""
        self._target = urlsplit(target).netloc
        self._faults: dict[str, deque[Fault]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self))
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def plan(self, method: str, *faults: Fault) -> None:
        """Let the next requests of a method go wrong, one after another."""
        self._faults[method] = deque(faults)

    @contextmanager
    def counting(self, method: str) -> Iterator[list[Request]]:
        """Yield a list that holds, at the end, the requests of a method made meanwhile."""
        before = len(self.requests)
        found: list[Request] = []
        yield found
        found += [r for r in self.requests[before:] if r.method == method]

    def next_fault(self, request: Request) -> Fault:
        self.requests.append(request)
        waiting = self._faults.get(request.method)
        return waiting.popleft() if waiting else Fault()

    def forward(self, request: Request, body: bytes) -> Answer:
        """Return what the server says to a request."""
        limited = self.page is not None and "list-type=2" in request.path
        path = f"{request.path}&max-keys={self.page}" if limited else request.path
        connection = http.client.HTTPConnection(self._target)
        connection.request(request.method, path, body, request.headers)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, dict(answer.getheaders()), data


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, proxy: FaultProxy, *args: Any) -> None:
        self.proxy = proxy
        super().__init__(*args)

    def handle(self) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # the client gave up waiting
            super().handle()

    def serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers)
        fault = self.proxy.next_fault(request)
        time.sleep(fault.delay_s)
        answer = self.proxy.forward(request, body) if fault.forwarded else (0, {}, b"")
        time.sleep(fault.late_s)
        if fault.drop:
            self.close_connection = True
            return
        if fault.status:
            text = f"<Error><Code>{fault.code}</Code></Error>"
            answer = fault.status, {}, text.encode()
        self.answer(fault, answer)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = serve

    def answer(self, fault: Fault, answer: Answer) -> None:
        status, headers, data = answer
        if fault.flip is not None:
            data = bytes(byte ^ (255 * (at == fault.flip)) for at, byte in enumerate(data))
        data = data[: fault.short]
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: fault.cut])
        self.close_connection = self.close_connection or fault.cut is not None

    def log_message(self, *args: object) -> None:
        """Keep the test output clean."""
