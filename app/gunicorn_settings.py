"""How gunicorn runs the web; it reads this as `--config python:app.gunicorn_settings`."""

from __future__ import annotations

import os
from typing import Any

from app.config import load_config
from app.lifeline import die_with_parent
from app.memory import give_large_blocks_back

__all__ = ["on_starting", "post_fork", "worker_exit"]

_config = load_config()

wsgi_app = "app.wsgi:make_app()"
worker_class = "gthread"
workers = _config.workers
threads = _config.threads
loglevel = _config.log_level
timeout = 120
graceful_timeout = 3
keepalive = 75
"""Seconds; pages ask about every second and would otherwise connect anew each time."""
control_socket_disable = True
"""Otherwise every server of a user would fight for one file in the home folder."""


def on_starting(_server: Any) -> None:  # noqa: ANN401  (gunicorn's own untyped object)
    """Tie the master process to the launcher."""
    die_with_parent()


def post_fork(_server: Any, _worker: Any) -> None:  # noqa: ANN401
    """Tie a worker process to the master, and keep it small."""
    die_with_parent()
    give_large_blocks_back()


def worker_exit(_server: Any, worker: Any) -> None:  # noqa: ANN401
    """End a worker that has done its work at once: tearing numba down can take seconds."""
    if worker.booted:
        os._exit(0)
