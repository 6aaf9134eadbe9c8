"""Maps become objects: the right ones, connected, and in time that objects do not change."""

import time

import cc3d
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation_backend.errors import FormatError, InvalidInputError
from segmentation_backend.inference.panoptic import (
    Maps,
    find_centres,
    group_pixels,
    join_fragments,
    segment_maps,
)
from segmentation_backend.inference.parameters import InferenceParameters


def discs(shape, *discs):
    """Return labels of discs (y, x, radius), 1..n."""
    labels = np.zeros(shape, np.int32)
    y, x = np.mgrid[: shape[0], : shape[1]]
    for number, (cy, cx, radius) in enumerate(discs, start=1):
        labels[(y - cy) ** 2 + (x - cx) ** 2 <= radius**2] = number
    return labels


def perfect_maps(labels, stride=1):
    """Return the maps that a perfect network would give for labels."""
    count = labels.max()
    y, x = np.mgrid[: labels.shape[0], : labels.shape[1]]
    offsets = np.zeros((2, *labels.shape), np.float32)
    heat = np.zeros(labels.shape, np.float32)
    for number in range(1, count + 1):
        mask = labels == number
        cy, cx = y[mask].mean(), x[mask].mean()
        offsets[0][mask], offsets[1][mask] = (cy - y)[mask], (cx - x)[mask]
        heat = np.maximum(heat, np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 72))
    half = stride // 2
    return Maps(
        probability=(labels > 0).astype(np.float32),
        centres=heat[half::stride, half::stride].astype(np.float32),
        offsets=offsets[:, half::stride, half::stride],
    )


def same_partition(a, b):
    pairs = np.unique(np.stack([a.ravel(), b.ravel()]), axis=1)
    return len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    height=st.integers(1, 24),
    width=st.integers(1, 24),
    count=st.integers(1, 12),
    stride=st.sampled_from([1, 4]),
)
def test_grouping_equals_brute_force(seed, height, width, count, stride):
    rng = np.random.default_rng(seed)
    places = rng.permutation(height * width)[:count]
    centres = np.stack([places // width, places % width], 1)
    offsets = rng.normal(0, 8 * stride, (2, height, width)).astype(np.float32)
    groups = group_pixels(centres, offsets, stride)
    votes = np.rint(np.mgrid[:height, :width].astype(np.float32) + offsets / stride)
    votes = np.clip(votes, 0, np.array([height - 1, width - 1])[:, None, None])
    distance = ((votes[:, None] - centres.T[:, :, None, None]) ** 2).sum(0)
    chosen = np.take_along_axis(distance, (groups - 1)[None], 0)[0]
    assert groups.min() >= 1
    np.testing.assert_array_equal(chosen, distance.min(0))  # ties may go to either


def test_grouping_without_centres_is_nothing():
    empty = np.zeros((0, 2), np.intp)
    assert not group_pixels(empty, np.ones((2, 5, 7), np.float32)).any()


def test_a_plateau_is_one_centre():
    heat = np.zeros((20, 20), np.float32)
    heat[5:8, 5:8] = 0.9
    heat[15, 15] = 0.5
    centres = find_centres(heat, 0.1, 3)
    assert len(centres) == 2


def test_centres_below_the_threshold_or_beside_a_higher_one_are_none():
    heat = np.zeros((30, 30), np.float32)
    heat[10, 10], heat[10, 14], heat[25, 25] = 0.9, 0.8, 0.05
    assert len(find_centres(heat, 0.1, 3)) == 2
    np.testing.assert_array_equal(find_centres(heat, 0.1, 9), [[10, 10]])


@pytest.mark.parametrize("stride", [1, 4])
def test_touching_neighbours_stay_apart(stride):
    labels = discs((96, 128), (48, 40, 22), (48, 84, 22))
    labels[40:56, 58:66] = np.where(np.arange(58, 66) < 62, 1, 2)
    assert cc3d.connected_components(labels > 0, connectivity=4).max() == 1
    objects = segment_maps(perfect_maps(labels, stride), InferenceParameters())
    assert objects.max() == 2
    if stride == 1:
        assert same_partition(objects, labels)


def test_semantic_only_gives_connected_pieces():
    labels = discs((64, 64), (20, 20, 10), (20, 38, 10), (50, 50, 8))
    objects = segment_maps(perfect_maps(labels), InferenceParameters(semantic_only=True))
    assert objects.max() == 2


def test_foreground_without_any_centre_is_still_an_object():
    maps = perfect_maps(discs((64, 64), (20, 20, 10), (50, 50, 8)))
    blind = Maps(maps.probability, np.zeros_like(maps.centres), maps.offsets)
    assert segment_maps(blind, InferenceParameters()).max() == 2


def test_empty_maps_give_no_objects():
    blank = np.zeros((32, 48), np.float32)
    objects = segment_maps(
        Maps(blank, blank[::4, ::4], np.zeros((2, 8, 12), np.float32)), InferenceParameters()
    )
    assert objects.shape == (32, 48)
    assert not objects.any()


def test_sides_that_are_no_multiples_of_four_are_kept():
    labels = discs((61, 75), (30, 30, 12))
    padded = np.pad(labels, ((0, 3), (0, 1)))
    maps = perfect_maps(padded, 4)
    cut = Maps(maps.probability[:61, :75], maps.centres[:16, :19], maps.offsets[:, :16, :19])
    assert segment_maps(cut, InferenceParameters()).shape == (61, 75)


def test_small_objects_are_dropped_and_numbers_have_no_gaps():
    labels = discs((64, 64), (10, 10, 1), (30, 30, 8), (50, 50, 8))
    objects = segment_maps(perfect_maps(labels), InferenceParameters(semantic_only=True))
    np.testing.assert_array_equal(np.unique(objects), [0, 1, 2])


def test_a_sliver_joins_the_neighbour_it_borders_on_most():
    groups = np.zeros((40, 60), np.int32)
    groups[5:35, 5:30] = 1
    groups[5:35, 30:55] = 2
    groups[10:14, 26:30] = 3  # 16 pixels of a third group, inside the first
    joined = join_fragments(groups, 20)
    assert joined.max() == 2
    assert joined[12, 28] == joined[12, 10]


def test_a_far_piece_of_a_group_is_an_object_of_its_own():
    groups = np.zeros((40, 60), np.int32)
    groups[5:15, 5:15] = groups[5:15, 40:50] = 1
    assert join_fragments(groups, 20).max() == 2


def test_a_small_piece_cut_off_its_group_goes_to_the_object_around_it():
    groups = np.zeros((60, 90), np.int32)
    groups[5:55, 5:45] = 1
    groups[20:28, 20:28] = 2  # votes for the wrong centre: 64 pixels, not a sliver
    groups[5:55, 60:85] = 2
    joined = join_fragments(groups, 20)
    assert joined.max() == 2
    assert joined[24, 24] == joined[10, 10]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_every_object_is_connected_and_no_foreground_is_lost(seed):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 4, (8, 9)).astype(np.int32)
    groups = np.repeat(np.repeat(coarse, 5, 0), 5, 1)
    joined = join_fragments(groups, 20)
    np.testing.assert_array_equal(joined > 0, groups > 0)
    assert cc3d.connected_components(joined, connectivity=8).max() == joined.max()


def naive_neighbours(pieces, piece):
    """Return how many pairs of pixels a piece shares with each other piece, corners included."""
    pairs = {}
    for y, x in np.argwhere(pieces == piece):
        around = pieces[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
        for other in around[(around > 0) & (around != piece)].tolist():
            pairs[other] = pairs.get(other, 0) + 1
    return pairs


def naive_join(groups, min_area):
    """Return objects as `join_fragments` describes them, pass by pass over the pixels."""
    pieces = cc3d.connected_components(groups, connectivity=8).astype(np.int64)
    group = {int(p): int(groups[pieces == p][0]) for p in np.unique(pieces[pieces > 0])}
    for _ in range(4):
        area = {int(p): int((pieces == p).sum()) for p in np.unique(pieces[pieces > 0])}
        wanted = {}
        for p, own in area.items():
            largest = max(area[q] for q in area if group[q] == group[p])
            hosts = [
                (pixels, area[q], -q)
                for q, pixels in naive_neighbours(pieces, p).items()
                if own < area[q] and (own < min_area or (own < largest and own < area[q] / 4))
            ]
            wanted[p] = -max(hosts)[2] if hosts else p
        ends = dict(wanted)
        for _ in area:
            ends = {p: wanted[q] for p, q in ends.items()}
        pieces = np.vectorize({0: 0, **ends}.get, otypes=[np.int64])(pieces)
    return pieces


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), min_area=st.integers(0, 30))
def test_joining_equals_its_definition(seed, min_area):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 4, (rng.integers(1, 6), rng.integers(1, 6))).astype(np.int32)
    groups = np.repeat(np.repeat(coarse, 3, 0), 4, 1)
    groups[rng.random(groups.shape) < 0.1] = 0
    assert same_partition(join_fragments(groups, min_area), naive_join(groups, min_area))


@pytest.mark.parametrize("most", [1, 3, 4, 10000])
def test_of_too_many_objects_the_largest_are_kept(most):
    labels = discs((64, 128), (12, 12, 6), (12, 40, 9), (12, 70, 7), (44, 40, 8))
    wanted = InferenceParameters(fine_boundaries=True, maximum_objects_per_class=most)
    objects = segment_maps(perfect_maps(labels), wanted)
    assert objects.max() == min(most, 4)
    assert objects[12, 40] > 0
    assert (objects[12, 12] > 0) == (most >= 4)


@pytest.mark.parametrize(
    ("centres", "offsets"),
    [((16, 8), (2, 16, 8)), ((16, 16), (2, 16, 8)), ((16, 16), (1, 16, 16)), ((4, 3), (2, 4, 3))],
)
def test_maps_that_do_not_cover_the_same_section_are_refused(centres, offsets):
    maps = Maps(*(np.ones(shape, np.float32) for shape in ((64, 64), centres, offsets)))
    with pytest.raises(FormatError, match="same pixels"):
        segment_maps(maps, InferenceParameters())


def test_maps_that_are_no_numbers_give_no_objects_and_no_crash():
    maps = perfect_maps(discs((64, 64), (20, 20, 10)), 4)
    broken = Maps(maps.probability * np.nan, maps.centres * np.nan, maps.offsets * np.nan)
    assert not segment_maps(broken, InferenceParameters()).any()
    blind = Maps(maps.probability, maps.centres, maps.offsets * np.nan)
    assert segment_maps(blind, InferenceParameters()).max() == 1


def test_time_does_not_grow_with_the_number_of_objects():
    def seconds(step):
        side = 512
        y, x = np.mgrid[:side, :side]
        labels = (y // step * (side // step) + x // step + 1).astype(np.int32)
        offsets = np.stack([y // step * step + step / 2 - y, x // step * step + step / 2 - x])
        heat = np.zeros((side, side), np.float32)
        heat[step // 2 :: step, step // 2 :: step] = 1
        maps = Maps((labels > 0).astype(np.float32), heat, offsets.astype(np.float32))
        best = np.inf
        for _ in range(3):
            began = time.process_time()
            objects = segment_maps(maps, InferenceParameters(fine_boundaries=True))
            best = min(best, time.process_time() - began)
        assert objects.max() == (side // step) ** 2
        return best

    few, many = seconds(128), seconds(16)  # 16 objects, 1024 objects
    assert many < 4 * few


@pytest.mark.parametrize(
    "wrong",
    [
        {"confidence_thr": 0.0},
        {"confidence_thr": "high"},
        {"confidence_thr": float("nan")},
        {"center_confidence_thr": 0.95},
        {"min_distance_object_centers": 0},
        {"min_distance_object_centers": 2.5},
        {"median_slices": 4},
        {"median_slices": True},
        {"min_size": -1},
        {"fine_boundaries": 1},
        {"pixel_vote_thr": 0},
        {"pixel_vote_thr": 4},
        {"allow_one_view": "yes"},
        {"maximum_objects_per_class": 0},
        {"label_erosion": 51},
        {"label_dilation": -1},
        {"fill_holes_in_segmentation": None},
        {"colour": "red"},
    ],
)
def test_parameters_out_of_range_are_refused_by_name(wrong):
    with pytest.raises(InvalidInputError, match=next(iter(wrong))):
        InferenceParameters.from_json(wrong)


def test_parameters_survive_json():
    parameters = InferenceParameters(confidence_thr=0.3, fine_boundaries=True)
    assert InferenceParameters.from_json(parameters.to_json()) == parameters
    with pytest.raises(InvalidInputError):
        InferenceParameters.from_json([1])
