"""What a repository promises: versions stay, commits are exactly-once, conflicts name who."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from databases import address_in

from segmentation_backend.database import open_database
from segmentation_backend.edits import import_labels, merge
from segmentation_backend.errors import (
    ConflictError,
    ErrorKind,
    InvalidInputError,
    NotFoundError,
    SegmentationError,
)
from segmentation_backend.geometry import Roi, plan_levels
from segmentation_backend.labels import Delta, LabelRepository, Operation, OperationMeta

SHAPE = (40, 130, 100)
LEVELS = plan_levels(SHAPE, (8.0, 8.0, 8.0))


@pytest.fixture
def engine(tmp_path: Path, database: str) -> sa.Engine:
    return open_database(address_in(tmp_path))


@pytest.fixture
def repository(engine: sa.Engine, tmp_path: Path) -> LabelRepository:
    return LabelRepository(engine, tmp_path / "packs", "v", LEVELS)


def boxes(*corners: tuple[int, int, int], side: int = 10) -> np.ndarray:
    labels = np.zeros(SHAPE, dtype=np.uint32)
    for k, (z, y, x) in enumerate(corners, start=1):
        labels[z : z + side, y : y + side, x : x + side] = k
    return labels


def import_boxes(
    repository: LabelRepository, *corners: tuple[int, int, int], user: str = "ann", **meta: object
) -> Operation:
    labels = boxes(*corners)
    view = repository.at()
    delta = import_labels(
        view, view.bounds, labels, repository.reserve_ids(len(corners)), "fill-empty"
    )
    return repository.commit(delta, OperationMeta("segment", user, **meta))  # type: ignore[arg-type]


def join(repository: LabelRepository, *ids: int, user: str = "ann", **meta: object) -> Operation:
    return repository.commit(merge(repository.at(), ids), OperationMeta("merge", user, **meta))  # type: ignore[arg-type]


def test_a_new_volume_is_version_0_and_all_background(repository: LabelRepository) -> None:
    assert repository.head == 0
    view = repository.at()
    assert view.version == 0
    assert not view.read(view.bounds).any()
    assert view.objects() == []
    assert view.chunk(0, (0, 0, 0)) is None


def test_an_import_reads_back_at_level_0(repository: LabelRepository) -> None:
    operation = import_boxes(repository, (0, 0, 0), (20, 60, 60))
    assert operation.operation_id == operation.version == repository.head == 1
    assert (operation.removed_roots, operation.added_roots) == ((), (1, 2))
    assert operation.wrote_voxels
    view = repository.at()
    expected = boxes((0, 0, 0), (20, 60, 60)).astype(np.uint64)
    assert np.array_equal(view.read(view.bounds), expected)
    assert view.root_at((25, 64, 64)) == 2


def test_old_versions_read_the_same_after_later_operations(repository: LabelRepository) -> None:
    import_boxes(repository, (0, 0, 0))
    first = repository.at()
    before = first.read(first.bounds)
    import_boxes(repository, (20, 60, 60))
    join(repository, 1, 2)
    for view in (first, repository.at(1)):
        assert np.array_equal(view.read(view.bounds), before)
        assert [o.root for o in view.objects()] == [1]
        assert view.root_of(2) == 2


def test_merge_gives_the_smaller_root_everywhere(repository: LabelRepository) -> None:
    import_boxes(repository, (0, 0, 0), (20, 60, 60))
    operation = join(repository, 2, 1)
    assert operation.removed_roots == (1, 2)
    assert operation.added_roots == (1,)
    assert operation.merges == ((1, 2),)
    assert not operation.wrote_voxels
    assert operation.bbox == Roi((0, 0, 0), (30, 70, 70))
    view = repository.at()
    assert view.members(2) == (1, 2)
    assert view.edges_of(1) == {(1, 2)}
    assert set(np.unique(view.read(view.bounds))) == {0, 1}
    found = view.object(2)
    assert (found.root, found.voxels, found.supervoxels) == (1, 2000, 2)
    assert found.centroid == pytest.approx((14.5, 34.5, 34.5))


def test_a_reopened_repository_continues(
    repository: LabelRepository, engine: sa.Engine, tmp_path: Path
) -> None:
    import_boxes(repository, (0, 0, 0), (20, 60, 60))
    again = LabelRepository(engine, tmp_path / "packs", "v", LEVELS)
    assert again.head == 1
    assert again.reserve_ids(1) == 3
    assert join(again, 1, 2).operation_id == 2
    assert repository.at().root_of(2) == 1


def test_two_volumes_share_a_database_without_meeting(
    repository: LabelRepository, engine: sa.Engine, tmp_path: Path
) -> None:
    other = LabelRepository(engine, tmp_path / "other", "w", LEVELS)
    import_boxes(repository, (0, 0, 0), request_id="r")
    assert other.head == 0
    assert import_boxes(other, (5, 5, 5), request_id="r").operation_id == 1
    assert repository.at().root_at((12, 12, 12)) == 0


def test_labels_of_another_grid_are_refused(
    repository: LabelRepository, engine: sa.Engine, tmp_path: Path
) -> None:
    with pytest.raises(ConflictError) as caught:
        LabelRepository(engine, tmp_path / "packs", "v", plan_levels((40, 40, 40), (8.0,) * 3))
    assert caught.value.kind == ErrorKind.NAME_TAKEN


def test_a_repeated_request_returns_the_first_operation(repository: LabelRepository) -> None:
    import_boxes(repository, (0, 0, 0), (20, 60, 60))
    delta = merge(repository.at(), [1, 2])
    meta = OperationMeta("merge", "ann", request_id="r1", request_digest="d")
    first = repository.commit(delta, meta)
    assert repository.commit(delta, meta) == first
    assert repository.head == 2
    assert repository.find_request("r1") == first
    assert repository.find_request("r2") is None


def test_a_request_id_reused_for_another_request_is_refused(repository: LabelRepository) -> None:
    import_boxes(repository, (0, 0, 0), request_id="r1", request_digest="one")
    with pytest.raises(ConflictError) as caught:
        import_boxes(repository, (20, 60, 60), request_id="r1", request_digest="two")
    assert caught.value.kind == ErrorKind.REQUEST_ID_REUSED
    assert repository.head == 1


def test_a_replayed_import_writes_no_pack(repository: LabelRepository, tmp_path: Path) -> None:
    import_boxes(repository, (0, 0, 0), request_id="r1")
    import_boxes(repository, (20, 60, 60), request_id="r1")
    assert len(list((tmp_path / "packs").glob("*/*.pack"))) == 1


def test_an_unknown_version_is_not_found(repository: LabelRepository) -> None:
    for version in (-1, 1):
        with pytest.raises(NotFoundError) as caught:
            repository.at(version)
        assert caught.value.kind == ErrorKind.VERSION_NOT_FOUND


def test_an_edit_of_an_object_changed_since_names_the_operation_and_user(
    repository: LabelRepository,
) -> None:
    import_boxes(repository, (0, 0, 0), (20, 60, 60), (0, 60, 60))
    stale = merge(repository.at(), [1, 2])
    join(repository, 2, 3, user="Bob B.")
    with pytest.raises(ConflictError, match=r"Operation 2 \(merge by Bob B\.\)") as caught:
        repository.commit(stale, OperationMeta("merge", "ann"))
    assert caught.value.kind == ErrorKind.STALE_VERSION
    assert repository.head == 2


def test_the_users_base_version_counts_even_when_the_delta_is_fresh(
    repository: LabelRepository,
) -> None:
    import_boxes(repository, (0, 0, 0), (20, 60, 60), (0, 60, 60))
    join(repository, 2, 3, user="bob")
    with pytest.raises(ConflictError, match="bob"):
        join(repository, 1, 3, base_version=1)
    assert join(repository, 1, 3, base_version=2).operation_id == 3


def test_a_base_version_from_the_future_is_not_found(repository: LabelRepository) -> None:
    import_boxes(repository, (0, 0, 0), (20, 60, 60))
    with pytest.raises(NotFoundError) as caught:
        join(repository, 1, 2, base_version=7)
    assert caught.value.kind == ErrorKind.VERSION_NOT_FOUND
    assert repository.head == 1


def test_edits_of_other_objects_rebase_by_themselves(repository: LabelRepository) -> None:
    import_boxes(repository, (0, 0, 0), (20, 0, 0), (0, 60, 60), (20, 60, 60))
    mine = merge(repository.at(), [1, 2])
    join(repository, 3, 4, user="bob")
    assert repository.commit(mine, OperationMeta("merge", "ann", base_version=1)).operation_id == 3
    assert [o.root for o in repository.at().objects(sort="root")] == [1, 3]


def test_voxels_of_one_chunk_written_by_two_edits_are_both_kept(
    repository: LabelRepository,
) -> None:
    view = repository.at()
    first = import_labels(view, view.bounds, boxes((0, 0, 0)), repository.reserve_ids(1))
    second = import_labels(view, view.bounds, boxes((20, 20, 20)), repository.reserve_ids(1))
    repository.commit(first, OperationMeta("segment", "ann"))
    repository.commit(second, OperationMeta("segment", "bob"))
    now = repository.at()
    assert now.root_at((5, 5, 5)) == 1
    assert now.root_at((25, 25, 25)) == 2
    coarse = now.read(Roi((0, 0, 0), LEVELS[1].shape), 1)
    assert set(np.unique(coarse)) == {0, 1, 2}


def test_the_same_voxel_written_by_two_edits_is_a_conflict(repository: LabelRepository) -> None:
    view = repository.at()
    first = import_labels(view, view.bounds, boxes((0, 0, 0)), repository.reserve_ids(1))
    second = import_labels(view, view.bounds, boxes((9, 9, 9)), repository.reserve_ids(1))
    repository.commit(first, OperationMeta("segment", "bob"))
    with pytest.raises(ConflictError, match=r"(?i)operation 1 \(segment by bob\)"):
        repository.commit(second, OperationMeta("segment", "ann"))
    assert repository.head == 1
    assert repository.at().object(1).voxels == 1000


def test_reserved_ids_never_overlap_between_threads(repository: LabelRepository) -> None:
    with ThreadPoolExecutor(4) as pool:
        starts = list(pool.map(lambda _: repository.reserve_ids(3), range(20)))
    assert sorted(starts) == list(range(1, 60, 3))


def test_operations_are_listed_newest_first_or_after_a_version(
    repository: LabelRepository,
) -> None:
    import_boxes(repository, (0, 0, 0), (20, 0, 0), (0, 60, 60))
    join(repository, 1, 2, user="bob")
    join(repository, 1, 3)
    assert [o.operation_id for o in repository.operations()] == [3, 2, 1]
    assert [o.operation_id for o in repository.operations(limit=1)] == [3]
    assert [o.operation_id for o in repository.operations(since=1)] == [2, 3]
    assert [o.operation_id for o in repository.operations(user="bob")] == [2]
    assert repository.operation(2).user == "bob"
    for missing in (0, 4, -1, 2**70):
        with pytest.raises(NotFoundError):
            repository.operation(missing)


def test_an_operation_shows_ids_as_strings_in_json(repository: LabelRepository) -> None:
    import_boxes(repository, (0, 0, 0), (20, 60, 60), provenance={"model": "m"})
    shown = join(repository, 1, 2, request_id="r").to_json()
    assert shown["removed_roots"] == ["1", "2"]
    assert shown["merges"] == [["1", "2"]]
    assert shown["version"] == 2
    assert shown["request_id"] == "r"
    assert shown["time"].endswith("+00:00")
    assert repository.operation(1).to_json()["provenance"] == {"model": "m"}


def test_the_delta_of_an_operation_can_be_loaded_and_inverted(
    repository: LabelRepository,
) -> None:
    import_boxes(repository, (0, 0, 0), (20, 60, 60))
    join(repository, 1, 2)
    imported, joined = repository.delta(1), repository.delta(2)
    assert imported.inverse().inverse() == imported
    assert all(change.before is None for change in imported.chunks.values())
    assert {key.level for key in imported.chunks} == set(range(len(LEVELS)))
    assert set(imported.statistics) == {1, 2}
    assert joined.edges_added == {(1, 2)}
    assert joined.inverse().edges_removed == {(1, 2)}


@pytest.mark.parametrize(
    ("roi", "level", "kind"),
    [
        (Roi((0, 0, 0), (41, 1, 1)), 0, ErrorKind.ROI_OUT_OF_BOUNDS),
        (Roi((-1, 0, 0), (2, 1, 1)), 0, ErrorKind.ROI_OUT_OF_BOUNDS),
        (Roi((0, 0, 0), (1, 1, 1)), 99, ErrorKind.INVALID_PARAMETER),
    ],
)
def test_reads_outside_the_volume_are_refused(
    repository: LabelRepository, roi: Roi, level: int, kind: ErrorKind
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        repository.at().read(roi, level)
    assert caught.value.kind == kind


def test_an_empty_delta_is_still_an_operation(repository: LabelRepository) -> None:
    operation = repository.commit(Delta(base_version=0), OperationMeta("segment", "ann"))
    assert (operation.operation_id, operation.wrote_voxels, operation.bbox) == (1, False, None)


def test_sweeping_removes_only_packs_nobody_names(
    repository: LabelRepository, tmp_path: Path
) -> None:
    import_boxes(repository, (0, 0, 0))
    for name in ("ab/ab12.pack", "ab/ab34.tmp"):
        orphan = tmp_path / "packs" / name
        orphan.parent.mkdir(exist_ok=True)
        orphan.write_bytes(b"torn")
    assert repository.sweep_orphans() == []
    assert sorted(repository.sweep_orphans(min_age_s=0.0)) == ["ab12", "ab34.tmp"]
    view = LabelRepository(
        open_database(address_in(tmp_path)), tmp_path / "packs", "v", LEVELS
    ).at()
    assert view.object(1).voxels == np.count_nonzero(view.read(view.bounds))


def test_negative_counts_are_refused(repository: LabelRepository) -> None:
    for call in (
        lambda: repository.reserve_ids(-1),
        lambda: repository.operations(since=-1),
        lambda: repository.reserve_ids(2**63),
    ):
        with pytest.raises(SegmentationError):
            call()


def test_times_never_run_backwards_whatever_the_clocks_of_hosts_say(
    repository: LabelRepository, tmp_path: Path
) -> None:
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    clocks = iter([noon, noon - timedelta(minutes=5), noon + timedelta(minutes=1)])
    told = LabelRepository(
        repository._engine, tmp_path / "packs", "other", repository.levels, clock=lambda: noon
    )
    told._clock = lambda: next(clocks)
    for _ in range(3):
        told.commit(Delta(told.head, None), OperationMeta("merge", "ann"))
    times = [operation.time for operation in reversed(told.operations())]
    assert times == sorted(times)
    assert times[0] == times[1] < times[2]
    assert told.version_at(noon - timedelta(seconds=1)) == 0
    assert told.version_at(noon) == 2
    assert told.version_at(noon + timedelta(hours=1)) == 3
