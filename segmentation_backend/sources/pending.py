"""Voxels on their way: asked for, not yet waited for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorstore as ts
from numpy.typing import NDArray

__all__ = ["PendingRead"]


@dataclass(frozen=True, slots=True)
class PendingRead:
    """A read that has begun; any number of threads may wait for it."""

    future: ts.Future[Any]
    finish: Callable[[ts.Future[Any]], NDArray[np.generic]]
    """Waits, and says what went wrong in our words."""

    def is_done_within(self, seconds: float) -> bool:
        """Wait at most so long; return whether there is a result, or an error, by then."""
        try:
            self.future.exception(timeout=seconds)
        except TimeoutError:
            return False
        return True

    def result(self) -> NDArray[np.generic]:
        """Return what `Volume.read` would, or raise as it does."""
        return self.finish(self.future)

    def cancel(self) -> None:
        """Give up: nobody may wait any more. What can be stopped on the way is stopped."""
        self.future.cancel()
