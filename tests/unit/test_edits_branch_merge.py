"""A branch merge brings what only theirs changed, asks about what both did, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from branch_editors import FAR, branch, bring, brush, common, plan, remove, same_levels
from label_volumes import Editor

from segmentation_backend.edits import Choice
from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.geometry import Roi
from segmentation_backend.labels import StoredChunk

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def main(tmp_path: Path) -> Editor:
    editor = Editor(tmp_path)
    editor.boxes((0, 0, 0), (0, 0, 20), (0, 0, 40), FAR, (20, 60, 80))
    return editor


@pytest.fixture
def trial(main: Editor) -> Editor:
    return branch(main, "trial")


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
