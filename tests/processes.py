"""Processes for tests: forked from one that has imported what is slow, so each starts at once."""

from __future__ import annotations

import multiprocessing
import os
import sys
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext

_SLOW = ["segmentation_backend.workspace", "segmentation_backend.edits", "alembic", "psycopg"]


def forked() -> ForkServerContext:
    """Return where processes are made; each has its own memory, none of the test's."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_SLOW)
    before = os.environ.get("PYTHONPATH")
    # The fork server imports before it is told our `sys.path`, and passes over what it lacks.
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    try:
        forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    return context
