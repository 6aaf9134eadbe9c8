"""The compiled loops do what a few slow lines do."""

import cc3d
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from segmentation_backend.inference.fragments import absorb_slivers
from segmentation_backend.inference.kernels import (
    collect_borders,
    find_runs,
    group_by_votes,
    join_runs,
    median_of,
    nearest_centre,
    paint_runs,
    window_maximum,
)
from segmentation_backend.inference.section_kernels import (
    most_below,
    number_section,
    object_boxes,
    overlapping_runs,
)

SIDES = st.tuples(st.integers(1, 14), st.integers(1, 14))
GROUPS = SIDES.flatmap(lambda shape: arrays(np.int32, shape, elements=st.integers(0, 3)))
SECTIONS = SIDES.flatmap(
    lambda shape: st.tuples(*[arrays(np.uint32, shape, elements=st.integers(0, 4))] * 2)
)


def same_partition(a, b):
    pairs = np.unique(np.stack([a.ravel(), b.ravel()]), axis=1)
    return len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]


@given(
    SIDES.flatmap(lambda s: arrays(np.float32, s, elements=st.sampled_from([0, 0.25, 0.5, 1]))),
    st.integers(0, 17),
)
def test_window_maximum(image, reach):
    expected = ndimage.maximum_filter(image, 2 * reach + 1)
    np.testing.assert_array_equal(window_maximum(image, reach), expected)


@given(SIDES, st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_every_place_has_a_nearest_centre(shape, count, seed):
    places = np.random.default_rng(seed).permutation(shape[0] * shape[1])[:count]
    centres = np.stack([places // shape[1], places % shape[1]], 1)
    numbers = nearest_centre(centres, shape)
    squared = ((np.mgrid[: shape[0], : shape[1]][:, None] - centres.T[:, :, None, None]) ** 2).sum(
        0
    )
    chosen = np.take_along_axis(squared, numbers[None].astype(np.int64) - 1, 0)[0]
    np.testing.assert_array_equal(chosen, squared.min(0))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38])
def test_votes_that_are_no_places_stay_within_the_section(bad):
    territory = np.arange(1, 13, dtype=np.int32).reshape(3, 4)
    votes = group_by_votes(territory, np.full((2, 3, 4), bad, np.float32), 4)
    assert set(np.unique(votes)) <= set(range(1, 13))


@given(GROUPS)
def test_pieces_are_the_connected_components_of_groups(groups):
    runs, rows = find_runs(groups > 0, groups, 1)
    pieces, count = join_runs(runs, rows)
    painted = paint_runs(runs, pieces, groups.shape)
    expected = cc3d.connected_components(groups, connectivity=8)
    assert count == expected.max()
    assert same_partition(painted, expected)


@given(GROUPS, st.integers(1, 5), st.integers(0, 3), st.integers(0, 3), st.data())
def test_runs_of_coarse_groups_are_those_of_enlarged_ones(groups, stride, dy, dx, data):
    fine = np.repeat(np.repeat(groups, stride, 0), stride, 1)
    height, width = max(1, fine.shape[0] - min(dy, stride - 1)), fine.shape[1] - min(dx, stride - 1)
    fine = np.ascontiguousarray(fine[:height, :width])
    mask = data.draw(arrays(np.bool_, fine.shape))
    runs, _ = find_runs(mask, groups, stride)
    painted = paint_runs(runs, runs[:, 3].copy(), fine.shape)
    np.testing.assert_array_equal(painted, np.where(mask, fine, 0))
    _, expected = find_runs(mask, fine, 1)
    assert len(runs) == expected[-1]


@given(GROUPS)
def test_borders_count_touching_pixels(groups):
    runs, rows = find_runs(groups > 0, groups, 1)
    pieces, _ = join_runs(runs, rows)
    image = paint_runs(runs, pieces, groups.shape)
    found: dict[tuple[int, int], int] = {}
    for a, b, touching in collect_borders(runs, rows, pieces).tolist():
        found[a, b] = found.get((a, b), 0) + touching
    expected: dict[tuple[int, int], int] = {}
    for y, x in np.ndindex(image.shape):
        for v, u in ((y, x + 1), (y + 1, x - 1), (y + 1, x), (y + 1, x + 1)):
            if 0 <= u < image.shape[1] and v < image.shape[0]:
                a, b = sorted((int(image[y, x]), int(image[v, u])))
                if 0 < a < b:
                    expected[a, b] = expected.get((a, b), 0) + 1
    found = {pair: touching for pair, touching in found.items() if touching}
    assert found == expected


def test_a_chain_of_slivers_ends_at_the_object():
    area = np.array([0, 100, 30, 10], np.int64)
    borders = np.array([[1, 2, 4], [2, 3, 4]], np.int64)
    hosts = absorb_slivers(area, np.array([0, 1, 2, 3], np.int64), borders, 50)
    np.testing.assert_array_equal(hosts[1:], [1, 1, 1])


def test_a_sliver_between_two_goes_along_its_longest_border():
    area = np.array([0, 90, 100, 10], np.int64)
    borders = np.array([[1, 3, 4], [2, 3, 2], [1, 3, 1], [2, 3, 2]], np.int64)
    hosts = absorb_slivers(area, np.array([0, 1, 2, 3], np.int64), borders, 50)
    assert hosts[3] == 1


@given(st.sampled_from([1, 3, 5, 7, 9, 11]), st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_medians(count, length, seed):
    values = np.random.default_rng(seed).random((count, length)).astype(np.float32)
    chosen = np.random.default_rng(seed).permutation(count)
    np.testing.assert_array_equal(median_of(values, chosen), np.median(values, 0))


@given(SECTIONS)
def test_overlaps_are_counted(sections):
    one, other = sections
    counted: dict[tuple[int, int], int] = {}
    for a, b, pixels in overlapping_runs(one, other).tolist():
        counted[a, b] = counted.get((a, b), 0) + pixels
    both = (one > 0) & (other > 0)
    expected: dict[tuple[int, int], int] = {}
    for a, b in zip(one[both].tolist(), other[both].tolist(), strict=True):
        expected[a, b] = expected.get((a, b), 0) + 1
    assert counted == expected


@given(SECTIONS)
def test_what_covers_most_of_a_place(sections):
    place, below = sections
    for profile in range(1, 5):
        counts = np.bincount(below[place == profile].ravel(), minlength=5)
        counts[0] = 0
        best = int(counts.argmax())
        assert most_below(place, below, profile) == (best if counts[best] else 0, counts[best])


@given(SECTIONS.map(lambda pair: pair[0].astype(np.int32) * 3))
def test_sections_are_numbered_with_boxes(section):
    out = np.full(section.shape, 99, np.uint32)
    table = number_section(section, 10, out)
    assert same_partition(section, out)
    assert set(np.unique(out)) - {0} == set(range(11, 11 + len(table)))
    for number, row in enumerate(table.tolist(), start=11):
        y, x = np.nonzero(out == number)
        assert row == [len(y), y.min(), x.min(), y.max() + 1, x.max() + 1]


@settings(max_examples=50)
@given(arrays(np.uint32, st.tuples(*[st.integers(1, 6)] * 3), elements=st.integers(0, 4)))
def test_boxes_of_objects(labels):
    table = object_boxes(labels, 4)
    for label in range(1, 5):
        places = np.argwhere(labels == label)
        assert table[label, 0] == len(places)
        if len(places):
            assert table[label, 1:].tolist() == [*places.min(0), *(places.max(0) + 1)]
