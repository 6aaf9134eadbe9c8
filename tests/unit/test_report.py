"""Every score and every mistake of hand-made volumes, and what must hold for all volumes."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from segmentation_backend.errors import InvalidInputError
from segmentation_backend.metrics import MistakeKind, compare, evaluate
from segmentation_backend.metrics.matching import match
from segmentation_backend.metrics.mistakes import find_mistakes
from segmentation_backend.metrics.overlaps import count_overlaps


def row(*labels):
    return np.array(labels, np.uint64).reshape(1, 1, -1)


def runs(*pieces):
    """Return one row of runs (label, length)."""
    return row(*(label for label, length in pieces for _ in range(length)))


def told(report):
    return [(m.kind.value, m.true_labels, m.predicted_labels) for m in report.mistakes]


def volumes(pred, truth, **options):
    return compare(pred, truth, per_slice=False, **options)


def test_a_perfect_prediction_has_the_best_of_every_score():
    truth = runs((1, 5), (0, 3), (2**60, 7))
    document = volumes(np.where(truth > 1, 4, truth * 9), truth).to_json()
    for name in ("foreground_iou", "foreground_dice", "f1", "pq", "msa", "ap_50", "ap_75"):
        assert document[name] == 1, name
    for name in ("voi_split", "voi_merge", "arand", "misses", "extras", "merges", "splits"):
        assert document[name] == 0, name
    assert document["objects"] == []


def test_scores_of_a_case_worked_out_by_hand():
    # Two true objects of 10: one predicted with 8 of its voxels, one missed; 2 voxels invented.
    truth = runs((1, 10), (0, 4), (2, 10))
    pred = runs((5, 8), (0, 4), (6, 2), (0, 10))
    document = volumes(pred, truth).to_json()
    assert document["foreground_iou"] == 8 / 22
    assert document["foreground_dice"] == 16 / 30
    assert (document["f1_50"], document["f1_75"]) == (0.5, 0.5)
    assert (document["ap_50"], document["precision_50"], document["recall_50"]) == (1 / 3, 0.5, 0.5)
    assert document["pq"] == pytest.approx(0.8 * 0.5)
    # IoU .8 counts at .5, .55 ... .8: seven of the ten thresholds.
    assert document["msa"] == pytest.approx(0.7 / 3)
    assert document["mean_iou"] == 0.8
    assert told(volumes(pred, truth)) == [("miss", (2,), ()), ("extra", (), (6,))]


def test_exactly_three_quarters_are_enough_for_three_quarters():
    truth, pred = runs((1, 4)), runs((3, 3), (0, 1))
    assert volumes(pred, truth).at_75.f1 == 1
    assert volumes(pred, truth).msa == pytest.approx(0.6)


def test_glued_objects_are_one_merge_and_not_two_misses():
    truth = runs((1, 8), (0, 1), (2, 6), (0, 5))
    pred = runs((9, 15), (0, 5))
    report = volumes(pred, truth)
    assert told(report) == [("merge", (1, 2), (9,))]
    assert report.scores.true_positives == 1  # 8 of 15: found, and yet glued to another
    merge = report.mistakes[0]
    assert (merge.voxels, merge.iou) == (15, 8 / 15)
    assert pred[merge.place] == 9


def test_an_object_in_pieces_is_one_split():
    truth = runs((1, 10))
    report = volumes(runs((4, 6), (5, 4)), truth)
    assert told(report) == [("split", (1,), (4, 5))]
    assert report.to_json()["splits"] == 1


def test_an_outline_that_is_far_off_is_inexact_and_named_once():
    report = volumes(runs((0, 6), (5, 10)), runs((1, 12), (0, 4)), iou=0.5)
    assert told(report) == [("inexact", (1,), (5,))]
    assert report.mistakes[0].iou == 6 / 16


def test_a_large_blob_over_a_small_object_is_inexact():
    assert told(volumes(runs((5, 20)), runs((1, 2), (0, 18)))) == [("inexact", (1,), (5,))]


def test_mistakes_are_told_of_profiles_by_their_labels_and_sections():
    truth = np.zeros((3, 4, 9), np.uint64)
    truth[:, 1:3, 1:3], truth[:, 1:3, 6:8] = 2**50, 7
    pred = np.where(truth == 7, 1, 0)
    pred[0] = 0
    report = compare(pred, truth)
    assert sorted(told(report)) == sorted([("miss", (2**50,), ())] * 3 + [("miss", (7,), ())])
    assert {m.place[0] for m in report.mistakes if m.true_labels == (7,)} == {0}
    for mistake in report.mistakes:
        assert truth[mistake.place] == mistake.true_labels[0]


def test_empty_and_single_objects_are_scored_for_what_they_are():
    nothing, single = runs((0, 9)), runs((0, 3), (4, 3), (0, 3))
    both_empty = volumes(nothing, nothing).to_json()
    assert (both_empty["pq"], both_empty["msa"], both_empty["foreground_dice"]) == (1, 1, 1)
    assert (both_empty["arand"], both_empty["voi_split"]) == (0, 0)
    alone = volumes(single, single).to_json()
    assert (alone["foreground_iou"], alone["f1"], alone["pq"], alone["arand"]) == (1, 1, 1, 0)
    missed = volumes(nothing, single).to_json()
    assert (missed["f1"], missed["pq"], missed["recall"], missed["misses"]) == (0, 0, 0, 1)
    invented = volumes(single, nothing).to_json()
    assert (invented["f1"], invented["msa"], invented["precision"], invented["extras"]) == (
        0,
        0,
        0,
        1,
    )
    assert invented["arand"] is None  # no true voxel to compare: not defined, and not perfect


def test_what_is_ignored_is_no_mistake():
    truth, pred = runs((1, 4), (0, 4), (2, 4)), runs((5, 4), (6, 4), (0, 4))
    ignore = runs((0, 4), (1, 8))
    report = compare(pred, truth, ignore, per_slice=False)
    assert (report.scores.f1, report.mistakes) == (1, ())
    assert len(volumes(pred, truth).mistakes) == 2


def test_small_true_objects_are_no_mistake_where_a_size_is_asked_for():
    truth, pred = runs((1, 9), (0, 1), (2, 2)), runs((5, 9), (0, 3))
    assert told(volumes(pred, truth)) == [("miss", (2,), ())]
    assert told(volumes(pred, truth, min_area=3)) == []


def test_labels_of_mistakes_are_strings_in_json():
    document = json.loads(json.dumps(volumes(runs((0, 4)), runs((2**63 + 1, 4))).to_json()))
    assert document["objects"][0] == {
        "kind": "miss",
        "true_labels": [str(2**63 + 1)],
        "predicted_labels": [],
        "voxels": 4,
        "place": [0, 0, 2],
        "iou": 0.0,
    }


@pytest.mark.parametrize("iou", [0.0, -1, 1.5, float("nan")])
def test_a_threshold_that_makes_no_sense_is_refused(iou):
    with pytest.raises(InvalidInputError, match="IoU"):
        volumes(runs((1, 2)), runs((1, 2)), iou=iou)


def naive_average_precision(pred, truth, iou):
    """Count matches above one half, where at most one is possible for each object."""
    pairs = 0
    ids = [[label for label in np.unique(a).tolist() if label] for a in (pred, truth)]
    for a in ids[0]:
        for b in ids[1]:
            shared = ((pred == a) & (truth == b)).sum()
            pairs += bool(shared / ((pred == a) | (truth == b)).sum() >= iou)
    either = len(ids[0]) + len(ids[1]) - pairs
    return pairs / either if either else 1.0


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_accuracy_is_the_mean_of_naive_ones_and_every_unmatched_object_is_explained(data):
    shape = data.draw(array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=4))
    labels = arrays(np.int32, shape, elements=st.integers(0, 4))
    pred, truth = data.draw(labels), data.draw(labels)
    report = volumes(pred, truth)
    expected = [naive_average_precision(pred, truth, t / 20) for t in range(11, 20)]
    assert report.msa * 10 - report.at_50.ap == pytest.approx(sum(expected))
    assert report.scores == evaluate(pred, truth, per_slice=False)
    matched = match(count_overlaps(pred, truth), 0.5)
    rest_true = set(np.unique(truth).tolist()) - {0} - set(matched_labels(matched.true, truth))
    rest_pred = set(np.unique(pred).tolist()) - {0} - set(matched_labels(matched.predicted, pred))
    assert rest_true <= {label for m in report.mistakes for label in m.true_labels}
    assert rest_pred <= {label for m in report.mistakes for label in m.predicted_labels}


def matched_labels(numbers, volume):
    return np.unique(np.append(volume.ravel(), 0))[numbers].tolist()


@given(st.data(), st.floats(0.05, 1))
@settings(max_examples=60, deadline=None)
def test_every_unmatched_object_is_explained_at_any_threshold(data, iou):
    labels = arrays(np.int32, (1, 4, 5), elements=st.integers(0, 4))
    overlaps = count_overlaps(data.draw(labels), data.draw(labels))
    matches = match(overlaps, iou)
    assert len(set(matches.true.tolist())) == len(matches.true)
    assert len(set(matches.predicted.tolist())) == len(matches.predicted)
    mistakes = find_mistakes(overlaps, matches)
    named_true = {label for m in mistakes for label in m.true_labels}
    named_pred = {label for m in mistakes for label in m.predicted_labels}
    assert set(overlaps.true_labels[1:]) - named_true <= set(overlaps.true_labels[matches.true])
    assert set(overlaps.predicted_labels[1:]) - named_pred <= set(
        overlaps.predicted_labels[matches.predicted]
    )
    merged = [m for m in mistakes if m.kind is MistakeKind.MERGE]
    assert all(len(m.true_labels) > 1 for m in merged)
