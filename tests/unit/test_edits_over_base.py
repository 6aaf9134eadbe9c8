"""Edits on base labels of which only a part is counted act on whole objects all the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from label_bases import base_of, block_of, reader_of, repository_over

from segmentation_backend.edits import (
    delete,
    filter_small,
    merge,
    morph,
    paint,
    relabel_components,
    undo,
)
from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.geometry import Roi
from segmentation_backend.labels import Delta, LabelRepository, Operation, OperationMeta

SHAPE = (8, 200, 900)
"""Eight blocks of 64 x 256 x 128 voxels along x."""

LABELS = block_of(
    SHAPE,
    [
        (7, (0, 0, 0), (8, 8, 900)),
        (8, (0, 20, 0), (4, 4, 4)),
        (9, (0, 20, 800), (4, 4, 4)),
        (5, (0, 40, 120), (4, 4, 20)),
    ],
)


@pytest.fixture
def repository(tmp_path: Path) -> LabelRepository:
    repository = repository_over(tmp_path, base_of(reader_of(LABELS)))
    # Only the first block is counted.
    counter = repository.at().storage.base_statistics
    assert counter is not None
    counter.count_over(Roi((0, 0, 0), (1, 1, 1)))
    return repository


def commit(repository: LabelRepository, delta: Delta) -> Operation:
    return repository.commit(delta, OperationMeta("edit", "ann"))


def erase(repository: LabelRepository, roi: Roi) -> Operation:
    mask = np.ones(roi.shape, dtype=np.bool_)
    view = repository.at()
    return commit(repository, paint(view, roi, mask, 0, "all", repository.reserve_ids))


def check(repository: LabelRepository, voxels: np.ndarray) -> None:
    """Compare voxels and, once all is counted, statistics; then undo the last edit."""
    view = repository.at()
    assert np.array_equal(view.read_supervoxels(view.bounds), voxels)
    operation = repository.operation(repository.head)
    delta = undo(view, operation, repository.delta(repository.head))
    for _ in view.storage.base_statistics.count_all():
        pass
    found = view.statistics_in(None)
    assert set(found) == set(np.unique(voxels).tolist()) - {0}
    for supervoxel, statistics in found.items():
        points = np.argwhere(voxels == supervoxel)
        assert statistics.voxels == len(points)
        assert statistics.bbox == Roi.of_points(points.tolist())
        assert statistics.sums == tuple(points.sum(axis=0))
    repository.commit(delta, OperationMeta("undo", "ann", undoes=operation.operation_id))
    view = repository.at()
    assert np.array_equal(view.read_supervoxels(view.bounds), LABELS)
    assert view.statistics_of([5])[5].voxels == 4 * 4 * 20


def test_what_is_erased_as_far_as_it_was_known_keeps_its_joins(
    repository: LabelRepository,
) -> None:
    commit(repository, merge(repository.at(), [5, 8]))
    # The part of 5 in the first block: all that is counted of it so far.
    erase(repository, Roi((0, 40, 120), (4, 4, 8)))
    assert repository.at().members(8) == (5, 8)
    voxels = LABELS.copy()
    voxels[:4, 40:44, 120:128] = 0
    check(repository, voxels)


def test_a_supervoxel_erased_wholly_loses_its_joins(repository: LabelRepository) -> None:
    commit(repository, merge(repository.at(), [5, 8]))
    erase(repository, Roi((0, 40, 120), (4, 4, 20)))
    assert repository.at().members(8) == (8,)
    check(repository, np.where(LABELS == 5, 0, LABELS))


def test_an_object_is_deleted_to_its_far_end(repository: LabelRepository) -> None:
    commit(repository, delete(repository.at(), [7]))
    check(repository, np.where(LABELS == 7, 0, LABELS))


def test_an_object_is_small_only_as_a_whole(repository: LabelRepository) -> None:
    assert repository.at().objects(sort="root")[1].voxels < 8 * 8 * 900
    commit(repository, filter_small(repository.at(), 8 * 8 * 200))
    # What nobody counted stays: 9 lies where nobody looked.
    check(repository, np.where((LABELS == 8) | (LABELS == 5), 0, LABELS))


def test_an_object_grows_where_it_was_not_counted(repository: LabelRepository) -> None:
    commit(repository, morph(repository.at(), 7, "dilate", 2))
    voxels = LABELS.copy()
    voxels[:, 8:10] = 7
    check(repository, voxels)


def test_parts_get_ids_above_those_of_the_base(repository: LabelRepository) -> None:
    erase(repository, Roi((0, 0, 300), (8, 8, 1)))
    view = repository.at()
    commit(repository, relabel_components(view, 7, repository.reserve_ids))
    view = repository.at()
    new = view.root_at((0, 0, 0))
    assert new > 2**32 - 1
    assert view.object(new).voxels == 8 * 8 * 300
    assert view.object(7).voxels == 8 * 8 * 599


def test_a_new_object_can_cover_the_base(repository: LabelRepository) -> None:
    roi = Roi((0, 0, 0), (8, 30, 900))
    mask = np.ones(roi.shape, dtype=np.bool_)
    view = repository.at()
    delta = paint(view, roi, mask, None, [7], repository.reserve_ids)
    commit(repository, delta)
    (new,) = {s for s, change in delta.statistics.items() if change.before is None}
    check(repository, np.where(LABELS == 7, np.uint64(new), LABELS))
    with pytest.raises(InvalidInputError) as caught:
        paint(repository.at(), roi, mask, 0, [5], repository.reserve_ids)
    assert caught.value.kind == ErrorKind.NOTHING_TO_CHANGE
