"""VOI and ARAND agree with cases worked out by hand and with scikit-image."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from segmentation_backend.metrics.information import (
    adapted_rand_error,
    variation_of_information,
)
from segmentation_backend.metrics.overlaps import count_overlaps

SHAPES = array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=5)
PEER = pytest.importorskip(
    "skimage.metrics", reason="scikit-image, the peer of these tests, is not installed"
)


def row(*labels):
    return np.array(labels, np.uint32).reshape(1, 1, -1)


def test_a_true_object_cut_in_halves_is_one_bit_of_split():
    found = variation_of_information(count_overlaps(row(1, 1, 2, 2), row(5, 5, 5, 5)))
    assert (found.split, found.merge) == (1.0, 0.0)


def test_two_true_objects_glued_together_are_one_bit_of_merge():
    found = variation_of_information(count_overlaps(row(7, 7, 7, 7, 7), row(1, 1, 2, 2, 0)))
    assert (found.split, found.merge) == (0.0, 1.0)


def test_the_rand_error_counts_pairs_of_different_voxels():
    found = adapted_rand_error(count_overlaps(row(1, 1, 2, 2), row(5, 5, 5, 5)))
    assert (found.precision, found.recall) == (1.0, 4 / 12)
    assert found.error == pytest.approx(1 - 2 * 4 / (4 + 12))


def test_a_perfect_prediction_has_no_error_whatever_its_numbers():
    truth = row(0, 1, 1, 2, 2, 3)
    pred = row(9, 4, 4, 8, 8, 1)  # what lies outside of true objects says nothing
    overlaps = count_overlaps(pred, truth)
    assert variation_of_information(overlaps).split == 0
    assert variation_of_information(overlaps).merge == 0
    assert adapted_rand_error(overlaps).error == 0


def test_with_nothing_to_compare_nothing_is_wrong():
    overlaps = count_overlaps(row(0, 0), row(0, 0))
    assert variation_of_information(overlaps).split == 0
    assert adapted_rand_error(overlaps).error == 0


def test_ignored_voxels_say_nothing():
    pred, truth = row(1, 1, 2, 2), row(5, 5, 5, 5)
    overlaps = count_overlaps(pred, truth, row(0, 0, 1, 1))
    assert variation_of_information(overlaps).split == 0
    assert adapted_rand_error(overlaps).error == 0


@given(st.data(), st.booleans())
@settings(max_examples=150, deadline=None)
def test_both_agree_with_scikit_image(data, with_background):
    shape = data.draw(SHAPES)
    labels = arrays(np.int64, shape, elements=st.integers(0, 4))
    pred, truth = data.draw(labels), data.draw(labels)
    ignored = () if with_background else (0,)
    compared = truth[truth > 0] if not with_background else truth.ravel()
    assume(compared.size > 0)
    overlaps = count_overlaps(pred, truth)
    ours = variation_of_information(overlaps, with_background=with_background)
    theirs = PEER.variation_of_information(truth, pred, ignore_labels=ignored)
    assert [ours.split, ours.merge] == pytest.approx(theirs.tolist(), abs=1e-9)
    with np.errstate(invalid="ignore", divide="ignore"):
        error, precision, recall = PEER.adapted_rand_error(truth, pred, ignore_labels=ignored)
    rand = adapted_rand_error(overlaps, with_background=with_background)
    # Where no two voxels are together the peer divides 0 by 0; here nothing can be wrong.
    assert rand.error == pytest.approx(0.0 if np.isnan(error) else error)
    # What the peer calls precision divides by the truth's pairs.
    assert rand.recall == pytest.approx(1.0 if np.isnan(precision) else precision)
    assert rand.precision == pytest.approx(1.0 if np.isnan(recall) else recall)
