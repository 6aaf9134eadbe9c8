"""How long a request may wait for a source, and how many may wait long: the rest stays free."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

from segmentation_backend.errors import ErrorKind, ResourceError

__all__ = ["WaitingRoom"]

GRACE_S = 1.0
"""What every request may wait: longer than a disk takes on a busy machine, and opening a volume."""
SHORT_GRACE_S = 0.02
"""The same while a volume's places are taken: what is in memory is still found."""
LOOK_EVERY_S = 0.1
LONGEST_S = 60.0


class WaitingRoom:
    """Places for requests that wait longer than a moment, so that slow sources never take all.

    A volume may take three quarters of the places, so one dead source does not stop the others.
    """

    def __init__(
        self, places: int, *, grace_s: float = GRACE_S, longest_s: float = LONGEST_S
    ) -> None:
        """Let `places` requests wait longer than `grace_s`, and none longer than `longest_s`."""
        self._places = max(1, places)
        self._each = max(1, self._places * 3 // 4)
        self._grace_s = grace_s
        self._longest_s = longest_s
        self._taken: Counter[str] = Counter()
        self._lock = threading.Lock()

    @property
    def taken(self) -> int:
        """How many places are taken now."""
        with self._lock:
            return self._taken.total()

    def wait(
        self, volume: str, is_done_within: Callable[[float], bool], still_wanted: Callable[[], None]
    ) -> None:
        """Return as soon as `is_done_within` (some seconds) is true.

        `still_wanted` is asked now and then and raises when nobody wants the result any more.
        Raises ResourceError: SERVER_BUSY when all places are taken, SOURCE_UNAVAILABLE after the
        longest time.
        """
        begin = time.monotonic()
        grace_s = self._grace_s if self._has_place(volume) else min(SHORT_GRACE_S, self._grace_s)
        if is_done_within(grace_s):
            return
        self._take(volume)
        try:
            while not is_done_within(LOOK_EVERY_S):
                still_wanted()
                if time.monotonic() - begin > self._longest_s:
                    raise ResourceError(
                        f"The image of {volume} did not answer within {self._longest_s:.0f} s; "
                        "check where it lies and try again.",
                        ErrorKind.SOURCE_UNAVAILABLE,
                    )
        finally:
            with self._lock:
                self._taken[volume] -= 1

    def _has_place(self, volume: str) -> bool:
        with self._lock:
            return self._is_free(volume)

    def _is_free(self, volume: str) -> bool:
        return self._taken.total() < self._places and self._taken[volume] < self._each

    def _take(self, volume: str) -> None:
        with self._lock:
            if self._is_free(volume):
                self._taken[volume] += 1
                return
        raise ResourceError(
            f"The image of {volume} is slow and others wait for it already; try again in a moment.",
            ErrorKind.SERVER_BUSY,
        )
