"""What a process remembers between reads: decoded chunks and recent agglomerations."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection
from threading import Lock

import numpy as np
import numpy.typing as npt
from segmentation_backend.labels.agglomeration import NO_EDGES, Agglomeration
from segmentation_backend.labels.chunks import Chunk, decode
from segmentation_backend.labels.delta import Edge, StoredChunk
from segmentation_backend.labels.kernels import distinct_ids
from segmentation_backend.labels.packs import PackStore

__all__ = ["AgglomerationCache", "ChunkCache", "net_events"]

_REMEMBERED_VERSIONS = 8
_LONGEST_STEP = 4096
"""Edge events that are applied one by one; a longer way is built anew from the active edges."""

EdgeEvents = tuple[npt.NDArray[np.uint64], npt.NDArray[np.bool_]]


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
            known = distinct_ids(self.load([place])[place].block)
            with self._lock:
                self._distinct[place] = known
                # Few ids per chunk: a count is bound enough.
                while len(self._distinct) > 4096:
                    self._distinct.popitem(last=False)
        return known


class AgglomerationCache:
    """Agglomerations of recent versions; the next version costs its new events only."""

    def __init__(
        self,
        events: Callable[[int, int], EdgeEvents],
        is_ancestor: Callable[[int, int], bool],
    ) -> None:
        """Read the edge events from a version to a later one of its line by `events`."""
        self._events = events
        self._is_ancestor = is_ancestor
        self._lock = Lock()
        self._known: OrderedDict[int, Agglomeration] = OrderedDict({0: NO_EDGES})

    def at(self, version: int) -> Agglomeration:
        """Return which supervoxels are joined at a version."""
        with self._lock:
            known = self._known.get(version)
            if known is None:
                known = self._reach(version)
                self._known[version] = known
            self._known.move_to_end(version)
            while len(self._known) > _REMEMBERED_VERSIONS:
                self._known.popitem(last=False)
            return known

    def _reach(self, version: int) -> Agglomeration:
        for nearest in sorted(self._known, key=lambda v: abs(v - version)):
            low, high = sorted((nearest, version))
            if not self._is_ancestor(low, high):
                continue
            edges, added = self._events(low, high)
            if len(edges) > _LONGEST_STEP:
                break
            plus, minus = net_events(edges, added)
            if version < nearest:
                plus, minus = minus, plus
            known = self._known[nearest]
            return known.changed(plus, minus) if plus or minus else known
        return Agglomeration.from_edges(_active(*self._events(0, version)))


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


def _active(edges: npt.NDArray[np.uint64], added: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint64]:
    """Return the edges that are active after all events since version 0."""
    if bool(added.all()):
        return edges
    unique, index = np.unique(edges, axis=0, return_inverse=True)
    balance = np.zeros(len(unique), dtype=np.int64)
    np.add.at(balance, index.reshape(-1), np.where(added, 1, -1))
    active: npt.NDArray[np.uint64] = unique[balance > 0]
    return active
