"""Edits on one volume's labels: intent in, one committed operation out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from segmentation_backend import edits
from segmentation_backend.errors import ConflictError, ErrorKind, InvalidInputError
from segmentation_backend.geometry import Coordinate, Roi
from segmentation_backend.labels import Delta, LabelRepository, LabelView, Operation, OperationMeta

__all__ = ["EditContext", "Editor"]

ATTEMPTS = 8
"""How often an edit is recomputed when others commit in between, before the caller hears of it."""

MAX_ID = 2**64 - 1


@dataclass(frozen=True, slots=True)
class EditContext:
    """Who asks for an edit, and on what they saw."""

    user: str
    request_id: str | None = None
    """Any string: a repeated request answers with the first result and writes nothing."""
    base_version: int | None = None
    """The version the user saw; None means "whatever is newest"."""
    provenance: Mapping[str, Any] = field(default_factory=dict)


class Editor:
    """Merge, split, undo, redo and revert on one label repository."""

    def __init__(self, repository: LabelRepository) -> None:
        """Edit the labels of a repository."""
        self._repository = repository

    def merge(
        self,
        ids: Sequence[int] | None,
        points: Sequence[Coordinate] | None,
        edit: EditContext,
    ) -> Operation:
        """Join two or more objects, named by ids or by voxels inside them."""
        if (ids is None) == (points is None):
            raise InvalidInputError(
                "Name the objects to merge by either ids or points, not both.",
                ErrorKind.INVALID_PARAMETER,
            )
        for value in ids or ():
            check_id(value)

        def delta(view: LabelView) -> Delta:
            chosen = list(ids) if ids is not None else [view.root_at(p) for p in points or ()]
            return edits.merge(view, chosen)

        return self.commit("merge", {"ids": ids, "points": points}, edit, delta)

    def split_preview(
        self, groups: Sequence[Sequence[Coordinate]]
    ) -> tuple[LabelView, int, Roi, npt.NDArray[np.uint8]]:
        """Return what a split would do: the view, the root, its box, and the part per voxel."""
        view = self._repository.at()
        result = edits.split(view, groups)
        return view, view.root_at(groups[0][0]), result.roi, result.sides

    def split(self, groups: Sequence[Sequence[Coordinate]], edit: EditContext) -> Operation:
        """Cut one object into as many parts as there are groups of voxels."""

        def delta(view: LabelView) -> Delta:
            parts = edits.split(view, groups)
            return parts.delta(self._repository.reserve_ids(parts.ids_needed))

        return self.commit("split", {"groups": groups}, edit, delta)

    def undo(self, edit: EditContext, operation_id: int | None) -> Operation:
        """Take back the caller's last operation, or a named one."""
        return self._replay("undo", edit, operation_id)

    def redo(self, edit: EditContext, operation_id: int | None) -> Operation:
        """Bring back what the caller's last undo took away, or what a named undo did."""
        return self._replay("redo", edit, operation_id)

    def revert(self, version: int, edit: EditContext) -> Operation:
        """Bring the labels of an earlier version back, as a new operation."""
        then = self._repository.at(version)
        return self.commit(
            "revert", {"version": version}, edit, lambda view: edits.revert(view, then)
        )

    def commit(
        self,
        kind: str,
        intent: Mapping[str, Any],
        edit: EditContext,
        compute: Callable[[LabelView], Delta],
        undoes: Callable[[LabelView], int] | None = None,
    ) -> Operation:
        """Compute a delta on the newest version and commit it exactly once.

        When somebody else commits in between, the delta is computed again; a real conflict with
        what the caller saw (`edit.base_version`) is raised.
        """
        digest = _digest(kind, intent)
        if edit.request_id is not None:
            earlier = self._repository.find_request(edit.request_id, digest)
            if earlier is not None:
                return earlier
        for attempt in range(ATTEMPTS):
            view = self._repository.at()
            meta = OperationMeta(
                kind=kind,
                user=edit.user,
                request_id=edit.request_id,
                request_digest=digest,
                base_version=view.version if edit.base_version is None else edit.base_version,
                provenance=dict(edit.provenance),
                undoes=undoes(view) if undoes is not None else None,
            )
            try:
                return self._repository.commit(compute(view), meta)
            except ConflictError as conflict:
                raced = self._repository.head != view.version
                if conflict.kind != ErrorKind.STALE_VERSION or not raced:
                    raise
                if attempt == ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable: the last attempt returned or raised")

    def _replay(self, kind: str, edit: EditContext, operation_id: int | None) -> Operation:
        raise AssertionError(kind)


def check_id(value: object) -> int:
    """Return an object id, or refuse one that no uint64 label can have."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_ID:
        raise InvalidInputError(
            f"{value!r} is not an object id; ids are whole numbers from 1 to 2^64 − 1.",
            ErrorKind.INVALID_ID,
        )
    return value


def _digest(kind: str, intent: Mapping[str, Any]) -> str:
    text = json.dumps([kind, intent], sort_keys=True, default=list)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
