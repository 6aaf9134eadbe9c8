"""The part of the front door that changes labels: each method is one operation, or none."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, cast

from segmentation_backend import edits
from segmentation_backend.edits.branch_merge import MergePlan
from segmentation_backend.edits.merge_conflicts import Choice
from segmentation_backend.geometry import Coordinate, Roi
from segmentation_backend.labels import MAIN, Delta, LabelRepository, LabelView, Operation
from segmentation_backend.workspace.editing import EditContext, Editor, check_id, plan_branch_merge
from segmentation_backend.workspace.previews import Previews, SplitPreview
from segmentation_backend.workspace.strokes import Stroke, axis_across

__all__ = ["LabelEdits"]


def _checked(ids: Sequence[int]) -> list[str]:
    return [str(check_id(value)) for value in ids]


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
        return self._previews.save(volume, found)

    def split(
        self, volume: str, groups: Sequence[Sequence[Coordinate]], edit: EditContext
    ) -> Operation:
        """Cut one object into as many parts as there are groups of voxels."""
        return self._editor(volume, edit).split(groups, edit)

    def cleave(self, volume: str, supervoxels: Sequence[int], edit: EditContext) -> Operation:
        """Split supervoxels off their object: together they become one of their own."""
        intent = {"supervoxels": _checked(supervoxels)}
        return self._editor(volume, edit).commit(
            "cleave", intent, edit, lambda view: edits.cleave(view, supervoxels)
        )

    def delete(self, volume: str, ids: Sequence[int], edit: EditContext) -> Operation:
        """Remove objects, named by ids."""
        return self._editor(volume, edit).commit(
            "delete", {"ids": _checked(ids)}, edit, lambda view: edits.delete(view, ids)
        )

    def paint(self, volume: str, stroke: Stroke, edit: EditContext) -> Operation:
        """Give the voxels of a stroke to an object, to a new one, or (target 0) to nothing."""
        repository = self.repository(volume, edit.branch)
        roi, mask = stroke.voxels(repository.levels[0])

        def delta(view: LabelView) -> Delta:
            return edits.paint(view, roi, mask, stroke.target, stroke.over, repository.reserve_ids)

        kind = "erase" if stroke.target == 0 else "paint"
        record = stroke.record()
        signed = edit if edit.provenance else replace(edit, provenance=record)
        intent = record | {"mask": hashlib.blake2b(mask.tobytes(), digest_size=16).hexdigest()}
        return self._editor(volume, edit).commit(kind, intent, signed, delta)

    def morph(
        self,
        volume: str,
        object_id: int,
        operation: edits.Morphology,
        edit: EditContext,
        *,
        radius: float = 1.0,
        unit: edits.Unit = "voxels",
        plane: str | None = None,
        largest_hole: int | None = None,
    ) -> Operation:
        """Erode, dilate, open, close or fill the holes of one object."""
        axis = axis_across(plane)
        intent = {
            "id": str(check_id(object_id)),
            "operation": operation,
            "radius": None if operation == "fill_holes" else radius,
            "unit": None if operation == "fill_holes" else unit,
            "plane": plane,
            "largest_hole": largest_hole,
        }
        return self._editor(volume, edit).commit(
            "morph",
            intent,
            edit,
            lambda view: edits.morph(view, object_id, operation, radius, unit, axis, largest_hole),
        )

    def relabel(
        self,
        volume: str,
        object_id: int,
        edit: EditContext,
        *,
        connectivity: int = 26,
        dust: int = 0,
    ) -> Operation:
        """Make an object of each connected part of one; parts under `dust` voxels are erased."""
        repository = self.repository(volume, edit.branch)
        intent = {"id": str(check_id(object_id)), "connectivity": connectivity, "dust": dust}
        return self._editor(volume, edit).commit(
            "relabel",
            intent,
            edit,
            lambda view: edits.relabel_components(
                view,
                object_id,
                repository.reserve_ids,
                cast("Literal[6, 18, 26]", connectivity),
                dust,
            ),
        )

    def filter_small(
        self,
        volume: str,
        edit: EditContext,
        *,
        min_voxels: float | None = None,
        min_nm3: float | None = None,
        roi: Roi | None = None,
    ) -> Operation:
        """Remove every object smaller than a number of voxels or a volume."""
        where = None if roi is None else roi.to_json()
        intent = {"min_voxels": min_voxels, "min_nm3": min_nm3, "roi": where}
        return self._editor(volume, edit).commit(
            "filter",
            intent,
            edit,
            lambda view: edits.filter_small(view, min_voxels, min_nm3, roi),
        )

    def plan_branch_merge(
        self,
        volume: str,
        source: str,
        choices: Mapping[int, Choice] | None = None,
        branch: str = MAIN,
    ) -> MergePlan:
        """Return what `merge_branch` would do, with every conflict; nothing is written."""
        ours, theirs = (self.repository(volume, name).at() for name in (branch, source))
        return plan_branch_merge(ours, theirs, choices or {})

    def merge_branch(
        self,
        volume: str,
        source: str,
        edit: EditContext,
        choices: Mapping[int, Choice] | None = None,
    ) -> Operation:
        """Bring what another branch changed into `edit.branch`.

        What only one side changed merges by itself. What both changed is decided by `choices`
        ("ours", "theirs", "skip", by the conflict's id; see `plan_branch_merge`) or left as it is.
        """
        theirs = self.repository(volume, source)
        return self._editor(volume, edit).merge_branch(theirs, source, choices or {}, edit)

    def undo(self, volume: str, edit: EditContext, operation_id: int | None = None) -> Operation:
        """Take back the caller's last operation, or a named one."""
        return self._editor(volume, edit).undo(edit, operation_id)

    def redo(self, volume: str, edit: EditContext, operation_id: int | None = None) -> Operation:
        """Bring back what the caller's last undo took away."""
        return self._editor(volume, edit).redo(edit, operation_id)

    def revert(self, volume: str, version: int, edit: EditContext) -> Operation:
        """Bring the labels of an earlier version back, as a new operation."""
        return self._editor(volume, edit).revert(version, edit)
