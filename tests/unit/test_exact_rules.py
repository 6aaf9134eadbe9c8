"""The rules of `empanada-exact`, each beside one that follows its words, or a case by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.optimize import linear_sum_assignment

from segmentation_backend.errors import FormatError, InvalidInputError
from segmentation_backend.inference.exact import (
    ExactModel,
    ExactParameters,
    segment_orthoplane_exact,
    segment_slice_exact,
    segment_stack_exact,
)
from segmentation_backend.inference.exact_consensus import consensus
from segmentation_backend.inference.exact_kernels import encode_rows, shared_voxels, voted_runs
from segmentation_backend.inference.exact_matching import match_stack
from segmentation_backend.inference.exact_objects import RunObject, fill, stack_objects
from segmentation_backend.inference.exact_resize import shrink
from segmentation_backend.inference.exact_sections import (
    Section,
    components,
    find_centres,
    group_cells,
    median_recursive,
    merge_panoptic,
    normalise_exact,
)

SIDES = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=7)
HEIGHTS = st.sampled_from([0.0, 0.1, 0.2, 0.2, 0.5, 1.0]).map(np.float32)


@given(arrays(np.float32, SIDES, elements=HEIGHTS), st.integers(1, 6))
@settings(max_examples=150, deadline=None)
def test_centres_are_all_highest_pixels_of_their_window(heatmap, window):
    expected = []
    for y, x in np.ndindex(heatmap.shape):
        back, ahead = window // 2, window - window // 2
        around = heatmap[max(0, y - back) : y + ahead, max(0, x - back) : x + ahead]
        if heatmap[y, x] > np.float32(0.1) and heatmap[y, x] == around.max():
            expected.append([y, x])
    assert find_centres(heatmap, 0.1, window).tolist() == expected


@given(st.data(), st.sampled_from([1, 4]))
@settings(max_examples=80, deadline=None)
def test_every_pixel_belongs_to_the_first_of_the_nearest_centres(data, step):
    heatmap = data.draw(arrays(np.float32, SIDES, elements=HEIGHTS))
    moves = st.floats(-30, 30, width=32)
    offsets = data.draw(arrays(np.float32, (2, *heatmap.shape), elements=moves))
    centres = find_centres(heatmap, 0.1, 3)
    expected = np.zeros(heatmap.shape, int)
    for y, x in np.ndindex(heatmap.shape):
        place = np.array([y, x], np.float32) * np.float32(step) + offsets[:, y, x]
        if len(centres):
            apart = centres.astype(np.float32) * np.float32(step) - place
            expected[y, x] = 1 + np.sqrt((apart * apart).sum(1)).argmin()
    np.testing.assert_array_equal(group_cells(heatmap, offsets, 0.1, 3, step), expected)


def test_with_more_than_twenty_centres_a_pixel_may_point_too_far():
    heatmap = np.zeros((10, 10), np.float32)
    heatmap[::2, ::2] = 1
    offsets = np.zeros((2, 10, 10), np.float32)
    offsets[:, 0, 0] = 2e5
    assert group_cells(heatmap, offsets, 0.1, 1, 4)[0, 0] == 0
    heatmap[4:] = 0
    assert group_cells(heatmap, offsets, 0.1, 1, 4)[0, 0] > 0


def naive_panoptic(classes, cells, things, divisor, stuff_area):
    merged = np.zeros(classes.shape, int)
    used = dict.fromkeys(things, 0)
    for cell in range(1, cells.max(initial=0) + 1):
        mask = (cells == cell) & np.isin(classes, things)
        if mask.any():
            winner = int(np.bincount(classes[mask]).argmax())
            used[winner] += 1
            merged[mask] = winner * divisor + used[winner]
    for kind in set(classes.ravel().tolist()) - set(things) - {0}:
        if (classes == kind).sum() >= stuff_area:
            merged[classes == kind] = kind * divisor
    return merged


@given(st.data(), st.sampled_from([(), (1,), (1, 3), (2, 3), (1, 2, 3)]))
@settings(max_examples=150, deadline=None)
def test_cells_become_objects_of_their_commonest_class(data, things):
    shape = data.draw(SIDES)
    classes = data.draw(arrays(np.intp, shape, elements=st.integers(0, 3)))
    cells = data.draw(arrays(np.int32, shape, elements=st.integers(0, 5)))
    parameters = ExactParameters(label_divisor=100, stuff_area=4)
    expected = naive_panoptic(classes, cells, things, 100, 4)
    np.testing.assert_array_equal(merge_panoptic(classes, cells, things, parameters), expected)


def sections(values):
    cells = np.zeros((1, 1), np.int32)
    return [Section(np.full((1, 1, 1), v, np.float32), cells, (1, 1)) for v in values]


@given(st.lists(st.integers(0, 9), max_size=12), st.sampled_from([1, 3, 5, 7]))
def test_the_median_looks_back_at_medians_and_leaves_both_ends(values, count):
    middle, expected = count // 2, list(values)
    for index in range(middle, len(values) - middle):
        expected[index] = sorted(expected[index - middle : index + middle + 1])[middle]
    found = [int(s.probability[0, 0, 0]) for s in median_recursive(sections(values), count)]
    assert found == expected


def naive_matching(pieces, first_id, threshold):
    """Follow the rules on sets of pixels; return {id: pixels} for each section, in order."""

    def step(target, other, fresh):
        ids, masks = list(target), list(other.items())
        iou = np.array([[len(target[i] & m) / len(target[i] | m) for _, m in masks] for i in ids])
        iou = iou.reshape(len(ids), len(masks))
        chosen = zip(*linear_sum_assignment(iou, maximize=True), strict=True)
        partner = {c: ids[r] for r, c in chosen if iou[r, c] >= threshold}
        result = {}
        for column, (own, mask) in enumerate(masks):
            shares = [np.float32(len(target[i] & mask) / len(mask)) for i in ids]
            if column in partner:
                label = partner[column]
            elif shares and max(shares) >= threshold:
                label = ids[int(np.argmax(shares))]
            elif fresh is not None:
                label = fresh
                fresh += 1
            else:
                label = own
            result[label] = result.get(label, set()) | mask
        return result, fresh

    stack = [
        {first_id + n: set(np.flatnonzero(p.ravel() == n).tolist()) for n in range(1, p.max() + 1)}
        for p in pieces
    ]
    fresh = max(stack[0], default=first_id) + 1
    for index in range(1, len(stack)):
        stack[index], fresh = step(stack[index - 1], stack[index], fresh)
    for index in range(len(stack) - 2, -1, -1):
        stack[index], _ = step(stack[index + 1], stack[index], None)
    return stack


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_profiles_are_matched_as_sets_of_pixels_would_be(data):
    count, height, width = data.draw(st.integers(1, 5)), 5, 6
    values = arrays(np.uint8, (count, height, width), elements=st.integers(0, 2))
    pieces = [components(section, 0, 10) for section in data.draw(values)]
    expected = naive_matching(pieces, 100, 0.25)
    found = match_stack(pieces, 100, 0.25, 0.25)
    for section, profiles, objects in zip(pieces, found, expected, strict=True):
        assert list(profiles) == list(objects)
        for label, parts in profiles.items():
            assert set(np.flatnonzero(np.isin(section.ravel(), parts)).tolist()) == objects[label]


def test_a_gap_of_one_section_starts_a_new_object():
    disc = np.ones((3, 3), np.uint32)
    found = match_stack([disc, 0 * disc, disc], 10, 0.25, 0.25)
    assert [list(profiles) for profiles in found] == [[11], [], [12]]


RANGES = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 8)), max_size=12)


@given(RANGES, st.integers(1, 4))
@settings(max_examples=150, deadline=None)
def test_voted_runs_are_where_enough_ranges_overlap(ranges, votes):
    count = np.zeros(50, int)
    for start, length in ranges:
        count[start : start + length] += 1
    starts = np.sort([start for start, _ in ranges]).astype(np.int64)
    ends = np.sort([start + length for start, length in ranges]).astype(np.int64)
    found = np.zeros(50, int)
    for begin, end in voted_runs(starts, ends, votes):
        assert not found[max(0, begin - 1) : end + 1].any()  # maximal: no two adjoin
        found[begin:end] += 1
    np.testing.assert_array_equal(found, count >= votes)


@given(arrays(np.int32, (3, 20), elements=st.integers(0, 3)))
@settings(max_examples=100, deadline=None)
def test_runs_say_what_the_rows_say(rows):
    again = np.zeros_like(rows)
    table = encode_rows(rows)
    for label, row, begin, length in table:
        assert not again[row, begin : begin + length].any()
        again[row, begin : begin + length] = label
    np.testing.assert_array_equal(again, rows)


def runs_of(mask):
    table = encode_rows(mask.reshape(1, -1).astype(np.int32))
    return np.ascontiguousarray(table[:, 2]), np.ascontiguousarray(table[:, 3])


@given(arrays(bool, 30), arrays(bool, 30))
@settings(max_examples=150, deadline=None)
def test_voxels_shared_are_those_of_both(a, b):
    assert shared_voxels(*runs_of(a), *runs_of(b)) == (a & b).sum()
    assert shared_voxels(*runs_of(b), *runs_of(a)) == (a & b).sum()


def objects_of(*volumes):
    return [
        RunObject(
            *runs_of(mask),
            (*np.argwhere(mask).min(0).tolist(), *(np.argwhere(mask).max(0) + 1).tolist()),
        )
        for mask in volumes
    ]


def cube(*sides, shape=(8, 8, 16)):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(*side) for side in sides)] = True
    return mask


ROD = cube((0, 8), (0, 8), (0, 8))
LEFT, RIGHT = cube((0, 8), (0, 8), (0, 4)), cube((0, 8), (0, 8), (4, 8))


def agreed(stacks, votes=2, one_view=False):
    found = consensus([objects_of(*stack) for stack in stacks], votes, 0.75, one_view)
    return fill(enumerate(found, start=1), ROD.shape)


def test_what_all_stacks_show_is_what_they_agree_on():
    np.testing.assert_array_equal(agreed([[ROD]] * 3), ROD)


def test_an_object_that_one_stack_alone_shows_is_dropped_unless_permitted():
    assert not agreed([[ROD], [], []]).any()
    assert not agreed([[ROD], [], []], one_view=True).any()  # two votes are still needed
    assert agreed([[ROD], [], []], votes=1, one_view=True).any()
    assert not agreed([[ROD], [], []], votes=1).any()


def test_what_one_stack_cuts_in_two_is_whole_and_what_two_cut_is_two():
    assert agreed([[ROD], [ROD], [LEFT, RIGHT]]).max() == 1
    assert agreed([[ROD], [LEFT, RIGHT], [LEFT, RIGHT]]).max() == 2


def test_one_vote_merges_whatever_overlaps():
    assert agreed([[ROD], [LEFT, RIGHT], [LEFT, RIGHT]], votes=1).max() == 1


def test_in_xz_a_run_over_the_end_of_a_row_goes_on_one_plane_off():
    shape = (3, 2, 4)
    plane = np.zeros((3, 4), np.uint32)
    plane[0, 2:], plane[1, :1] = 1, 1  # goes on in the next row of the section
    pieces, profiles = [plane, 0 * plane], [{5: [1]}, {}]
    (item,) = stack_objects(pieces, profiles, shape, "xz")
    volume = fill([(1, item)], shape)
    assert volume[0, 0].tolist() == [0, 0, 1, 1]
    assert volume[0, 1].tolist() == [1, 0, 0, 0]  # and not volume[1, 0]
    assert not volume[1:].any()
    (same,) = stack_objects([plane, 0 * plane, 0 * plane], [*profiles, {}], (3, 3, 4), "xy")
    assert fill([(1, same)], (3, 3, 4))[0, 1, 0] == 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, np.float64])
def test_shrinking_takes_the_middle_of_each_square(dtype):
    image = (np.random.default_rng(0).random((16, 24)) * 200).astype(dtype)
    wide = image.astype(float)
    middle = (wide[1::4, 1::4] + wide[2::4, 1::4] + wide[1::4, 2::4] + wide[2::4, 2::4]) / 4
    found = shrink(image, 4)
    assert found.dtype == dtype
    assert abs(found - middle).max() <= (1e-4 if np.dtype(dtype).kind == "f" else 0.5)
    assert shrink(image, 1) is image


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from([2, 4, 8, 16]),
    st.sampled_from([np.uint8, np.uint16, np.float32]),
)
@settings(deadline=None)
def test_shrinking_rounds_sides_up_and_keeps_a_constant(height, width, factor, dtype):
    found = shrink(np.full((height, width), 77, dtype), factor)
    assert found.shape == (-(-height // factor), -(-width // factor))
    assert (found == 77).all()


def test_whole_numbers_are_shares_of_their_type_and_floats_of_what_the_section_reaches():
    model = ExactModel(mean=0.5, std=0.25)
    assert normalise_exact(np.array([[255]], np.uint8), model) == 2
    assert normalise_exact(np.array([[255]], np.uint16), model) < -1.9  # narrow range: black
    assert normalise_exact(np.array([[1.0]]), model) == 2
    assert normalise_exact(np.array([[1.0, 255.0]]), model)[0, 0] < -1.9  # the scale flips


def test_a_type_without_a_range_is_refused():
    with pytest.raises(InvalidInputError, match="bool"):
        normalise_exact(np.zeros((2, 2), bool), ExactModel())
    with pytest.raises(InvalidInputError, match="int32"):
        shrink(np.zeros((8, 8), np.int32), 2)


def discs(section, render_steps, interpolate_ins):
    """Find what is bright; one centre for all."""
    scale = 2 ** (render_steps - 2)
    grid = [side // (1 if interpolate_ins else 4) for side in section.shape]
    heat = np.zeros((1, *grid), np.float32)
    heat[0, 0, 0] = 1
    logits = np.where(section > 0, 5, -5).repeat(scale, 0).repeat(scale, 1)
    offsets = np.zeros((2, *grid), np.float32)
    return {"sem_logits": logits[None].astype(np.float32), "ctr_hmp": heat, "offsets": offsets}


def test_a_section_smaller_than_the_padding_and_one_downsampled_are_segmented():
    image = np.zeros((9, 21), np.uint8)
    image[4:, 4:12] = 255
    assert (segment_slice_exact(image, discs) == np.where(image > 0, 10001, 0)).all()
    half = segment_slice_exact(image, discs, parameters=ExactParameters(downsampling=2))
    assert half.shape == image.shape
    assert (half[6:, 6:10] == 10001).all()


def test_probabilities_are_taken_where_the_network_gives_them():
    def network(*arguments):
        maps = discs(*arguments)
        return {**maps, "sem": np.full_like(maps["sem_logits"], 0.25)}

    image = np.full((16, 16), 255, np.uint8)
    assert not segment_slice_exact(image, network).any()
    low = ExactParameters(confidence_thr=0.25)
    assert segment_slice_exact(image, network, parameters=low).all()


def test_all_background_and_constant_images_give_no_objects():
    image = np.zeros((6, 16, 20), np.uint8)
    assert not segment_stack_exact(image, discs)[1].any()
    assert not segment_orthoplane_exact(image, discs)[1].any()


def test_stacks_shorter_than_the_median_are_segmented():
    image = np.full((2, 16, 20), 255, np.uint8)
    parameters = ExactParameters(median_slices=5, min_extent=1)
    assert (segment_stack_exact(image, discs, parameters=parameters)[1] == 1).all()


def test_sections_are_reported_and_an_error_ends_the_work():
    image = np.full((5, 6, 7), 255, np.uint8)
    told = []
    parameters = ExactParameters(min_size=0, min_extent=0)
    segment_orthoplane_exact(
        image, discs, None, parameters, lambda done, total: told.append((done, total))
    )
    assert told == [(n, 18) for n in range(1, 19)]

    def stop(done, _):
        if done == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        segment_stack_exact(image, discs, on_progress=stop)


@pytest.mark.parametrize("name", ["sem_logits", "ctr_hmp", "offsets"])
def test_maps_of_the_wrong_shape_are_refused_by_name(name):
    def network(*arguments):
        maps = discs(*arguments)
        return {**maps, name: maps[name][..., :-1]}

    def silent(*arguments):
        return {key: value for key, value in discs(*arguments).items() if key != name}

    image = np.zeros((16, 16), np.uint8)
    for wrong in (network, silent):
        with pytest.raises(FormatError, match=name):
            segment_slice_exact(image, wrong)


@pytest.mark.parametrize("shape", [(4, 5), (0, 4, 5), (2, 3, 4, 5)])
def test_what_is_no_volume_is_refused(shape):
    with pytest.raises(InvalidInputError, match="sides"):
        segment_stack_exact(np.zeros(shape, np.uint8), discs)
    with pytest.raises(InvalidInputError, match="sides"):
        segment_slice_exact(np.zeros((*shape, 1), np.uint8), discs)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("downsampling", 3),
        ("downsampling", 128),
        ("median_slices", 4),
        ("pixel_vote_thr", 4),
        ("min_distance_object_centers", 0),
        ("label_divisor", 1),
    ],
)
def test_parameters_that_cannot_be_meant_are_refused_by_name(name, value):
    with pytest.raises(InvalidInputError, match=name):
        ExactParameters(**{name: value})
