"""Blame names who gave a voxel what it holds, on whichever branch that was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from label_bases import base_of, block_of, reader_of, repository_over
from label_volumes import Editor

from segmentation_backend.edits import paint, plan_merge, undo
from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.geometry import Roi
from segmentation_backend.labels import Blame, Operation, OperationMeta, blame, merge_base

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def editor(tmp_path: Path) -> Editor:
    editor = Editor(tmp_path)
    editor.boxes((0, 0, 0), (0, 0, 20), user="ann")
    return editor


def at(editor: Editor, point: tuple[int, int, int], version: int | None = None) -> Blame:
    version = editor.repository.head if version is None else version
    return blame(editor.repository.at().storage, point, version)


def brush(editor: Editor, point: tuple[int, int, int], target: int | None, user: str) -> int:
    view, roi = editor.repository.at(), Roi(point, (1, 1, 2))
    mask = np.ones(roi.shape, dtype=bool)
    delta = paint(view, roi, mask, target, "all", editor.repository.reserve_ids)
    return editor.commit(delta, "paint", user).operation_id


def bring(source: Editor, target: Editor, choice: str | None = None) -> Operation:
    ours, theirs = target.repository.at(), source.repository.at()
    base = merge_base(ours.storage, ours.version, theirs.version)
    found = plan_merge(base, ours, theirs, {})
    choices = {} if choice is None else dict.fromkeys(found.undecided, choice)
    plan = plan_merge(base, ours, theirs, choices)  # type: ignore[arg-type]
    return target.commit(plan.delta, "merge-branch", "mary", merges=plan.merges)


def who(operation: Operation | None) -> tuple[int, str] | None:
    return None if operation is None else (operation.operation_id, operation.user)


def test_a_voxel_nobody_wrote_is_nobodys(editor: Editor) -> None:
    for point in ((5, 5, 15), (39, 129, 99)):
        found = at(editor, point)
        assert (found.supervoxel, found.root) == (0, 0)
        assert (found.voxel, found.brought_by, found.object) == (None, None, None)


def test_the_last_change_of_the_voxel_counts_not_of_its_chunk(editor: Editor) -> None:
    brush(editor, (5, 5, 8), 2, "bob")
    brush(editor, (5, 5, 1), 2, "carl")
    assert who(at(editor, (5, 5, 8)).voxel) == (2, "bob")
    assert who(at(editor, (5, 5, 1)).voxel) == (3, "carl")
    assert who(at(editor, (5, 5, 4)).voxel) == (1, "ann")
    assert who(at(editor, (5, 5, 8), 1).voxel) == (1, "ann")
    assert at(editor, (5, 5, 8)).supervoxel == 2


def test_erased_background_has_an_author_too(editor: Editor) -> None:
    brush(editor, (5, 5, 8), 0, "bob")
    found = at(editor, (5, 5, 8))
    assert (found.supervoxel, who(found.voxel), found.object) == (0, (2, "bob"), None)


def test_an_undo_is_what_gave_the_voxel_back(editor: Editor) -> None:
    brush(editor, (5, 5, 8), 0, "bob")
    editor.undo(2, user="carl")
    assert who(at(editor, (5, 5, 8)).voxel) == (3, "carl")
    assert who(at(editor, (5, 5, 4)).voxel) == (1, "ann")


def test_the_object_is_blamed_by_its_last_operation(editor: Editor) -> None:
    editor.merge(1, 2, user="bob")
    found = at(editor, (5, 5, 25))
    assert (found.supervoxel, found.root) == (2, 1)
    assert (who(found.voxel), who(found.object)) == ((1, "ann"), (2, "bob"))
    brush(editor, (5, 5, 1), 0, "carl")
    assert who(at(editor, (5, 5, 25)).object) == (3, "carl")


def test_a_voxel_outside_is_refused(editor: Editor) -> None:
    for point in ((40, 0, 0), (0, -1, 0)):
        with pytest.raises(InvalidInputError) as caught:
            at(editor, point)
        assert caught.value.kind == ErrorKind.ROI_OUT_OF_BOUNDS


def test_many_versions_of_a_chunk_are_read_only_back_to_the_change(editor: Editor) -> None:
    for k in range(20):
        brush(editor, (5, 5, 2 * (k % 5)), 0 if k % 2 else 2, "bob")
    assert who(at(editor, (5, 5, 25)).voxel) == (1, "ann")
    assert who(at(editor, (5, 5, 8)).voxel) == (21, "bob")


def test_what_a_branch_merge_brought_is_its_authors(editor: Editor) -> None:
    editor.repository.create_branch("trial", "bob")
    trial = editor.on("trial")
    wrote = brush(trial, (5, 5, 8), None, "bob")
    editor.boxes((30, 100, 80), user="ann")
    assert at(editor, (5, 5, 8)).supervoxel == 1
    merge = bring(trial, editor)
    found = at(editor, (5, 5, 8))
    assert who(found.voxel) == (wrote, "bob")
    assert who(found.brought_by) == (merge.operation_id, "mary")
    assert who(found.object) == (merge.operation_id, "mary")
    assert at(editor, (5, 5, 4)).brought_by is None
    assert who(at(trial, (5, 5, 8)).voxel) == (wrote, "bob")
    assert at(trial, (5, 5, 8)).brought_by is None


def test_a_change_is_followed_through_a_branch_of_a_branch(editor: Editor) -> None:
    editor.repository.create_branch("one", "bob")
    one = editor.on("one")
    one.repository.create_branch("two", "carl")
    two = editor.on("two")
    wrote = brush(two, (5, 5, 8), None, "carl")
    bring(two, one)
    merge = bring(one, editor)
    found = at(editor, (5, 5, 8))
    assert (who(found.voxel), who(found.brought_by)) == (
        (wrote, "carl"), (merge.operation_id, "mary"),
    )  # fmt: skip


def test_whoever_chose_the_old_value_gave_it_back(editor: Editor) -> None:
    editor.repository.create_branch("trial", "bob")
    trial = editor.on("trial")
    brush(trial, (5, 5, 1), 0, "bob")
    brush(editor, (5, 5, 8), 0, "ann")
    merge = bring(trial, editor, "theirs")
    found = at(editor, (5, 5, 8))
    assert (found.supervoxel, who(found.voxel)) == (1, (merge.operation_id, "mary"))
    assert found.brought_by is None


def test_the_base_is_nobodys_until_somebody_writes(tmp_path: Path) -> None:
    labels = block_of((8, 100, 20), [(5, (0, 10, 0), (4, 4, 8)), (6, (0, 20, 0), (4, 4, 8))])
    repository = repository_over(tmp_path, base_of(reader_of(labels)))
    view, roi = repository.at(), Roi((0, 10, 0), (4, 4, 2))
    delta = paint(view, roi, np.ones(roi.shape, dtype=bool), 6, "all", repository.reserve_ids)
    repository.commit(delta, OperationMeta("paint", "ann"))
    storage = view.storage
    found = [blame(storage, point, 1) for point in ((0, 10, 0), (0, 10, 4), (0, 20, 0), (0, 50, 0))]
    assert [b.supervoxel for b in found] == [6, 5, 6, 0]
    assert [who(b.voxel) for b in found] == [(1, "ann"), None, None, None]
    assert [who(b.object) for b in found] == [(1, "ann"), (1, "ann"), (1, "ann"), None]
    assert who(blame(storage, (0, 10, 0), 0).voxel) is None
    delta = undo(repository.at(), repository.operation(1), repository.delta(1))
    repository.commit(delta, OperationMeta("undo", "bob", undoes=1))
    assert who(blame(storage, (0, 10, 0), 2).voxel) == (2, "bob")
    assert blame(storage, (0, 10, 4), 2).voxel is None


def test_blame_shows_operations_in_json(editor: Editor) -> None:
    editor.merge(1, 2, user="bob")
    shown = at(editor, (5, 5, 25)).to_json()
    assert (shown["supervoxel"], shown["root"], shown["brought_by"]) == ("2", "1", None)
    assert (shown["voxel"]["operation_id"], shown["object"]["user"]) == (1, "bob")
