"""Three stacks become one set of objects: majorities join and divide, and neighbours stay apart."""

import itertools
import time

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from perfect_maps import ellipsoids, f1_scores, perfect_stack

from segmentation_backend.errors import InvalidInputError
from segmentation_backend.inference.cells import collect_cells, paint_cells
from segmentation_backend.inference.consensus import merge_stacks, narrow, vote_stuff
from segmentation_backend.inference.panoptic import segment_maps
from segmentation_backend.inference.parameters import InferenceParameters
from segmentation_backend.inference.stack import link_sections, median_sections

SHAPE = (24, 48, 64)
ALL = InferenceParameters(min_size=1, min_extent=1)
ORDERS = list(itertools.permutations(range(3)))


def box(*bounds):
    """Return a mask of SHAPE: z0, z1, y0, y1, x0, x1."""
    mask = np.zeros(SHAPE, bool)
    z0, z1, y0, y1, x0, x1 = bounds
    mask[z0:z1, y0:y1, x0:x1] = True
    return mask


LEFT = box(4, 20, 8, 40, 6, 30)
RIGHT = box(6, 18, 10, 38, 30, 58)


def labelled(*masks):
    labels = np.zeros(SHAPE, np.uint32)
    for number, mask in enumerate(masks, start=1):
        labels[mask] = number
    return labels


def same_partition(a, b):
    pairs = np.unique(np.stack([a.ravel(), b.ravel()]), axis=1)
    return len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]


def check(stacks, expected, parameters=ALL):
    for order in ORDERS:
        found = merge_stacks([stacks[k] for k in order], parameters)
        assert same_partition(found.labels, expected), order
        assert len(found.agreement) == found.labels.max() + 1


def test_stacks_that_are_the_same_agree_wholly():
    truth = labelled(LEFT, RIGHT)
    found = merge_stacks([truth, truth, truth], ALL)
    assert same_partition(found.labels, truth)
    np.testing.assert_array_equal(found.agreement, [0, 1, 1])


def test_neighbours_that_one_stack_takes_for_one_stay_apart():
    truth, glued = labelled(LEFT, RIGHT), labelled(LEFT | RIGHT)
    check([truth, glued, truth], truth)


def test_they_stay_apart_where_the_other_two_see_the_border_elsewhere():
    glued = labelled(LEFT | RIGHT)
    nearer = labelled(LEFT & ~box(0, 24, 0, 48, 28, 64), RIGHT | (LEFT & box(0, 24, 0, 48, 28, 64)))
    check([labelled(LEFT, RIGHT), glued, nearer], labelled(LEFT, RIGHT))


def test_neighbours_that_two_stacks_take_for_one_are_one():
    glued = labelled(LEFT | RIGHT)
    check([glued, labelled(LEFT, RIGHT), glued], glued)


def test_an_object_that_one_stack_cut_is_whole():
    low = box(0, 12, 0, 48, 0, 64)
    truth, cut = labelled(LEFT, RIGHT), labelled(LEFT & low, RIGHT, LEFT & ~low)
    check([truth, cut, truth], truth)


def test_an_object_that_two_stacks_cut_in_different_places_is_whole():
    one, other = box(0, 9, 0, 48, 0, 64), box(0, 16, 0, 48, 0, 64)
    cuts = [labelled(LEFT & part, LEFT & ~part) for part in (one, other)]
    check([*cuts, labelled(LEFT)], labelled(LEFT))


def test_an_object_that_two_stacks_cut_in_the_same_place_is_two():
    low = box(0, 12, 0, 48, 0, 64)
    cut = labelled(LEFT & low, LEFT & ~low)
    check([cut, cut, labelled(LEFT)], cut)


def test_one_stack_may_be_wrong_about_everything():
    truth = labelled(LEFT, RIGHT, box(0, 3, 0, 48, 0, 64), box(21, 24, 0, 48, 0, 64))
    check([truth, (truth > 0).astype(np.uint32), truth], truth)


def test_voxels_need_votes():
    masks = [box(4, 20, 8, 40, 6, end) for end in (30, 34, 38)]
    stacks = [labelled(mask) for mask in masks]
    for threshold in (1, 2, 3):
        votes = sum(mask.astype(int) for mask in masks)
        wanted = InferenceParameters(min_size=1, min_extent=1, pixel_vote_thr=threshold)
        found = merge_stacks(stacks, wanted)
        np.testing.assert_array_equal(found.labels > 0, votes >= threshold)
        expected = votes[votes >= threshold].mean() / 3
        assert found.agreement[1] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("threshold", [1, 2, 3])
def test_what_one_stack_sees_alone_is_shown_only_if_permitted(threshold):
    seen, alone = labelled(LEFT, RIGHT), labelled(LEFT)
    for allowed in (False, True):
        wanted = InferenceParameters(
            min_size=1, min_extent=1, pixel_vote_thr=threshold, allow_one_view=allowed
        )
        expected = seen if allowed else alone
        check([alone, seen, alone], expected, wanted)


def test_the_rim_where_two_stacks_meet_by_chance_is_no_object():
    overlap = box(4, 20, 8, 40, 26, 30)
    one, other = labelled(LEFT), labelled(RIGHT | overlap)
    found = merge_stacks([one, other, np.zeros(SHAPE, np.uint32)], ALL)
    assert not found.labels.any()


def test_an_object_that_the_volume_cuts_is_kept_and_a_speck_is_not():
    corner = box(0, 3, 0, 20, 0, 20)  # 3 sections of an object whose rest lies outside
    speck = box(10, 12, 30, 34, 30, 34)
    flat = box(20, 22, 5, 45, 5, 45)
    truth = labelled(corner, speck, flat)
    found = merge_stacks([truth, truth, truth], InferenceParameters())
    np.testing.assert_array_equal(found.labels > 0, corner)
    np.testing.assert_array_equal(found.agreement, [0, 1])


def test_what_goes_on_past_an_open_face_is_kept():
    truth = labelled(box(10, 12, 30, 34, 60, 64))
    stacks = [truth, truth, truth]
    opened = (False, False, False, False, False, True)
    assert merge_stacks(stacks, InferenceParameters(), opened).labels.max() == 1
    assert merge_stacks(stacks, InferenceParameters()).labels.max() == 0


def test_the_order_in_memory_does_not_matter():
    truth = labelled(LEFT, RIGHT)
    turned = [np.moveaxis(np.ascontiguousarray(np.moveaxis(truth, k, 0)), 0, k) for k in range(3)]
    straight = merge_stacks([truth, truth, truth], ALL)
    np.testing.assert_array_equal(merge_stacks(turned, ALL).labels, straight.labels)


def test_labels_beyond_two_bytes_are_labels_too():
    truth = labelled(LEFT, RIGHT)
    large = np.where(truth > 0, truth + np.uint32(70_000), 0).astype(np.uint32)
    check([truth, large, truth], truth)
    assert narrow(large) is large
    assert narrow(truth).dtype == np.uint16


def test_nothing_is_nothing():
    nothing = np.zeros(SHAPE, np.uint16)
    found = merge_stacks([nothing, nothing, nothing], ALL)
    assert not found.labels.any()
    np.testing.assert_array_equal(found.agreement, [0])
    empty = np.zeros((0, 4, 4), np.uint16)
    assert merge_stacks([empty, empty, empty], ALL).labels.shape == (0, 4, 4)


def test_stacks_that_cannot_be_compared_are_refused():
    truth = labelled(LEFT)
    with pytest.raises(InvalidInputError, match="three stacks of one shape"):
        merge_stacks([truth, truth, truth[:-1]], ALL)
    with pytest.raises(InvalidInputError, match="three stacks"):
        merge_stacks([truth, truth], ALL)
    with pytest.raises(InvalidInputError, match="float32"):
        merge_stacks([truth, truth, truth.astype(np.float32)], ALL)
    with pytest.raises(InvalidInputError, match="-1"):
        merge_stacks([truth, truth, np.full(SHAPE, -1)], ALL)


@example(200681)
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_numbers_of_labels_and_the_order_of_stacks_do_not_matter(seed):
    rng = np.random.default_rng(seed)
    stacks = []
    for _ in range(3):
        labels = np.zeros(SHAPE, np.uint32)
        for number in range(1, 8):
            begin = rng.integers(0, np.array(SHAPE) - 6)
            end = begin + rng.integers(4, 25, 3)
            labels[tuple(slice(b, e) for b, e in zip(begin, end, strict=True))] = number
        stacks.append(labels)
    found = merge_stacks(stacks, ALL)
    mixed = []
    for k in rng.permutation(3):
        numbers = np.concatenate([[0], 1 + rng.permutation(9)]).astype(np.uint32)
        mixed.append(numbers[stacks[k]])
    again = merge_stacks(mixed, ALL)
    assert same_partition(found.labels, again.labels)
    # Nothing is shown where fewer than two stacks see anything, and agreement is a share of votes.
    assert not found.labels[sum((s > 0).astype(int) for s in stacks) < 2].any()
    assert ((found.agreement[1:] > 0.66) & (found.agreement[1:] <= 1)).all()


def test_time_follows_the_volume_and_not_what_one_stack_glued_together():
    side, step = 64, 8
    z, y, x = np.mgrid[:side, :side, :side] // step
    truth = ((z * step + y) * step + x + 1).astype(np.uint32)
    truth[np.any(np.mgrid[:side, :side, :side] % step == 0, axis=0)] = 0
    glued = (truth > 0).astype(np.uint32)
    merge_stacks([truth, truth, truth], ALL)
    began = time.process_time()
    found = merge_stacks([truth, glued, truth], ALL)
    assert time.process_time() - began < 3
    assert same_partition(found.labels, truth)


def test_stuff_is_what_enough_stacks_see():
    masks = [box(4, 20, 8, 40, 6, end) for end in (30, 34, 38)]
    votes = sum(mask.astype(int) for mask in masks)
    for threshold in (1, 2, 3):
        found = vote_stuff([labelled(mask) for mask in masks], threshold)
        np.testing.assert_array_equal(found, votes >= threshold)


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 40), st.integers(1, 6), st.integers(1, 40)).flatmap(
        lambda s: st.tuples(*[arrays(np.uint16, s, elements=st.integers(0, 3))] * 3)
    ),
    st.integers(1, 3),
)
def test_cells_are_the_distinct_triples(volumes, least):
    cells, slots = collect_cells(*volumes, least)
    triples = np.stack([v.ravel() for v in volumes], 1).astype(np.int64)
    counted = (triples > 0).sum(1) >= least
    values, counts = np.unique(triples[counted], axis=0, return_counts=True)
    expected = [(*v, n) for v, n in zip(values.tolist(), counts.tolist(), strict=True)]
    assert sorted(map(tuple, cells.tolist())) == expected
    numbers = np.arange(1, len(cells) + 1, dtype=np.uint32)
    painted = paint_cells(*volumes, least, cells, slots, numbers).ravel()
    np.testing.assert_array_equal(painted > 0, counted)
    np.testing.assert_array_equal(cells[painted[counted] - 1, :3], triples[counted])


def test_as_many_cells_as_voxels_find_room():
    count = 50
    grid = np.mgrid[:count, :count, :count].astype(np.uint32)
    cells, slots = collect_cells(*(g + 1 for g in grid), 3)
    assert len(cells) == count**3
    assert (cells[:, 3] == 1).all()
    numbers = np.arange(len(cells), dtype=np.uint32)
    painted = paint_cells(*(g + 1 for g in grid), 3, cells, slots, numbers)
    assert len(np.unique(painted)) == count**3


@pytest.mark.parametrize("seed", [0, 1])
def test_perfect_maps_give_nearly_perfect_objects(seed):
    truth = ellipsoids((48, 96, 112), 24, seed)
    stacks = []
    for axis in range(3):
        maps = median_sections(perfect_stack(truth, axis), ALL.median_slices)
        shape = np.moveaxis(truth, axis, 0).shape
        linked = link_sections((segment_maps(m, ALL) for m in maps), shape, ALL)
        stacks.append(np.moveaxis(linked, 0, axis))
        f50, f75 = f1_scores(truth, linked if axis == 0 else stacks[-1])
        assert f50 >= 0.9
        assert f75 >= 0.85
    f50, f75 = f1_scores(truth, merge_stacks(stacks, InferenceParameters()).labels)
    assert f50 >= 0.97
    assert f75 >= 0.93
