"""Which objects are kept, and how sure the network is of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segmentation_backend.errors import InvalidInputError
from segmentation_backend.inference.confidence import mean_probability
from segmentation_backend.inference.filters import (
    drop_small_objects,
    find_large_objects,
    keep_largest,
    select_objects,
)

VOLUMES = arrays(np.uint32, st.tuples(*[st.integers(1, 6)] * 3), elements=st.integers(0, 5))


def blocks():
    labels = np.zeros((20, 30, 30), np.uint32)
    labels[8:12, 10:14, 10:14] = 1  # 64 voxels in the middle
    labels[0:2, 10:14, 20:24] = 2  # 32 at the first face of z, 2 sections long
    labels[10:20, 28:30, 5:15] = 3  # 200 at the last face of y and of z
    labels[5:15, 5:7, 5:15] = 4  # 200 in the middle, flat
    return labels


def test_the_volumes_edge_is_not_held_against_a_short_object():
    kept = find_large_objects(blocks(), 30, 4)
    np.testing.assert_array_equal(kept, [False, True, True, True, False])


def test_an_object_that_goes_on_past_an_open_face_is_kept_whatever_its_size():
    first_z = (True, False, False, False, False, False)
    last_y = (False, False, False, True, False, False)
    np.testing.assert_array_equal(find_large_objects(blocks(), 10**6, 5, first_z)[1:], [0, 1, 0, 0])
    np.testing.assert_array_equal(find_large_objects(blocks(), 10**6, 5, last_y)[1:], [0, 0, 1, 0])


@given(VOLUMES, st.integers(0, 20), st.integers(0, 4))
def test_filters_equal_their_definition(labels, min_size, min_extent):
    expected = np.zeros(labels.shape, bool)
    for label in range(1, 6):
        places = np.argwhere(labels == label)
        if len(places) < max(min_size, 1):
            continue
        begin, end = places.min(0), places.max(0) + 1
        cut = (begin == 0) | (end == labels.shape)
        if ((end - begin >= min_extent) | cut).all():
            expected |= labels == label
    result = drop_small_objects(labels, min_size, min_extent)
    np.testing.assert_array_equal(result > 0, expected)
    np.testing.assert_array_equal(np.unique(result[result > 0]), np.arange(1, result.max() + 1))


@given(VOLUMES, st.integers(0, 6))
def test_the_largest_are_kept(labels, most):
    sizes = np.bincount(labels.ravel(), minlength=6)[1:]
    kept = keep_largest(labels, most)
    assert kept.max() == min(most, np.count_nonzero(sizes))
    left = np.bincount(kept.ravel())[1:]
    np.testing.assert_array_equal(np.sort(left)[::-1], np.sort(sizes)[::-1][: kept.max()])


def test_objects_are_chosen_in_place_of_any_shape():
    labels = np.array([[3, 0, 1], [2, 3, 0]], np.uint32)
    chosen = select_objects(labels, np.array([True, False, True, True]), in_place=True)
    assert chosen is labels
    np.testing.assert_array_equal(labels, [[2, 0, 0], [1, 2, 0]])


@given(VOLUMES, st.integers(0, 2**32 - 1))
def test_confidence_is_the_mean_probability(labels, seed):
    chance = np.random.default_rng(seed).random(labels.shape).astype(np.float32)
    means = mean_probability(labels, chance)
    assert len(means) == labels.max() + 1
    assert means[0] == 0
    for label in range(1, len(means)):
        inside = chance[labels == label]
        assert means[label] == pytest.approx(inside.mean() if inside.size else 0, abs=1e-5)


def test_confidence_of_bytes_views_and_sections():
    labels = np.zeros((4, 5, 6), np.uint32)
    labels[1:, 2:, 3:] = 2
    chance = np.full((4, 5, 6), 204, np.uint8)
    np.testing.assert_allclose(mean_probability(labels, chance), [0, 0, 0.8], rtol=1e-6)
    turned = mean_probability(np.moveaxis(labels, 2, 0), np.moveaxis(chance, 2, 0))
    np.testing.assert_allclose(turned, [0, 0, 0.8], rtol=1e-6)
    with pytest.raises(InvalidInputError, match="same shape"):
        mean_probability(labels, chance[0])
