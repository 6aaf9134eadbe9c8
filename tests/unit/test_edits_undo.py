"""Undo takes back exactly one operation, or says who stands in the way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from label_volumes import Editor, dumbbell

from segmentation_backend.edits import operation_to_redo, operation_to_undo, revert, undo
from segmentation_backend.errors import (
    ConflictError,
    ErrorKind,
    InvalidInputError,
    NotFoundError,
)
from segmentation_backend.geometry import Roi

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def editor(tmp_path: Path) -> Editor:
    return Editor(tmp_path)


def all_levels(editor: Editor, version: int | None = None) -> list[np.ndarray]:
    view = editor.repository.at(version)
    return [view.read(Roi((0, 0, 0), level.shape), level.level) for level in view.levels]


def same_levels(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_undo_of_an_import_leaves_background(editor: Editor) -> None:
    editor.boxes((0, 0, 0), (20, 60, 60))
    operation = editor.undo(1)
    assert (operation.removed_roots, operation.added_roots) == ((1, 2), ())
    assert not editor.voxels().any()
    assert editor.repository.at().objects() == []
    assert editor.voxels(1).any()


def test_undo_of_a_merge_parts_the_objects(editor: Editor) -> None:
    editor.boxes((0, 0, 0), (20, 60, 60))
    before = all_levels(editor)
    editor.merge(1, 2)
    operation = editor.undo(2)
    assert operation.splits == ((1, (1, 2)),)
    assert operation.undoes == 2
    assert same_levels(all_levels(editor), before)
    assert editor.repository.operation(2).undone_by == 3


def test_undo_of_a_split_restores_every_level_and_writes_no_pack(editor: Editor) -> None:
    editor.paint(dumbbell(editor.shape))
    before, found = all_levels(editor), editor.repository.at().object(1)
    operation = editor.split([(20, 65, 25)], [(20, 65, 75)])
    packs = set((editor.folder / "packs").glob("*/*"))
    undone = editor.undo(2)
    assert same_levels(all_levels(editor), before)
    assert editor.repository.at().object(1) == found
    assert undone.merges == (operation.added_roots,)
    assert set((editor.folder / "packs").glob("*/*")) == packs


def test_redo_restores_what_undo_took(editor: Editor) -> None:
    editor.paint(dumbbell(editor.shape))
    editor.split([(20, 65, 25)], [(20, 65, 75)])
    after = all_levels(editor)
    editor.undo(2)
    redo = operation_to_redo(editor.repository, "ann")
    assert redo.operation_id == 3
    editor.undo(3, kind="redo")
    assert same_levels(all_levels(editor), after)
    assert [editor.repository.operation(i).undone_by for i in (2, 3, 4)] == [None, 4, None]


def test_fifty_operations_undone_in_reverse_restore_everything(editor: Editor) -> None:
    editor.boxes(*((z, y, x) for z in (0, 20) for y in range(0, 120, 12) for x in (0, 20)))
    states = [all_levels(editor)]
    for k in range(1, 40, 2):
        editor.merge(k, k + 1)
        if k % 4 == 1:
            states.append(all_levels(editor))
    count = editor.repository.head - 1
    for operation_id in range(editor.repository.head, 1, -1):
        editor.undo(operation_id)
    assert count == 20
    assert same_levels(all_levels(editor), states[0])


def test_undo_takes_the_users_own_newest_edit(editor: Editor) -> None:
    editor.boxes((0, 0, 0), (0, 0, 20), (0, 0, 40), (0, 0, 60), user="carl")
    editor.merge(1, 2, user="ann")
    editor.merge(3, 4, user="bob")
    assert operation_to_undo(editor.repository, "ann").operation_id == 2
    editor.undo(2, user="ann")
    with pytest.raises(InvalidInputError) as caught:
        operation_to_undo(editor.repository, "ann")
    assert caught.value.kind == ErrorKind.NOTHING_TO_UNDO
    assert operation_to_undo(editor.repository, "ann", 3).user == "bob"
    with pytest.raises(NotFoundError):
        operation_to_undo(editor.repository, "ann", 99)


def test_undo_and_redo_walk_back_and_forth(editor: Editor) -> None:
    editor.boxes((0, 0, 0), (0, 0, 20), (0, 0, 40), user="carl")
    editor.merge(1, 2)
    editor.merge(2, 3)
    repository = editor.repository
    for expected in (3, 2):
        target = operation_to_undo(repository, "ann")
        assert target.operation_id == expected
        editor.undo(target.operation_id)
    for expected in (2, 3):
        target = operation_to_redo(repository, "ann")
        assert target.undoes == expected
        editor.undo(target.operation_id, kind="redo")
    assert repository.at().members(1) == (1, 2, 3)
    with pytest.raises(InvalidInputError) as caught:
        operation_to_redo(repository, "ann")
    assert caught.value.kind == ErrorKind.NOTHING_TO_REDO
    assert operation_to_undo(repository, "ann").operation_id == 3


def test_a_newer_edit_ends_redo(editor: Editor) -> None:
    editor.boxes((0, 0, 0), (0, 0, 20), (0, 0, 40))
    editor.merge(1, 2)
    editor.undo(2)
    editor.merge(2, 3)
    with pytest.raises(InvalidInputError) as caught:
        operation_to_redo(editor.repository, "ann")
    assert caught.value.kind == ErrorKind.NOTHING_TO_REDO
    assert operation_to_redo(editor.repository, "ann", 3).operation_id == 3
    with pytest.raises(InvalidInputError):
        operation_to_redo(editor.repository, "ann", 2)


def test_undoing_twice_is_refused(editor: Editor) -> None:
    editor.boxes((0, 0, 0), (0, 0, 20))
    editor.merge(1, 2)
    editor.undo(2)
    with pytest.raises(InvalidInputError) as caught:
        editor.undo(2)
    assert caught.value.kind == ErrorKind.NOTHING_TO_UNDO
    assert editor.repository.head == 3


def test_the_same_undo_committed_twice_at_once_happens_once(editor: Editor) -> None:
    editor.boxes((0, 0, 0), (0, 0, 20))
    editor.merge(1, 2)
    repository = editor.repository
    delta = undo(repository.at(), repository.operation(2), repository.delta(2))
    editor.commit(delta, "undo", undoes=2)
    with pytest.raises(ConflictError, match="took operation 2 back already"):
        editor.commit(delta, "undo", undoes=2)
    assert editor.repository.head == 3


def test_undo_of_an_old_import_keeps_what_others_drew_in_the_same_chunks(
    editor: Editor,
) -> None:
    editor.boxes((0, 0, 0), (20, 20, 20))
    editor.boxes((0, 30, 30), user="bob")
    editor.undo(1)
    expected = np.zeros(editor.shape, dtype=np.uint64)
    expected[0:10, 30:40, 30:40] = 3
    assert np.array_equal(editor.voxels(), expected)
    assert [o.root for o in editor.repository.at().objects()] == [3]
    coarse = all_levels(editor)[1]
    assert set(np.unique(coarse)) == {0, 3}


def test_undo_of_an_old_merge_leaves_later_merges(editor: Editor) -> None:
    editor.boxes((0, 0, 0), (0, 0, 20), (0, 0, 40))
    editor.merge(1, 2)
    editor.merge(2, 3)
    editor.undo(2)
    view = editor.repository.at()
    assert view.members(1) == (1,)
    assert view.members(2) == (2, 3)


def test_undo_is_refused_where_a_later_split_cut_the_same_voxels(editor: Editor) -> None:
    editor.paint(dumbbell(editor.shape))
    editor.split([(20, 65, 25)], [(20, 65, 75)])
    editor.split([(20, 65, 70)], [(20, 65, 80)], user="bob")
    before = editor.voxels()
    for operation_id in (1, 2):
        with pytest.raises(ConflictError, match=r"Operation 3 \(split by bob\)") as caught:
            editor.undo(operation_id)
        assert caught.value.kind == ErrorKind.STALE_VERSION
    assert editor.repository.head == 3
    assert np.array_equal(editor.voxels(), before)
    editor.undo(3)
    editor.undo(2)
    assert set(np.unique(editor.voxels())) == {0, 1}


def test_undo_of_an_import_is_refused_while_its_objects_are_merged(editor: Editor) -> None:
    editor.boxes((0, 0, 0))
    editor.boxes((20, 60, 60))
    editor.merge(1, 2, user="bob")
    with pytest.raises(ConflictError, match=r"Operation 3 \(merge by bob\)"):
        editor.undo(1)
    assert editor.repository.head == 3


def test_undo_of_a_merge_that_was_split_apart_is_refused(editor: Editor) -> None:
    editor.boxes((0, 0, 0), (20, 60, 60))
    editor.merge(1, 2)
    editor.split([(5, 5, 5)], [(25, 65, 65)], user="bob")
    with pytest.raises(ConflictError, match=r"Operation 3 \(split by bob\)"):
        editor.undo(2)


def test_undo_of_a_split_whose_part_was_merged_elsewhere_is_refused(editor: Editor) -> None:
    editor.paint(dumbbell(editor.shape))
    editor.boxes((0, 0, 0))
    part = editor.split([(20, 65, 25)], [(20, 65, 75)]).added_roots[1]
    editor.merge(part, 2, user="bob")
    with pytest.raises(ConflictError, match="bob"):
        editor.undo(3)


def test_revert_goes_back_to_any_version_as_a_new_operation(editor: Editor) -> None:
    editor.paint(dumbbell(editor.shape))
    editor.boxes((0, 0, 0), (0, 0, 20))
    editor.split([(20, 65, 25)], [(20, 65, 75)])
    editor.merge(2, 3)
    states = {version: all_levels(editor, version) for version in range(5)}
    objects = {version: editor.repository.at(version).objects() for version in range(5)}
    for version in (2, 0, 4, 3, 1):
        delta = revert(editor.repository.at(), version)
        operation = editor.commit(delta, "revert")
        assert same_levels(all_levels(editor), states[version])
        assert editor.repository.at().objects() == objects[version]
        assert operation.kind == "revert"
    assert all(same_levels(all_levels(editor, v), states[v]) for v in states)


def test_a_revert_can_be_undone(editor: Editor) -> None:
    editor.paint(dumbbell(editor.shape))
    editor.split([(20, 65, 25)], [(20, 65, 75)])
    before = all_levels(editor)
    editor.commit(revert(editor.repository.at(), 0), "revert")
    editor.undo(3)
    assert same_levels(all_levels(editor), before)


def test_revert_to_an_unknown_version_is_refused(editor: Editor) -> None:
    editor.boxes((0, 0, 0))
    for version in (-1, 2):
        with pytest.raises(NotFoundError) as caught:
            revert(editor.repository.at(), version)
        assert caught.value.kind == ErrorKind.VERSION_NOT_FOUND


def test_a_revert_traces_objects_through_several_splits(editor: Editor) -> None:
    editor.paint(dumbbell(editor.shape))
    editor.split([(20, 65, 25)], [(20, 65, 75)])
    part = editor.repository.at().root_at((20, 65, 75))
    editor.split([(20, 65, 70)], [(20, 65, 80)])
    parts = {int(r) for r in np.unique(editor.voxels())} - {0}
    operation = editor.commit(revert(editor.repository.at(), 1), "revert")
    assert part in parts
    assert operation.merges == (tuple(sorted(parts)),)


def test_undo_of_a_split_that_was_merged_again_is_refused(editor: Editor) -> None:
    editor.boxes((0, 0, 0), (20, 60, 60))
    editor.merge(1, 2)
    editor.split([(5, 5, 5)], [(25, 65, 65)])
    editor.merge(1, 2, user="bob")
    with pytest.raises(ConflictError, match=r"Operation 4 \(merge by bob\)"):
        editor.undo(3)
    editor.undo(4)
    editor.undo(3)
    assert editor.repository.at().members(1) == (1, 2)


def test_edits_of_users_in_the_same_chunk_are_undone_one_by_one_in_any_order(
    editor: Editor,
) -> None:
    for number, user in enumerate(("ann", "bob", "carl", "dora")):
        editor.boxes((0, 0, 12 * number), user=user)
    whole = all_levels(editor)
    for operation_id in (2, 4, 1, 3):
        editor.undo(operation_id)
    assert not any(level.any() for level in all_levels(editor))
    for operation_id in (8, 5, 7, 6):
        editor.undo(operation_id, kind="redo")
    assert same_levels(all_levels(editor), whole)
    assert [o.root for o in editor.repository.at().objects(sort="root")] == [1, 2, 3, 4]
