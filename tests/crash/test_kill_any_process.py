"""Kill -9 any process of a running server, at any moment, and start again: nothing is lost.

Five kills by default; `--kills N` makes the long run.
"""

import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from segmentation_backend.geometry import Roi
from segmentation_backend.workspace import Workspace

pytestmark = [pytest.mark.crash, pytest.mark.timeout(1800)]

SHAPE = (16, 192, 192)


@dataclass
class Server:
    """`mitoglance serve` on a data directory, started again whenever it is found dead."""

    data_dir: Path
    port: int
    process: subprocess.Popen[str] | None = None
    starts: int = 0

    def start(self) -> None:
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "app", "serve", "--no-browser", "--workers", "2"),
                *("--port", str(self.port), "--data-dir", str(self.data_dir)),
            ],
            stdout=subprocess.PIPE,
            stderr=(self.data_dir / f"server-{self.starts}.log").open("w"),
            text=True,
        )
        self.starts += 1
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("Mitoglance is ready at"), (
            line,
            (self.data_dir / f"server-{self.starts - 1}.log").read_text()[-3000:],
        )
        # Nobody may be left writing into a pipe that nobody reads.
        threading.Thread(target=self.process.stdout.read, daemon=True).start()

    def tree(self) -> list[psutil.Process]:
        assert self.process is not None
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]

    def kill_one(self, choice: random.Random) -> str:
        """Kill -9 one process of the tree; bring the server up again when its head died."""
        processes = [p for p in self.tree() if "resource_tracker" not in " ".join(_argv(p))]
        victim = choice.choice(processes)
        name = " ".join(_argv(victim))[-60:]
        with suppress(psutil.NoSuchProcess):
            victim.kill()
        time.sleep(1.5)
        assert self.process is not None
        if self.process.poll() is not None:
            self.start()
        return name

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(20)
            with suppress(psutil.NoSuchProcess):
                for process in self.tree():
                    process.kill()


def _argv(process: psutil.Process) -> list[str]:
    with suppress(psutil.Error):
        return process.cmdline()
    return ["?"]


@dataclass
class Client:
    """A client that retries with the same request id, as caveclient and browsers do."""

    base: str
    acknowledged: dict[str, int] = field(default_factory=dict)

    def post(self, path: str, body: dict[str, Any], tries: int = 60) -> dict[str, Any] | None:
        """Return the answer, None when the edit was refused; fails only if nobody ever answers."""
        request = urllib.request.Request(
            self.base + path,
            json.dumps(body).encode(),
            {"content-type": "application/json", "X-Mitoglance-User": "crash"},
        )
        for _ in range(tries):
            try:
                with urllib.request.urlopen(request, timeout=20) as answer:
                    result: dict[str, Any] = json.load(answer)
                    return result
            except urllib.error.HTTPError as err:
                if err.code in (502, 503, 504):
                    time.sleep(0.5)
                    continue
                if err.code in (400, 404, 409):
                    return None
                pytest.fail(f"{path} answered {err.code}: {err.read()[:500]!r}")
            except (OSError, ValueError, http.client.HTTPException):
                time.sleep(0.5)
        raise AssertionError(f"{path} was never answered")

    def get(self, path: str, tries: int = 60) -> dict[str, Any]:
        for _ in range(tries):
            with (
                suppress(OSError, ValueError, http.client.HTTPException),
                urllib.request.urlopen(self.base + path, timeout=20) as answer,
            ):
                result: dict[str, Any] = json.load(answer)
                return result
            time.sleep(0.5)
        raise AssertionError(f"{path} was never answered")


def blobs() -> np.ndarray:
    """Return dark discs on bright ground, which any mitochondria network takes for something."""
    rng = np.random.default_rng(5)
    _, y, x = np.indices(SHAPE)
    image = np.full(SHAPE, 170.0)
    for cy in range(24, 192, 48):
        for cx in range(24, 192, 48):
            image[(y - cy) ** 2 + (x - cx) ** 2 < 200] = 80
    return np.clip(image + rng.normal(0, 8, SHAPE), 0, 255).astype(np.uint8)


@pytest.fixture
def server(tmp_path: Path, free_port: int) -> Iterator[Server]:
    np.savez(tmp_path / "blobs.npz", em=blobs())
    workspace = Workspace(tmp_path / "data")
    workspace.register(
        "blobs", str(tmp_path / "blobs.npz"), dataset="em", voxel_size=(10.0, 10.0, 10.0)
    )
    workspace.close()
    server = Server(tmp_path / "data", free_port)
    server.start()
    yield server
    server.stop()


def edit_until(stop: threading.Event, client: Client, seed: int, failures: list[str]) -> None:
    """Segment, merge, split, undo and redo at random until told to stop."""
    choice = random.Random(seed)
    volume = "/api/v1/volumes/blobs"
    try:
        while not stop.is_set():
            request_id = uuid.uuid4().hex
            kind = choice.choice(["segment", "merge", "merge", "split", "undo", "redo"])
            answer = None
            if kind == "segment":
                z = choice.randrange(SHAPE[0])
                body = {"roi": {"offset": [z, 0, 0], "shape": [1, 192, 192]}, "mode": "slice"}
                client.post(f"{volume}/segment", {**body, "request_id": request_id})
                time.sleep(0.3)
                continue
            objects = client.get(f"{volume}/objects?limit=50")["objects"]
            if kind == "merge" and len(objects) >= 2:
                ids = [o["id"] for o in choice.sample(objects, 2)]
                answer = client.post(f"{volume}/merge", {"ids": ids, "request_id": request_id})
            elif kind == "split" and objects:
                box = choice.choice(objects)["bbox"]
                z, y, x = (o + s // 2 for o, s in zip(box["offset"], box["shape"], strict=True))
                body = {"sources": [[z, y, x - 3]], "sinks": [[z, y, x + 3]]}
                answer = client.post(f"{volume}/split", {**body, "request_id": request_id})
            elif kind in ("undo", "redo"):
                answer = client.post(f"{volume}/{kind}", {"request_id": request_id})
            if answer is not None:
                client.acknowledged[request_id] = answer["operation_id"]
    except AssertionError as err:
        failures.append(repr(err))


def test_nothing_acknowledged_is_lost_and_nothing_is_half_visible(
    server: Server, request: pytest.FixtureRequest
) -> None:
    kills = int(request.config.getoption("--kills"))
    clients = [Client(f"http://127.0.0.1:{server.port}") for _ in range(2)]
    roi = {"offset": [0, 0, 0], "shape": list(SHAPE)}
    first = clients[0].post(
        "/api/v1/volumes/blobs/segment", {"roi": roi, "mode": "stack", "request_id": "first"}
    )
    assert first is not None
    deadline = time.monotonic() + 120
    while clients[0].get(f"/api/v1/jobs/{first['job_id']}")["job"]["state"] != "done":
        assert time.monotonic() < deadline
        time.sleep(0.2)
    stop, failures = threading.Event(), list[str]()
    threads = [
        threading.Thread(target=edit_until, args=(stop, client, seed, failures))
        for seed, client in enumerate(clients)
    ]
    for thread in threads:
        thread.start()
    choice = random.Random(11)
    killed = []
    for _ in range(kills):
        time.sleep(choice.uniform(0.2, 2.0))
        killed.append(server.kill_one(choice))
    stop.set()
    for thread in threads:
        thread.join(180)
        assert not thread.is_alive()
    assert failures == []
    wait_for_jobs(clients[0])
    server.stop()
    verify(server.data_dir, [client.acknowledged for client in clients])
    assert len(killed) == kills


def wait_for_jobs(client: Client) -> None:
    """Wait until every job has ended; none may hang or be lost by a kill."""
    deadline = time.monotonic() + 240
    while True:
        jobs = client.get("/api/v1/jobs?volume=blobs")["jobs"]
        open_jobs = [j for j in jobs if j["state"] in ("queued", "running")]
        if not open_jobs:
            break
        assert time.monotonic() < deadline, open_jobs
        time.sleep(0.5)


def verify(data_dir: Path, acknowledged: list[dict[str, int]]) -> None:
    """Every answered edit is there once, every version reads, statistics match the voxels."""
    workspace = Workspace(data_dir)
    operations = workspace.operations("blobs", since=0, limit=100_000)
    operations = sorted(operations, key=lambda o: o.operation_id)
    assert [o.operation_id for o in operations] == list(range(1, len(operations) + 1))
    by_request = [o.request_id for o in operations if o.request_id]
    assert len(by_request) == len(set(by_request))
    where = {o.request_id: o.operation_id for o in operations}
    for answers in acknowledged:
        for request_id, operation_id in answers.items():
            assert where[request_id] == operation_id
    whole = Roi((0, 0, 0), SHAPE)
    for version in range(len(operations) + 1):
        labels = workspace.cutout("blobs", whole, version=version)
        ids, counts = np.unique(labels[labels > 0], return_counts=True)
        stats = {o.root: o.voxels for o in workspace.objects("blobs", version, limit=100_000)}
        assert stats == dict(zip(ids.tolist(), counts.tolist(), strict=True)), version
    workspace.close()
    assert os.listdir(data_dir / "packs")
