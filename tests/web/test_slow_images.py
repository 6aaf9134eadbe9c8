"""A source that does not answer: the rest of the server does, and who leaves frees its thread."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import tensorstore as ts
from gunicorn_server import gunicorn

from app.storage import instance_id
from segmentation_backend.workspace import Workspace

VOXELS = np.random.default_rng(6).integers(1, 255, (64, 128, 256), np.uint8)
NAMES = [f"{x}-{x + 64}_{y}-{y + 64}_0-64" for y in (0, 64) for x in range(0, 256, 64)]


@dataclass
class Source:
    """A web server of a zarr that holds its chunks back when told to."""

    address: str
    go: threading.Event
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Source]:
    spec = {
        "driver": "zarr3",
        "kvstore": {"driver": "file", "path": str(tmp_path / "web" / "slow.zarr")},
        "metadata": {
            "shape": list(VOXELS.shape),
            "data_type": "uint8",
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [64] * 3}},
        },
        "create": True,
    }
    ts.open(spec).result().write(VOXELS).result()
    found = Source("", threading.Event())
    found.go.set()

    class Handler(SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if "/c/" in self.path:
                found.asked.append(self.path)
                found.go.wait(60)
            super().do_GET()

        def log_message(self, *args: object) -> None:
            pass

        def log_error(self, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

        def handle_error(self, *args: object) -> None:
            """Whoever asked has left: that is what is tested."""

    server = Server(("127.0.0.1", 0), lambda *a: Handler(*a, directory=str(tmp_path / "web")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    found.address = f"http://127.0.0.1:{server.server_port}/slow.zarr"
    yield found
    found.go.set()
    server.shutdown()
    server.server_close()


@dataclass
class Served:
    port: int
    instance: str

    def path(self, name: str, volume: str = "slow") -> str:
        return f"/image/{volume}/{self.instance}/0/{name}"

    def get(self, path: str) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, answer.headers, body

    def ask(self, path: str) -> socket.socket:
        """Ask and return without waiting for an answer."""
        asked = socket.create_connection(("127.0.0.1", self.port))
        asked.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        return asked

    def ask_and_leave(self, path: str) -> None:
        """Ask and close, so that the server hears of both at once, however busy the machine is."""
        with socket.create_connection(("127.0.0.1", self.port)) as asked:
            request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
            assert asked.send(request, socket.MSG_MORE) == len(request)

    def gone(self) -> int:
        """How many requests ended because nobody waited for them any more."""
        text = self.get("/metrics")[2].decode()
        found = [line for line in text.splitlines() if 'status="499"' in line]
        return int(found[0].split()[-1]) if found else 0


@pytest.fixture
def served(source: Source, tmp_path: Path) -> Iterator[Served]:
    np.save(tmp_path / "quick.npy", VOXELS)
    workspace = Workspace(tmp_path / "data")
    for name, place in (("slow", source.address), ("quick", str(tmp_path / "quick.npy"))):
        workspace.register(name, place, voxel_size=(8.0, 8.0, 8.0), in_place=True)
    instance = instance_id(workspace.engine)
    workspace.close()
    environment = {
        "MITOGLANCE_DATA_DIR": str(tmp_path / "data"),
        "MITOGLANCE_WORKERS": "1",
        "MITOGLANCE_THREADS": "6",
    }
    with gunicorn(environment) as web:
        yield Served(web.port, instance)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_slow_source_leaves_threads_for_others_and_leavers_free_theirs(
    served: Served, source: Source
) -> None:
    assert served.get(served.path(NAMES[0]))[0] == 200
    source.asked.clear()
    source.go.clear()

    # Six threads: three may wait long, two of them for the same volume.
    with ThreadPoolExecutor(5) as pool:
        waiting = [pool.submit(served.get, served.path(name)) for name in NAMES[1:6]]
        until(lambda: sum(one.done() for one in waiting) == 3)
        for name in NAMES:
            status, _, body = served.get(served.path(name, "quick"))
            assert (status, len(body)) == (200, 64**3)
        assert served.get("/healthz")[0] == 200
        assert served.get(served.path(NAMES[0]))[0] == 200  # read before: in memory
        assert sum(one.done() for one in waiting) == 3
        source.go.set()
        answers = [one.result(60) for one in waiting]
    assert sorted(status for status, _, _ in answers) == [200] * 2 + [503] * 3
    for status, headers, body in answers:
        if status == 503:
            assert headers["Retry-After"] == "1"
            assert json.loads(body)["error"]["kind"] == "server-busy"

    # Who asked and left: the thread that waited is free, what was queued is not begun.
    source.asked.clear()
    source.go.clear()
    reader = served.ask(served.path(NAMES[6]))
    until(lambda: len(source.asked) == 1)
    assert served.gone() == 0
    reader.close()
    until(lambda: served.gone() == 1)
    served.ask_and_leave(served.path(NAMES[7]))
    until(lambda: served.gone() == 2)
    assert len(source.asked) == 1
    source.go.set()
    for name in NAMES:
        status, _, body = served.get(served.path(name))
        x, y = int(name.split("-")[0]), 64 * (NAMES.index(name) // 4)
        assert (status, body) == (200, VOXELS[:, y : y + 64, x : x + 64].tobytes())
