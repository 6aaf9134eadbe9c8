"""Overlaps of two volumes are counted as a dictionary of voxels would count them."""

import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from segmentation_backend.errors import InvalidInputError
from segmentation_backend.metrics import overlaps as module
from segmentation_backend.metrics.overlaps import count_overlaps

LABELS = st.sampled_from([0, 0, 1, 2, 3, 2**40, 2**63 + 5])
SHAPES = array_shapes(min_dims=3, max_dims=3, min_side=0, max_side=6)


def counted(pred, truth, ignore=None, **options):
    """Return {(predicted label, true label): (voxels, ignored voxels)} and the overlaps."""
    found = count_overlaps(pred, truth, ignore, **options)
    pairs = zip(
        found.predicted_labels[found.predicted].tolist(),
        found.true_labels[found.true].tolist(),
        strict=True,
    )
    tallies = zip(found.shared.tolist(), found.ignored.tolist(), strict=True)
    return dict(zip(pairs, tallies, strict=True)), found


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_pairs_are_counted_as_one_by_one(data):
    shape = data.draw(SHAPES)
    pred, truth = (data.draw(arrays(np.uint64, shape, elements=LABELS)) for _ in range(2))
    ignore = data.draw(st.none() | arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 7])))
    table, found = counted(pred, truth, ignore)
    hidden = np.zeros(shape, bool) if ignore is None else ignore != 0
    seen = Counter(zip(pred[~hidden].tolist(), truth[~hidden].tolist(), strict=True))
    unseen = Counter(zip(pred[hidden].tolist(), truth[hidden].tolist(), strict=True))
    assert table == {key: (seen[key], unseen[key]) for key in seen | unseen}
    for i, j, place in zip(found.predicted, found.true, found.place, strict=True):
        assert pred.ravel()[place] == found.predicted_labels[i]
        assert truth.ravel()[place] == found.true_labels[j]


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_profiles_are_the_connected_pieces_of_each_label_in_each_section(data):
    shape = data.draw(SHAPES)
    small = arrays(np.int16, shape, elements=st.integers(0, 2))
    pred, truth = data.draw(small), data.draw(small)
    found = count_overlaps(pred, truth, per_slice=True)
    for labels, sizes, names in (
        (pred, found.predicted_sizes, found.predicted_labels),
        (truth, found.true_sizes, found.true_labels),
    ):
        profiles = []
        for section in labels:
            for label in (1, 2):
                pieces, count = ndimage.label(section == label, np.ones((3, 3)))
                profiles += [(label, int((pieces == n + 1).sum())) for n in range(count)]
        assert sorted(zip(names[1:].tolist(), sizes[1:].tolist(), strict=True)) == sorted(profiles)


def test_more_pairs_than_the_table_first_holds():
    pred = np.arange(20_000, dtype=np.uint32).reshape(2, 100, 100)
    truth = pred[::-1].copy()
    table, _ = counted(pred, truth)
    assert len(table) == 20_000
    assert set(table.values()) == {(1, 0)}


def test_slabs_make_no_difference(monkeypatch):
    rng = np.random.default_rng(0)
    pred, truth = rng.integers(0, 4, (2, 9, 7, 5))
    whole, first = counted(pred, truth)
    monkeypatch.setattr(module, "_SLAB", 40)
    pieces, second = counted(pred, truth)
    assert whole == pieces
    assert pred.ravel()[second.place].tolist() == first.predicted_labels[first.predicted].tolist()


def test_signed_negative_and_boolean_labels_keep_background_apart():
    pred = np.array([[[-1, -1, 0, 3]]], np.int8)
    truth = np.array([[[True, False, False, True]]])
    table, _ = counted(pred, truth)
    assert table[(0, 0)] == (1, 0)
    assert len(table) == 4


def test_a_transposed_volume_is_counted_in_its_own_order():
    pred = np.arange(24, dtype=np.uint8).reshape(2, 3, 4).T
    _, found = counted(pred, pred)
    assert np.ascontiguousarray(pred).ravel()[found.place].tolist() == list(range(24))


def test_memory_goes_with_the_pairs_and_not_with_the_voxels():
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 50, (16, 16, 16), dtype=np.uint32)
    truth = blocks.repeat(16, 0).repeat(16, 1).repeat(16, 2)  # 64 MB
    count_overlaps(truth[:1], truth[:1])  # compiled before it is measured
    tracemalloc.start()
    try:
        count_overlaps(truth, truth)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.2e8  # two slabs as uint64 and one as it came, however large the volume
    assert peak < 2 * truth.nbytes


def test_labels_that_are_no_whole_numbers_are_refused():
    labels = np.zeros((1, 2, 2), np.float32)
    with pytest.raises(InvalidInputError, match="float32"):
        count_overlaps(labels, labels)
