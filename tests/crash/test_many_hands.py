"""Four processes at the same voxels and the same objects, against a serial run of their log."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from databases import address_in
from processes import forked

from segmentation_backend.database import open_database
from segmentation_backend.edits import import_labels, merge, paint
from segmentation_backend.errors import ErrorKind, SegmentationError
from segmentation_backend.geometry import Roi, plan_levels
from segmentation_backend.labels import Delta, LabelRepository, LabelView, OperationMeta
from segmentation_backend.workspace import EditContext
from segmentation_backend.workspace.editing import Editor

pytestmark = [pytest.mark.crash, pytest.mark.usefixtures("durable_database")]

HANDS = 4
ROUNDS = 12
SHAPE = (3, 8, 256)
LEVELS = plan_levels(SHAPE, (8.0, 8.0, 8.0), min_side=4)
OBJECTS = 24
COUNTER = Roi((0, 0, 0), (1, 1, SHAPE[2]))
"""A row of voxels; how many of them hold object 1 is the number that all hands add to."""


def open_labels(folder: Path) -> LabelRepository:
    engine = open_database(address_in(folder))
    return LabelRepository(engine, folder / "packs", "v", LEVELS)


def begin(folder: Path) -> LabelRepository:
    """Store the counter at 1, and a row of objects to be joined."""
    repository = open_labels(folder)
    labels = np.zeros(SHAPE, dtype=np.uint32)
    labels[0, 0, 0] = 1
    for number in range(OBJECTS):
        labels[2, 4, 4 * number : 4 * number + 3] = 2 + number
    first = repository.reserve_ids(OBJECTS + 1)
    delta = import_labels(repository.at(), Roi((0, 0, 0), SHAPE), labels, first)
    repository.commit(delta, OperationMeta("import", "setup"))
    return repository


def count_up(editor: Editor, repository: LabelRepository, request_id: str) -> None:
    def one_more(view: LabelView) -> Delta:
        count = int((view.read(COUNTER) == 1).sum())
        mask = np.ones((1, 1, 1), dtype=bool)
        roi = Roi((0, 0, count), (1, 1, 1))
        return paint(view, roi, mask, 1, "background", repository.reserve_ids)

    while True:
        try:
            editor.commit("paint", {}, EditContext("hand", request_id), one_more)
        except SegmentationError as error:
            # Others were faster as often as the editor tries: as a client would, ask again.
            if error.kind != ErrorKind.STALE_VERSION:
                raise
        else:
            return


def join(editor: Editor, pair: tuple[int, int], request_id: str) -> None:
    while True:
        try:
            editor.commit("merge", {}, EditContext("hand", request_id), lambda v: merge(v, pair))
        except SegmentationError as error:
            if error.kind == ErrorKind.MERGE_SAME_OBJECT:
                return
            if error.kind != ErrorKind.STALE_VERSION:
                raise
        else:
            return


def hand(folder: Path, number: int) -> None:
    """Add to the counter and try every merge, in an order of this hand's own."""
    repository = open_labels(folder)
    editor = Editor(repository)
    pairs = list(pairwise(range(2, OBJECTS + 2)))
    np.random.default_rng(number).shuffle(pairs)
    for turn in range(max(ROUNDS, len(pairs))):
        if turn < ROUNDS:
            count_up(editor, repository, f"{number}-add-{turn}")
        if turn < len(pairs):
            first, second = pairs[turn]
            join(editor, (int(first), int(second)), f"{number}-merge-{turn}")


def test_four_processes_lose_no_update(tmp_path: Path) -> None:
    repository = begin(tmp_path)
    context = forked()
    hands = [context.Process(target=hand, args=(tmp_path, number)) for number in range(HANDS)]
    for process in hands:
        process.start()
    for process in hands:
        process.join(240)
        assert process.exitcode == 0

    # The serial oracle: each operation of the log, one after another, on plain Python values.
    counter, parent = 1, {number: number for number in range(1, OBJECTS + 2)}
    assert repository.head == len(repository.operations(limit=10**6))
    for operation in reversed(repository.operations(limit=10**6)[:-1]):
        if operation.kind == "paint":
            assert operation.bbox == Roi((0, 0, counter), (1, 1, 1))
            counter += 1
        else:
            (group,) = operation.merges
            assert all(parent[root] == root for root in group), "joined what was joined before"
            for root in group:
                parent[root] = min(group)
        view = repository.at(operation.version)
        assert int((view.read(COUNTER) == 1).sum()) == counter

    def top(number: int) -> int:
        return number if parent[number] == number else top(parent[number])

    assert counter == 1 + HANDS * ROUNDS
    assert {top(number) for number in range(2, OBJECTS + 2)} == {2}
    roots = repository.at().agglomeration.roots_of(range(1, OBJECTS + 2))
    assert roots == {number: top(number) for number in range(1, OBJECTS + 2)}
    requests = [o.request_id for o in repository.operations(limit=10**6)]
    assert len(set(requests)) == len(requests)
