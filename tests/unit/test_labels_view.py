"""A view answers for its version only: chunks, their names, objects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from databases import address_in
from label_volumes import Editor

from segmentation_backend.database import open_database
from segmentation_backend.errors import ErrorKind, InvalidInputError, NotFoundError
from segmentation_backend.geometry import Roi
from segmentation_backend.labels import LabelRepository

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def editor(tmp_path: Path) -> Editor:
    editor = Editor(tmp_path)
    editor.boxes((0, 0, 0), (0, 0, 20), (0, 80, 0), (20, 60, 60))
    return editor


def etags(editor: Editor, version: int | None = None) -> dict[tuple[int, ...], str]:
    view = editor.repository.at(version)
    return {
        (level.level, *at): view.chunk_etag(level.level, at)
        for level in view.levels
        for at in np.ndindex(*(-(-n // 64) for n in level.shape))
    }


def chunks(editor: Editor, version: int) -> dict[tuple[int, ...], bytes]:
    view = editor.repository.at(version)
    found = {key: view.chunk(key[0], key[1:]) for key in etags(editor, version)}
    return {key: b"" if c is None else c.tobytes() for key, c in found.items()}


def test_chunks_are_clipped_to_the_volume(editor: Editor) -> None:
    view = editor.repository.at()
    chunk = view.chunk(0, (0, 1, 0))
    assert chunk is not None
    assert chunk.shape == (40, 64, 64)
    assert np.array_equal(chunk, view.read(Roi((0, 64, 0), (40, 64, 64))))
    assert view.chunk(0, (0, 2, 1)) is None


@pytest.mark.parametrize("at", [(0, 3, 0), (1, 0, 0), (-1, 0, 0)])
def test_chunks_outside_the_volume_are_refused(editor: Editor, at: tuple[int, int, int]) -> None:
    for read in (editor.repository.at().chunk, editor.repository.at().chunk_etag):
        with pytest.raises(InvalidInputError) as caught:
            read(0, at)
        assert caught.value.kind == ErrorKind.ROI_OUT_OF_BOUNDS


def test_an_etag_changes_exactly_where_the_chunk_does(editor: Editor) -> None:
    editor.merge(1, 3)
    editor.merge(2, 4)
    editor.split([(5, 5, 22)], [(5, 5, 27)])
    editor.boxes((0, 0, 90))
    for version in range(1, editor.repository.head + 1):
        old, new = chunks(editor, version - 1), chunks(editor, version)
        before, after = etags(editor, version - 1), etags(editor, version)
        for key in old:
            assert (before[key] == after[key]) == (old[key] == new[key]), (version, key)


def test_an_etag_is_the_same_in_every_process_and_after_an_undo(
    editor: Editor, tmp_path: Path
) -> None:
    first = etags(editor)
    editor.merge(1, 3)
    assert etags(editor) != first
    editor.undo(2)
    assert etags(editor) == etags(Editor(tmp_path)) == first


def test_objects_are_sorted_and_limited(editor: Editor) -> None:
    editor.merge(3, 4)
    view = editor.repository.at()
    assert [(o.root, o.voxels) for o in view.objects()] == [(3, 2000), (1, 1000), (2, 1000)]
    assert [o.root for o in view.objects(sort="voxels")] == [1, 2, 3]
    assert [o.root for o in view.objects(sort="root")] == [1, 2, 3]
    assert [o.root for o in view.objects(sort="-root", limit=2)] == [3, 2]
    assert view.objects(limit=0) == []


def test_objects_of_a_region_are_whole_objects(editor: Editor) -> None:
    editor.merge(3, 4)
    view = editor.repository.at()
    found = view.objects(roi=Roi((20, 60, 60), (5, 5, 5)))
    assert [(o.root, o.voxels) for o in found] == [(3, 2000)]
    assert view.objects(roi=Roi((15, 15, 15), (5, 5, 5))) == []
    assert [o.root for o in editor.repository.at(1).objects(roi=Roi((20, 60, 60), (5, 5, 5)))] == [
        4
    ]


@pytest.mark.parametrize(("sort", "limit"), [("size", 5), ("", 5), ("voxels", -1)])
def test_unknown_orders_are_refused(editor: Editor, sort: str, limit: int) -> None:
    with pytest.raises(InvalidInputError) as caught:
        editor.repository.at().objects(sort=sort, limit=limit)
    assert caught.value.kind == ErrorKind.INVALID_PARAMETER


def test_objects_that_do_not_exist_at_this_version_are_not_found(editor: Editor) -> None:
    editor.boxes((20, 0, 0))
    assert editor.repository.at().object(5).voxels == 1000
    with pytest.raises(NotFoundError) as caught:
        editor.repository.at(1).object(5)
    assert caught.value.kind == ErrorKind.OBJECT_NOT_FOUND
    with pytest.raises(InvalidInputError) as refused:
        editor.repository.at().object(0)
    assert refused.value.kind == ErrorKind.BACKGROUND_NOT_AN_OBJECT


def test_points_name_supervoxels_and_objects(editor: Editor) -> None:
    editor.merge(1, 4)
    view = editor.repository.at()
    assert view.supervoxel_at((25, 65, 65)) == 4
    assert view.root_at((25, 65, 65)) == 1
    assert view.root_at((39, 0, 0)) == 0
    with pytest.raises(InvalidInputError):
        view.root_at((40, 0, 0))


def test_what_a_caller_reads_is_the_callers_own(editor: Editor) -> None:
    view = editor.repository.at()
    for read in (view.read, view.read_supervoxels):
        array = read(view.bounds)
        array[...] = 9
        assert view.root_at((0, 0, 0)) == 1
    chunk = view.chunk(0, (0, 0, 0))
    assert chunk is not None
    chunk[...] = 9
    assert view.root_at((0, 0, 0)) == 1


def test_reads_work_when_the_cache_holds_nothing(tmp_path: Path, editor: Editor) -> None:
    cold = LabelRepository(
        open_database(address_in(tmp_path)),
        tmp_path / "packs",
        "v",
        editor.levels,
        cache_bytes=0,
    )
    view = cold.at()
    assert np.array_equal(view.read(view.bounds), editor.voxels())
    assert view.chunk_etag(0, (0, 0, 0)) == etags(editor)[0, 0, 0, 0]


def test_the_name_of_a_region_changes_only_with_the_chunks_it_spans(editor: Editor) -> None:
    near, far = Roi((0, 0, 0), (40, 64, 64)), Roi((0, 64, 0), (40, 64, 64))
    both = near.union(far)
    view = editor.repository.at()
    before = [view.etag(roi) for roi in (near, far, both)]
    assert len(set(before)) == 3
    editor.merge(1, 2)
    view = editor.repository.at()
    after = [view.etag(roi) for roi in (near, far, both)]
    assert [a == b for a, b in zip(before, after, strict=True)] == [False, True, False]


def test_outside_of_written_chunks_there_is_no_label(editor: Editor) -> None:
    editor.undo(1)
    editor.boxes((10, 100, 60))
    for version in range(editor.repository.head + 1):
        view = editor.repository.at(version)
        written = view.written_chunks(1000)
        assert written is not None
        labelled = {key for key, content in chunks(editor, version).items() if content}
        assert labelled <= {tuple(key) for key in written}
    assert editor.repository.at(0).written_chunks(1000) == set()
    assert len(written) < len(etags(editor))
    assert view.written_chunks(len(written) // 2) is None
