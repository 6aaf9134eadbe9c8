"""Two branches of one small volume, and what is done to them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from label_volumes import Editor

from segmentation_backend.edits import Choice, MergePlan, delete, paint, plan_merge
from segmentation_backend.geometry import Roi
from segmentation_backend.labels import MergeBase, Operation, merge_base

FAR = (20, 60, 60)


def branch(editor: Editor, name: str) -> Editor:
    editor.repository.create_branch(name, "bob")
    return editor.on(name)


def common(target: Editor, source: Editor) -> MergeBase:
    storage = target.repository.at().storage
    return merge_base(storage, target.repository.head, source.repository.head)


def plan(source: Editor, target: Editor, choices: Mapping[int, Choice] | None = None) -> MergePlan:
    ours, theirs = target.repository.at(), source.repository.at()
    return plan_merge(common(target, source), ours, theirs, choices or {})


def bring(source: Editor, target: Editor, choices: Mapping[int, Choice] | None = None) -> Operation:
    made = plan(source, target, choices)
    return target.commit(made.delta, "merge-branch", "mary", merges=made.merges)


def brush(editor: Editor, roi: Roi, target: int | None, user: str = "ann") -> Operation:
    view = editor.repository.at()
    mask = np.ones(roi.shape, dtype=bool)
    delta = paint(view, roi, mask, target, "all", editor.repository.reserve_ids)
    return editor.commit(delta, "paint", user)


def remove(editor: Editor, *ids: int, user: str = "ann") -> Operation:
    return editor.commit(delete(editor.repository.at(), ids), "delete", user)


def same_levels(one: Editor, other: Editor) -> bool:
    a, b = one.repository.at(), other.repository.at()
    boxes = [(Roi((0, 0, 0), level.shape), level.level) for level in a.levels]
    return all(np.array_equal(a.read(*box), b.read(*box)) for box in boxes)
