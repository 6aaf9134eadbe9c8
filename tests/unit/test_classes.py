"""Networks with several classes: every class has its own objects, and none runs into the next."""

import numpy as np
import pytest
from perfect_maps import perfect_maps

from segmentation_backend.errors import InvalidInputError
from segmentation_backend.inference.classes import Classes, segment_classes
from segmentation_backend.inference.panoptic import Maps, segment_maps
from segmentation_backend.inference.parameters import InferenceParameters
from segmentation_backend.inference.stack import link_classes, median_sections

PARAMETERS = InferenceParameters(fine_boundaries=True)


def squares(side=96, step=24, size=16):
    labels = np.zeros((side, side), np.int32)
    for number, (y, x) in enumerate(np.ndindex(side // step, side // step), start=1):
        labels[y * step : y * step + size, x * step : x * step + size] = number
    return labels


def maps_of(labels, classes, channels):
    """Return perfect maps of labels of which each pixel has a class."""
    maps = perfect_maps(labels, 1)
    chances = np.full((channels, *labels.shape), 0.01, np.float32)
    np.put_along_axis(chances, classes[None], 0.9, 0)
    return Maps(chances, maps.centres, maps.offsets)


def test_one_class_is_the_same_as_without_classes():
    maps = perfect_maps(squares())
    found = segment_classes(maps, Classes(), PARAMETERS)
    np.testing.assert_array_equal(found[1], segment_maps(maps, PARAMETERS))


def test_things_are_instances_and_stuff_is_one():
    labels = squares()
    classes = np.where(labels == 0, 0, np.where(labels % 2, 1, 2))
    classes[80:, 80:] = 3
    found = segment_classes(maps_of(labels, classes, 4), Classes((1, 2, 3), (1, 2)), PARAMETERS)
    assert found[1].max() == 8
    assert found[2].max() == 8 - (labels[88, 88] > 0)
    np.testing.assert_array_equal(found[3], classes == 3)
    together = sum((found[c] > 0).astype(int) for c in found)
    assert together.max() == 1


def test_an_instance_has_the_class_of_most_of_its_pixels():
    labels = squares()
    classes = np.where(labels > 0, 1, 0)
    classes[0:16, 0:9] = 2  # 9 of 16 columns of the first square
    classes[24:40, 0:7] = 2  # 7 of 16 of another
    found = segment_classes(maps_of(labels, classes, 3), Classes((1, 2), (1, 2)), PARAMETERS)
    np.testing.assert_array_equal(found[2] > 0, labels == 1)
    np.testing.assert_array_equal(found[1] > 0, labels > 1)


def test_pieces_far_apart_do_not_vote_together_where_there_is_no_centre():
    labels = squares()
    classes = np.where(labels == 0, 0, np.where(labels == 1, 1, 2))
    maps = maps_of(labels, classes, 3)
    blind = Maps(maps.probability, np.zeros_like(maps.centres), maps.offsets)
    found = segment_classes(blind, Classes((1, 2), (1, 2)), PARAMETERS)
    np.testing.assert_array_equal(found[1] > 0, labels == 1)


@pytest.mark.parametrize("most", [1, 5, 16, 10000])
def test_more_objects_than_allowed_leave_the_largest_and_touch_no_other_class(most):
    labels = squares()
    labels[40:43, 24:40] = labels[24, 24]  # one a little larger
    classes = np.where(labels == 0, 0, np.where(labels <= 12, 1, 2))
    limited = InferenceParameters(fine_boundaries=True, maximum_objects_per_class=most)
    found = segment_classes(maps_of(labels, classes, 3), Classes((1, 2), (1, 2)), limited)
    assert found[1].max() == min(most, 12)
    assert found[2].max() == min(most, 4)
    assert found[1][30, 30] > 0
    np.testing.assert_array_equal(np.unique(found[1]), np.arange(found[1].max() + 1))


def test_classes_are_linked_apart_and_medians_are_of_each_channel():
    labels = squares()
    classes = np.where(labels == 0, 0, np.where(labels <= 12, 1, 2))
    sections = [maps_of(labels, classes, 3) for _ in range(6)]
    sections[3] = maps_of(labels, np.zeros_like(classes), 3)  # a lost section
    known = Classes((1, 2), (1,))
    smooth = median_sections(iter(sections), 3)
    volumes = link_classes(
        (segment_classes(m, known, PARAMETERS) for m in smooth), (6, 96, 96), known, PARAMETERS
    )
    assert volumes[1].max() == 12
    np.testing.assert_array_equal(volumes[1][3] > 0, classes == 1)
    np.testing.assert_array_equal(volumes[2], np.broadcast_to(classes == 2, (6, 96, 96)))


@pytest.mark.parametrize(
    ("ids", "things"), [((1,), (2,)), ((0, 1), (1,)), ((), ()), ((1, 1), (1,))]
)
def test_classes_that_cannot_be(ids, things):
    with pytest.raises(InvalidInputError, match="Classes"):
        Classes(ids, things)


def test_a_class_that_the_network_does_not_give_is_refused():
    maps = maps_of(squares(), (squares() > 0).astype(int), 2)
    with pytest.raises(InvalidInputError, match="no class 4"):
        segment_classes(maps, Classes((1, 4), (1,)), PARAMETERS)
    with pytest.raises(InvalidInputError, match="no classes"):
        segment_classes(perfect_maps(squares()), Classes((1, 2), (1,)), PARAMETERS)
    with pytest.raises(InvalidInputError, match="segment_classes"):
        segment_maps(maps, PARAMETERS)


def test_semantic_only_keeps_each_pixels_class():
    labels = squares()
    classes = np.where(labels > 0, 1, 0)
    classes[0:16, 0:5] = 2
    only = InferenceParameters(semantic_only=True)
    found = segment_classes(maps_of(labels, classes, 3), Classes((1, 2), (1, 2)), only)
    np.testing.assert_array_equal(found[2] > 0, classes == 2)
    assert found[1].max() == 16
