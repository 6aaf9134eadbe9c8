"""What a block comes to: its objects, how sure they are, and nothing of its neighbours."""

import numpy as np
import pytest
from stand_in_network import Blobs, Grey, Source, cloudy

from segmentation_backend.geometry import Roi
from segmentation_backend.inference.blocks import Recipe, segment_block, segment_blocks
from segmentation_backend.inference.cache import BlockCache
from segmentation_backend.inference.grid import BlockGrid, Tiling
from segmentation_backend.inference.panoptic import segment_maps
from segmentation_backend.inference.parameters import InferenceParameters
from segmentation_backend.inference.planes import normalise, predict_maps
from segmentation_backend.inference.results import BlockResult

BOUNDS = Roi((0, 0, 0), (50, 140, 110))
TILING = Tiling(side=96, halo=32)
MODES = ["slice", "stack", "orthoplane"]
SMALL = InferenceParameters(min_size=50, min_extent=3)


def source(bounds=BOUNDS):
    return Source(cloudy(bounds.shape, size=2.5), bounds)


def grid(mode, plane="xy", bounds=BOUNDS):
    return BlockGrid(bounds, mode, plane, TILING)


def recipe(**more):
    return Recipe(Blobs(), Grey(), **({"parameters": SMALL} | more))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("plane", ["xy", "xz", "yz"])
def test_a_result_is_made_of_what_its_block_reaches(mode, plane):
    volume = source()
    block = grid(mode, plane).block((1, 1, 1))
    first = segment_block(volume.read, block, recipe())
    assert volume.boxes == [block.reach]
    assert first.labels.shape == block.box.shape
    assert first.labels.dtype == np.uint32
    assert first.count == first.labels.max() == len(np.unique(first.labels)) - 1 > 1

    other = np.full(BOUNDS.shape, 7, np.uint8)
    other[block.reach.slices()] = volume.array[block.reach.slices()]
    second = segment_block(Source(other, BOUNDS).read, block, recipe())
    np.testing.assert_array_equal(first.labels, second.labels)


def test_a_slice_is_the_sections_own_tile():
    bounds = Roi((0, 0, 0), (3, 96, 90))
    volume = source(bounds)
    (block,) = grid("slice", bounds=bounds).blocks(Roi((1, 0, 0), (1, 5, 5)))
    found = segment_block(volume.read, block, recipe())
    section = normalise(volume.array[1], Grey())
    maps = predict_maps(section, Blobs(), SMALL, TILING)
    np.testing.assert_array_equal(found.labels[0], segment_maps(maps, SMALL))


@pytest.mark.parametrize("mode", MODES)
def test_probability_and_agreement_are_means_over_voxels(mode):
    bounds = Roi((0, 0, 0), (30, 46, 40))
    (block,) = grid(mode, bounds=bounds).blocks(Roi((4, 4, 4), (1, 1, 1)))
    found = segment_block(source(bounds).read, block, recipe(keep_maps=True))
    assert found.probability.dtype == found.agreement.dtype == np.float32
    assert found.count > 1
    for number in range(1, found.count + 1):
        mean = found.maps.probability[found.core_labels == number].mean() / 255
        assert found.probability[number - 1] == pytest.approx(mean, abs=0.003)
        assert 0.4 < mean <= 1
    if mode == "orthoplane":
        assert (found.agreement >= 2 / 3).all()
        assert found.agreement.min() < 1
    else:
        assert (found.agreement == 1).all()


@pytest.mark.parametrize("mode", MODES)
def test_maps_are_kept_where_wanted_and_cover_the_core(mode):
    block = grid(mode).block((1, 2, 1))
    assert segment_block(source().read, block, recipe()).maps is None
    maps = segment_block(source().read, block, recipe(keep_maps=True)).maps
    for values in (maps.probability, maps.centres):
        assert values.shape == block.core.shape
        assert values.dtype == np.uint8
        assert values.max() > values.min()


def test_the_maps_of_a_slice_are_those_of_the_network():
    bounds = Roi((0, 0, 0), (1, 96, 90))
    volume = source(bounds)
    (block,) = grid("slice", bounds=bounds).blocks(bounds)
    found = segment_block(volume.read, block, recipe(keep_maps=True)).maps
    maps = predict_maps(normalise(volume.array[0], Grey()), Blobs(), SMALL, TILING)
    np.testing.assert_array_equal(found.probability[0], np.rint(maps.probability * 255))
    heat = np.rint(np.clip(maps.centres, 0, 1) * 255)
    np.testing.assert_array_equal(found.centres[0, ::4, ::4], heat[:, :23])


def test_small_objects_go_unless_the_blocks_edge_cuts_them():
    bounds = Roi((0, 0, 0), (40, 64, 200))
    array = np.full(bounds.shape, 60, np.uint8)
    boxes = [
        Roi((10, 20, 10), (20, 20, 20)),  # large
        Roi((10, 50, 20), (6, 8, 8)),  # small
        Roi((10, 20, 74), (6, 8, 30)),  # small in the first block's box, which ends at 80
        Roi((0, 0, 40), (6, 8, 8)),  # small, at the volume's own edge
    ]
    for box in boxes:
        array[box.slices()] = 250
    volume = Source(array, bounds)
    block = grid("stack", bounds=bounds).block((0, 0, 1))
    assert block.box.end[2] == 80
    blobs = Recipe(Blobs(0.0), Grey(), InferenceParameters(min_size=500, semantic_only=True))
    labels = segment_block(volume.read, block, blobs).labels
    kept = [bool(labels[b.intersect(block.box).slices(block.box.offset)].any()) for b in boxes]
    assert kept == [True, False, True, False]


def test_sections_are_counted_over_all_planes():
    told = []
    block = grid("orthoplane").block((0, 1, 1))
    segment_block(source().read, block, recipe(), told.append)
    assert told == list(range(1, block.sections + 1))


def test_an_error_from_the_callback_ends_the_run_and_leaves_finished_blocks(tmp_path):
    volume, cache = source(), BlockCache(tmp_path).run({})
    blocks = grid("stack").blocks(BOUNDS)

    def cancel(place, sections):
        if place == 2:
            raise InterruptedError

    found = []
    with pytest.raises(InterruptedError):
        found.extend(segment_blocks(volume.read, blocks, recipe(), cache, cancel))
    assert len(volume.boxes) <= 4
    assert [cache.find(b) is not None for b in blocks[:3]] == [True, True, False]


@pytest.mark.parametrize("mode", MODES)
def test_known_blocks_are_neither_read_nor_computed(mode, tmp_path):
    cache = BlockCache(tmp_path).run({"image": "a"})
    blocks = grid(mode).blocks(Roi((0, 30, 30), (1, 60, 60)))
    first = list(segment_blocks(source().read, blocks, recipe(), cache))
    volume, again = source(), recipe()
    second = list(segment_blocks(volume.read, blocks[::-1], again, cache))[::-1]
    assert volume.boxes == []
    assert again.network.shapes == []
    for a, b in zip(first, second, strict=True):
        assert_equal_results(a, b)


def test_maps_that_are_missing_in_the_cache_are_made(tmp_path):
    cache = BlockCache(tmp_path).run({})
    blocks = grid("stack").blocks(Roi((0, 0, 0), (1, 1, 1)))
    (bare,) = segment_blocks(source().read, blocks, recipe(), cache)
    (rich,) = segment_blocks(source().read, blocks, recipe(keep_maps=True), cache)
    assert bare.maps is None
    assert rich.maps is not None
    assert_equal_results(cache.find(blocks[0]), rich)


def test_a_result_survives_being_bytes():
    block = grid("orthoplane").block((0, 1, 0))
    found = segment_block(source().read, block, recipe(keep_maps=True))
    assert_equal_results(BlockResult.from_bytes(found.to_bytes(), block), found)


def assert_equal_results(a, b):
    assert a.block == b.block
    assert (a.maps is None) == (b.maps is None)
    for name in ("labels", "probability", "agreement"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        assert getattr(a, name).dtype == getattr(b, name).dtype
    if a.maps is not None:
        np.testing.assert_array_equal(a.maps.probability, b.maps.probability)
        np.testing.assert_array_equal(a.maps.centres, b.maps.centres)
