"""The scores say what was found and what was missed."""

import json

import numpy as np
import pytest

from segmentation_backend.errors import InvalidInputError
from segmentation_backend.metrics.matching import evaluate, foreground_iou, instance_f1


def squares(*boxes, shape=(1, 20, 40)):
    labels = np.zeros(shape, np.uint32)
    for number, (y, x, side) in enumerate(boxes, start=1):
        labels[:, y : y + side, x : x + side] = number
    return labels


def test_truth_scores_one_against_itself():
    truth = squares((2, 2, 5), (10, 20, 6))
    scores = evaluate(truth, truth)
    assert (scores.f1, scores.precision, scores.recall) == (1, 1, 1)
    assert (scores.foreground_iou, scores.mean_iou) == (1, 1)
    assert scores.true_positives == 2


def test_empty_against_empty_is_perfect_and_against_something_is_zero():
    nothing, something = squares(), squares((0, 0, 4))
    assert evaluate(nothing, nothing).f1 == 1
    assert evaluate(nothing, something).f1 == 0
    assert evaluate(something, nothing).f1 == 0
    assert evaluate(something, nothing).precision == 0


def test_a_single_object_is_not_scored_as_empty():
    truth = squares((3, 3, 8))
    assert foreground_iou(truth, truth) == 1
    assert instance_f1(truth, truth) == 1


def test_missed_and_invented_objects_are_counted():
    truth = squares((0, 0, 6), (0, 20, 6))
    pred = squares((0, 0, 6), (12, 30, 6))
    scores = evaluate(pred, truth)
    assert (scores.true_positives, scores.false_positives, scores.false_negatives) == (1, 1, 1)
    assert scores.f1 == pytest.approx(0.5)


def test_two_true_objects_in_one_predicted_are_at_most_one_match():
    truth = np.zeros((1, 10, 20), np.uint32)
    truth[0, :, :9], truth[0, :, 9:12] = 1, 2
    pred = (truth > 0).astype(np.uint32)
    scores = evaluate(pred, truth)
    assert (scores.true_positives, scores.false_positives, scores.false_negatives) == (1, 0, 1)


def test_overlap_below_the_threshold_is_no_match():
    truth, pred = squares((0, 0, 10)), squares((0, 5, 10))  # IoU 1/3
    assert instance_f1(pred, truth, iou=0.5) == 0
    assert instance_f1(pred, truth, iou=0.3) == 1


def test_below_one_half_as_many_pairs_as_possible_match():
    truth = np.zeros((1, 1, 12), np.uint32)
    pred = truth.copy()
    truth[0, 0, 0:6], truth[0, 0, 6:12] = 1, 2
    pred[0, 0, 2:8], pred[0, 0, 8:12] = 1, 2  # 1 overlaps both, 2 only the second
    assert evaluate(pred, truth, iou=0.2).true_positives == 2


def test_ignored_voxels_count_for_nothing():
    truth, pred = squares((0, 0, 10)), squares((0, 0, 10), (0, 20, 10))
    ignore = np.zeros(truth.shape, bool)
    ignore[:, :, 20:] = True
    scores = evaluate(pred, truth, ignore)
    assert scores.f1 == 1
    assert scores.foreground_iou == 1
    assert evaluate(pred, truth).f1 < 1


def test_tiny_true_objects_are_neither_asked_for_nor_held_against_anyone():
    truth = squares((0, 0, 10), (0, 20, 3))
    assert evaluate(squares((0, 0, 10)), truth, min_area=10).f1 == 1
    assert evaluate(truth, truth, min_area=10).true_positives == 1
    assert evaluate(squares((0, 0, 10)), truth, min_area=9).false_negatives == 1


def test_a_true_object_inside_the_ignored_part_is_not_missed():
    truth = squares((0, 0, 10), (0, 20, 10))
    ignore = np.zeros(truth.shape, bool)
    ignore[:, :, 20:] = True
    assert evaluate(squares((0, 0, 10)), truth, ignore).false_negatives == 0


def test_per_slice_counts_profiles_and_3d_counts_objects():
    truth = np.zeros((4, 10, 10), np.uint64)
    truth[:, 2:8, 2:8] = 2**40
    pred = truth.copy()
    pred[2:] = np.where(truth[2:] > 0, 7, 0)  # cut in two halves
    assert evaluate(pred, truth, per_slice=True).true_positives == 4
    whole = evaluate(pred, truth, per_slice=False)
    assert (whole.true_positives, whole.false_positives) == (1, 1)


def test_two_profiles_of_one_object_in_a_section_are_two():
    truth = np.zeros((1, 10, 30), np.uint32)
    truth[0, 2:8, 2:8] = truth[0, 2:8, 20:26] = 5
    assert evaluate(truth, truth, per_slice=True).true_positives == 2


def test_different_shapes_are_refused_with_both_shapes():
    with pytest.raises(InvalidInputError, match=r"\(1, 20, 40\).*\(1, 20, 41\)"):
        evaluate(squares(), squares(shape=(1, 20, 41)))


def test_scores_are_json():
    assert json.loads(json.dumps(evaluate(squares(), squares()).to_json()))["f1"] == 1
