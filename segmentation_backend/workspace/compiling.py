"""When loops are being compiled, which takes seconds, once for each environment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from numba.core import event

__all__ = ["FIRST_TIME", "on_compiling"]

FIRST_TIME = "Getting ready for the first time: up to a minute"
"""What somebody is told who has to wait for it."""

_COMPILES = "numba:compile"
"""Numba's own event, for what is not in its cache."""


class _Listener(event.Listener):
    def __init__(self, tell: Callable[[], object]) -> None:
        self._tell = tell
        # Numba compiles one at a time, and what it needs for that within it.
        self._depth = 0

    def on_start(self, _event: object) -> None:
        self._depth += 1
        if self._depth == 1:
            self._tell()

    def on_end(self, _event: object) -> None:
        self._depth -= 1


@contextmanager
def on_compiling(tell: Callable[[], object]) -> Iterator[None]:
    """Call `tell` whenever a loop is about to be compiled, in whichever thread, until left.

    What it raises, other than an Exception, is raised to who called the loop, and spoils nothing.
    """
    listener = _Listener(tell)
    event.register(_COMPILES, listener)  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        event.unregister(_COMPILES, listener)  # type: ignore[no-untyped-call]
