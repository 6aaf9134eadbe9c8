"""The real server: several processes that agree, stop together, and leave nobody behind."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from web_client import V

ROOT = Path(__file__).parents[2]
WEB_MB = 400


class Server:
    """`mitoglance serve` (or another command) in processes of its own."""

    def __init__(self, data_dir: Path, log: Path, *options: str, command: str = "serve") -> None:
        words = [sys.executable, "-m", "app", command, "--no-browser", "--data-dir", str(data_dir)]
        self.log = log
        self.process = subprocess.Popen(
            [*words, "--workers", "2", *options],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=log.open("w"),
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.fullmatch(r"Mitoglance is ready at http://127\.0\.0\.1:(\d+)\n", line)
        assert found, (line, log.read_text())
        self.port = int(found.group(1))
        threading.Thread(target=self.process.stdout.read, daemon=True).start()

    def ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Answer over a connection of its own, so that any worker may take it."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            headers = {"Content-Type": "application/json"}
            connection.request(
                method, path, json.dumps(body) if body is not None else None, headers
            )
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
            return answer
        finally:
            connection.close()

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def web(self) -> list[psutil.Process]:
        """The master of gunicorn, then its workers."""
        return [p for p in self.family() if "gunicorn" in command_of(p)]

    def compute(self) -> list[psutil.Process]:
        return [p for p in self.family() if "spawn_main" in command_of(p)]


def command_of(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def gone(processes: list[psutil.Process]) -> bool:
    return not any(map(is_alive, processes))


def is_alive(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def start(original: Path, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    shutil.copytree(original, tmp_path / "data")
    servers: list[Server] = []

    def started(*options: str) -> Server:
        log = tmp_path / f"server-{len(servers)}.log"
        servers.append(Server(tmp_path / "data", log, *options))
        return servers[-1]

    yield started
    for server in servers:
        family = server.family() if server.process.poll() is None else []
        server.process.kill()
        server.process.wait()
        wait_until(lambda left=family: gone(left))


def counts_of_workers(server: Server) -> set[str]:
    """Return the different numbers of answers that workers count: each counts only its own."""
    server.ask("GET", V)  # so that two equal counts differ the next time

    def count(_: int) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        found = re.search(r'route="/api/v1/volumes/<name>",status="200"} (\d+)', text)
        return found.group(1) if found else "0"

    # At once: one after the other, the same idle worker may well take them all.
    with ThreadPoolExecutor(24) as pool:
        return set(pool.map(count, range(48)))


def test_two_workers_agree_and_stop_together(start: Callable[..., Server]) -> None:
    server = start()
    assert len(server.web()) == 3
    version = 1
    for _ in range(6):
        version = server.ask("POST", f"{V}/merge", {"ids": ["1", "2"]})["version"]
        for _ in range(4):
            assert server.ask("GET", V)["version"] == version
        version = server.ask("POST", f"{V}/undo", {})["version"]
    assert version == 13
    wait_until(lambda: len(counts_of_workers(server)) > 1, 60)
    for process in server.web():
        assert process.memory_info().rss < WEB_MB * 2**20
    family = server.family()
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(20) == 0
    wait_until(lambda: gone(family))
    assert "Traceback" not in server.log.read_text()


def test_a_job_survives_its_worker_and_its_server(start: Callable[..., Server]) -> None:
    server = start()
    body = {"roi": {"offset": [0, 0, 0], "shape": [20, 80, 96]}, "mode": "stack"}
    job_id = server.ask("POST", f"{V}/segment", {**body, "request_id": "r"})["job_id"]

    def state() -> str:
        return str(server.ask("GET", f"/api/v1/jobs/{job_id}")["job"]["state"])

    wait_until(lambda: state() == "running", 60)
    killed = server.compute()
    for process in killed:
        process.kill()
    wait_until(lambda: bool(set(server.compute()) - set(killed)), 30)
    family = server.family()
    server.process.kill()
    wait_until(lambda: gone(family))
    server = start("--port", str(server.port))
    wait_until(lambda: state() == "done", 150)
    operations = server.ask("GET", f"{V}/operations?since=1")["operations"]
    assert [o["request_id"] for o in operations] == [f"job:{job_id}"]


def test_a_killed_launcher_leaves_nobody_behind_and_starts_again_at_once(
    start: Callable[..., Server],
) -> None:
    server = start()
    family = server.family()
    assert len(family) >= 3
    os.kill(server.process.pid, signal.SIGKILL)
    again = start("--port", str(server.port))
    assert again.port == server.port
    assert gone(family)
    assert again.ask("GET", V)["version"] == 1


def test_a_launcher_whose_web_server_dies_says_so_and_ends(start: Callable[..., Server]) -> None:
    server = start()
    family = server.family()
    server.web()[0].kill()
    assert server.process.wait(20) == 1
    assert "The web server ended" in server.log.read_text()
    wait_until(lambda: gone(family))


def test_a_killed_web_worker_comes_back(start: Callable[..., Server]) -> None:
    server = start()
    for worker in server.web()[1:]:
        worker.kill()
    wait_until(lambda: len([p for p in server.web() if is_alive(p)]) == 3)
    assert server.ask("GET", V)["version"] == 1


def test_a_port_that_was_asked_for_and_is_taken_is_an_error(original: Path, tmp_path: Path) -> None:
    shutil.copytree(original, tmp_path / "data")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [
                *(sys.executable, "-m", "app", "serve", "--port", str(port)),
                *("--data-dir", str(tmp_path / "data")),
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 1
    assert f"port {port}" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_demo_needs_nothing_and_stops_on_ctrl_c(tmp_path: Path) -> None:
    server = Server(tmp_path / "data", tmp_path / "server.log", command="demo")
    family = server.family()
    try:
        assert server.ask("GET", "/api/v1/volumes/demo")["version"] == 0
    finally:
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(20) == 0
    wait_until(lambda: gone(family))
    assert server.log.read_text() == ""
