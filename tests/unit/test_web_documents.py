"""Metadata from web servers that are slow, broken or hostile: bounded, tried again, in words."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import psutil
import pytest

from segmentation_backend.errors import ErrorKind, FormatError, ResourceError
from segmentation_backend.sources import web_documents
from segmentation_backend.sources.specs import locate
from segmentation_backend.sources.stores import open_context, read_documents

MIB = 2**20


class Hostile(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    asked: ClassVar[list[str]] = []
    failures: ClassVar[int] = 0
    sent: ClassVar[int] = 0

    def do_GET(self) -> None:
        name = self.path.strip("/").rpartition("/")[2]
        self.asked.append(self.path)
        # Whatever happens, the next request is on a new connection.
        self.close_connection = True
        with suppress(BrokenPipeError, ConnectionResetError):
            getattr(self, name.partition(".")[0], self.nothing)()

    def begin(self, status: int, **headers: object) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), str(value))
        self.end_headers()

    def nothing(self) -> None:
        self.begin(404, Content_Length=0)

    def endless(self) -> None:
        self.begin(200, Transfer_Encoding="chunked")
        while type(self).sent < 2000 * MIB:
            self.wfile.write(b"100000\r\n" + b" " * MIB + b"\r\n")
            type(self).sent += MIB

    def promised(self) -> None:
        self.begin(200, Content_Length=2**40)

    def dripping(self) -> None:
        self.begin(200, Content_Length=1000)
        for _ in range(200):
            self.wfile.write(b" ")
            time.sleep(0.02)

    def short(self) -> None:
        self.begin(200, Content_Length=1000)
        self.wfile.write(b'{"a": 1}')

    def private(self) -> None:
        self.begin(403, Content_Length=0)

    def busy(self) -> None:
        type(self).failures += 1
        if type(self).failures < 3:
            self.begin(503, Content_Length=0)
        else:
            self.good()

    def guarded(self) -> None:
        # "ana:se@cret"
        if self.headers["Authorization"] == "Basic YW5hOnNlQGNyZXQ=":
            self.good()
        else:
            self.begin(401, Content_Length=0)

    def good(self) -> None:
        self.begin(200, Content_Length=8)
        self.wfile.write(b'{"a": 1}')

    def moved(self) -> None:
        self.begin(302, Location="good.json", Content_Length=0)

    def log_message(self, *args: object) -> None:
        """Keep the test output clean."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Hostile) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def read(address: str, *names: str) -> dict[str, object]:
    return dict(read_documents(locate(f"{address}/em"), names, open_context()))


def test_a_document_without_an_end_does_not_fill_the_memory(address: str) -> None:
    Hostile.sent = 0
    before = psutil.Process().memory_info().rss
    with pytest.raises(FormatError, match=r"endless\.json has more than 16777216 bytes"):
        read(address, "endless.json", "good.json")
    assert psutil.Process().memory_info().rss - before < 100 * MIB
    # What the socket's buffers took, and no more.
    assert Hostile.sent < 100 * MIB


def test_a_document_that_says_it_is_too_large_is_not_begun(address: str) -> None:
    with pytest.raises(FormatError, match=r"has 1099511627776 bytes"):
        read(address, "promised.json")


@pytest.mark.parametrize("name", ["dripping.json", "short.json"])
def test_a_document_that_does_not_come_whole_is_an_error(
    address: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_documents, "_DEADLINE_S", 0.3)
    with pytest.raises(ResourceError, match="cannot be reached") as error:
        read(address, name)
    assert error.value.kind is ErrorKind.SOURCE_UNAVAILABLE


def test_a_name_and_password_in_the_address_are_sent_to_the_server(address: str) -> None:
    named = address.replace("://", "://ana:se%40cret@")
    assert read(named, "guarded.json") == {"guarded.json": {"a": 1}}
    with pytest.raises(ResourceError, match="Access to"):
        read(address, "guarded.json")


def test_a_busy_server_is_asked_again(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_documents, "_PAUSES_S", (0.01, 0.01, 0.01))
    Hostile.failures = 0
    assert read(address, "busy.json", "nothing.json") == {"busy.json": {"a": 1}}
    Hostile.failures = -10
    with pytest.raises(ResourceError, match="Service Unavailable"):
        read(address, "busy.json")


def test_what_may_not_be_read_is_named_unless_something_else_is_there(address: str) -> None:
    assert read(address, "private.json", "good.json") == {"good.json": {"a": 1}}
    with pytest.raises(ResourceError, match=r"Access to .* was refused"):
        read(address, "private.json", "nothing.json")


def test_redirections_are_named_and_not_followed(address: str) -> None:
    Hostile.asked.clear()
    with pytest.raises(FormatError, match=r"good\.json now; open that address"):
        read(address, "moved.json")
    assert Hostile.asked == ["/em/moved.json"]


def test_a_query_belongs_to_every_file_and_odd_names_are_quoted(address: str) -> None:
    location = locate(f"{address}/a b%20?token=1")
    assert read_documents(location, ["good.json"], open_context()) == {"good.json": {"a": 1}}
    assert Hostile.asked[-1] == "/a%20b%2520/good.json?token=1"
