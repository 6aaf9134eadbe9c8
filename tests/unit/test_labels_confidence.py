"""How sure the network was stays with what it made: joined, cut, undone, branched, paged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from label_volumes import Editor, dumbbell

from segmentation_backend.database import write
from segmentation_backend.edits import import_labels
from segmentation_backend.edits.branch_merge import plan_merge
from segmentation_backend.edits.paint import paint
from segmentation_backend.edits.relabel import relabel_components
from segmentation_backend.errors import ErrorKind, InvalidInputError, NotFoundError
from segmentation_backend.geometry import Roi
from segmentation_backend.labels import ObjectStats, merge_base
from segmentation_backend.labels.confidence import Confidence, ConfidenceSums
from segmentation_backend.labels.garbage import collect_garbage
from segmentation_backend.labels.integrity import check_labels

pytestmark = pytest.mark.usefixtures("database")

SURE, DOUBTFUL = Confidence.of(0.9, 1.0), Confidence.of(0.6, 2 / 3)


def segment(editor: Editor, labels: np.ndarray, *confidences: Confidence) -> None:
    """Commit labels 1..n as a segmentation does; of those without a confidence none is known."""
    view = editor.repository.at()
    first = editor.repository.reserve_ids(int(labels.max()))
    known = dict(enumerate(confidences, 1))
    delta = import_labels(view, view.bounds, labels, first, "fill-empty", confidences=known)
    editor.commit(delta, "segment")


def boxes(editor: Editor) -> np.ndarray:
    """Return four boxes: 1000, 500 (twice) and 100 voxels."""
    labels = np.zeros(editor.shape, np.uint32)
    labels[:10, :10, :10] = 1
    labels[:5, :10, 20:30] = 2
    labels[:5, 40:50, 20:30] = 3
    labels[:1, 60:70, 60:70] = 4
    return labels


@pytest.fixture
def editor(tmp_path: Path) -> Editor:
    made = Editor(tmp_path)
    segment(made, boxes(made), SURE, DOUBTFUL, SURE)
    return made


def known(editor: Editor, version: int | None = None) -> dict[int, Confidence | None]:
    return {o.root: o.confidence for o in editor.repository.at(version).objects()}


def paint_over(editor: Editor, roi: Roi, target: int | None) -> None:
    mask = np.ones(roi.shape, np.bool_)
    view = editor.repository.at()
    editor.commit(paint(view, roi, mask, target, "all", editor.repository.reserve_ids), "paint")


def is_whole(editor: Editor) -> bool:
    return list(check_labels(editor.repository, all_versions=True)) == []


def test_a_segmentation_says_how_sure_it_was_of_each_object(editor: Editor) -> None:
    assert known(editor) == {1: SURE, 2: DOUBTFUL, 3: SURE, 4: None}
    assert known(Editor(editor.folder)) == known(editor)
    first, *_, last = (o.to_json() for o in editor.repository.at().objects())
    assert (first["probability"], first["agreement"]) == (0.9, 1.0)
    assert (last["probability"], last["agreement"]) == (None, None)
    assert is_whole(editor)


def test_a_joined_object_is_the_mean_over_the_voxels_that_are_known(editor: Editor) -> None:
    editor.merge(1, 2)
    editor.merge(3, 4)
    expected = Confidence(8000, (1000 * 10_000 + 500 * 6667) // 1500)
    assert known(editor) == {1: expected, 3: SURE}
    assert known(editor, 2) == {1: expected, 3: SURE, 4: None}
    editor.undo(2)
    assert known(editor)[1] == SURE
    assert is_whole(editor)


def test_what_is_undone_is_not_shown_and_comes_back_as_it_was(editor: Editor) -> None:
    before = known(editor)
    editor.undo(1)
    assert known(editor) == {}
    editor.undo(2, kind="redo")
    assert known(editor) == known(editor, 1) == before
    assert is_whole(editor)


def test_paint_keeps_what_is_known_and_new_objects_have_nothing(editor: Editor) -> None:
    paint_over(editor, Roi((0, 0, 10), (10, 10, 5)), 1)
    paint_over(editor, Roi((0, 0, 0), (10, 10, 4)), 0)
    paint_over(editor, Roi((0, 0, 20), (5, 10, 2)), None)
    assert known(editor) == {1: SURE, 2: DOUBTFUL, 3: SURE, 4: None, 5: None}
    editor.merge(1, 2)
    # 1100 of one and 400 of the other are left.
    assert known(editor)[1] == Confidence((1100 * 9000 + 400 * 6000) // 1500, 9111)
    assert is_whole(editor)


def test_a_cut_keeps_what_is_known_of_its_parts(tmp_path: Path) -> None:
    editor = Editor(tmp_path)
    segment(editor, dumbbell(editor.shape), DOUBTFUL)
    roi = editor.repository.at().object(1).bbox
    z, y, _ = (o + s // 2 for o, s in zip(roi.offset, roi.shape, strict=True))
    editor.split([(z, y, roi.offset[2] + 4)], [(z, y, roi.end[2] - 5)])
    assert known(editor) == {1: DOUBTFUL, 2: DOUBTFUL}
    editor.undo(2)
    assert known(editor) == {1: DOUBTFUL}
    assert is_whole(editor)


def test_separated_parts_keep_what_is_known(tmp_path: Path) -> None:
    editor = Editor(tmp_path)
    labels = np.minimum(boxes(editor), 1)
    segment(editor, labels, SURE)
    delta = relabel_components(editor.repository.at(), 1, editor.repository.reserve_ids)
    editor.commit(delta, "relabel")
    assert set(known(editor).values()) == {SURE}
    assert len(known(editor)) == 4


def test_a_branch_knows_and_brings_what_it_was_sure_of(editor: Editor) -> None:
    editor.repository.create_branch("side", "ann")
    side = editor.on("side")
    labels = np.zeros(editor.shape, np.uint32)
    labels[20:30, 20:30, 20:30] = 1
    segment(side, labels, DOUBTFUL)
    paint_over(editor, Roi((30, 90, 0), (2, 2, 2)), None)
    ours, theirs = editor.repository.at(), side.repository.at()
    plan = plan_merge(merge_base(ours.storage, ours.version, theirs.version), ours, theirs, {})
    editor.commit(plan.delta, "merge-branch", merges=plan.merges)
    assert known(editor)[5] == DOUBTFUL
    assert is_whole(editor)


def test_a_late_segmentation_keeps_what_it_was_sure_of(editor: Editor) -> None:
    view = editor.repository.at()
    labels = np.zeros(editor.shape, np.uint32)
    labels[20:30, 20:30, 20:30] = 1
    first = editor.repository.reserve_ids(1)
    delta = import_labels(view, view.bounds, labels, first, confidences={1: DOUBTFUL})
    paint_over(editor, Roi((32, 32, 32), (2, 2, 2)), None)  # in the same chunk
    editor.commit(delta, "segment")
    assert known(editor)[5] == DOUBTFUL


def test_objects_are_paged_from_the_least_sure(editor: Editor) -> None:
    view = editor.repository.at()
    assert [o.root for o in view.objects(sort="probability")] == [2, 1, 3, 4]
    assert [o.root for o in view.objects(sort="-probability")] == [1, 3, 2, 4]
    assert [o.root for o in view.objects(sort="probability", limit=2, after=1)] == [3, 4]
    box = Roi((0, 0, 0), (10, 55, 99))
    assert [o.root for o in view.objects(box, "probability", after=2)] == [1, 3]
    with pytest.raises(NotFoundError) as caught:
        view.objects(after=9)
    assert caught.value.kind == ErrorKind.OBJECT_NOT_FOUND


def pages(editor: Editor, version: int, sort: str, limit: int) -> list[ObjectStats]:
    view, found, after = editor.repository.at(version), [], None
    while page := view.objects(sort=sort, limit=limit, after=after):
        found += page
        after = page[-1].root
    return found


def naive(objects: list[ObjectStats], sort: str) -> list[ObjectStats]:
    sign = -1 if sort.startswith("-") else 1

    def key(found: ObjectStats) -> tuple[bool, int, int]:
        sure = found.confidence
        value = {
            "voxels": found.voxels,
            "root": found.root,
            "probability": None if sure is None else sure.probability,
        }[sort.removeprefix("-")]
        return value is None, sign * (value or 0), found.root

    return sorted(objects, key=key)


def test_pages_hold_every_object_once_in_order_on_any_branch(editor: Editor) -> None:
    labels = np.zeros(editor.shape, np.uint32)
    for k in range(12):
        labels[30:32, 10 * k : 10 * k + 5, : 5 + k % 3] = k + 1
    sure = [Confidence.of(0.5 + k % 4 / 10, 1) for k in range(9)]
    segment(editor, labels, *sure)
    editor.repository.create_branch("side", "ann")
    editor.merge(5, 6)
    editor.on("side").merge(1, 7)
    editor.on("side").merge(2, 16)
    editor.undo(3)
    for version in (2, 3, 5, 6):
        whole = editor.repository.at(version).objects(Roi((0, 0, 0), (40, 130, 99)), limit=99)
        for sort in ("probability", "-probability", "voxels", "-voxels", "root", "-root"):
            for limit in (1, 3, 50):
                assert pages(editor, version, sort, limit) == naive(whole, sort)


@given(st.lists(st.tuples(st.integers(1, 10**12), st.integers(0, 10_000)), max_size=8), st.data())
@settings(max_examples=50, deadline=None)
def test_sums_do_not_depend_on_the_order(parts: list[tuple[int, int]], data: st.DataObject) -> None:
    sums = [ConfidenceSums.of(voxels, Confidence(p, p)) for voxels, p in parts]
    shuffled = data.draw(st.permutations(sums))
    assert ConfidenceSums.total(shuffled) == ConfidenceSums.total(sums)
    mean = ConfidenceSums.total(sums).mean
    assert (mean is None) == (not parts)
    if mean is not None:
        assert min(p for _, p in parts) <= mean.probability <= max(p for _, p in parts)


@pytest.mark.parametrize("shares", [(-0.1, 1), (1.01, 1), (float("nan"), 1), (0.5, 2)])
def test_shares_that_are_none_are_refused(shares: tuple[float, float]) -> None:
    with pytest.raises(InvalidInputError, match="shares from 0 to 1"):
        Confidence.of(*shares)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE label_supervoxels SET probability = 20000 WHERE supervoxel = 1",
        "UPDATE label_supervoxels SET agreement = NULL WHERE supervoxel = 1",
        "UPDATE label_supervoxels SET probability = 100 WHERE supervoxel = 1",
        "UPDATE label_roots SET sum_agreement = 3 WHERE root = 2",
        "UPDATE label_roots SET probability = 3 WHERE root = 2",
        "UPDATE label_roots SET probability = NULL WHERE root = 2",
    ],
)
def test_a_check_finds_confidence_that_cannot_be(editor: Editor, damage: str) -> None:
    with write(editor.repository._engine) as connection:
        assert connection.execute(sa.text(damage)).rowcount == 1
    assert list(check_labels(editor.repository)) != []


def test_what_only_a_deleted_branch_knew_goes_with_it(editor: Editor) -> None:
    editor.repository.create_branch("side", "ann")
    labels = np.zeros(editor.shape, np.uint32)
    labels[20:30, 20:30, 20:30] = 1
    segment(editor.on("side"), labels, DOUBTFUL)
    editor.repository.delete_branch("side")
    collect_garbage(editor.repository, min_age_s=-1, delete=True)
    with editor.repository._engine.connect() as connection:
        for table in ("label_supervoxels", "label_roots"):
            query = sa.text(f"SELECT COUNT(*) FROM {table} WHERE probability = 6000")
            assert connection.scalar(query) == 1
