"""Sizes of base objects, counted when needed: what is known, what is not, and what others count."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from databases import address_in
from label_bases import base_of, block_of, reader_of, repository_over

from segmentation_backend.edits import merge, revert
from segmentation_backend.edits.delete import delete
from segmentation_backend.errors import ErrorKind, InvalidInputError, NotFoundError, ResourceError
from segmentation_backend.geometry import Roi
from segmentation_backend.labels import LabelRepository, OperationMeta, base_statistics
from segmentation_backend.labels.base_statistics import BaseStatistics, block_sides
from segmentation_backend.labels.storage import LabelStorage
from segmentation_backend.workspace.editing import plan_branch_merge

SHAPE = (64, 128, 640)
"""One block deep, two high, ten wide."""

LONG, APART, SMALL, FAR = 3, 4, 5, 6
BOXES = [
    (LONG, (10, 20, 20), (5, 20, 260)),  # through five blocks
    (APART, (10, 80, 20), (5, 5, 5)),
    (APART, (10, 80, 600), (5, 5, 5)),  # the same id, far away
    (SMALL, (30, 20, 20), (5, 5, 5)),
    (FAR, (30, 20, 600), (8, 8, 8)),
]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count in blocks of one chunk, and never everything at once."""
    monkeypatch.setattr(base_statistics, "_SMALLEST_BLOCK", 1)
    monkeypatch.setattr(base_statistics, "_MOST_VOXELS_LISTED", 4 * 64**3)


def open_again(folder: Path, stored: int = 1) -> LabelRepository:
    reader = reader_of(block_of(SHAPE, BOXES), stored=stored)
    return repository_over(folder, base_of(reader), address_in(folder))


@pytest.fixture
def repository(tmp_path: Path, database: str) -> LabelRepository:
    del database
    return open_again(tmp_path)


def counter(repository: LabelRepository) -> BaseStatistics:
    found = repository._storage.base_statistics
    assert found is not None
    return found


def blocks(repository: LabelRepository) -> int:
    return round(repository.counted_share * 20)


def commit(repository: LabelRepository, delta: object, kind: str) -> int:
    return repository.commit(delta, OperationMeta(kind, "ann")).version  # type: ignore[arg-type]


def test_blocks_are_whole_chunks_and_neither_tiny_nor_huge() -> None:
    large = (10_000, 10_000, 10_000)
    base_statistics._SMALLEST_BLOCK = 2**21
    assert block_sides((64, 64, 64), large) == (128, 128, 128)
    assert block_sides((128, 128, 128), large) == (128, 128, 128)
    assert block_sides((96, 96, 96), large) == (128, 128, 128)
    assert block_sides((256, 256, 256), large) == (256, 256, 256)
    assert block_sides((1, 2048, 2048), large) == (64, 512, 1024)
    assert block_sides((64, 64, 64), (70, 80, 90)) == (128, 128, 128)
    assert block_sides((64, 64, 64), (10, 10_000, 10_000)) == (64, 256, 128)


def test_nothing_is_counted_before_somebody_asks(repository: LabelRepository) -> None:
    view = repository.at()
    assert view.read(Roi((0, 0, 0), SHAPE)).any()
    assert view.statistics_in(None) == {}
    assert view.objects() == []
    assert repository.counted_share == 0


def test_pointing_counts_nothing_and_an_edit_what_hangs_together(
    repository: LabelRepository,
) -> None:
    view = repository.at()
    assert view.root_at((12, 30, 100)) == LONG
    assert blocks(repository) == 0
    # The object goes on to both sides, and there along the row of blocks until it ends; its
    # neighbours above and below are not touched.
    assert view.object(LONG).bbox == Roi((10, 20, 20), (5, 20, 260))
    assert view.object(LONG).voxels == 5 * 20 * 260
    assert blocks(repository) == 5
    reads = blocks(repository)
    assert open_again_like(repository).at().object(LONG).voxels == 5 * 20 * 260
    assert blocks(repository) == reads


def open_again_like(repository: LabelRepository) -> LabelRepository:
    """Return what another process sees: the same database, nothing remembered."""
    return open_again(repository._storage.packs.folder.parent)  # type: ignore[attr-defined]


def test_an_object_in_pieces_is_known_as_far_as_it_was_found(repository: LabelRepository) -> None:
    view = repository.at()
    assert view.root_at((12, 82, 22)) == APART
    assert view.object(APART).voxels == 125
    list(repository.count_base())
    assert view.object(APART).voxels == 250
    assert view.object(APART).bbox == Roi((10, 80, 20), (5, 5, 585))


def test_an_id_that_nobody_pointed_at_needs_its_place(repository: LabelRepository) -> None:
    with pytest.raises(NotFoundError, match="mitoglance index") as error:
        repository.at().object(FAR)
    assert error.value.kind == ErrorKind.OBJECT_NOT_FOUND
    assert "0% of the base" in str(error.value)
    assert repository.at().root_at((32, 22, 602)) == FAR
    assert repository.at().object(FAR).voxels == 512


def test_after_counting_everything_an_unknown_id_does_not_exist(
    repository: LabelRepository,
) -> None:
    shares = list(repository.count_base())
    assert shares[0] == 0
    assert shares[-1] == 1
    with pytest.raises(NotFoundError, match="refresh the view"):
        repository.at().object(77)
    assert {o.root: o.voxels for o in repository.at().objects()} == {
        LONG: 26000,
        APART: 250,
        SMALL: 125,
        FAR: 512,
    }


def test_a_stored_coarse_level_shows_where_an_id_is(tmp_path: Path) -> None:
    repository = open_again(tmp_path, stored=3)
    assert repository.at().object(FAR).voxels == 512
    # Both pieces are large enough to be seen on the coarsest level.
    assert repository.at().object(APART).voxels == 250
    assert blocks(repository) < 6
    with pytest.raises(NotFoundError, match="mitoglance index"):
        repository.at().object(99)


def test_a_small_base_is_counted_whole_for_an_id_nobody_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_statistics, "_MOST_VOXELS_LISTED", 20 * 64**3)
    repository = open_again(tmp_path)
    assert repository.at().object(FAR).voxels == 512
    assert repository.counted_share == 1


def test_an_object_too_large_for_one_attempt_is_counted_in_several(
    repository: LabelRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_statistics, "_MOST_VOXELS", 64**3)
    view = repository.at()
    view.root_at((12, 30, 100))
    for already in range(4):
        assert blocks(repository) == already
        with pytest.raises(InvalidInputError, match="Try again") as error:
            view.object(LONG)
        assert error.value.kind == ErrorKind.ROI_TOO_LARGE
    assert view.object(LONG).voxels == 26000
    assert blocks(repository) == 5


def test_a_region_is_counted_for_its_list_unless_it_is_large(repository: LabelRepository) -> None:
    repository.count_base_over(Roi((0, 0, 0), SHAPE))
    assert repository.counted_share == 0
    near = Roi((0, 0, 0), (64, 64, 64))
    repository.count_base_over(near)
    assert {o.root for o in repository.at().objects(near)} == {LONG, SMALL}
    assert repository.at().objects(Roi((29, 0, 0), (35, 64, 64)))[0].root == SMALL


def test_a_deleted_object_of_which_more_is_found_later_exists_again(
    repository: LabelRepository,
) -> None:
    view = repository.at()
    view.root_at((12, 82, 22))
    deleted = commit(repository, delete(view, [APART]), "delete")
    other = repository.create_branch("other", "ann")
    assert view.object(view.root_at((12, 30, 30))).root == LONG
    merged = commit(repository, merge(repository.at(), [LONG, SMALL]), "merge")
    for version in (deleted, merged):
        with pytest.raises(NotFoundError):
            repository.at(version).object(APART)
    # The other piece was neither counted nor deleted.
    assert repository.at().root_at((12, 82, 602)) == APART
    assert repository.at().object(APART).voxels == 125
    for version in (deleted, merged, repository.branch(other.name).head):
        left = repository.at(version).object(APART)
        assert (left.voxels, left.bbox) == (125, Roi((10, 80, 600), (5, 5, 5)))
        assert repository.at(version).root_at((12, 82, 22)) == 0
    assert repository.at(0).object(APART).voxels == 250
    assert APART in repository.at().statistics_in(Roi((0, 64, 590), (64, 64, 50)))
    assert APART not in repository.at().statistics_in(Roi((0, 64, 0), (64, 64, 64)))
    # And can be deleted as a whole, now that it is known.
    again = commit(repository, delete(repository.at(), [APART]), "delete")
    list(repository.count_base())
    with pytest.raises(NotFoundError, match="refresh"):
        repository.at(again).object(APART)


def test_what_others_count_between_an_edit_and_its_commit_is_in_the_statistics(
    repository: LabelRepository,
) -> None:
    view = repository.at()
    view.root_at((12, 82, 22))
    delta = delete(view, [APART])
    assert delta.statistics[APART].after is None
    other = open_again_like(repository)
    assert other.at().root_at((12, 82, 602)) == APART
    assert other.at().object(APART).voxels == 250
    version = commit(repository, delta, "delete")
    assert repository.at(version).object(APART).voxels == 125
    list(repository.count_base())
    assert repository.at(version).object(APART).voxels == 125
    assert repository.at(0).object(APART).voxels == 250


def test_what_others_count_while_two_versions_are_compared_changes_nothing(
    repository: LabelRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = repository.at()
    view.root_at((12, 82, 22))
    done = commit(repository, delete(view, [APART]), "delete")
    other = open_again_like(repository)
    ask = LabelStorage.statistics_of

    def interrupted(self: LabelStorage, *args: object) -> object:
        answer = ask(self, *args)  # type: ignore[arg-type]
        if other.counted_share < 1:
            other.count_base_over(Roi((0, 64, 576), (64, 64, 64)))
        return answer

    monkeypatch.setattr(LabelStorage, "statistics_of", interrupted)
    delta = revert(repository.at(), 0)
    monkeypatch.undo()
    assert blocks(repository) == 2
    commit(repository, delta, "revert")
    list(repository.count_base())
    assert repository.at().object(APART).voxels == 250
    assert repository.at(done).object(APART).voxels == 125


def test_branches_are_merged_as_they_stand_whatever_is_counted_meanwhile(
    repository: LabelRepository,
) -> None:
    repository.create_branch("other", "ann")
    other = repository.branch("other")
    other.at().root_at((12, 82, 22))
    commit(other, delete(other.at(), [APART]), "delete")
    for point in ((12, 30, 100), (32, 22, 22)):
        repository.at().root_at(point)
    commit(repository, merge(repository.at(), [LONG, SMALL]), "merge")
    plan = plan_branch_merge(repository.at(), other.at(), {})
    assert plan.conflicts == ()
    again = open_again_like(repository)
    again.at().root_at((12, 82, 602))
    assert again.at(0).object(APART).voxels == 250
    meta = OperationMeta("merge-branch", "ann", merges=plan.merges)
    merged = repository.commit(plan.delta, meta).version
    for version in (merged, other.head):
        left = repository.at(version).object(APART)
        assert (left.voxels, left.bbox) == (125, Roi((10, 80, 600), (5, 5, 5)))
    list(repository.count_base())
    assert repository.at(merged).object(APART).voxels == 125
    assert repository.at(merged).object(SMALL).voxels == 26125
    assert repository.at(0).object(APART).voxels == 250


def test_two_that_count_the_same_blocks_agree(repository: LabelRepository) -> None:
    others = [repository, *(open_again_like(repository) for _ in range(3))]

    def count(one: LabelRepository) -> float:
        return list(one.count_base())[-1]

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(count, others)) == [1, 1, 1, 1]
    assert counter(repository).counted() == 20
    assert repository.at().object(LONG).voxels == 26000


def test_counting_carries_on_where_it_was_stopped(tmp_path: Path) -> None:
    reader = reader_of(block_of(SHAPE, BOXES))
    repository = repository_over(tmp_path, base_of(reader))
    steps = repository.count_base()
    next(steps), next(steps)
    steps.close()
    done = blocks(repository)
    assert 0 < done < 20
    again = repository_over(tmp_path, base_of(reader))
    reader.reads.clear()
    assert list(again.count_base())[-1] == 1
    counted = [roi for _, roi in reader.reads if roi.shape == (64, 64, 64)]
    assert len(counted) == 20 - done


def test_a_block_that_cannot_be_read_is_not_counted(tmp_path: Path) -> None:
    reader = reader_of(block_of(SHAPE, BOXES))
    repository = repository_over(tmp_path, base_of(reader))
    assert repository.at().object(repository.at().root_at((32, 22, 22))).root == SMALL
    assert repository.at().root_at((12, 30, 100)) == LONG
    reader.failure = ResourceError("No answer.", ErrorKind.SOURCE_UNAVAILABLE)
    with pytest.raises(ResourceError):
        repository.at().object(LONG)
    with pytest.raises(ResourceError):
        list(repository.count_base())
    assert blocks(repository) == 1
    reader.failure = None
    assert repository.at().object(LONG).voxels == 26000


def test_a_volume_without_a_base_is_counted_by_definition(tmp_path: Path) -> None:
    levels = open_again(tmp_path).levels
    engine = open_again(tmp_path)._storage.engine
    plain = LabelRepository(engine, tmp_path / "packs", "plain", levels)
    assert plain.counted_share == 1
    assert list(plain.count_base()) == []
    plain.count_base_over(Roi((0, 0, 0), SHAPE))
    assert np.array_equal(plain.at().read(Roi((0, 0, 0), SHAPE)), np.zeros(SHAPE))
