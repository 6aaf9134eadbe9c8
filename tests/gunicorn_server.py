"""The web processes alone, with our settings, for tests that look at them from outside."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True)
class Web:
    """A running server."""

    port: int
    pid: int
    """Of the process that was started: gunicorn's master."""

    def workers(self) -> list[psutil.Process]:
        return psutil.Process(self.pid).children()

    def cpu_s(self) -> float:
        """CPU time of the server and all its workers so far."""
        everyone = [psutil.Process(self.pid), *psutil.Process(self.pid).children(recursive=True)]
        return sum(sum(one.cpu_times()[:2]) for one in everyone)


@contextmanager
def gunicorn(
    environment: Mapping[str, str],
    *,
    app: str = "app.wsgi:make_app()",
    ready: str = "/healthz",
    folders: Sequence[Path] = (),
) -> Iterator[Web]:
    """Run an application with our settings until the block ends.

    `ready` is a path it answers, `folders` are where it is imported from.
    """
    port = free_port()
    paths = os.pathsep.join(str(path) for path in (ROOT, *folders))
    with running(
        [
            *(sys.executable, "-m", "gunicorn", "--config", "python:app.gunicorn_settings"),
            *("--bind", f"127.0.0.1:{port}", app),
        ],
        f"http://127.0.0.1:{port}{ready}",
        {**os.environ, **environment, "PYTHONPATH": paths},
    ) as process:
        yield Web(port, process.pid)


@contextmanager
def running(
    command: Sequence[str], ready: str, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the block ends; it is there when the address `ready` is answered."""
    process = subprocess.Popen(command, cwd=ROOT, env=environment)
    try:
        deadline = time.monotonic() + 60
        while not _answers(ready):
            assert process.poll() is None, command
            assert time.monotonic() < deadline, command
            time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        process.wait(20)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=10):
            return True
    except OSError:
        return False
