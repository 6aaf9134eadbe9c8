"""The change itself, as a value: what an edit returns, what is committed, what undo inverts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias

from segmentation_backend.geometry import Roi
from segmentation_backend.labels.statistics import SupervoxelStatistics

__all__ = [
    "BaseChunk",
    "ChunkChange",
    "ChunkKey",
    "ChunkReference",
    "Delta",
    "Edge",
    "InlineChunk",
    "StatisticsChange",
    "StoredChunk",
    "edge_between",
]

Edge: TypeAlias = tuple[int, int]
"""Two different supervoxel ids, the smaller one first."""


def edge_between(a: int, b: int) -> Edge:
    """Return the edge of two supervoxels in its one spelling (smaller id first)."""
    return (a, b) if a < b else (b, a)


class ChunkKey(NamedTuple):
    """Which chunk: scale level and position on its 64-voxel grid, which starts at voxel 0."""

    level: int
    z: int
    y: int
    x: int


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """A chunk that lies in a pack: bytes `start` to `start + length` of an immutable file."""

    pack: str
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class InlineChunk:
    """A chunk that is encoded but not stored yet; commit puts it into a pack."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class BaseChunk:
    """A chunk nobody wrote: it is what the volume's read-only base holds there."""

    key: ChunkKey


ChunkReference: TypeAlias = StoredChunk | InlineChunk | BaseChunk | None
"""None: never written in a volume without a base, so all background."""


class ChunkChange(NamedTuple):
    """One chunk before and after."""

    before: ChunkReference
    after: ChunkReference


class StatisticsChange(NamedTuple):
    """The statistics of one supervoxel before and after; None where it does not exist."""

    before: SupervoxelStatistics | None
    after: SupervoxelStatistics | None


@dataclass(frozen=True)
class Delta:
    """Everything one operation changes, both ways; nothing in it is ever changed in place."""

    base_version: int
    """The version the edit looked at."""
    bbox: Roi | None = None
    """Level-0 box of all voxels that may look different; None when nothing does."""
    chunks: Mapping[ChunkKey, ChunkChange] = field(default_factory=dict)
    """Changed chunks of all scale levels."""
    edges_added: frozenset[Edge] = frozenset()
    edges_removed: frozenset[Edge] = frozenset()
    statistics: Mapping[int, StatisticsChange] = field(default_factory=dict)
    """Supervoxel id → its statistics; holds every supervoxel that gained or lost a voxel."""
    moved: frozenset[tuple[int, int]] = frozenset()
    """(a, b): voxels of supervoxel a belong to supervoxel b now (lineage of cuts)."""

    def inverse(self) -> Delta:
        """Return the change that takes this one back; `d.inverse().inverse() == d`."""
        return replace(
            self,
            chunks={key: ChunkChange(c.after, c.before) for key, c in self.chunks.items()},
            edges_added=self.edges_removed,
            edges_removed=self.edges_added,
            statistics={s: StatisticsChange(c.after, c.before) for s, c in self.statistics.items()},
            moved=frozenset((b, a) for a, b in self.moved),
        )

    @property
    def is_empty(self) -> bool:
        """Whether nothing changes at all."""
        return not (self.chunks or self.edges_added or self.edges_removed or self.statistics)

    @property
    def supervoxels(self) -> set[int]:
        """Return every supervoxel whose voxels or edges change."""
        touched = set(self.statistics)
        for edge in self.edges_added | self.edges_removed:
            touched.update(edge)
        return touched

    @property
    def lone_newcomers(self) -> set[int]:
        """Return the supervoxels that did not exist before and are not joined to anything."""
        new = {s for s, change in self.statistics.items() if change.before is None}
        return new.difference(*self.edges_added, *self.edges_removed)

    @property
    def inline_chunks(self) -> dict[ChunkKey, InlineChunk]:
        """Return the new chunks that still have to be stored."""
        return {
            key: change.after
            for key, change in self.chunks.items()
            if isinstance(change.after, InlineChunk)
        }

    def with_stored(self, stored: Mapping[ChunkKey, StoredChunk]) -> Delta:
        """Return the same change with its new chunks replaced by their places in a pack."""
        chunks = {
            key: ChunkChange(change.before, stored.get(key, change.after))
            for key, change in self.chunks.items()
        }
        return replace(self, chunks=chunks)
