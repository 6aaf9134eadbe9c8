"""The algebra of boxes agrees with the algebra of the voxels in them."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from segmentation_backend.geometry import Roi, plan_levels

SIDE = 12
coordinates = st.tuples(*[st.integers(0, SIDE)] * 3)
grids = st.tuples(*[st.integers(1, 5)] * 3)
points = st.tuples(*[st.integers(0, SIDE - 1)] * 3)


@st.composite
def boxes(draw):
    """Boxes, also empty ones, within a small world."""
    begin = draw(coordinates)
    shape = tuple(draw(st.integers(0, SIDE - b)) for b in begin)
    return Roi(begin, shape)


def mask(roi: Roi) -> np.ndarray:
    voxels = np.zeros((SIDE,) * 3, dtype=bool)
    voxels[roi.slices()] = True
    return voxels


def tight(voxels: np.ndarray) -> Roi:
    where = np.argwhere(voxels)
    return Roi.of_points(where.tolist()) if len(where) else Roi((0, 0, 0), (0, 0, 0))


@given(boxes())
def test_size_counts_the_voxels(roi):
    assert roi.size == mask(roi).sum()
    assert roi.is_empty == (roi.size == 0)


@given(boxes(), boxes())
def test_intersection_holds_the_common_voxels(a, b):
    common = mask(a) & mask(b)
    assert a.intersect(b).size == common.sum()
    if common.any():
        assert a.intersect(b) == tight(common)
    assert a.intersect(b).is_empty == b.intersect(a).is_empty


@given(boxes(), boxes())
def test_union_is_the_smallest_box_around_both(a, b):
    either = mask(a) | mask(b)
    assert a.union(b).size == (tight(either).size if either.any() else 0)
    assert a.union(b).encloses(a)
    assert a.union(b).encloses(b)


@given(boxes(), boxes(), boxes())
def test_union_and_intersection_do_not_care_for_order(a, b, c):
    assert a.intersect(b).intersect(c).size == a.intersect(b.intersect(c)).size
    assert a.union(b).union(c).size == a.union(b.union(c)).size


@given(boxes(), boxes())
def test_enclosing_means_no_voxel_outside(a, b):
    assert a.encloses(b) == (not np.any(mask(b) & ~mask(a)))


@given(boxes(), points)
def test_containing_a_point_means_its_voxel_is_inside(roi, point):
    assert roi.contains(point) == mask(roi)[point]


@given(boxes(), grids)
def test_snapping_gives_the_smallest_box_on_the_grid(roi, grid):
    snapped = roi.snap_out(grid)
    assert all(a % g == 0 for a, g in zip(snapped.offset, grid, strict=True))
    assert all(b % g == 0 for b, g in zip(snapped.end, grid, strict=True))
    assert snapped.encloses(roi)
    assert snapped.snap_out(grid) == snapped
    if not roi.is_empty:
        # One cell less on any side would lose a voxel.
        for axis in range(3):
            low, high = roi.offset[axis], roi.end[axis]
            assert snapped.offset[axis] + grid[axis] > low
            assert snapped.end[axis] - grid[axis] < high


@given(boxes(), grids)
def test_downscaling_covers_exactly_the_touched_coarse_voxels(roi, factor):
    coarse = roi.downscale(factor)
    if roi.is_empty:
        return
    touched = {
        tuple(v // f for v, f in zip(voxel, factor, strict=True))
        for voxel in np.argwhere(mask(roi)).tolist()
    }
    assert coarse == Roi.of_points(touched)


@given(boxes(), grids)
def test_downscaling_a_snapped_box_loses_nothing(roi, factor):
    snapped = roi.snap_out(factor)
    back = [c * f for c, f in zip(snapped.downscale(factor).shape, factor, strict=True)]
    assert tuple(back) == snapped.shape


@given(boxes(), st.tuples(*[st.integers(0, 4)] * 3))
def test_growing_and_shrinking_is_the_identity(roi, margin):
    grown = roi.grow(margin)
    assert grown.encloses(roi)
    assert grown.grow([-m for m in margin]) == roi


@given(boxes(), st.tuples(*[st.integers(-4, 4)] * 3))
def test_shifting_moves_and_keeps_the_shape(roi, by):
    moved = roi.shift(by)
    assert moved.shape == roi.shape
    assert moved.shift([-d for d in by]) == roi


@given(boxes(), boxes())
def test_slices_cut_a_box_out_of_another(outer, inner):
    part = outer.intersect(inner)
    if part.is_empty:
        return
    world = np.arange(SIDE**3).reshape((SIDE,) * 3)
    cut = world[outer.slices()][part.slices(outer.offset)]
    np.testing.assert_array_equal(cut, world[part.slices()])


@given(boxes())
def test_json_and_back_is_the_identity(roi):
    if not roi.is_empty:
        assert Roi.from_json(roi.to_json()) == roi


@given(
    st.tuples(*[st.integers(1, 5000)] * 3),
    st.tuples(*[st.sampled_from([4.0, 6.0, 10.0, 16.0, 30.0, 50.0])] * 3),
)
def test_every_level_of_a_pyramid_covers_the_volume(shape, voxel_size):
    levels = plan_levels(shape, voxel_size)
    assert levels[0].shape == shape
    for fine, coarse in itertools.pairwise(levels):
        for axis in range(3):
            ratio = round(coarse.voxel_size[axis] / fine.voxel_size[axis])
            assert ratio in (1, 2)
            assert coarse.shape[axis] == -(-fine.shape[axis] // ratio)
        spread = [max(level.voxel_size) / min(level.voxel_size) for level in (fine, coarse)]
        assert spread[1] <= max(spread[0], 2)
