"""A server that sends what it is told to, as long as it is told to, and what that costs us."""

from __future__ import annotations

import json
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psutil
from hostile_sizes import MB, SIDE

_MOST_SENT = 400 * MB


@dataclass
class HostileWeb:
    """The running server."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    endless: str = "nothing"
    """What the path of an answer without an end ends with."""
    encoding: dict[str, str] = field(default_factory=dict)
    gives_parts: bool = True
    sent: int = 0
    """Bytes of answers without an end."""
    asked: list[str] = field(default_factory=list)
    lines: set[int] = field(default_factory=set)
    """Ports from which something was asked."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        web: HostileWeb = self.server.web  # type: ignore[attr-defined]
        web.asked.append(self.path)
        web.lines.add(self.client_address[1])
        key = self.path.partition("?")[0].lstrip("/")
        try:
            if key.endswith(web.endless):
                self._pour(web)
            elif key in web.files:
                part = self.headers.get("Range") if web.gives_parts else None
                self._give(web.files[key], part, web.encoding.get(key))
            else:
                self._answer(404, b"", {})
        except OSError:
            # That they hang up is what is hoped for.
            self.close_connection = True

    def _give(self, body: bytes, part: str | None, encoding: str | None) -> None:
        headers = {"Content-Encoding": encoding} if encoding else {}
        if part is None:
            self._answer(200, body, headers)
            return
        first, _, last = part.removeprefix("bytes=").partition("-")
        begin = int(first) if first else max(0, len(body) - int(last))
        end = min(len(body), int(last) + 1) if first and last else len(body)
        if begin >= len(body):
            self._answer(416, b"", {})
        else:
            span = f"bytes {begin}-{end - 1}/{len(body)}"
            self._answer(206, body[begin:end], {**headers, "Content-Range": span})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "ETag": f'"{zlib.crc32(body)}"'}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _pour(self, web: HostileWeb) -> None:
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        piece = bytes(MB)
        # If nobody hangs up, the test fails and not the machine.
        while web.sent < _MOST_SENT:
            self.wfile.write(piece)
            web.sent += len(piece)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test output clean."""


@contextmanager
def hostile_web() -> Iterator[HostileWeb]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.daemon_threads = True
        web = HostileWeb(f"http://127.0.0.1:{server.server_port}")
        server.web = web  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield web
        server.shutdown()


@contextmanager
def growth_below(limit: int) -> Iterator[None]:
    """Fail when this process grows by more than a limit meanwhile."""
    process, peak, is_over = psutil.Process(), 0, threading.Event()
    before = process.memory_info().rss

    def watch() -> None:
        nonlocal peak
        while not is_over.is_set():
            peak = max(peak, process.memory_info().rss)
            time.sleep(0.002)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        is_over.set()
        watcher.join()
    assert peak - before < limit, f"{(peak - before) / MB:.0f} MB"


@lru_cache(maxsize=4)
def zeros_packed(unpacked: int, window: int = 31) -> bytes:
    packer = zlib.compressobj(1, zlib.DEFLATED, window)
    piece = bytes(MB)
    return b"".join(packer.compress(piece) for _ in range(unpacked // MB)) + packer.flush()


def array(**more: Any) -> bytes:
    document = {
        "zarr_format": 2,
        "shape": [SIDE] * 3,
        "chunks": [SIDE] * 3,
        "dtype": "|u1",
        "compressor": None,
        "fill_value": 0,
        "order": "C",
        "filters": None,
        **more,
    }
    return json.dumps(document).encode()
