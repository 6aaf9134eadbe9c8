"""What was used last, as much of it as a bound lets be kept."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["Bounded"]

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Bounded(Generic[Key, Value]):
    """The values used last, as many as `capacity` holds; thread-safe."""

    def __init__(self, capacity: int, weigh: Callable[[Value], int]) -> None:
        """Keep values whose weights, by `weigh`, add up to at most `capacity`."""
        self._capacity = capacity
        self._weigh = weigh
        self.weight = 0
        self._values: OrderedDict[Key, Value] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Key) -> Value | None:
        """Return a value that is kept, or None."""
        with self._lock:
            value = self._values.get(key)
            if value is not None:
                self._values.move_to_end(key)
            return value

    def put(self, key: Key, value: Value) -> None:
        """Keep a value; those used longest ago make room. What is kept already stays."""
        with self._lock:
            if key in self._values:
                return
            self._values[key] = value
            self.weight += self._weigh(value)
            while self.weight > self._capacity:
                _, dropped = self._values.popitem(last=False)
                self.weight -= self._weigh(dropped)
