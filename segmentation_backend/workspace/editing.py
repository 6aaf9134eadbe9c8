"""Edits on one volume's labels: intent in, one committed operation out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from segmentation_backend import edits
from segmentation_backend.errors import ConflictError, ErrorKind, InvalidInputError
from segmentation_backend.geometry import Coordinate
from segmentation_backend.labels import (
    MAIN,
    Delta,
    LabelRepository,
    LabelView,
    Operation,
    OperationMeta,
)

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
    branch: str = MAIN
    """The branch that is edited."""
    provenance: Mapping[str, Any] = field(default_factory=dict)


class Editor:
    """Every edit on one branch of a volume's labels, each committed exactly once."""

    def __init__(self, repository: LabelRepository) -> None:
        """Edit the labels of a repository; edits that name another branch are for its own."""
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

    def split_preview(self, groups: Sequence[Sequence[Coordinate]]) -> edits.SplitPreview:
        """Return what a split would do to the newest labels, without writing anything."""
        return edits.preview_split(self._repository.at(), groups)

    def split(self, groups: Sequence[Sequence[Coordinate]], edit: EditContext) -> Operation:
        """Cut one object into as many parts as there are groups of voxels."""
        reserve = self._repository.reserve_ids
        return self.commit(
            "split", {"groups": groups}, edit, lambda view: edits.split(view, groups, reserve)
        )

    def undo(self, edit: EditContext, operation_id: int | None) -> Operation:
        """Take back the caller's last operation, or a named one."""
        return self._take_back("undo", edits.operation_to_undo, edit, operation_id)

    def redo(self, edit: EditContext, operation_id: int | None) -> Operation:
        """Bring back what the caller's last undo took away, or what a named undo did."""
        return self._take_back("redo", edits.operation_to_redo, edit, operation_id)

    def revert(self, version: int, edit: EditContext) -> Operation:
        """Bring the labels of an earlier version back, as a new operation."""
        return self.commit(
            "revert", {"version": version}, edit, lambda view: edits.revert(view, version)
        )

    def commit(
        self,
        kind: str,
        intent: Mapping[str, Any],
        edit: EditContext,
        compute: Callable[[LabelView], Delta],
    ) -> Operation:
        """Compute a delta on the newest version and commit it exactly once.

        When somebody else commits in between, the delta is computed again; a real conflict with
        what the caller saw (`edit.base_version`) is raised.
        """

        def attempt(view: LabelView, meta: OperationMeta) -> Operation:
            return self._repository.commit(compute(view), meta)

        return self._exactly_once(kind, intent, edit, attempt)

    def _take_back(
        self,
        kind: str,
        choose: Callable[[LabelRepository, str, int | None], Operation],
        edit: EditContext,
        operation_id: int | None,
    ) -> Operation:
        def attempt(view: LabelView, meta: OperationMeta) -> Operation:
            target = choose(self._repository, edit.user, operation_id)
            delta = edits.undo(view, target, self._repository.delta(target.operation_id))
            return self._repository.commit(delta, replace(meta, undoes=target.operation_id))

        return self._exactly_once(kind, {"operation_id": operation_id}, edit, attempt)

    def _exactly_once(
        self,
        kind: str,
        intent: Mapping[str, Any],
        edit: EditContext,
        attempt: Callable[[LabelView, OperationMeta], Operation],
    ) -> Operation:
        digest = _digest(kind, intent, edit.branch)
        first = self._repository.find_request(edit.request_id, digest)
        if first is not None:
            return first
        meta = OperationMeta(
            kind=kind,
            user=edit.user,
            request_id=edit.request_id,
            request_digest=digest,
            base_version=edit.base_version,
            provenance=edit.provenance,
        )
        for _ in range(ATTEMPTS - 1):
            view = self._repository.at()
            try:
                return attempt(view, meta)
            except ConflictError as conflict:
                raced = self._repository.head != view.version
                if conflict.kind != ErrorKind.STALE_VERSION or not raced:
                    raise
        return attempt(self._repository.at(), meta)


def check_id(value: object) -> int:
    """Return an object id, or refuse one that no uint64 label can have."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_ID:
        raise InvalidInputError(
            f"{value!r} is not an object id; ids are whole numbers from 1 to 2^64 − 1.",
            ErrorKind.INVALID_ID,
        )
    return value


def _digest(kind: str, intent: Mapping[str, Any], branch: str) -> str:
    parts = [kind, intent] if branch == MAIN else [kind, intent, branch]
    text = json.dumps(parts, sort_keys=True, default=list)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
