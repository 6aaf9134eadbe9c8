"""Remember what was used last, up to a number of bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Generic, TypeVar

from segmentation_backend.labels.delta import ChunkKey

__all__ = ["Recent"]

Value = TypeVar("Value")


class Recent(Generic[Value]):
    """Values by chunk, those used longest ago forgotten first; thread-safe."""

    def __init__(self, capacity: int, size_of: Callable[[Value], int]) -> None:
        """Keep values of at most `capacity` bytes in all, measured by `size_of`."""
        self._capacity = capacity
        self._size_of = size_of
        self._size = 0
        self._values: OrderedDict[ChunkKey, Value] = OrderedDict()
        self._lock = Lock()

    def get(self, key: ChunkKey) -> Value | None:
        """Return what is remembered under a key."""
        with self._lock:
            value = self._values.get(key)
            if value is not None:
                self._values.move_to_end(key)
            return value

    def keep(self, fresh: Mapping[ChunkKey, Value]) -> None:
        """Remember values."""
        with self._lock:
            for key, value in fresh.items():
                if key not in self._values:
                    self._values[key] = value
                    self._size += self._size_of(value)
            while self._size > self._capacity:
                _, dropped = self._values.popitem(last=False)
                self._size -= self._size_of(dropped)
