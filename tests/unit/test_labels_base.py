"""Labels over a base: levels and chunks, ids that never collide, errors that are never zeros."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from databases import address_in
from label_bases import ArrayReader, base_of, block_of, reader_of, repository_over

from segmentation_backend.database import open_database
from segmentation_backend.edits import merge, revert, split, undo
from segmentation_backend.edits.delete import delete
from segmentation_backend.errors import (
    ConflictError,
    ErrorKind,
    FormatError,
    ResourceError,
    SegmentationError,
)
from segmentation_backend.geometry import Coordinate, Roi, ScaleLevel, plan_levels
from segmentation_backend.labels import (
    ChunkKey,
    LabelBase,
    LabelRepository,
    OperationMeta,
    describe_base,
)
from segmentation_backend.labels.base_levels import plan_base_levels

SHAPE = (70, 150, 200)
BOXES = [(5, (10, 10, 10), (20, 30, 40)), (7, (10, 100, 100), (20, 40, 90))]
UNAVAILABLE = ResourceError("The bucket does not answer.", ErrorKind.SOURCE_UNAVAILABLE)


def two_boxes(dtype: str = "uint32") -> np.ndarray:
    return block_of(SHAPE, BOXES, dtype)


def meta(kind: str, **more: object) -> OperationMeta:
    return OperationMeta(kind, "ann", **more)  # type: ignore[arg-type]


def levels_of(*rows: tuple[float, Coordinate]) -> list[ScaleLevel]:
    return [ScaleLevel(k, (edge, edge, edge), shape) for k, (edge, shape) in enumerate(rows)]


# Levels


def test_published_levels_that_round_down_are_taken_and_three_more_are_computed() -> None:
    kidney = levels_of(
        (16, (11099, 3988, 6143)),
        (32, (5549, 1994, 3071)),
        (64, (2774, 997, 1535)),
        (128, (1387, 498, 767)),
    )
    plan = plan_base_levels(kidney)
    assert [planned.stored for planned in plan] == [0, 1, 2, 3, None, None, None]
    assert [planned.level.shape for planned in plan][1:4] == [
        (5550, 1994, 3072),
        (2775, 997, 1536),
        (1388, 499, 768),
    ]
    assert plan[-1].level.voxel_size == (1024, 1024, 1024)


def test_levels_between_stored_ones_are_computed() -> None:
    plan = plan_base_levels(levels_of((8, (400, 300, 200)), (32, (100, 75, 50))))
    assert [planned.stored for planned in plan][:3] == [0, None, 1]
    assert plan[1].level.shape == (200, 150, 100)


def test_arrays_that_do_not_fit_are_left_out() -> None:
    plan = plan_base_levels(
        levels_of((8, (400, 300, 200)), (24, (133, 100, 67)), (16, (190, 150, 100)))
    )
    assert [planned.stored for planned in plan] == [0, None, None, None]


def test_anisotropic_labels_grow_towards_cubes_as_images_do() -> None:
    level = ScaleLevel(0, (40.0, 4.0, 4.0), (50, 4000, 4000))
    plan = plan_base_levels([level])
    assert [planned.level for planned in plan] == list(plan_levels(level.shape, level.voxel_size))[
        :4
    ]


def test_small_labels_need_no_further_level() -> None:
    assert len(plan_base_levels(levels_of((8, (64, 10, 64))))) == 1


# Chunks


@pytest.mark.parametrize("chunk", [(64, 64, 64), (128, 128, 128), (1, 150, 200), (50, 33, 100)])
@pytest.mark.parametrize("stored", [1, 2, 3])
def test_every_level_reads_as_the_naive_mode_of_the_one_below(
    tmp_path: Path, stored: int, chunk: Coordinate
) -> None:
    rng = np.random.default_rng(stored)
    labels = rng.integers(0, 4, (35, 75, 100)).repeat(2, 0).repeat(2, 1).repeat(2, 2)
    voxel_size = (16.0, 8.0, 8.0)
    whole = reader_of(labels, voxel_size, stored=6).arrays
    base = base_of(reader_of(labels, voxel_size, stored, chunk))
    repository = repository_over(tmp_path, base)
    view = repository.at()
    assert len(view.levels) >= min(stored + 1, 3)
    for level in view.levels:
        everything = Roi((0, 0, 0), level.shape)
        assert np.array_equal(view.read(everything, level.level), whole[level.level])
    inside = Roi((3, 60, 120), (66, 70, 79))
    assert np.array_equal(view.read(inside), labels[inside.slices()])


def test_beyond_a_level_that_rounds_down_is_background(tmp_path: Path) -> None:
    labels = np.ones((69, 71, 140), dtype=np.uint16)
    reader = reader_of(labels, stored=2)
    reader.arrays[1] = reader.arrays[1][:-1, :-1]
    reader.levels = (reader.levels[0], replace(reader.levels[1], shape=(34, 35, 70)))
    view = repository_over(tmp_path, base_of(reader)).at()
    coarse = view.read(Roi((0, 0, 0), (35, 36, 70)), 1)
    assert (coarse[:34, :35] == 1).all()
    assert not coarse[34].any()
    assert not coarse[:, 35].any()


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"])
def test_ids_stay_what_they_are_and_new_ones_begin_above(tmp_path: Path, dtype: str) -> None:
    highest = min(np.iinfo(dtype).max, 2**62 - 1)
    labels = np.zeros((8, 9, 10), dtype=dtype)
    labels[1, 2, 3], labels[4:] = highest, 1
    repository = repository_over(tmp_path, base_of(reader_of(labels)))
    assert repository.at().root_at((1, 2, 3)) == highest
    assert repository.at().object(highest).voxels == 1
    first = repository.reserve_ids(1)
    assert first == min(2 ** (8 * np.dtype(dtype).itemsize), 2**62)
    assert first > highest


@pytest.mark.parametrize(("dtype", "wrong"), [("i2", -3), ("i8", -1), ("u8", 2**62), ("i8", 2**62)])
def test_ids_that_cannot_be_edited_are_refused_where_they_are_met(
    tmp_path: Path, dtype: str, wrong: int
) -> None:
    labels = np.zeros((8, 130, 200), dtype=dtype)
    labels[2:4, 10:20, 10:20] = 1
    labels[7, 129, 199] = wrong
    repository = repository_over(tmp_path, base_of(reader_of(labels)))
    view = repository.at()
    assert view.root_at((2, 10, 10)) == 1
    with pytest.raises(FormatError, match=str(wrong)) as error:
        view.read(view.bounds)
    assert error.value.kind == ErrorKind.UNSUPPORTED_DTYPE


def test_one_large_chunk_of_the_base_is_read_once_for_all_of_ours() -> None:
    reader = reader_of(np.ones((128, 128, 256), dtype=np.uint8), chunk=(128, 128, 128))
    base = base_of(reader)
    assert base.reader is reader
    reader.reads.clear()
    keys = [ChunkKey(0, z, y, x) for z in (0, 1) for y in (0, 1) for x in (0, 1)]
    assert all((chunk.block == 1).all() for chunk in base.load(keys).values())
    assert base.load([ChunkKey(0, 1, 1, 1)])
    assert reader.reads == [(0, Roi((0, 0, 0), (128, 128, 128)))]


def test_threads_that_want_the_same_chunk_wait_for_one_reading() -> None:
    reader = reader_of(np.ones((128, 128, 128), dtype=np.uint8), chunk=(128, 128, 128))
    # Nothing fits into the memory: only readings that overlap in time are shared.
    base = base_of(reader, cache_bytes=1)
    assert base.reader is reader
    reader.reads.clear()
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(base.load, [[ChunkKey(0, 0, 0, 0)]] * 64))
    assert len(reader.reads) < 64
    assert not base._reading


def test_memory_for_chunks_is_bounded() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(1, 9, (64, 64, 640)).astype(np.uint8)
    base = base_of(reader_of(labels), cache_bytes=5 * 2**20)
    for x in range(10):
        base.load([ChunkKey(0, 0, 0, x)])
    assert base._chunks._size <= 5 * 2**20
    assert len(base._chunks._values) == 2


# Errors


def test_what_cannot_be_read_is_an_error_that_is_not_remembered(tmp_path: Path) -> None:
    reader = reader_of(two_boxes(), stored=2)
    repository = repository_over(tmp_path, base_of(reader))
    view = repository.at()
    assert view.root_at((15, 15, 15)) == 5
    reader.failure = UNAVAILABLE
    attempts: list[Callable[[], object]] = [
        lambda: view.read(Roi((0, 80, 80), (64, 64, 64))),
        lambda: view.read(Roi((0, 0, 0), view.levels[-1].shape), len(view.levels) - 1),
        lambda: view.chunk(0, (0, 1, 1)),
        lambda: view.chunk_etag(0, (0, 1, 1)),
        lambda: view.root_at((15, 105, 105)),
        lambda: merge(view, [5, 7]),
        lambda: delete(view, [5]),
    ]
    for attempt in attempts:
        with pytest.raises(ResourceError) as error:
            attempt()
        assert error.value.kind == ErrorKind.SOURCE_UNAVAILABLE
    assert repository.head == 0
    reader.failure = None
    assert np.array_equal(view.read(view.bounds), two_boxes())
    repository.commit(merge(view, [5, 7]), meta("merge"))
    assert repository.at().root_at((15, 105, 105)) == 5


def test_labels_that_are_gone_as_a_whole_do_not_look_empty(tmp_path: Path) -> None:
    reader = reader_of(two_boxes())
    repository = repository_over(tmp_path, base_of(reader))
    assert repository.at().root_at((15, 15, 15)) == 5
    reader.arrays = [np.zeros_like(two_boxes())]
    reader.is_gone = UNAVAILABLE
    empty = Roi((64, 128, 0), (6, 20, 64))
    with pytest.raises(ResourceError):
        repository.at().read(empty)
    reader.is_gone = None
    assert not repository.at().read(empty).any()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda a: np.where(a == 7, 9, a).astype(a.dtype), "differ"),
        (lambda a: a[:-1], "levels"),
        (lambda a: a.astype(np.uint64), "dtype"),
    ],
)
def test_another_base_than_was_registered_is_refused(
    tmp_path: Path, change: Callable[[np.ndarray], np.ndarray], named: str
) -> None:
    before, after = reader_of(two_boxes()), reader_of(change(two_boxes()))
    base = LabelBase(describe_base(before), lambda: after)
    repository = repository_over(tmp_path, base)
    with pytest.raises(FormatError, match=named) as error:
        repository.at().read(Roi((0, 0, 0), (1, 1, 1)))
    assert error.value.kind == ErrorKind.BASE_CHANGED


def test_a_base_that_fails_while_it_is_recognised_is_recognised_later(tmp_path: Path) -> None:
    reader = reader_of(two_boxes())
    base = LabelBase(describe_base(reader), lambda: reader)
    repository = repository_over(tmp_path, base)
    reader.failure = UNAVAILABLE
    with pytest.raises(ResourceError):
        repository.at().root_at((15, 15, 15))
    reader.failure = None
    assert repository.at().root_at((15, 15, 15)) == 5


def test_a_volume_keeps_the_base_it_began_with(tmp_path: Path) -> None:
    first, second = base_of(reader_of(two_boxes())), base_of(reader_of(two_boxes() * 2))
    repository_over(tmp_path, first)
    repository_over(tmp_path, first)
    engine = open_database(tmp_path / "labels.sqlite")
    for base in (second, None):
        with pytest.raises(ConflictError) as error:
            LabelRepository(engine, tmp_path / "packs", "v", first.levels, base=base)
        assert error.value.kind == ErrorKind.NAME_TAKEN
    begun = LabelRepository(engine, tmp_path / "packs", "begun", first.levels)
    begun.reserve_ids(1)
    with pytest.raises(ConflictError):
        LabelRepository(engine, tmp_path / "packs", "begun", first.levels, base=first)


# Edits


@pytest.fixture
def repository(tmp_path: Path, database: str) -> LabelRepository:
    del database
    return repository_over(
        tmp_path, base_of(reader_of(two_boxes(), stored=2)), address_in(tmp_path)
    )


def whole(repository: LabelRepository, version: int | None = None) -> np.ndarray:
    view = repository.at(version)
    return view.read_supervoxels(view.bounds)


def rows(repository: LabelRepository, version: int) -> list[str | None]:
    """Return the packs of the chunks that an operation wrote."""
    engine = repository._storage.engine
    with engine.connect() as connection:
        query = f"SELECT pack FROM label_chunks WHERE operation_id = {version}"
        return [row[0] for row in connection.exec_driver_sql(query)]


def test_a_merge_joins_ids_of_the_base_and_copies_nothing(repository: LabelRepository) -> None:
    operation = repository.commit(merge(repository.at(), [5, 7]), meta("merge"))
    assert rows(repository, operation.version) == []
    assert operation.bbox == Roi((10, 10, 10), (20, 130, 180))
    assert repository.at().object(7).voxels == 20 * 30 * 40 + 20 * 40 * 90
    assert repository.at().root_at((15, 105, 105)) == 5
    assert repository.at(0).root_at((15, 105, 105)) == 7


def test_an_erased_chunk_is_empty_and_an_undo_reads_through_again(
    repository: LabelRepository,
) -> None:
    done = repository.commit(delete(repository.at(), [7]), meta("delete"))
    assert None not in rows(repository, done.version)
    assert np.array_equal(whole(repository), np.where(two_boxes() == 7, 0, two_boxes()))
    assert repository.at().chunk(0, (0, 1, 2)) is None
    undone = undo(repository.at(), done, repository.delta(done.version))
    back = repository.commit(undone, meta("undo", undoes=done.version))
    assert set(rows(repository, back.version)) == {None}
    assert np.array_equal(whole(repository), two_boxes())
    assert repository.at().object(7).voxels == 20 * 40 * 90
    redone = undo(repository.at(), back, repository.delta(back.version))
    repository.commit(redone, meta("redo", undoes=back.version))
    assert 7 not in whole(repository)


def test_cut_off_pieces_get_new_ids_and_reverting_to_version_0_brings_the_base_back(
    repository: LabelRepository,
) -> None:
    groups = [[(15, 110, 110)], [(15, 110, 180)]]
    done = repository.commit(split(repository.at(), groups, repository.reserve_ids), meta("split"))
    assert set(done.added_roots) == {7, 2**32}
    sizes = [repository.at().object(root).voxels for root in (7, 2**32)]
    assert sum(sizes) == 20 * 40 * 90
    assert set(np.unique(whole(repository))) == {0, 5, 7, 2**32}
    other = repository.create_branch("other", "ann")
    repository.commit(revert(repository.at(), 0), meta("revert"))
    assert np.array_equal(whole(repository), two_boxes())
    with pytest.raises(SegmentationError):
        repository.at().object(2**32)
    on_branch = repository.branch(other.name)
    assert set(np.unique(whole(on_branch))) == {0, 5, 7, 2**32}
    assert on_branch.at().object(2**32).voxels == sizes[1]


def test_an_edit_costs_the_same_however_large_the_base_is(tmp_path: Path) -> None:
    reads = {}
    for side in (256, 2048):
        reader = FarReader((side, side, side))
        repository = repository_over(tmp_path / str(side), base_of(reader))  # type: ignore[arg-type]
        reader.reads.clear()
        points = [(10, 10, 10), (104, 104, 104)]
        ids = [repository.at().supervoxel_at(point) for point in points]
        repository.commit(merge(repository.at(), ids), meta("merge"))
        assert repository.at().root_at(points[1]) == ids[0]
        reads[side] = sum(roi.size for _, roi in reader.reads)
    assert reads[2048] == reads[256]


def test_computed_levels_are_made_once(tmp_path: Path) -> None:
    labels = np.random.default_rng(3).integers(0, 3, (64, 300, 300)).astype(np.uint8)
    reader = reader_of(labels)

    def chunk_of(key: ChunkKey) -> np.ndarray:
        reader.reads.clear()
        base = LabelBase(describe_base(reader), lambda: reader, cache_dir=tmp_path)
        assert base.reader is reader
        reader.reads.clear()
        return base.load([key])[key].block

    second = ChunkKey(2, 0, 0, 0)
    first = chunk_of(second)
    assert len(reader.reads) == 16
    assert np.array_equal(chunk_of(second), first)
    assert reader.reads == []
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(kept) == 1
    # A file that did not survive is no label.
    kept[0].write_bytes(bytes(kept[0].stat().st_size))
    assert np.array_equal(chunk_of(second), first)
    assert len(reader.reads) == 16


class FarReader(ArrayReader):
    """Labels that are computed where they are read: a lattice of cubes of 16 voxels."""

    def __init__(self, shape: Coordinate) -> None:
        self.levels = plan_levels(shape, (8.0, 8.0, 8.0), max_levels=1)
        self.chunks = ((64, 64, 64),)
        self.arrays = [np.zeros((1, 1, 1), dtype=np.uint64)]
        self.reads = []

    def read(self, roi: Roi, level: int) -> np.ndarray:
        self.reads.append((level, roi))
        axes = [np.arange(a, b, dtype=np.uint64) for a, b in zip(roi.offset, roi.end, strict=True)]
        z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
        cube = ((z // 32) * 4096 + y // 32) * 4096 + x // 32 + 1
        inside = (z % 32 < 16) & (y % 32 < 16) & (x % 32 < 16)
        return np.where(inside, cube, 0).astype(np.uint64)

    def check_present(self, level: int) -> None:
        """Be always there."""
