"""Objects change their shape, never their neighbours' (empanada's bugs 2 to 4)."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from segmentation_backend.inference import shaping
from segmentation_backend.inference.parameters import InferenceParameters
from segmentation_backend.inference.shaping import (
    LARGEST_HOLE,
    dilate_objects,
    erode_objects,
    fill_holes,
    shape_objects,
    shape_reach,
)

SHAPES = st.one_of(
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 6)),
)
LABELS = SHAPES.flatmap(lambda s: arrays(np.uint32, s, elements=st.sampled_from([0, 0, 1, 2, 5])))


def steps_to(mask):
    """Return the face steps from each place to a mask, by brute force."""
    places = np.argwhere(mask)
    grid = np.stack(np.indices(mask.shape), -1)
    if len(places) == 0:
        return np.full(mask.shape, 10**6)
    return np.abs(grid[..., None, :] - places).sum(-1).min(-1)


@settings(max_examples=60, deadline=None)
@given(LABELS, st.integers(0, 4))
def test_erosion_equals_brute_force(labels, steps):
    expected = labels.copy()
    expected[steps_to(labels == 0) <= steps] = 0
    np.testing.assert_array_equal(erode_objects(labels, steps), expected)


@settings(max_examples=60, deadline=None)
@given(LABELS, st.integers(0, 4))
def test_dilation_equals_brute_force_and_takes_nothing_from_others(labels, steps):
    places = np.argwhere(labels)
    expected = np.zeros_like(labels)
    for here in np.ndindex(labels.shape) if len(places) else ():
        away = np.abs(places - here).sum(1)
        # Of equals the first: places are listed in the order of z, y, x.
        if away.min() <= steps:
            expected[here] = labels[tuple(places[away.argmin()])]
    grown = dilate_objects(labels, steps)
    np.testing.assert_array_equal(grown, expected)
    assert grown.dtype == labels.dtype


@settings(max_examples=60, deadline=None)
@given(LABELS)
def test_filled_holes_are_background_of_the_innermost_object_around_them(labels):
    sections = labels if labels.ndim == 3 else labels[None]
    expected = sections.copy()
    for section, target in zip(sections, expected, strict=True):
        smallest = np.full(section.shape, np.inf)
        for label in (1, 2, 5):
            holes, count = ndimage.label(
                ndimage.binary_fill_holes(section == label) & (section != label)
            )
            for number in range(1, count + 1):
                hole = holes == number
                # Of two holes the smaller one lies within the other.
                inside = hole & (section == 0) & (hole.sum() < smallest)
                target[inside], smallest[inside] = label, hole.sum()
    filled = fill_holes(labels)
    np.testing.assert_array_equal(filled, expected.reshape(labels.shape))


def test_a_neighbour_in_the_box_of_a_ring_keeps_every_pixel():
    labels = np.zeros((40, 40), np.int32)
    labels[5:30, 5:30] = 1
    labels[10:20, 10:20] = 0  # a hole
    labels[12:15, 12:15] = 2  # with something in it
    labels[25:35, 25:35] = 3  # over the corner of the box
    filled = fill_holes(labels)
    for label in (2, 3):
        np.testing.assert_array_equal(filled == label, labels == label)
    assert (filled[10:20, 10:20] > 0).all()
    np.testing.assert_array_equal(np.unique(filled), [0, 1, 2, 3])


def test_what_two_objects_enclose_together_is_no_hole():
    labels = np.zeros((12, 12), np.int32)
    labels[2:10, 2:6], labels[2:10, 6:10] = 1, 2
    labels[4:8, 5:7] = 0
    np.testing.assert_array_equal(fill_holes(labels), labels)


def test_volumes_are_filled_section_by_section_and_shaped_in_all_directions():
    labels = np.zeros((9, 20, 20), np.uint32)
    labels[2:7, 4:16, 4:16] = 7
    labels[4, 8:11, 8:11] = 0
    wanted = InferenceParameters(label_erosion=1, label_dilation=1, fill_holes_in_segmentation=True)
    shaped = shape_objects(labels, wanted)
    # The hole is gone; opening rounds the edges of the box and changes nothing else.
    assert (shaped[2:7, 5:15, 5:15] == 7)[1:-1].all()
    assert (shaped[labels == 0] == 0).sum() == (labels == 0).sum() - 9
    assert shaped.dtype == np.uint32


def test_as_it_is_wanted_by_default_nothing_changes():
    labels = np.arange(12, dtype=np.int32).reshape(3, 4)
    assert shape_objects(labels, InferenceParameters()) is labels


@pytest.mark.parametrize("steps", [50])
def test_more_steps_than_pixels(steps):
    labels = np.zeros((6, 7), np.int32)
    labels[2, 3] = 4
    assert (dilate_objects(labels, steps) == 4).all()
    assert not erode_objects(labels, steps).any()


@pytest.mark.parametrize("side", [LARGEST_HOLE, LARGEST_HOLE + 1])
def test_a_hole_longer_than_can_be_known_everywhere_stays(side):
    labels = np.zeros((8, side + 4), np.int32)
    labels[1:7, 1:-1] = 3
    labels[3:5, 2:-2] = 0
    filled = fill_holes(labels)
    assert (filled[3:5, 2:-2] == 3).all() == (side == LARGEST_HOLE)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6), st.integers(0, 3), st.integers(0, 3), st.booleans(), st.integers(0, 2)
)
def test_a_part_with_its_reach_around_it_is_shaped_as_in_the_whole(seed, erode, dilate, fill, axis):
    rng = np.random.default_rng(seed)
    shape = [12, 12, 12]
    shape[axis] = 5
    clouds = ndimage.gaussian_filter(rng.normal(size=shape), 1.2)
    labels = np.where(
        clouds > 0.1, 1 + ndimage.gaussian_filter(rng.normal(size=shape), 1) // 0.1, 0
    )
    labels = np.maximum(labels, 0).astype(np.uint32)
    wanted = InferenceParameters(
        label_erosion=erode, label_dilation=dilate, fill_holes_in_segmentation=fill
    )
    flat = bool(rng.integers(2))
    whole = shape_objects(labels, wanted, axis, is_flat=flat)
    low = np.array([rng.integers(0, side) for side in shape])
    high = np.array([rng.integers(a + 1, side + 1) for a, side in zip(low, shape, strict=True)])
    reach = shape_reach(wanted, axis, is_flat=flat)
    begin, end = np.maximum(low - reach, 0), np.minimum(high + reach, shape)
    part = labels[tuple(map(slice, begin, end))]
    # Which numbers objects have decides nothing.
    numbers = np.append(0, 1 + rng.permutation(int(labels.max()))).astype(np.uint32)
    shaped = shape_objects(numbers[part], wanted, axis, is_flat=flat)
    inside = tuple(map(slice, low - begin, high - begin))
    np.testing.assert_array_equal(shaped[inside], numbers[whole][tuple(map(slice, low, high))])


def test_slabs_leave_no_trace(monkeypatch):
    rng = np.random.default_rng(3)
    labels = np.where(rng.random((17, 9, 8)) < 0.1, rng.integers(1, 9, (17, 9, 8)), 0)
    labels = np.kron(labels, np.ones((1, 3, 3))).astype(np.uint32)
    wanted = InferenceParameters(label_erosion=1, label_dilation=3)
    whole = shape_objects(labels, wanted)
    monkeypatch.setattr(shaping, "_SLAB", 1)
    np.testing.assert_array_equal(shape_objects(labels, wanted), whole)
