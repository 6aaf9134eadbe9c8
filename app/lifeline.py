"""No orphans: a child process that ends when the process that started it is gone."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time

__all__ = ["die_with_parent"]

_PR_SET_PDEATHSIG = 1
_LOOK_EVERY_S = 0.5


def die_with_parent() -> None:
    """End this process soon after its parent, however that ended (`kill -9` too).

    Linux sends the signal itself; elsewhere, and should that be refused, a thread looks.
    """
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    watch = threading.Thread(target=_watch, args=(parent,), name="lifeline", daemon=True)
    watch.start()


def _watch(parent: int) -> None:
    # Also right when the parent died before the line was tied.
    while os.getppid() == parent:
        time.sleep(_LOOK_EVERY_S)
    os.kill(os.getpid(), signal.SIGKILL)
