"""A network that loses the answer to an edit: the client asks again, and it is done once."""

from __future__ import annotations

import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any

import pytest
from flask import Flask
from web_client import Api, V
from werkzeug.serving import BaseWSGIServer, make_server


class LossyProxy:
    """Hands every request on, and cuts the connection instead of the answer as often as told."""

    def __init__(self, port: int) -> None:
        self._target = port
        self.losses = 0
        self.forwarded = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        with closing(client), socket.create_connection(("127.0.0.1", self._target)) as server:
            server.sendall(_request(client))
            answer = b""
            while part := server.recv(65536):
                answer += part
            self.forwarded += 1
            # All of the answer has come: the edit is committed.
            if self.losses > 0:
                self.losses -= 1
            else:
                client.sendall(answer)


def _request(client: socket.socket) -> bytes:
    """Return one whole request."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += client.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    headers = dict(line.split(":", 1) for line in lines[1:])
    length = int(headers.get("content-length", "0"))
    while len(body) < length:
        body += client.recv(65536)
    return head + b"\r\n\r\n" + body


@pytest.fixture
def server(app: Flask) -> Iterator[BaseWSGIServer]:
    made = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    thread.join()


@pytest.fixture
def proxy(server: BaseWSGIServer) -> Iterator[LossyProxy]:
    made = LossyProxy(server.server_port)
    yield made
    made.close()


def insist(port: int, route: str, body: dict[str, Any]) -> dict[str, Any]:
    """Post until there is an answer, as caveclient does four times and Neuroglancer up to 32."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{V}/{route}",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "Connection": "close"},
    )
    for _ in range(32):
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                document: dict[str, Any] = json.load(answer)
                return document
        except (urllib.error.URLError, ConnectionError):
            continue
    raise AssertionError("no answer in 32 attempts")


EDITS: list[tuple[str, dict[str, Any]]] = [
    ("merge", {"ids": ["1", "2"]}),
    ("split", {"sources": [[10, 45, 12]], "sinks": [[10, 45, 85]]}),
    ("paint", {"target": "new", "points": [[0, 0, 0]]}),
    ("delete", {"ids": ["3"]}),
    ("morph", {"id": "1", "operation": "dilate"}),
    ("revert", {"version": 0}),
]


@pytest.mark.parametrize(("route", "body"), EDITS, ids=[route for route, _ in EDITS])
def test_an_edit_whose_answers_are_lost_is_one_operation(
    proxy: LossyProxy, api: Api, route: str, body: dict[str, Any]
) -> None:
    proxy.losses = 4
    answer = insist(proxy.port, route, body | {"request_id": "lost"})
    assert proxy.forwarded == 5
    assert answer["operation_id"] == 2
    logged = api.get(f"{V}/operations")["operations"]
    assert [o["request_id"] for o in logged].count("lost") == 1
    assert api.get(V)["version"] == 2


def test_undo_is_not_done_twice_when_its_answer_is_lost(proxy: LossyProxy, api: Api) -> None:
    for ids in (["1", "2"], ["1", "3"]):
        api.post(f"{V}/merge", {"ids": ids})
    proxy.losses = 31
    # The client has no name here: the server's own user, whose edits these are not.
    answer = insist(proxy.port, "undo", {"operation_id": 3, "request_id": "lost"})
    assert answer["operation"]["undoes"] == 3
    labels = api.labels()
    assert int(labels[10, 10, 50]) == 1
    assert int(labels[10, 45, 12]) == 3
    assert api.get(V)["version"] == 4
