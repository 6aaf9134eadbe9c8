"""The part of the front door that changes labels: each method is one operation, or none."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from segmentation_backend.geometry import Coordinate
from segmentation_backend.labels import MAIN, LabelRepository, Operation
from segmentation_backend.workspace.editing import EditContext, Editor
from segmentation_backend.workspace.previews import Previews, SplitPreview

__all__ = ["LabelEdits"]


class LabelEdits(ABC):
    """Edits on the labels of any volume; `edit` says who asks, on which branch and version."""

    _previews: Previews

    @abstractmethod
    def repository(self, volume: str, branch: str = MAIN) -> LabelRepository:
        """Return the labels of a volume, on a branch."""

    def _editor(self, volume: str, edit: EditContext) -> Editor:
        return Editor(self.repository(volume, edit.branch))

    def merge(
        self,
        volume: str,
        *,
        ids: Sequence[int] | None = None,
        points: Sequence[Coordinate] | None = None,
        edit: EditContext,
    ) -> Operation:
        """Join two or more objects, named by ids or by voxels inside them."""
        return self._editor(volume, edit).merge(ids, points, edit)

    def split_preview(
        self, volume: str, groups: Sequence[Sequence[Coordinate]], branch: str = MAIN
    ) -> SplitPreview:
        """Work a split out without committing it; the result can be looked at for an hour."""
        found = Editor(self.repository(volume, branch)).split_preview(groups)
        return self._previews.save(volume, found.version, found.root, found.roi, found.sides)

    def split(
        self, volume: str, groups: Sequence[Sequence[Coordinate]], edit: EditContext
    ) -> Operation:
        """Cut one object into as many parts as there are groups of voxels."""
        return self._editor(volume, edit).split(groups, edit)

    def undo(self, volume: str, edit: EditContext, operation_id: int | None = None) -> Operation:
        """Take back the caller's last operation, or a named one."""
        return self._editor(volume, edit).undo(edit, operation_id)

    def redo(self, volume: str, edit: EditContext, operation_id: int | None = None) -> Operation:
        """Bring back what the caller's last undo took away."""
        return self._editor(volume, edit).redo(edit, operation_id)

    def revert(self, volume: str, version: int, edit: EditContext) -> Operation:
        """Bring the labels of an earlier version back, as a new operation."""
        return self._editor(volume, edit).revert(version, edit)
