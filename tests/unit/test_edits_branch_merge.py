"""A branch merge brings what only theirs changed, asks about what both did, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from label_bases import base_of, block_of, reader_of, repository_over
from label_volumes import Editor

from segmentation_backend.edits import Choice, MergePlan, delete, paint, plan_merge, revert
from segmentation_backend.errors import ConflictError, ErrorKind, InvalidInputError
from segmentation_backend.geometry import Roi
from segmentation_backend.labels import MergeBase, Operation, StoredChunk, merge_base

pytestmark = pytest.mark.usefixtures("database")

FAR = (20, 60, 60)


@pytest.fixture
def main(tmp_path: Path) -> Editor:
    editor = Editor(tmp_path)
    editor.boxes((0, 0, 0), (0, 0, 20), (0, 0, 40), FAR, (20, 60, 80))
    return editor


@pytest.fixture
def trial(main: Editor) -> Editor:
    return branch(main, "trial")


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


# What only one side changed


def test_a_branch_that_only_theirs_moved_is_brought_whole(main: Editor, trial: Editor) -> None:
    trial.merge(1, 2)
    brush(trial, Roi((30, 100, 80), (4, 4, 4)), None)
    trial.split([(25, 61, 61)], [(25, 69, 69)])
    remove(trial, 5)
    made = plan(trial, main)
    assert (made.conflicts, made.undecided) == ((), ())
    assert made.applied == (2, 3, 4, 5)
    operation = bring(trial, main)
    assert same_levels(main, trial)
    assert main.repository.at().objects(sort="root") == trial.repository.at().objects(sort="root")
    assert main.repository.at().edges_of(1) == {(1, 2)}
    assert operation.merges == ((1, 2),)
    assert [old for old, _ in operation.splits] == [4]
    assert operation.added_roots == (1, *operation.added_roots[1:])
    assert 5 in operation.removed_roots


def test_their_stored_chunks_are_named_again(main: Editor, trial: Editor) -> None:
    brush(trial, Roi((30, 100, 80), (4, 4, 4)), None)
    main.merge(1, 2)
    packs = set((main.folder / "packs").glob("*/*"))
    made = plan(trial, main)
    assert made.delta.chunks
    assert all(isinstance(c.after, StoredChunk) for c in made.delta.chunks.values())
    bring(trial, main)
    assert set((main.folder / "packs").glob("*/*")) == packs


def test_what_only_ours_changed_stays(main: Editor, trial: Editor) -> None:
    main.merge(1, 2)
    brush(main, Roi((30, 100, 80), (4, 4, 4)), None)
    trial.merge(4, 5)
    before = main.voxels()
    bring(trial, main)
    expected = np.where(before == 5, 4, before)
    assert np.array_equal(main.voxels(), expected)


def test_both_sides_write_the_same_chunks(main: Editor, trial: Editor) -> None:
    brush(main, Roi((0, 0, 0), (5, 5, 5)), 0)
    brush(trial, Roi((0, 0, 20), (5, 5, 5)), 0)
    made = plan(trial, main)
    assert made.conflicts == ()
    assert made.delta.bbox == Roi((0, 0, 20), (5, 5, 5))
    bring(trial, main)
    view = main.repository.at()
    assert (view.object(1).voxels, view.object(2).voxels) == (875, 875)
    coarse = view.read_supervoxels(Roi((0, 0, 0), view.levels[1].shape), 1)
    assert coarse[0, 0, 0] == coarse[0, 0, 10] == 0
    assert coarse[4, 4, 4] == 1


def test_nothing_is_brought_twice(main: Editor, trial: Editor) -> None:
    trial.merge(1, 2)
    bring(trial, main)
    assert common(main, trial).versions == (2,)
    made = plan(trial, main)
    assert (made.delta.is_empty, made.conflicts, made.applied) == (True, (), ())
    main.split([(5, 5, 5)], [(5, 5, 25)])
    brush(trial, Roi((30, 100, 80), (4, 4, 4)), None)
    bring(trial, main)
    assert main.repository.at().root_of(2) == 2


def test_the_same_change_on_both_sides_is_no_conflict(main: Editor, trial: Editor) -> None:
    main.merge(1, 2)
    main.merge(2, 3)
    trial.merge(2, 3)
    trial.merge(1, 3)
    assert main.repository.at().edges_of(1) != trial.repository.at().edges_of(1)
    remove(main, 4)
    remove(trial, 4)
    made = plan(trial, main)
    assert (made.conflicts, made.delta.is_empty) == ((), True)


# What both changed


def test_a_conflict_shows_both_sides_and_who_did_it(main: Editor, trial: Editor) -> None:
    main.merge(1, 2, user="ann")
    brush(main, Roi((0, 0, 0), (5, 5, 5)), 0, user="carl")
    brush(trial, Roi((5, 5, 25), (2, 2, 2)), 0, user="bob")
    main.merge(3, 4)
    made = plan(trial, main)
    (conflict,) = made.conflicts
    assert (conflict.id, conflict.choice, made.undecided) == (1, None, (1,))
    assert conflict.supervoxels == {1, 2}
    assert [(o.root, o.voxels) for o in conflict.base] == [(1, 1000), (2, 1000)]
    assert [(o.root, o.voxels) for o in conflict.ours.objects] == [(1, 1875)]
    assert [(o.root, o.voxels) for o in conflict.theirs.objects] == [(1, 1000), (2, 992)]
    assert conflict.bbox == Roi((0, 0, 0), (10, 10, 30))
    assert [o.kind for o in conflict.ours.operations] == ["merge", "paint"]
    assert (conflict.ours.users, conflict.theirs.users) == (("ann", "carl"), ("bob",))
    assert made.delta.is_empty
    assert made.applied == ()
    shown = made.to_json()
    assert shown["undecided"] == ["1"]
    assert shown["conflicts"][0]["theirs"]["users"] == ["bob"]
    assert shown["conflicts"][0]["ours"]["objects"][0]["id"] == "1"


@pytest.mark.parametrize("choice", ["ours", "theirs", "skip", None])
def test_a_conflict_is_decided(main: Editor, trial: Editor, choice: Choice | None) -> None:
    main.merge(1, 2)
    brush(trial, Roi((5, 5, 25), (2, 2, 2)), 0)
    trial.merge(4, 5)
    before = main.voxels()
    bring(trial, main, {} if choice is None else {1: choice})
    view = main.repository.at()
    assert view.root_of(5) == 4
    expected = trial.voxels() if choice == "theirs" else np.where(before == 5, 4, before)
    assert np.array_equal(main.voxels(), expected)
    assert view.root_of(2) == (2 if choice == "theirs" else 1)


def test_operations_count_as_applied_only_as_a_whole(main: Editor, trial: Editor) -> None:
    main.merge(1, 2)
    both = remove(trial, 1, 4)
    clean = remove(trial, 5)
    assert plan(trial, main).applied == (clean.operation_id,)
    applied = plan(trial, main, {1: "theirs"}).applied
    assert applied == (both.operation_id, clean.operation_id)


def test_two_objects_on_the_same_background_are_a_conflict(main: Editor, trial: Editor) -> None:
    ours = brush(main, Roi((30, 100, 80), (4, 4, 4)), None)
    theirs = brush(trial, Roi((32, 102, 82), (4, 4, 4)), None)
    (mine,), (other,) = ours.added_roots, theirs.added_roots
    (conflict,) = plan(trial, main).conflicts
    assert conflict.supervoxels == {mine, other}
    assert conflict.base == ()
    bring(trial, main, {conflict.id: "theirs"})
    found = main.repository.at()
    assert [o.root for o in found.objects(Roi((30, 100, 80), (8, 8, 8)))] == [other]
    assert found.object(other).voxels == 64


def test_delete_against_edit_is_a_conflict(main: Editor, trial: Editor) -> None:
    main.merge(1, 2)
    remove(trial, 1)
    (conflict,) = plan(trial, main).conflicts
    assert [o.root for o in conflict.theirs.objects] == [2]
    bring(trial, main, {1: "theirs"})
    assert main.repository.at().statistics_of([1]) == {}
    assert main.repository.at().members(2) == (2,)


def test_what_ours_did_far_away_to_the_same_object_goes_back_with_it(
    main: Editor, trial: Editor
) -> None:
    """Ours gave voxels of a long object to its neighbour, two chunks from where theirs cut it."""
    long = brush(main, Roi((35, 0, 0), (2, 130, 4)), None).added_roots[0]
    near = brush(main, Roi((35, 100, 4), (2, 20, 4)), None).added_roots[0]
    other = branch(main, "other")
    brush(main, Roi((35, 110, 0), (2, 4, 4)), near)
    brush(other, Roi((35, 0, 0), (2, 10, 4)), 0)
    (conflict,) = plan(other, main).conflicts
    assert conflict.supervoxels == {long, near}
    bring(other, main, {conflict.id: "theirs"})
    assert np.array_equal(main.voxels(), other.voxels())
    assert main.repository.at().object(near).voxels == 160


def test_a_choice_that_fits_nothing_is_refused(main: Editor, trial: Editor) -> None:
    main.merge(1, 2)
    brush(trial, Roi((5, 5, 25), (2, 2, 2)), 0)
    for choices in ({2: "ours"}, {1: "mine"}):
        with pytest.raises(InvalidInputError) as caught:
            plan(trial, main, choices)  # type: ignore[arg-type]
        assert caught.value.kind == ErrorKind.INVALID_PARAMETER


# Merging again


def test_what_was_skipped_is_asked_again_and_what_was_decided_is_not(
    main: Editor, trial: Editor
) -> None:
    main.merge(1, 2)
    remove(trial, 1)
    brush(main, Roi((20, 60, 60), (2, 2, 2)), 0)
    remove(trial, 4)
    bring(trial, main, {1: "skip", 4: "ours"})
    assert common(main, trial).open_conflicts == {1, 2}
    assert plan(trial, main).undecided == (1,)
    trial.merge(3, 5)
    bring(trial, main)
    assert main.repository.at().root_of(5) == 3
    assert plan(trial, main).undecided == (1,)
    bring(trial, main, {1: "ours"})
    assert plan(trial, main).undecided == ()
    assert common(main, trial).open_conflicts == frozenset()


def test_a_skipped_conflict_is_never_decided_by_a_later_edit(main: Editor, trial: Editor) -> None:
    trial.merge(1, 2)
    main.merge(1, 3)
    bring(trial, main, {1: "skip"})
    main.split([(5, 5, 5)], [(5, 5, 45)])
    # Ours is back at what it was when the branches were one, yet somebody decided so.
    assert plan(trial, main).undecided == (1,)
    trial.split([(5, 5, 5)], [(5, 5, 25)])
    assert plan(trial, main).undecided == ()


def test_a_conflict_skipped_on_the_branch_is_asked_on_the_way_back(
    main: Editor, trial: Editor
) -> None:
    trial.merge(1, 2)
    main.merge(1, 3)
    bring(main, trial, {1: "skip"})
    assert plan(trial, main).undecided == (1,)
    bring(trial, main, {1: "ours"})
    assert plan(trial, main).undecided == ()
    assert plan(main, trial).undecided == ()
    bring(main, trial)
    assert trial.repository.at().members(1) == (1, 3)


def test_an_undone_merge_can_be_made_again(main: Editor, trial: Editor) -> None:
    trial.merge(1, 2)
    bring(trial, main)
    main.undo(main.repository.head)
    assert main.repository.at().root_of(2) == 2
    assert common(main, trial).versions == (1,)
    bring(trial, main)
    assert main.repository.at().root_of(2) == 1


def test_a_branch_kept_up_to_date_is_brought_back_without_conflicts(
    main: Editor, trial: Editor
) -> None:
    trial.merge(1, 2)
    main.merge(4, 5)
    brush(main, Roi((0, 0, 40), (5, 5, 5)), 0)
    bring(main, trial)
    assert common(main, trial).versions == (main.repository.head,)
    brush(trial, Roi((5, 5, 45), (2, 2, 2)), 0)
    trial.merge(1, 4)
    main.repository.create_tag("before", "ann")
    made = plan(trial, main)
    assert made.conflicts == ()
    bring(trial, main)
    assert same_levels(main, trial)


def test_after_crosswise_merges_nothing_that_was_taken_back_returns_unasked(
    main: Editor, trial: Editor
) -> None:
    main.merge(1, 2)
    at_main = main.repository.head
    trial.merge(4, 5)
    at_trial = trial.repository.head
    # Each takes the other's state before that took its own.
    ours, theirs = main.repository.at(), trial.repository.at()
    storage = ours.storage
    one = plan_merge(merge_base(storage, at_main, at_trial), ours, theirs, {})
    other = plan_merge(merge_base(storage, at_trial, at_main), theirs, ours, {})
    main.commit(one.delta, "merge-branch", merges=one.merges)
    trial.commit(other.delta, "merge-branch", merges=other.merges)
    assert common(main, trial).versions == (at_trial, at_main)
    assert plan(trial, main).delta.is_empty
    main.split([(5, 5, 5)], [(5, 5, 25)])
    # Seen from one common version theirs alone changed it, seen from the other one ours.
    made = plan(trial, main)
    assert (made.delta.is_empty, made.undecided) == (True, (1,))
    assert plan(main, trial).undecided == (1,)


def test_a_branch_of_a_branch_brings_both(main: Editor, trial: Editor) -> None:
    trial.merge(1, 2)
    other = branch(trial, "other")
    other.merge(4, 5)
    made = plan(other, main)
    assert made.applied == (2, 3)
    bring(other, main)
    assert same_levels(main, other)
    assert plan(trial, main).delta.is_empty
    trial.merge(1, 3)
    bring(trial, main)
    assert main.repository.at().members(1) == (1, 2, 3)


def test_a_revert_on_the_branch_is_a_change_like_any_other(main: Editor, trial: Editor) -> None:
    remove(trial, 1)
    bring(trial, main)
    trial.commit(revert(trial.repository.at(), 1), "revert")
    bring(trial, main)
    assert np.array_equal(main.voxels(), main.voxels(1))


# Over a base


LONG = block_of(
    (8, 200, 900),
    [(7, (0, 0, 0), (8, 8, 900)), (8, (0, 20, 0), (4, 4, 4)), (9, (0, 20, 800), (4, 4, 4))],
)
"""Eight blocks along x, which are counted when somebody asks."""


@pytest.fixture
def over_base(main: Editor) -> Editor:
    editor = main.on("main")
    editor.folder = main.folder / "over"
    editor.folder.mkdir()
    reader = reader_of(LONG)
    editor.repository = repository_over(editor.folder, base_of(reader))
    return editor


@pytest.mark.parametrize("choice", ["ours", "theirs"])
def test_both_ends_of_an_object_of_the_base(over_base: Editor, choice: Choice) -> None:
    other = branch(over_base, "other")
    brush(over_base, Roi((0, 0, 0), (8, 8, 40)), 0)
    brush(other, Roi((0, 0, 860), (8, 8, 40)), 0)
    other.merge(8, 9)
    (conflict,) = plan(other, over_base).conflicts
    assert conflict.supervoxels == {7}
    bring(other, over_base, {7: choice})
    expected = LONG.astype(np.uint64)
    expected[:8, :8, slice(0, 40) if choice == "ours" else slice(860, 900)] = 0
    expected[expected == 9] = 8
    assert np.array_equal(over_base.voxels(), expected)
    view = over_base.repository.at()
    assert view.object(7).voxels == 8 * 8 * 860
    assert view.members(8) == (8, 9)


def test_what_theirs_left_of_the_base_is_the_base_again(over_base: Editor) -> None:
    other = branch(over_base, "other")
    other.merge(7, 8)
    brush(over_base, Roi((0, 0, 300), (8, 8, 40)), 9)
    (conflict,) = plan(other, over_base).conflicts
    assert conflict.supervoxels == {7, 8, 9}
    bring(other, over_base, {7: "theirs"})
    view = over_base.repository.at()
    assert np.array_equal(view.read_supervoxels(view.bounds), LONG)
    assert (view.object(7).supervoxels, view.object(9).voxels) == (2, 64)


# While others work


def test_a_plan_survives_edits_elsewhere_and_not_of_the_same_objects(
    main: Editor, trial: Editor
) -> None:
    brush(trial, Roi((0, 0, 0), (5, 5, 5)), 0)
    stale = plan(trial, main)
    main.merge(4, 5)
    main.commit(stale.delta, "merge-branch", merges=stale.merges)
    assert main.repository.at().object(1).voxels == 875
    assert main.repository.at().root_of(5) == 4
    brush(trial, Roi((0, 0, 20), (5, 5, 5)), 0)
    stale = plan(trial, main)
    main.merge(2, 3, user="carl")
    with pytest.raises(ConflictError, match=r"merge by carl"):
        main.commit(stale.delta, "merge-branch", merges=stale.merges)


def test_an_undo_of_a_merge_restores_everything(main: Editor, trial: Editor) -> None:
    remove(trial, 1)
    trial.merge(4, 5)
    brush(main, Roi((0, 0, 40), (5, 5, 5)), 0)
    before = main.voxels()
    bring(trial, main)
    main.undo(main.repository.head)
    assert np.array_equal(main.voxels(), before)
