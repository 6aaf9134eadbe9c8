"""Affinities become objects: apart where the network saw a boundary, whole where it did not."""

import heapq

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from segmentation_backend.errors import InvalidInputError
from segmentation_backend.inference.affinities import AffinityParameters, segment_affinities
from segmentation_backend.inference.affinity_kernels import flood

ISOTROPIC = (8.0, 8.0, 8.0)
ALL = AffinityParameters(min_size=0)


def affinities_of(labels, high=0.95, low=0.05):
    """Return perfect affinities (3, z, y, x) of labels."""
    found = np.full((3, *labels.shape), low, np.float32)
    for axis in range(3):
        before = np.roll(labels, 1, axis)
        before[tuple(slice(0, 1) if a == axis else slice(None) for a in range(3))] = labels[
            tuple(slice(0, 1) if a == axis else slice(None) for a in range(3))
        ]
        found[axis][(labels > 0) & (labels == before)] = high
    return found


def same_objects(a, b):
    """Whether two labellings differ in their numbers only."""
    pairs = np.unique(np.stack([a.ravel(), b.ravel()]), axis=1)
    return len(pairs[0]) == len(np.unique(pairs[0])) == len(np.unique(pairs[1]))


def test_touching_boxes_stay_apart_and_whole():
    labels = np.zeros((12, 20, 30), np.uint8)
    labels[2:10, 3:17, 3:15] = 1
    labels[2:10, 3:17, 15:28] = 2
    assert same_objects(segment_affinities(affinities_of(labels), ISOTROPIC, ALL), labels)


def test_sheets_too_thin_for_seeds_stay_apart():
    labels = np.zeros((8, 20, 20), np.uint8)
    labels[2, 2:18, 2:18] = 1
    labels[3, 2:18, 2:18] = 2
    labels[6, 2:18, 2:9] = 3
    assert same_objects(segment_affinities(affinities_of(labels), ISOTROPIC, ALL), labels)


def test_a_few_wrong_faces_do_not_join():
    labels = np.zeros((12, 20, 30), np.uint8)
    labels[2:10, 3:17, 3:15] = 1
    labels[2:10, 3:17, 15:28] = 2
    affinities = affinities_of(labels)
    affinities[2, 5:7, 8:10, 15] = 0.95
    assert segment_affinities(affinities, ISOTROPIC, ALL).max() == 2


def test_a_neck_alone_does_not_divide():
    labels = np.zeros((16, 16, 60), np.uint8)
    z, y, x = np.mgrid[:16, :16, :60]
    for centre in (10, 30, 50):
        labels[(z - 8) ** 2 + (y - 8) ** 2 + (x - centre) ** 2 < 40] = 1
    labels[7:10, 7:10, 8:52] = 1
    found = segment_affinities(affinities_of(labels), ISOTROPIC, ALL)
    assert found.max() == 1
    assert same_objects(found, labels)


def test_a_boundary_map_divides_too():
    inside = np.zeros((1, 12, 20, 30), np.float32)
    inside[0, 2:10, 3:17, 3:28] = 0.9
    inside[0, :, :, 15] = 0.2
    found = segment_affinities(inside, ISOTROPIC, ALL)
    assert found.max() == 2
    np.testing.assert_array_equal(found > 0, inside[0] >= 0.5)


def test_small_objects_go_unless_the_block_cuts_them():
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[8:11, 8:11, 8:11] = 1
    labels[0:3, 8:11, 8:11] = 2
    labels[14:18, 2:18, 2:18] = 3
    found = segment_affinities(affinities_of(labels), ISOTROPIC, AffinityParameters(min_size=100))
    assert found.max() == 2
    assert found[9, 9, 9] == 0
    assert found[1, 9, 9] != 0


def test_everything_and_nothing():
    nothing = segment_affinities(np.zeros((3, 5, 6, 7), np.float32), ISOTROPIC, ALL)
    assert nothing.shape == (5, 6, 7)
    assert not nothing.any()
    everything = segment_affinities(np.ones((3, 5, 6, 7), np.float32), ISOTROPIC, ALL)
    assert (everything == 1).all()


def test_thin_sections_do_not_divide_an_object():
    labels = np.zeros((6, 40, 40), np.uint8)
    labels[1:5, 5:35, 5:35] = 1
    assert segment_affinities(affinities_of(labels), (40.0, 8.0, 8.0), ALL).max() == 1


@pytest.mark.parametrize("shape", [(2, 4, 4, 4), (4, 4, 4), (0, 4, 4, 4)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(InvalidInputError, match="z, y, x"):
        segment_affinities(np.zeros(shape, np.float32), ISOTROPIC, ALL)


@pytest.mark.parametrize(
    "wrong", [{"inside_thr": 0}, {"join_thr": 1.0}, {"seed_radius": 0}, {"min_size": -1}]
)
def test_wrong_parameters_are_refused(wrong):
    with pytest.raises(InvalidInputError):
        AffinityParameters(**wrong)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_random_affinities_label_all_of_the_inside_and_only_what_hangs_together(seed):
    rng = np.random.default_rng(seed)
    noise = rng.random((3, *rng.integers(1, 12, 3)))
    affinities = ndimage.gaussian_filter(noise, (0, 1, 1, 1)).astype(np.float32)
    affinities = (affinities - affinities.min()) / max(np.ptp(affinities), 1e-6)
    found = segment_affinities(affinities, ISOTROPIC, ALL)
    np.testing.assert_array_equal(found > 0, plain_inside(affinities) >= 0.5)
    assert sorted(np.unique(found[found > 0])) == list(range(1, int(found.max()) + 1))
    for number in range(1, int(found.max()) + 1):
        assert ndimage.label(found == number)[1] == 1


def plain_inside(affinities):
    """Return the mean over the axes of the higher affinity of each voxel along it."""
    after = np.zeros_like(affinities)
    after[0, :-1], after[1, :, :-1], after[2, :, :, :-1] = (
        affinities[0, 1:],
        affinities[1, :, 1:],
        affinities[2, :, :, 1:],
    )
    return np.maximum(affinities, after).mean(0)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_flooding_is_the_plain_algorithm(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 8, 3))
    levels = rng.integers(0, 5, shape).astype(np.uint16)
    inside = rng.random(shape) < 0.8
    labels = np.where(inside & (rng.random(shape) < 0.1), rng.integers(1, 5, shape), 0)
    labels = labels.astype(np.uint32)
    faces = rng.random((3, *shape)) < 0.8
    np.testing.assert_array_equal(
        flood(labels, levels, inside, faces), plain_flood(labels, levels, inside, faces)
    )


def plain_flood(labels, levels, inside, faces):
    """Return what a queue ordered by level, then by arrival, makes of it."""
    spread = labels.copy()
    queue, arrival = [], 0
    for place in zip(*np.nonzero(labels), strict=True):
        queue.append((-int(levels[place]), arrival, tuple(map(int, place))))
        arrival += 1
    heapq.heapify(queue)
    while queue:
        negative, _, place = heapq.heappop(queue)
        for axis, direction in ((0, -1), (0, 1), (1, -1), (1, 1), (2, -1), (2, 1)):
            other = list(place)
            other[axis] += direction
            if not 0 <= other[axis] < labels.shape[axis]:
                continue
            beside = tuple(other)
            is_open = faces[axis][max(place, beside)]
            if inside[beside] and spread[beside] == 0 and is_open:
                spread[beside] = spread[place]
                level = min(-negative, int(levels[beside]))
                heapq.heappush(queue, (-level, arrival, beside))
                arrival += 1
    return spread
