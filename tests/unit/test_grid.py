"""The grid of tiles and blocks depends on the volume alone, and covers it once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.geometry import Roi
from segmentation_backend.inference.grid import PLANES, BlockGrid, Tiling, tiling_for

MODES = ["slice", "stack", "orthoplane"]
SMALL = Tiling(side=96, halo=32)
sides = st.integers(1, 150)


@given(length=st.integers(1, 3000), tiling=st.sampled_from([SMALL, Tiling(), Tiling(256, 32)]))
def test_tiles_reach_around_their_cores_and_begin_in_phase(length, tiling):
    axis = tiling.axis(length)
    spans = [axis.span(index) for index in range(axis.count)]
    assert [low for low, _ in spans] == [0, *(high for _, high in spans[:-1])]
    assert spans[-1][1] == length
    for index, (low, high) in enumerate(spans):
        assert low < high
        start, tile = tiling.window(length, low)
        assert start % 16 == 0
        assert tile % 16 == 0
        assert tile <= tiling.side
        assert start == 0 or start <= low - tiling.halo
        assert start + tile >= min(length, high + tiling.halo)
        assert start + tile < length + 16 or start == 0
        assert {axis.index_at(low), axis.index_at(high - 1)} == {index}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("factor", [16, 32, 64, 128, 256, 512])
def test_every_network_gets_sides_that_it_accepts(mode, factor):
    tiling = tiling_for(mode, factor)
    assert tiling.side % factor == 0
    assert tiling.halo >= 64
    assert tiling.core % 16 == tiling.halo % 16 == 0
    assert tiling.core >= 192


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(sides, sides, sides),
    offset=st.tuples(*[st.integers(0, 40)] * 3),
    mode=st.sampled_from(MODES),
    plane=st.sampled_from(sorted(PLANES)),
)
def test_cores_cover_the_volume_once_and_margins_lie_inside(shape, offset, mode, plane):
    bounds = Roi(offset, shape)
    grid = BlockGrid(bounds, mode, plane, SMALL)
    covered = np.zeros(shape, np.uint8)
    for block in grid.blocks(bounds):
        covered[block.core.slices(offset)] += 1
        assert block.box.encloses(block.core)
        assert block.reach.encloses(block.box)
        assert bounds.encloses(block.reach)
        assert block.tile.intersect(bounds) == block.reach
        for axis in range(3):
            low, high = block.open_faces[2 * axis : 2 * axis + 2]
            assert low == (block.box.offset[axis] > bounds.offset[axis])
            assert high == (block.box.end[axis] < bounds.end[axis])
    assert (covered == 1).all()


@settings(max_examples=60, deadline=None)
@given(data=st.data(), mode=st.sampled_from(MODES), plane=st.sampled_from(sorted(PLANES)))
def test_a_region_is_made_of_the_volumes_own_blocks(data, mode, plane):
    bounds = Roi((3, 0, 5), (70, 130, 101))
    low = [data.draw(st.integers(o, o + s - 1)) for o, s in zip(*vars_of(bounds), strict=True)]
    high = [data.draw(st.integers(a + 1, e)) for a, e in zip(low, bounds.end, strict=True)]
    roi = Roi.from_bounds(low, high)
    grid = BlockGrid(bounds, mode, plane, SMALL)
    every = {block.index: block for block in grid.blocks(bounds)}
    wanted = {i for i, block in every.items() if not block.core.intersect(roi).is_empty}
    blocks = grid.blocks(roi)
    assert {block.index for block in blocks} == wanted
    assert all(every[block.index] == block for block in blocks)


def vars_of(roi):
    return roi.offset, roi.shape


def test_blocks_nearest_the_point_come_first():
    grid = BlockGrid(Roi((0, 0, 0), (1, 200, 200)), "slice", "xy", SMALL)
    blocks = grid.blocks(grid.bounds, centre=(0, 150, 10))
    distances = [np.hypot(b.core.offset[1] + 16 - 150, b.core.offset[2] + 16 - 10) for b in blocks]
    assert blocks[0].core.contains((0, 150, 10))
    assert distances[:8] == sorted(distances[:8])


def test_a_sliver_at_the_end_belongs_to_the_last_block():
    tiling = Tiling()
    assert tiling.axis(1024 + 48).count == 2
    assert tiling.axis(1024 + 49).count == 3
    assert tiling.axis(640).count == 1
    stack = BlockGrid.plan(Roi((0, 0, 0), (70, 100, 100)), "stack", "xy")
    assert [b.core.shape[0] for b in sorted(stack.blocks(stack.bounds), key=lambda b: b.index)] == [
        32, 38,
    ]  # fmt: skip


def test_a_cube_fits_into_memory():
    grid = BlockGrid.plan(Roi((0, 0, 0), (5000, 5000, 5000)), "orthoplane", "xy")
    block = grid.block((3, 4, 5))
    assert block.core.shape == (256, 256, 256)
    assert block.box.size * 4 * 3 < 400e6
    assert block.sections == 3 * 288


def test_a_region_outside_the_volume_has_no_blocks():
    grid = BlockGrid.plan(Roi((0, 0, 0), (10, 10, 10)), "stack", "xy")
    assert grid.blocks(Roi((20, 0, 0), (1, 1, 1))) == []


@pytest.mark.parametrize(("mode", "plane"), [("cube", "xy"), ("slice", "zx")])
def test_unknown_words_are_refused(mode, plane):
    with pytest.raises(InvalidInputError) as caught:
        BlockGrid.plan(Roi((0, 0, 0), (10, 10, 10)), mode, plane)
    assert caught.value.kind == ErrorKind.INVALID_PARAMETER
