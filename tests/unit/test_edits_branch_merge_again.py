"""Merges of branches that were merged before, stand on published labels, or are undone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from branch_editors import FAR, branch, bring, brush, common, plan, remove, same_levels
from label_bases import base_of, block_of, reader_of, repository_over
from label_volumes import Editor

from segmentation_backend.edits import Choice, plan_merge, revert
from segmentation_backend.errors import ConflictError
from segmentation_backend.geometry import Roi
from segmentation_backend.labels import merge_base

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def main(tmp_path: Path) -> Editor:
    editor = Editor(tmp_path)
    editor.boxes((0, 0, 0), (0, 0, 20), (0, 0, 40), FAR, (20, 60, 80))
    return editor


@pytest.fixture
def trial(main: Editor) -> Editor:
    return branch(main, "trial")


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
