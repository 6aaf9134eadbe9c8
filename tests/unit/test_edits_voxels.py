"""The builder behind every edit that writes voxels: what it is given, and nothing more."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from label_volumes import Editor

from segmentation_backend.edits.voxels import write_voxels
from segmentation_backend.geometry import Roi
from segmentation_backend.labels import ChunkKey, Delta

KEY = ChunkKey(0, 0, 0, 0)


@pytest.fixture
def editor(tmp_path: Path) -> Editor:
    editor = Editor(tmp_path)
    editor.boxes((0, 0, 0), (0, 0, 20))
    return editor


def filled(value: int, *shape: int) -> np.ndarray:
    return np.full(shape, value, dtype=np.uint64)


def test_several_blocks_of_a_chunk_are_one_change(editor: Editor) -> None:
    writes = {KEY: [((0, 0, 8), filled(2, 2, 2, 2)), ((30, 30, 30), filled(7, 1, 2, 3))]}
    delta = write_voxels(editor.repository.at(), writes)
    assert delta.bbox == Roi.from_bounds((0, 0, 8), (31, 32, 33))
    assert delta.moved == {(1, 2)}
    assert set(delta.statistics) == {1, 2, 7}
    after = {s: change.after for s, change in delta.statistics.items()}
    assert after[7] is not None
    assert after[7].sums == (180, 183, 186)
    assert after[1] is not None
    assert (after[1].voxels, after[1].bbox) == (992, Roi((0, 0, 0), (10, 10, 10)))
    editor.commit(delta, "test")
    assert editor.repository.at().object(2).voxels == 1008


def test_voxels_that_hold_their_id_already_make_no_change(editor: Editor) -> None:
    delta = write_voxels(editor.repository.at(), {KEY: [((0, 0, 0), filled(1, 5, 5, 5))]})
    assert delta == Delta(base_version=1)
    assert write_voxels(editor.repository.at(), {}).is_empty


def test_a_stream_is_read_once_and_only_as_fast_as_it_is_used(editor: Editor) -> None:
    view = editor.repository.at()
    made: list[ChunkKey] = []

    def stream():
        for y in range(2):
            for x in range(2):
                key = ChunkKey(0, 0, y, x)
                made.append(key)
                yield key, [((0, 0, 0), filled(9, 1, 1, 1))]

    delta = write_voxels(view, stream())
    assert len(made) == 4
    after = delta.statistics[9].after
    assert after is not None
    assert after.bbox == Roi.from_bounds((0, 0, 0), (1, 65, 65))


def test_only_the_layers_where_the_box_shrinks_are_read(editor: Editor) -> None:
    editor.paint(np.ones(editor.shape, dtype=np.uint32), existing="fill-empty")
    view = editor.repository.at()
    asked: list[ChunkKey] = []
    load = view.load_chunks
    view.load_chunks = lambda keys: asked.extend(keys) or load(keys)  # type: ignore[method-assign]
    # Some of the last plane of object 3 along x.
    delta = write_voxels(view, {ChunkKey(0, 0, 0, 1): [((5, 5, 35), filled(0, 3, 3, 1))]})
    assert {key.x for key in asked} == {1}
    assert delta.statistics[3].after is not None
    assert delta.statistics[3].after.bbox == Roi((0, 0, 0), editor.shape)
    asked.clear()
    # Inside the box nothing can shrink: nothing is read.
    write_voxels(view, {ChunkKey(0, 0, 1, 0): [((5, 5, 5), filled(0, 3, 3, 3))]})
    assert not asked
