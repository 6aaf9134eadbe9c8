"""Starts and stops everything: gunicorn, a Dask worker, and the dispatcher between them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from types import FrameType

from app.compute import DaskCompute
from app.config import NO_CATALOGUE, Config, child_environment, has_display
from app.dispatcher import Dispatcher
from app.jobs import JobStore
from app.listening import listen, shown_address
from app.terminal import complain, say
from segmentation_backend.errors import ErrorKind, ResourceError, SegmentationError
from segmentation_backend.workspace import Workspace

__all__ = ["serve"]

READY_WITHIN_S = 120.0
GRACE_S = 5.0
"""How long gunicorn may take to finish its requests when it is stopped."""

Prepare = Callable[[Workspace], str]
"""Makes the workspace ready for its users and returns the page to open, such as `/d/demo`."""


def serve(config: Config, prepare: Prepare = lambda workspace: "/") -> int:
    """Serve until told to stop (SIGTERM, Ctrl-C); returns the exit code.

    0 after a stop that was asked for, 1 when a part of the server died. What `prepare` raises is
    raised after everything was stopped again.
    """
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, _leave)
    workspace = Workspace(
        config.data_dir,
        config.database_url,
        config.cloud,
        max_voxels=config.max_voxels,
        packs=config.packs,
        catalogue=config.catalogue,
    )
    workspace.check_packs()
    listening = listen(config.host, config.port)
    address = shown_address(listening, config.host)
    config = replace(config, port=listening.getsockname()[1])
    web = _start_web(config, listening)
    listening.close()
    parts = _Parts(config, web, JobStore(workspace.engine))
    try:
        # The web starts while the volume is being prepared: both take seconds.
        page = prepare(workspace)
        parts.wait_until_ready()
        say(f"Mitoglance is ready at {address}")
        threading.Thread(target=_tidy, args=(workspace, config), daemon=True).start()
        if config.browser and has_display():
            threading.Thread(target=webbrowser.open, args=(_local(config) + page,)).start()
        with suppress(SystemExit):
            return parts.watch()
        return 0
    finally:
        _ignore_signals()
        parts.stop()
        workspace.close()


def _tidy(workspace: Workspace, config: Config) -> None:
    """Do what nobody waits for."""
    try:
        workspace.sweep_orphans()
    except SegmentationError as err:
        complain(f"Left-overs of a crash were not swept: {err.message}")
    if config.catalogue_url == NO_CATALOGUE or workspace.catalogue.is_fresh:
        return
    try:
        workspace.catalogue.refresh(config.catalogue_url)
    except SegmentationError as err:
        complain(f"The catalogue of datasets is the one known before: {err.message}")


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _ignore_signals() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _start_web(config: Config, listening: socket.socket) -> subprocess.Popen[bytes]:
    handle = listening.fileno()
    command = [sys.executable, "-m", "gunicorn", "--config", "python:app.gunicorn_settings"]
    # In a group of its own: Ctrl-C reaches the launcher alone, which stops things in order.
    return subprocess.Popen(
        [*command, "--bind", f"fd://{handle}"],
        env=child_environment(config),
        pass_fds=(handle,),
        start_new_session=True,
    )


def _local(config: Config) -> str:
    everywhere = config.host in ("0.0.0.0", "::", "")
    host = "127.0.0.1" if everywhere else config.host
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{config.port}"


class _Parts:
    """The running parts of a server."""

    def __init__(self, config: Config, web: subprocess.Popen[bytes], jobs: JobStore) -> None:
        self._config = config
        self._web = web
        self._jobs = jobs
        self._dispatcher: Dispatcher | None = None
        starter = ThreadPoolExecutor(1, thread_name_prefix="start-compute")
        self._compute: Future[DaskCompute] = starter.submit(DaskCompute, config)

    def wait_until_ready(self) -> None:
        """Return when requests are answered and jobs are served; ResourceError when never."""
        compute = self._compute.result(READY_WITHIN_S)
        self._dispatcher = Dispatcher(self._jobs, compute)
        self._dispatcher.start()
        deadline = time.monotonic() + READY_WITHIN_S
        while not _answers(_local(self._config) + "/readyz"):
            if self._web.poll() is not None or time.monotonic() > deadline:
                raise ResourceError(
                    "The web server did not start; its messages stand above.",
                    ErrorKind.WORKERS_UNAVAILABLE,
                )
            time.sleep(0.05)
        # Only now: loading torch would take the processors from the page that opens.
        compute.start_worker()

    def watch(self) -> int:
        """Return 1 when a part has died, saying which."""
        while True:
            if self._web.poll() is not None:
                complain(f"The web server ended (exit code {self._web.returncode}); stopping.")
                return 1
            if self._dispatcher is None or not self._dispatcher.is_alive():
                complain("The dispatcher of jobs ended; stopping.")
                return 1
            time.sleep(0.2)

    def stop(self) -> None:
        """Stop every part, in the order in which they depend on each other."""
        if self._web.poll() is None:
            self._web.terminate()
        if self._dispatcher is not None:
            with suppress(ResourceError):
                self._dispatcher.stop()
        with suppress(subprocess.TimeoutExpired):
            self._web.wait(GRACE_S)
        # Also workers whose master was killed: they would hold the port.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._web.pid, signal.SIGKILL)
        if self._compute.done() and self._compute.exception() is None:
            self._compute.result().kill()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(json.load(response)["ok"])
    except (OSError, ValueError, urllib.error.URLError):
        return False
