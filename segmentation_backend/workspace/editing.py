"""Edits on one volume's labels: intent in, one committed operation out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeAlias

from segmentation_backend import edits
from segmentation_backend.edits.branch_merge import MergePlan
from segmentation_backend.edits.merge_conflicts import Choice
from segmentation_backend.errors import ConflictError, ErrorKind, InvalidInputError
from segmentation_backend.geometry import Coordinate
from segmentation_backend.labels import (
    MAIN,
    Delta,
    LabelRepository,
    LabelView,
    Operation,
    OperationMeta,
    Outcome,
    merge_base,
)

__all__ = ["EditContext", "Editor", "check_id", "plan_branch_merge"]

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


Plan: TypeAlias = Callable[[LabelView, OperationMeta], tuple[Delta, OperationMeta]]
"""What an edit comes to on a version, and what is recorded of it."""


class _Ready(NamedTuple):
    """All that a commit needs to know."""

    version: int
    delta: Delta
    meta: OperationMeta
    outcome: Outcome


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
        """Join two or more objects, named by ids, by voxels inside them, or by both.

        With both, each point says where the id at its place in the list is.
        """
        if (ids is None and points is None) or len({len(n) for n in (ids, points) if n}) == 2:
            raise InvalidInputError(
                "Name the objects to merge by ids or by points; where both are given, there is one "
                "point for each id.",
                ErrorKind.INVALID_PARAMETER,
            )
        for value in ids or ():
            check_id(value)

        def delta(view: LabelView) -> Delta:
            under = [view.root_at(point) for point in points or ()]
            if ids is None:
                return edits.merge(view, under)
            if points:
                _check_under(view, ids, points, under)
            return edits.merge(view, ids)

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

    def merge_branch(
        self, source: LabelRepository, name: str, choices: Mapping[int, Choice], edit: EditContext
    ) -> Operation:
        """Bring what the branch `source` changed into this one, conflicts as they are decided."""

        def planned(view: LabelView, meta: OperationMeta) -> tuple[Delta, OperationMeta]:
            plan = plan_branch_merge(view, source.at(), choices)
            if plan.delta.is_empty and not plan.conflicts:
                raise InvalidInputError(
                    f"The branch {name} has changed nothing that is not here already.",
                    ErrorKind.NOTHING_TO_CHANGE,
                )
            record = {"branch": name, "version": plan.merges.version, "applied": plan.applied}
            decided = {str(conflict): choice for conflict, choice in choices.items()}
            provenance = edit.provenance or record | {"choices": decided}
            return plan.delta, replace(meta, merges=plan.merges, provenance=provenance)

        intent = {"source": name, "choices": sorted(choices.items())}
        return self._exactly_once("merge-branch", intent, edit, planned)

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
        return self._exactly_once(kind, intent, edit, lambda view, meta: (compute(view), meta))

    def _take_back(
        self,
        kind: str,
        choose: Callable[[LabelRepository, str, int | None], Operation],
        edit: EditContext,
        operation_id: int | None,
    ) -> Operation:
        def planned(view: LabelView, meta: OperationMeta) -> tuple[Delta, OperationMeta]:
            target = choose(self._repository, edit.user, operation_id)
            delta = edits.undo(view, target, self._repository.delta(target.operation_id))
            return delta, replace(meta, undoes=target.operation_id)

        return self._exactly_once(kind, {"operation_id": operation_id}, edit, planned)

    def _exactly_once(
        self,
        kind: str,
        intent: Mapping[str, Any],
        edit: EditContext,
        plan: Plan,
    ) -> Operation:
        meta = OperationMeta(
            kind=kind,
            user=edit.user,
            request_id=edit.request_id,
            request_digest=_digest(kind, intent, edit.branch),
            base_version=edit.base_version,
            provenance=edit.provenance or _given(intent),
        )
        for _ in range(ATTEMPTS - 1):
            ready = self._ready(meta, plan)
            try:
                return self._committed(ready)
            except ConflictError as conflict:
                raced = isinstance(ready, _Ready) and self._repository.head != ready.version
                if conflict.kind != ErrorKind.STALE_VERSION or not raced:
                    raise
        return self._committed(self._ready(meta, plan))

    def _ready(self, meta: OperationMeta, plan: Plan) -> Operation | _Ready:
        """Return what was committed for this request already, or else what is to be committed."""
        with self._repository.reading():
            first = self._repository.find_request(meta.request_id, meta.request_digest)
            if first is not None:
                return first
            view = self._repository.at()
            delta, meta = plan(view, meta)
            return _Ready(view.version, delta, meta, self._repository.outcome(delta))

    def _committed(self, ready: Operation | _Ready) -> Operation:
        if isinstance(ready, Operation):
            return ready
        return self._repository.commit(ready.delta, ready.meta, ready.outcome)


def plan_branch_merge(
    ours: LabelView, theirs: LabelView, choices: Mapping[int, Choice]
) -> MergePlan:
    """Return what a merge of one version into another would do; see `edits.plan_merge`."""
    base = merge_base(ours.storage, ours.version, theirs.version)
    return edits.plan_merge(base, ours, theirs, choices)


def _check_under(
    view: LabelView, ids: Sequence[int], points: Sequence[Coordinate], under: Sequence[int]
) -> None:
    """Refuse ids that are not the objects under their points."""
    for value, point, root in zip(ids, points, under, strict=True):
        if view.root_of(value) != root:
            there = f"object {root}" if root else "background"
            raise InvalidInputError(
                f"The point {list(point)} (z, y, x) is on {there}, not on object {value}; refresh "
                "the view and pick it again.",
                ErrorKind.INVALID_PARAMETER,
            )


def check_id(value: object) -> int:
    """Return an object id, or refuse one that no uint64 label can have."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_ID:
        raise InvalidInputError(
            f"{value!r} is not an object id; ids are whole numbers from 1 to 2^64 − 1.",
            ErrorKind.INVALID_ID,
        )
    return value


def _given(intent: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an edit was asked for with, as its record: without what was left out."""
    return {name: value for name, value in intent.items() if value is not None}


def _digest(kind: str, intent: Mapping[str, Any], branch: str) -> str:
    parts = [kind, intent] if branch == MAIN else [kind, intent, branch]
    text = json.dumps(parts, sort_keys=True, default=list)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
