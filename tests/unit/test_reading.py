"""Chunks are read once, and the next block while one is computed."""

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stand_in_network import Blobs, Grey, Source, cloudy

from segmentation_backend.geometry import Roi
from segmentation_backend.inference.blocks import Recipe, segment_blocks
from segmentation_backend.inference.grid import BlockGrid, Tiling
from segmentation_backend.inference.parameters import InferenceParameters
from segmentation_backend.inference.reading import RegionCache, look_ahead


class Chunked(Source):
    """Counts how often each chunk of a store would be fetched."""

    def __init__(self, array, bounds, chunk):
        super().__init__(array, bounds)
        self.chunk = chunk
        self.fetched = np.zeros([-(-s // c) for s, c in zip(array.shape, chunk, strict=True)], int)

    def read(self, roi):
        voxels = super().read(roi)
        cells = roi.shift([-o for o in self.bounds.offset]).snap_out(self.chunk)
        self.fetched[
            tuple(
                slice(a // c, b // c)
                for a, b, c in zip(cells.offset, cells.end, self.chunk, strict=True)
            )
        ] += 1
        return voxels


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_the_cache_reads_what_is_there_and_each_chunk_once(data):
    offset = tuple(data.draw(st.integers(0, 9)) for _ in range(3))
    shape = tuple(data.draw(st.integers(1, 40)) for _ in range(3))
    chunk = tuple(data.draw(st.integers(1, 16)) for _ in range(3))
    array = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    source = Chunked(array, Roi(offset, shape), chunk)
    cache = RegionCache(source.read, source.bounds, chunk)
    for _ in range(4):
        low = [data.draw(st.integers(0, s - 1)) for s in shape]
        high = [data.draw(st.integers(a + 1, s)) for a, s in zip(low, shape, strict=True)]
        roi = Roi.from_bounds(low, high)
        found = cache.read(roi.shift(offset))
        np.testing.assert_array_equal(found, array[roi.slices()])
        found[:] = 0  # the caller's own
    assert source.fetched.max() <= 1


def test_the_cache_forgets_what_was_read_longest_ago():
    array = np.arange(8 * 4 * 4, dtype=np.uint8).reshape(8, 4, 4)
    source = Chunked(array, Roi((0, 0, 0), array.shape), (2, 4, 4))
    cache = RegionCache(source.read, source.bounds, (2, 4, 4), max_bytes=64)
    for z in (0, 2, 0, 4, 0, 2):
        np.testing.assert_array_equal(cache.read(Roi((z, 0, 0), (1, 4, 4))), array[z : z + 1])
    assert source.fetched.ravel().tolist() == [1, 2, 1, 0]


@pytest.mark.parametrize(
    ("mode", "plane"),
    [(m, p) for m in ("slice", "stack") for p in ("xy", "xz", "yz")] + [("orthoplane", "xy")],
)
def test_a_run_fetches_every_chunk_once_along_any_axis(mode, plane):
    bounds = Roi((0, 0, 0), (64, 96, 96))
    source = Chunked(cloudy(bounds.shape), bounds, (32, 32, 32))
    grid = BlockGrid(bounds, mode, plane, Tiling(side=96, halo=32))
    roi = Roi((20, 20, 20), (40, 40, 40)) if mode == "slice" else bounds
    cache = RegionCache(source.read, bounds, source.chunk)
    recipe = Recipe(Blobs(), Grey(), InferenceParameters())
    blocks = grid.blocks(roi)
    assert len(list(segment_blocks(cache.read, blocks, recipe))) == len(blocks)
    assert source.fetched.max() == 1


def test_blocks_read_a_box_once_and_not_section_by_section():
    bounds = Roi((0, 0, 0), (64, 64, 64))
    source = Chunked(cloudy(bounds.shape), bounds, (32, 32, 32))
    grid = BlockGrid(bounds, "orthoplane", "xy", Tiling(side=96, halo=32))
    recipe = Recipe(Blobs(), Grey(), InferenceParameters())
    (_, *_) = segment_blocks(source.read, grid.blocks(bounds)[:1], recipe)
    assert len(source.boxes) == 1
    assert source.fetched.max() == 1


def test_the_next_item_is_loaded_while_one_is_worked_on():
    begun = {n: threading.Event() for n in range(3)}

    def load(item):
        begun[item].set()
        return -item

    items = look_ahead(range(3), load)
    assert next(items) == (0, 0)
    assert begun[1].wait(5)
    assert list(items) == [(1, -1), (2, -2)]


def test_an_error_of_loading_comes_where_its_item_would():
    def load(item):
        if item == 2:
            raise OSError("disk")
        return item

    items = look_ahead(range(4), load)
    assert [next(items), next(items)] == [(0, 0), (1, 1)]
    with pytest.raises(OSError, match="disk"):
        next(items)


def test_stopping_does_not_wait_for_what_is_loading():
    release = threading.Event()

    def load(item):
        if item:
            release.wait(20)
        return item

    items = look_ahead(range(9), load)
    next(items)
    start = time.monotonic()
    items.close()
    assert time.monotonic() - start < 5
    release.set()
