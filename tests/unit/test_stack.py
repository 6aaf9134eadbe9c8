"""Sections become 3D objects: linked through noise, and neighbours stay apart."""

from collections.abc import Iterator

import numpy as np
import pytest

from segmentation_backend.inference.panoptic import Maps
from segmentation_backend.inference.parameters import InferenceParameters
from segmentation_backend.inference.stack import (
    drop_small_objects,
    link_sections,
    median_sections,
    segment_stack,
)

SIDE = 64


def disc(y, x, radius):
    yy, xx = np.mgrid[:SIDE, :SIDE]
    return (yy - y) ** 2 + (xx - x) ** 2 <= radius**2


def section(*masks):
    labels = np.zeros((SIDE, SIDE), np.int32)
    for number, mask in enumerate(masks, start=1):
        labels[mask] = number
    return labels


def link(sections, **parameters):
    shape = (len(sections), SIDE, SIDE)
    return link_sections(iter(sections), shape, InferenceParameters(**parameters))


def test_cylinders_are_one_object_each():
    places = [(14, 14), (14, 46), (46, 14), (46, 46)]
    # The order within a section changes from one to the next: only overlap may link.
    sections = [section(*[disc(y, x, 8) for y, x in np.roll(places, z, 0)]) for z in range(20)]
    labels = link(sections)
    assert labels.max() == 4
    for y, x in places:
        assert len(np.unique(labels[:, y, x])) == 1


def test_a_slanted_cylinder_is_followed():
    labels = link([section(disc(32, 10 + 2 * z, 7)) for z in range(20)])
    assert labels.max() == 1


def test_objects_far_apart_in_z_are_two():
    blank = section()
    sections = [section(disc(30, 30, 8))] * 5 + [blank] * 5 + [section(disc(30, 30, 8))] * 5
    labels = link(sections)
    assert labels[0, 30, 30] != labels[-1, 30, 30]


@pytest.mark.parametrize("gap", [1, 2])
def test_a_short_gap_is_bridged(gap):
    there = section(disc(30, 30, 8))
    labels = link([there] * 6 + [section()] * gap + [there] * 6)
    assert labels.max() == 1


def test_a_gap_of_three_is_not_bridged():
    there = section(disc(30, 30, 8))
    assert link([there] * 6 + [section()] * 3 + [there] * 6).max() == 2


@pytest.mark.parametrize("merged", [1, 2])
def test_touching_neighbours_that_sections_show_as_one_stay_apart(merged):
    left, right = disc(32, 20, 10), disc(32, 42, 9)
    apart, together = section(left, right), section(left | right)
    labels = link([apart] * 8 + [together] * merged + [apart] * 8)
    assert labels.max() == 2
    assert labels[0, 32, 20] == labels[-1, 32, 20]
    assert labels[0, 32, 42] == labels[-1, 32, 42]
    assert labels[0, 32, 20] != labels[0, 32, 42]


def test_a_false_split_in_a_few_sections_is_healed():
    whole = disc(32, 32, 14)
    column = np.arange(SIDE)[None, :]
    split = section(whole & (column < 36), whole & (column >= 36))
    labels = link([section(whole)] * 6 + [split] * 2 + [section(whole)] * 6)
    assert labels.max() == 1


def test_a_piece_between_two_objects_does_not_glue_them():
    left, right = disc(32, 18, 10), disc(32, 46, 10)
    bridge = np.zeros((SIDE, SIDE), bool)
    bridge[28:36, 29:36] = True
    a, b = section(left | bridge, right), section(left, right | bridge)
    labels = link([a] * 6 + [section(left, right, bridge)] + [b] * 6)
    assert labels[0, 32, 18] != labels[0, 32, 46]
    assert labels[-1, 32, 18] != labels[-1, 32, 46]


def test_the_arms_of_a_bent_object_are_one():
    left, right = disc(32, 18, 9), disc(32, 46, 9)
    bow = left | right
    bow[24:41, 18:47] = True
    assert link([section(left, right)] * 10 + [section(bow)] * 8).max() == 1
    assert link([section(bow)] * 8 + [section(left, right)] * 10).max() == 1


def ball(z, y, x, radius, depth=24):
    """Yield the sections of a ball as masks."""
    for section_z in range(depth):
        across = radius**2 - (section_z - z) ** 2
        yield disc(y, x, np.sqrt(across)) if across > 0 else np.zeros((SIDE, SIDE), bool)


def test_a_tip_is_not_the_arm_of_what_lies_behind_it():
    # The lower ball is in the way of the upper one, which fills its place once it has ended.
    lower, upper = ball(8, 30, 30, 9), ball(15, 34, 36, 14)
    sections = [section(u & ~below, below) for below, u in zip(lower, upper, strict=True)]
    labels = link(sections)
    assert labels.max() == 2
    assert labels[8, 30, 30] != labels[16, 34, 40]


@pytest.mark.parametrize("merged", [1, 2])
@pytest.mark.parametrize("smaller_first", [True, False])
def test_neighbours_do_not_swap_behind_a_section_that_shows_them_as_one(merged, smaller_first):
    # Before it the left one is larger, after it the right one: best overlaps lead across.
    before = section(disc(32, 20, 11), disc(32, 40, 8))
    after = section(disc(32, 22, 8), disc(32, 42, 11))
    if smaller_first:
        before, after = before[:, ::-1], after[:, ::-1]
    together = section((before > 0) | (after > 0))
    labels = link([before] * 8 + [together] * merged + [after] * 8)
    assert labels.max() == 2
    for x in (20, 42) if not smaller_first else (SIDE - 21, SIDE - 43):
        assert labels[0, 32, x] == labels[-1, 32, x]


def test_the_numbers_within_sections_do_not_matter():
    rng = np.random.default_rng(3)
    balls = [ball(*rng.uniform((4, 8, 8), (20, 56, 56)), rng.uniform(5, 12)) for _ in range(8)]
    sections = [section(*masks) for masks in zip(*balls, strict=True)]
    mixed = [np.append(0, 1 + rng.permutation(8)).astype(np.int32)[s] for s in sections]
    np.testing.assert_array_equal(link(sections), link(mixed))


def test_more_profiles_than_two_bytes_count():
    y, x = np.mgrid[:128, :128]
    specks = np.where((y % 2 == 0) & (x % 2 == 0), y // 2 * 64 + x // 2 + 1, 0).astype(np.int32)
    labels = link_sections([specks] * 20, (20, 128, 128), InferenceParameters())
    assert labels.max() == 4096
    assert (labels == labels[0]).all()


def test_empty_sections_and_an_empty_stack_are_no_objects():
    assert not link([section()] * 4).any()
    assert link_sections(iter([]), (0, SIDE, SIDE), InferenceParameters()).shape == (0, SIDE, SIDE)


def test_a_label_missing_from_a_section_does_not_disturb_the_others():
    skipping = section(disc(20, 20, 8), disc(44, 44, 8))
    skipping[skipping == 1] = 0
    labels = link([skipping] * 3)
    assert labels.max() == 1


def maps_of(values) -> Iterator[Maps]:
    for value in values:
        blank = np.zeros((4, 4), np.float32)
        yield Maps(np.full((4, 4), value, np.float32), blank + value, np.zeros((2, 4, 4)))


@pytest.mark.parametrize("count", [1, 3, 5, 7])
@pytest.mark.parametrize("length", [0, 1, 2, 3, 9])
def test_median_equals_its_definition(count, length):
    values = np.random.default_rng(length).random(length)
    result = [m.probability[0, 0] for m in median_sections(maps_of(values), count)]
    reach = [min(count // 2, i, length - 1 - i) for i in range(length)]
    expected = [np.median(values[i - r : i + r + 1]) for i, r in enumerate(reach)]
    np.testing.assert_allclose(result, expected, rtol=1e-6)


def test_median_is_of_the_sections_own_and_not_of_medians():
    values = [0, 1, 0, 1, 0, 0, 1, 1, 0]
    result = [m.probability[0, 0] for m in median_sections(maps_of(values), 3)]
    # A recursive filter would carry the first 0 on: 0 0 0 0 0 0 1 1 0.
    np.testing.assert_array_equal(result, [0, 0, 1, 0, 0, 0, 1, 1, 0])


def test_median_leaves_centres_of_the_section_itself():
    values = [0.1, 0.9, 0.2, 0.8]
    centres = [m.centres[0, 0] for m in median_sections(maps_of(values), 3)]
    np.testing.assert_allclose(centres, values, rtol=1e-6)


def test_small_and_flat_objects_are_dropped_unless_the_edge_cuts_them():
    labels = np.zeros((20, 40, 40), np.uint32)
    labels[5:15, 5:15, 5:15] = 1  # 1000 voxels
    labels[5:15, 20:25, 20:25] = 2  # 250 voxels: too small
    labels[10:12, 20:38, 2:19] = 3  # 612 voxels but 2 sections flat
    labels[0:2, 20:38, 20:38] = 4  # flat, but the rest may lie outside
    kept = drop_small_objects(labels, 500, 5)
    np.testing.assert_array_equal(np.unique(kept), [0, 1, 2])
    np.testing.assert_array_equal(kept > 0, (labels == 1) | (labels == 4))


def maps_of_image(image) -> Iterator[Maps]:
    coarse = np.zeros((SIDE // 4, SIDE // 4), np.float32)
    for values in image:
        probability = (values > 128).astype(np.float32)
        yield Maps(probability, coarse, np.zeros((2, *coarse.shape), np.float32))


def test_a_stack_is_segmented_with_progress_after_each_section():
    image = np.full((12, SIDE, SIDE), 60, np.uint8)
    image[:, disc(20, 20, 9)] = image[3:, disc(46, 46, 8)] = 220
    image[6] = 60  # a lost section, which the median restores
    told = []
    labels = segment_stack(maps_of_image(image), image.shape, InferenceParameters(), told.append)
    assert labels.max() == 2
    assert labels.dtype == np.uint32
    assert told == list(range(1, 13))
    assert labels[6, 20, 20] == labels[0, 20, 20]


def test_an_error_from_progress_ends_a_stack():
    def stop(done):
        if done == 3:
            raise InterruptedError

    image = np.zeros((12, SIDE, SIDE), np.uint8)
    with pytest.raises(InterruptedError):
        segment_stack(maps_of_image(image), image.shape, InferenceParameters(), stop)
