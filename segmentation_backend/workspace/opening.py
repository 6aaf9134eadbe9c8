"""Something slow that is opened once, by whoever asks first, while others do not wait for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from segmentation_backend.errors import SegmentationError

__all__ = ["Opening"]

Value = TypeVar("Value")


class Opening(Generic[Value]):
    """Opened in a thread of its own, so that whoever waits for it may go away. Thread-safe."""

    def __init__(self, open_it: Callable[[], Value]) -> None:
        """Open with `open_it`, later; what fails is tried again by the next who asks."""
        self._open_it = open_it
        self._lock = threading.Lock()
        self._future: Future[Value] | None = None

    def begin(self) -> Future[Value]:
        """Return the future of what is open, being opened, or now begun to be."""
        with self._lock:
            known = self._future
            if known is not None and not _has_failed(known):
                return known
            future = self._future = Future()
        threading.Thread(target=self._run, args=(future,), name="opening", daemon=True).start()
        return future

    def _run(self, future: Future[Value]) -> None:
        try:
            future.set_result(self._open_it())
        except SegmentationError as err:
            future.set_exception(err)
        finally:
            # What nobody foresaw goes to the log from here, and nobody waits for ever.
            if not future.done():
                future.cancel()


def _has_failed(future: Future[Value]) -> bool:
    return future.cancelled() or (future.done() and future.exception() is not None)
