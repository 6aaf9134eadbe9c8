"""Lineage follows an object both ways, through every operation that touched it and no other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from label_bases import base_of, block_of, reader_of, repository_over
from label_volumes import Editor

from segmentation_backend.edits import delete, merge, paint, revert
from segmentation_backend.errors import ErrorKind, NotFoundError
from segmentation_backend.geometry import Roi
from segmentation_backend.labels import Lineage, ObjectLineage, OperationMeta, lineage
from segmentation_backend.labels import history as log

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def editor(tmp_path: Path) -> Editor:
    editor = Editor(tmp_path)
    editor.boxes((0, 0, 0), (0, 0, 20), (0, 0, 40), (20, 60, 60))
    return editor


def of(
    editor: Editor, root: int, version: int, head: int | None = None, **options: int
) -> ObjectLineage:
    return lineage(editor.repository.at().storage, root, version, head, **options)


def ways(found: ObjectLineage) -> list[tuple[str, str]]:
    return [("{}@{}".format(*a), "{}@{}".format(*b)) for a, b in found.links]


def remove(editor: Editor, *ids: int) -> int:
    return editor.commit(delete(editor.repository.at(), ids), "delete").operation_id


def test_an_object_nobody_touched_has_one_state(editor: Editor) -> None:
    editor.merge(1, 2)
    found = of(editor, 4, 1)
    assert [(s.root, s.from_version, s.to_version) for s in found.states] == [(4, 1, None)]
    assert found.links == ()
    assert (found.latest, [s.key for s in found.origins]) == ((4,), [(4, 1)])
    assert [(s.operation.kind, s.new_roots) for s in found.steps] == [("segment", (4,))]


def test_a_merged_object_is_followed_forwards(editor: Editor) -> None:
    editor.merge(3, 4, user="bob")
    editor.merge(1, 3, user="carl")
    found = of(editor, 4, 1)
    assert found.latest == (1,)
    assert ways(found) == [("4@1", "3@2"), ("3@2", "1@3")]
    assert [(s.root, s.from_version, s.to_version) for s in found.states] == [
        (4, 1, 1),
        (3, 2, 2),
        (1, 3, None),
    ]
    steps = [(s.operation.user, s.old_roots, s.new_roots) for s in found.steps]
    assert steps == [("ann", (), (4,)), ("bob", (3, 4), (3,)), ("carl", (1, 3), (1,))]


def test_a_merged_object_is_followed_back_to_all_it_came_from(editor: Editor) -> None:
    editor.merge(3, 4)
    editor.merge(1, 3)
    found = of(editor, 1, 3)
    assert sorted(s.root for s in found.origins) == [1, 3, 4]
    assert ways(found) == [("3@1", "3@2"), ("4@1", "3@2"), ("1@1", "1@3"), ("3@2", "1@3")]


def test_both_ways_meet_in_the_middle(editor: Editor) -> None:
    editor.merge(1, 2)
    editor.merge(1, 3)
    editor.split([(5, 5, 5)], [(5, 5, 25), (5, 5, 45)])
    found = of(editor, 2, 3)
    assert found.root == 1
    assert found.latest == (1, 2)
    assert sorted(s.root for s in found.origins) == [1, 2, 3]
    assert ways(found)[-2:] == [("1@3", "1@4"), ("1@3", "2@4")]
    part = of(editor, 2, 4)
    assert part.latest == (2,)
    assert ways(part)[-1] == ("1@3", "2@4")
    assert part.steps[-1].new_roots == (2,)


def test_an_undo_is_a_step_like_any_other(editor: Editor) -> None:
    editor.merge(1, 2)
    editor.undo(2)
    editor.undo(3, kind="redo")
    found = of(editor, 2, 1)
    assert found.latest == (1,)
    assert [s.operation.kind for s in found.steps] == ["segment", "merge", "undo", "redo"]
    assert found.steps[2].operation.undone_by == 4
    assert of(editor, 2, 1, 3).latest == (1, 2)


def test_a_deleted_object_ends(editor: Editor) -> None:
    remove(editor, 1)
    found = of(editor, 1, 1)
    assert found.latest == ()
    assert [(s.root, s.to_version) for s in found.states] == [(1, 1)]
    assert (found.steps[-1].old_roots, found.steps[-1].new_roots) == ((1,), ())


def test_a_deleted_object_is_followed_to_where_an_undo_gave_it_back(editor: Editor) -> None:
    editor.merge(1, 2)
    remove(editor, 1)
    editor.merge(3, 4)
    editor.undo(3, user="bob")
    editor.merge(2, 3)
    found = of(editor, 1, 2)
    assert found.latest == (1,)
    assert ways(found)[-2:] == [("1@2", "1@5"), ("1@5", "1@6")]
    assert [s.operation.kind for s in found.steps] == [
        "segment", "merge", "delete", "undo", "merge",
    ]  # fmt: skip
    back = of(editor, 1, 5)
    assert sorted(s.root for s in back.origins) == [1, 2]
    assert ways(back) == ways(found)


def test_a_revert_that_gives_back_the_parts_gives_back_all_of_them(editor: Editor) -> None:
    editor.merge(1, 2)
    remove(editor, 1)
    editor.commit(revert(editor.repository.at(), 1), "revert")
    assert of(editor, 1, 2).latest == (1, 2)
    for root in (1, 2):
        back = of(editor, root, 4)
        assert ("1@2", f"{root}@4") in ways(back)
        assert sorted(s.root for s in back.origins) == [1, 2]


def test_painted_voxels_take_their_lineage_along(editor: Editor) -> None:
    view = editor.repository.at()
    roi = Roi((0, 0, 20), (10, 10, 10))
    delta = paint(
        view, roi, np.ones(roi.shape, dtype=bool), 1, "all", editor.repository.reserve_ids
    )
    editor.commit(delta, "paint")
    assert of(editor, 2, 1).latest == (1,)
    assert sorted(s.root for s in of(editor, 1, 2).origins) == [1, 2]


def test_a_renamed_object_is_the_same_object(editor: Editor) -> None:
    editor.merge(1, 2)
    editor.merge(3, 4)
    view = editor.repository.at()
    mask = np.zeros(view.bounds.shape, dtype=bool)
    mask[:10, :10, :10] = mask[:10, :10, 40:50] = True
    delta = paint(view, view.bounds, mask, 0, "all", editor.repository.reserve_ids)
    operation = editor.commit(delta, "paint")
    assert (operation.removed_roots, operation.added_roots) == ((1, 3), (2, 4))
    assert operation.lineage.became == ((1, 2), (3, 4))
    assert of(editor, 1, 2).latest == (2,)
    assert of(editor, 3, 3).latest == (4,)


def test_each_branch_has_its_own_future(editor: Editor) -> None:
    editor.repository.create_branch("trial", "bob")
    trial = editor.on("trial")
    editor.merge(1, 2)
    trial.merge(1, 3)
    trial.merge(1, 4)
    assert of(editor, 1, 1).latest == (1,)
    assert ways(of(editor, 1, 1)) == [("1@1", "1@2")]
    assert ways(of(editor, 1, 1, trial.repository.head)) == [("1@1", "1@3"), ("1@3", "1@4")]
    assert of(editor, 4, 3).latest == (1,)
    with pytest.raises(NotFoundError) as caught:
        of(editor, 1, 2, trial.repository.head)
    assert caught.value.kind == ErrorKind.VERSION_NOT_FOUND


def test_an_object_that_does_not_exist_has_no_lineage(editor: Editor) -> None:
    remove(editor, 1)
    with pytest.raises(NotFoundError) as caught:
        of(editor, 1, 2)
    assert caught.value.kind == ErrorKind.OBJECT_NOT_FOUND


def test_an_object_of_the_base_began_with_it(tmp_path: Path) -> None:
    boxes = [(k, (0, 10 * k, 0), (4, 4, 4)) for k in (5, 6, 7)]
    repository = repository_over(tmp_path, base_of(reader_of(block_of((8, 100, 20), boxes))))
    for kind, ids in (("merge", [5, 6]), ("delete", [5])):
        edit = merge if kind == "merge" else delete
        repository.commit(edit(repository.at(), ids), OperationMeta(kind, "ann"))
    storage = repository.at().storage
    found = lineage(storage, 6, 0, 2)
    assert [(s.root, s.from_version, s.to_version) for s in found.states] == [(6, 0, 0), (5, 1, 1)]
    assert found.latest == ()
    assert [s.key for s in lineage(storage, 5, 1).origins] == [(5, 0), (6, 0)]
    assert [s.key for s in lineage(storage, 7, 0, 2).origins] == [(7, 0)]


def test_a_limit_keeps_what_is_near(editor: Editor) -> None:
    for _ in range(3):
        editor.merge(1, 2)
        editor.undo(editor.repository.head)
    assert of(editor, 1, 4).complete
    found = of(editor, 1, 4, limit=2)
    assert not found.complete
    assert [s.operation.operation_id for s in found.steps] == [3, 4, 5, 6]


def test_only_operations_that_touched_the_object_are_loaded(
    editor: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor.merge(1, 2)
    for _ in range(6):
        editor.merge(3, 4)
        editor.undo(editor.repository.head)
    asked: list[int] = []
    load = log.load_listed

    def noted(connection: object, volume_id: int, path: object, ids: list[int]) -> object:
        asked.extend(ids)
        return load(connection, volume_id, path, ids)  # type: ignore[arg-type]

    monkeypatch.setattr(log, "load_listed", noted)
    assert of(editor, 1, 1).latest == (1,)
    assert set(asked) == {1, 2}


def test_lineage_shows_a_graph_in_json(editor: Editor) -> None:
    editor.merge(1, 2, user="bob")
    shown = of(editor, 2, 1).to_json()
    assert (shown["id"], shown["latest"], shown["origins"]) == ("2", ["1"], ["2@1"])
    assert shown["nodes"] == [
        {"key": "2@1", "id": "2", "from_version": 1, "to_version": 1},
        {"key": "1@2", "id": "1", "from_version": 2, "to_version": None},
    ]
    assert shown["links"] == [{"source": "2@1", "target": "1@2", "operation_id": 2}]
    step = shown["operations"][1]
    assert (step["kind"], step["user"]) == ("merge", "bob")
    assert (step["old_roots"], step["new_roots"]) == (["1", "2"], ["1"])


def test_records_of_older_releases_are_understood() -> None:
    found = Lineage.from_json(
        {"removed": [1, 2, 5], "added": [1, 5, 9], "merges": [[1, 2]], "splits": [[5, [5, 9]]]}
    )
    assert found.became == ((1, 1), (2, 1), (5, 5), (5, 9))
    assert (found.merges, found.splits) == (((1, 2),), ((5, (5, 9)),))
    assert Lineage.from_json(found.to_json()) == found
