"""A web server of files for pages from anywhere (CORS): told to fail, and keeping count."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class StaticWeb:
    """The running server."""

    root: Path
    address: str = ""
    fault: int | str | None = None
    """A status, `drop` (the line is cut at once) or `cut` (in the middle); None: all is well."""
    only: str = ""
    """Paths with this (a regular expression) in them fail."""
    is_for_pages: bool = False
    """Whether only pages of a browser meet the fault."""
    allow: str | None = "*"
    """Who may read the answers."""
    missing: int = 404
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Method and path of every request."""
    by_pages: list[str] = field(default_factory=list)
    """Paths that browsers asked for."""

    @contextmanager
    def failing(
        self, fault: int | str, only: str = "", is_for_pages: bool = False
    ) -> Iterator[None]:
        self.fault, self.only, self.is_for_pages = fault, only, is_for_pages
        try:
            yield
        finally:
            self.fault = None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        web: StaticWeb = self.server.web  # type: ignore[attr-defined]
        web.asked.append((self.command, self.path))
        if "Sec-Fetch-Mode" in self.headers:
            web.by_pages.append(self.path)
        is_met = "Origin" in self.headers or not web.is_for_pages
        fault = web.fault if is_met and re.search(web.only, self.path) else None
        path = web.root / self.path.lstrip("/")
        if fault == "drop":
            self.close_connection = True
        elif isinstance(fault, int):
            self._send(web, fault, b"")
        elif not path.is_file():
            self._send(web, web.missing, b"")
        else:
            self._send_file(web, path.read_bytes(), fault == "cut")

    do_HEAD = do_GET

    def _send_file(self, web: StaticWeb, data: bytes, is_cut: bool) -> None:
        status, span = 200, None
        if found := re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", "")):
            begin = int(found[1]) if found[1] else max(0, len(data) - int(found[2]))
            end = min(int(found[2]) + 1 if found[1] and found[2] else len(data), len(data))
            status, span = 206, f"bytes {begin}-{end - 1}/{len(data)}"
            data = data[begin:end]
        self._send(web, status, data, is_cut, span)

    def _send(
        self,
        web: StaticWeb,
        status: int,
        data: bytes,
        is_cut: bool = False,
        span: str | None = None,
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        if span:
            self.send_header("Content-Range", span)
        if web.allow:
            self.send_header("Access-Control-Allow-Origin", web.allow)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2] if is_cut else data)
        self.close_connection = is_cut

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test output clean."""


class _Server(ThreadingHTTPServer):
    request_queue_size = 64
    daemon_threads = True


@contextmanager
def static_web(root: Path) -> Iterator[StaticWeb]:
    server = _Server(("127.0.0.1", 0), _Handler)
    web = StaticWeb(root, f"http://127.0.0.1:{server.server_port}")
    server.web = web  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
