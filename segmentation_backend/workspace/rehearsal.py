"""What a segmentation would change, counted."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from segmentation_backend.labels import Delta

__all__ = ["SegmentationChange"]


@dataclass(frozen=True, slots=True)
class SegmentationChange:
    """Objects by what becomes of them."""

    added: int
    """New objects."""
    removed: int
    """Supervoxels that make way wholly."""
    trimmed: int
    """Supervoxels that lose what lies in the region, and go on outside of it."""
    joined: int
    """Joins of new objects with what lies beside the region."""
    kept: int
    """Supervoxels in the region that stay as they are."""

    @classmethod
    def of(cls, delta: Delta, present: int) -> SegmentationChange:
        """Return the counts of a delta in a region with so many supervoxels."""
        changes = delta.statistics.values()
        added = sum(change.before is None for change in changes)
        removed = sum(change.after is None for change in changes)
        trimmed = len(changes) - added - removed
        kept = max(0, present - removed - trimmed)
        return cls(added, removed, trimmed, len(delta.edges_added), kept)

    def to_json(self) -> dict[str, int]:
        """Return the counts as the HTTP interface shows them."""
        return asdict(self)

    def __str__(self) -> str:
        """Return one sentence."""
        parts = [f"{self.added} {'object' if self.added == 1 else 'objects'} would be added"]
        others = {
            "replaced": self.removed,
            "cut at the region's faces": self.trimmed,
            "joined to neighbours": self.joined,
            "kept": self.kept,
        }
        parts += [f"{count} {what}" for what, count in others.items() if count > 0]
        return ", ".join(parts) + ". Nothing was changed."
