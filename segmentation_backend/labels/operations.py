"""One committed change as history shows it: who, when, what became of which object."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from segmentation_backend.geometry import Roi
from segmentation_backend.labels.agglomeration import Agglomeration
from segmentation_backend.labels.delta import Delta

__all__ = ["BranchMerge", "Lineage", "Operation", "OperationMeta", "trace_lineage"]


class BranchMerge(NamedTuple):
    """What an operation brings in from another branch."""

    branch_id: int
    version: int
    """The newest version of that branch whose changes were looked at."""
    skipped: tuple[int, ...] = ()
    """Supervoxels of the conflicts that were left open: the next merge asks again."""


@dataclass(frozen=True, slots=True)
class OperationMeta:
    """What commit records about a change besides the change."""

    kind: str
    """"segment", "import", "merge", "split", "undo", "redo", "revert", …"""
    user: str
    request_id: str | None = None
    """A repeated commit with the same id returns the first operation and writes nothing."""
    base_version: int | None = None
    """The version the user looked at; None: whatever is newest."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """JSON: parameters, model, region, software version."""
    undoes: int | None = None
    """The operation an undo or redo takes back."""
    request_digest: str | None = None
    """Hash of the request: the same request id with another digest is refused."""
    merges: BranchMerge | None = None
    """The branch whose changes the operation brings in."""


@dataclass(frozen=True, slots=True)
class Lineage:
    """Objects before and after; an object's identity is (root id, version)."""

    removed_roots: tuple[int, ...] = ()
    """Root ids, before the operation, of every object it changed."""
    added_roots: tuple[int, ...] = ()
    """Root ids of the same objects after it."""
    became: tuple[tuple[int, int], ...] = ()
    """(old root, new root): voxels of the one are in the other now."""

    @property
    def merges(self) -> tuple[tuple[int, ...], ...]:
        """Groups of old roots that are one object now."""
        groups = _grouped((new, old) for old, new in self.became)
        return tuple(group for _, group in groups if len(group) > 1)

    @property
    def splits(self) -> tuple[tuple[int, tuple[int, ...]], ...]:
        """(old root, the new roots its voxels went to)."""
        return tuple((old, group) for old, group in _grouped(self.became) if len(group) > 1)

    def to_json(self) -> dict[str, Any]:
        """Return plain lists; ids as integers (SQL side) — see `Operation.to_json` for HTTP."""
        return {
            "removed": list(self.removed_roots),
            "added": list(self.added_roots),
            "became": [list(pair) for pair in self.became],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Lineage:
        """Return what `to_json` made, of this or an older release."""
        became = value["became"] if "became" in value else _became_formerly(value)
        return cls(
            tuple(value["removed"]), tuple(value["added"]), tuple((old, new) for old, new in became)
        )


def _became_formerly(value: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Return the pairs of a record that kept only merges (each by its old roots) and splits."""
    pairs = {(root, root) for root in set(value["removed"]) & set(value["added"])}
    pairs |= {(old, new) for old, group in value["splits"] for new in group}
    pairs |= {(old, min(group)) for group in value["merges"] for old in group}
    return sorted(pairs)


def _grouped(pairs: Iterable[tuple[int, int]]) -> list[tuple[int, tuple[int, ...]]]:
    """Return (first, its seconds) in ascending order."""
    groups: dict[int, set[int]] = defaultdict(set)
    for first, second in pairs:
        groups[first].add(second)
    return [(first, tuple(sorted(groups[first]))) for first in sorted(groups)]


@dataclass(frozen=True, slots=True)
class Operation:
    """One committed change."""

    operation_id: int
    """Equals the version it made."""
    kind: str
    user: str
    time: str
    """UTC, ISO 8601."""
    bbox: Roi | None
    """Level-0 box of what may look different."""
    lineage: Lineage
    wrote_voxels: bool
    undoes: int | None
    undone_by: int | None
    """The operation that took this one back and still stands."""
    provenance: Mapping[str, Any]
    request_id: str | None
    base_version: int | None
    parent: int
    """The version it was applied to."""
    branch_id: int
    """The branch it was made on."""

    @property
    def version(self) -> int:
        """The version this operation made."""
        return self.operation_id

    @property
    def removed_roots(self) -> tuple[int, ...]:
        """Root ids, before the operation, of every object it changed."""
        return self.lineage.removed_roots

    @property
    def added_roots(self) -> tuple[int, ...]:
        """Root ids of the changed objects after the operation."""
        return self.lineage.added_roots

    @property
    def merges(self) -> tuple[tuple[int, ...], ...]:
        """Groups of old roots that are one object now."""
        return self.lineage.merges

    @property
    def splits(self) -> tuple[tuple[int, tuple[int, ...]], ...]:
        """(old root, the new roots its voxels went to)."""
        return self.lineage.splits

    def to_json(self) -> dict[str, Any]:
        """Return the operation as the HTTP interface shows it; uint64 ids are strings."""
        return {
            "operation_id": self.operation_id,
            "version": self.operation_id,
            "kind": self.kind,
            "user": self.user,
            "time": self.time,
            "bbox": None if self.bbox is None else self.bbox.to_json(),
            "removed_roots": [str(root) for root in self.removed_roots],
            "added_roots": [str(root) for root in self.added_roots],
            "merges": [[str(root) for root in group] for group in self.merges],
            "splits": [
                {"root": str(old), "into": [str(root) for root in new]} for old, new in self.splits
            ],
            "wrote_voxels": self.wrote_voxels,
            "undoes": self.undoes,
            "undone_by": self.undone_by,
            "provenance": dict(self.provenance),
            "request_id": self.request_id,
            "base_version": self.base_version,
            "parent": self.parent,
        }


def trace_lineage(delta: Delta, before: Agglomeration, after: Agglomeration) -> Lineage:
    """Return which objects a delta turns into which, given the joins before and after it."""
    changes = delta.statistics
    there = [s for s in delta.supervoxels if s not in changes or changes[s].before is not None]
    left = [s for s in delta.supervoxels if s not in changes or changes[s].after is not None]
    # Not looked up: a segmentation brings thousands of them.
    alone = delta.lone_newcomers
    old, new = before.roots_of(there), after.roots_of([s for s in left if s not in alone])
    new |= {s: s for s in left if s in alone}
    became = {(old[s], new[s]) for s in old.keys() & new.keys()}
    became |= {(old[a], new[b]) for a, b in delta.moved if a in old and b in new}
    return Lineage(
        tuple(sorted(set(old.values()))), tuple(sorted(set(new.values()))), tuple(sorted(became))
    )
