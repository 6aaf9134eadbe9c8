"""A folder shown as Google's storage shows a bucket: objects, parts of them, and lists."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

GOOGLE_BUCKET = "em-on-google"

_OBJECTS = f"/storage/v1/b/{GOOGLE_BUCKET}/o"


class _Server(ThreadingHTTPServer):
    # The default of 5 waiting connections costs a second when a reader opens more at once.
    request_queue_size = 64


@contextmanager
def serving(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    """Yield the address of a server on this machine."""
    with _Server(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def google_bucket(root: Path) -> Any:
    """Serve a folder as the bucket; a context manager that gives the address."""
    return serving(partial(_Handler, root))


def byte_range(header: str, size: int) -> tuple[int, int]:
    """Return begin and end (outside) of `bytes=first-last`, `bytes=first-` or `bytes=-count`."""
    first, _, last = header.removeprefix("bytes=").partition("-")
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(int(last or size) + 1, size)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __init__(self, root: Path, *args: Any) -> None:
        self.root = root
        super().__init__(*args)

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path == _OBJECTS:
            self.give(HTTPStatus.OK, self.listing(parse_qs(parts.query)))
            return
        file = self.root / unquote(parts.path.removeprefix(f"{_OBJECTS}/"))
        if parts.path.startswith(f"{_OBJECTS}/") and file.is_file():
            self.give_object(file.read_bytes(), self.headers.get("Range"))
        else:
            self.give(HTTPStatus.NOT_FOUND, b"{}")

    def listing(self, query: dict[str, list[str]]) -> bytes:
        files = (file for file in self.root.rglob("*") if file.is_file())
        names = sorted(file.relative_to(self.root).as_posix() for file in files)
        begin, end = (query.get(key, [""])[0] for key in ("startOffset", "endOffset"))
        found = [name for name in names if name >= begin and (not end or name < end)]
        return json.dumps({"items": [{"name": name, "size": "1"} for name in found]}).encode()

    def give_object(self, content: bytes, part: str | None) -> None:
        if part is None:
            self.give(HTTPStatus.OK, content)
            return
        begin, end = byte_range(part, len(content))
        if begin >= len(content):
            self.give(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, b"")
            return
        span = f"bytes {begin}-{end - 1}/{len(content)}"
        self.give(HTTPStatus.PARTIAL_CONTENT, content[begin:end], span)

    def give(self, status: HTTPStatus, content: bytes, span: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("x-goog-generation", "1")
        if span:
            self.send_header("Content-Range", span)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        """Keep the test output clean."""
