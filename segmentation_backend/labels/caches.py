"""Decoded chunks that a process remembers between reads."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Hashable, Mapping
from threading import Lock
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from segmentation_backend.labels.chunks import Chunk, decode
from segmentation_backend.labels.delta import Edge, StoredChunk
from segmentation_backend.labels.kernels import distinct_ids
from segmentation_backend.labels.packs import PackStore

__all__ = ["ChunkCache", "Remembered", "net_events"]

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class ChunkCache:
    """Decoded chunks by their place in a pack; places are immutable, so nothing ever goes stale."""

    def __init__(self, packs: PackStore, capacity_bytes: int) -> None:
        """Keep at most about `capacity_bytes` of decoded labels."""
        self._packs = packs
        self._capacity = capacity_bytes
        self._size = 0
        self._chunks: OrderedDict[StoredChunk, Chunk] = OrderedDict()
        self._distinct: OrderedDict[StoredChunk, npt.NDArray[np.uint64]] = OrderedDict()
        self._lock = Lock()

    def load(self, places: Collection[StoredChunk]) -> dict[StoredChunk, Chunk]:
        """Return decoded chunks, from memory or from their packs."""
        found: dict[StoredChunk, Chunk] = {}
        with self._lock:
            for place in places:
                chunk = self._chunks.get(place)
                if chunk is not None:
                    self._chunks.move_to_end(place)
                    found[place] = chunk
        missing = {place for place in places if place not in found}
        fresh = {place: decode(data) for place, data in self._packs.read(missing)}
        self._keep(fresh)
        return found | fresh

    def _keep(self, fresh: dict[StoredChunk, Chunk]) -> None:
        with self._lock:
            for place, chunk in fresh.items():
                if place not in self._chunks:
                    self._chunks[place] = chunk
                    self._size += chunk.block.nbytes
            while self._size > self._capacity:
                _, dropped = self._chunks.popitem(last=False)
                self._size -= dropped.block.nbytes

    def distinct(self, place: StoredChunk) -> npt.NDArray[np.uint64]:
        """Return the sorted supervoxel ids in a chunk (uint64, no 0)."""
        with self._lock:
            known = self._distinct.get(place)
        if known is None:
            chunk = self.load([place])[place]
            known = distinct_ids(chunk.block) if chunk.ids is None else chunk.ids
            with self._lock:
                self._distinct[place] = known
                # Few ids per chunk: a count is bound enough.
                while len(self._distinct) > 4096:
                    self._distinct.popitem(last=False)
        return known


class Remembered(Generic[Key, Value]):
    """Answers that never change, by question; those asked longest ago are forgotten."""

    def __init__(self, most: int) -> None:
        """Keep at most so many."""
        self._most = most
        self._answers: OrderedDict[Key, Value] = OrderedDict()
        self._lock = Lock()

    def get(self, question: Key) -> Value | None:
        """Return what is remembered."""
        with self._lock:
            answer = self._answers.get(question)
            if answer is not None:
                self._answers.move_to_end(question)
            return answer

    def keep(self, answers: Mapping[Key, Value]) -> None:
        """Remember answers."""
        with self._lock:
            self._answers.update(answers)
            while len(self._answers) > self._most:
                self._answers.popitem(last=False)


def net_events(
    edges: npt.NDArray[np.uint64], added: npt.NDArray[np.bool_]
) -> tuple[list[Edge], list[Edge]]:
    """Return (edges added, edges removed) over a row of events, what cancels left out."""
    balance: dict[tuple[int, int], int] = {}
    for (a, b), plus in zip(edges.tolist(), added.tolist(), strict=True):
        balance[a, b] = balance.get((a, b), 0) + (1 if plus else -1)
    return (
        [edge for edge, change in balance.items() if change > 0],
        [edge for edge, change in balance.items() if change < 0],
    )
