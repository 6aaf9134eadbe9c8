"""Which objects of two blocks are one, and what a region is made of them."""

from dataclasses import dataclass, replace

import cc3d
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation_backend.geometry import Roi
from segmentation_backend.inference.filters import CLOSED
from segmentation_backend.inference.grid import Block
from segmentation_backend.inference.results import BlockResult
from segmentation_backend.inference.stitching import (
    RegionLabels,
    Stitcher,
    StitchRules,
    region_labels,
    stitch,
)

WIDTH, MARGIN, HEIGHT = 20, 6, 30


@dataclass
class Row:
    """Blocks of one section side by side along x; `place` 0 has the core x 0 to 19, and so on."""

    count: int

    def block(self, place):
        low, high = place * WIDTH, (place + 1) * WIDTH
        core = Roi((0, 0, low), (1, HEIGHT, WIDTH))
        begin, end = max(0, low - MARGIN), min(self.count * WIDTH, high + MARGIN)
        box = Roi((0, 0, begin), (1, HEIGHT, end - begin))
        faces = (False, False, False, False, begin > 0, end < self.count * WIDTH)
        return Block("slice", "xy", (0, 0, place), core, box, box, box, faces)

    def result(self, place, picture):
        """Return the result of a block that sees a picture (HEIGHT, all) of the whole row."""
        block = self.block(place)
        labels = np.zeros(block.box.shape, np.uint32)
        labels[0] = picture[:, block.box.offset[2] : block.box.end[2]]
        numbers = np.unique(labels)
        labels = np.searchsorted(numbers[numbers > 0], labels).astype(np.uint32) + (labels > 0)
        count = int(labels.max())
        return BlockResult(block, labels, np.ones(count, np.float32), np.ones(count, np.float32))


TWO = Row(2)


def picture(*boxes, columns=2 * WIDTH):
    """Return labels with boxes (label, y range, x range)."""
    drawn = np.zeros((HEIGHT, columns), np.uint32)
    for label, (y0, y1), (x0, x1) in boxes:
        drawn[y0:y1, x0:x1] = label
    return drawn


def joined(left, right, rules=None):
    """Return the pairs as the labels of the pictures (which are numbered 1..n in each block)."""
    return stitch(TWO.result(0, left), TWO.result(1, right), rules).tolist()


def test_one_object_across_the_face_is_one():
    seen = picture((1, (5, 10), (3, 35)))
    assert joined(seen, seen) == [[1, 1]]


def test_neighbours_that_touch_stay_two():
    seen = picture((1, (5, 10), (3, 35)), (2, (10, 15), (3, 35)))
    assert joined(seen, seen) == [[1, 1], [2, 2]]


def test_too_small_an_overlap_joins_nothing():
    left, right = picture((1, (5, 15), (3, 40))), picture((1, (13, 23), (3, 40)))
    assert joined(left, right) == []
    assert joined(left, right, StitchRules(iou=0.05)) == [[1, 1]]


def test_a_fragment_joins_the_object_that_covers_it():
    left = picture((1, (5, 12), (3, 40)), (2, (12, 15), (16, 26)))
    right = picture((1, (5, 15), (3, 40)))
    assert joined(left, right) == [[1, 1], [2, 1]]


def test_two_objects_that_persist_are_not_glued_by_one_block_that_sees_them_as_one():
    left = picture((1, (5, 12), (0, 40)), (2, (12, 17), (0, 40)))
    right = picture((1, (5, 17), (3, 40)))
    assert joined(left, right) == [[1, 1]]


def test_a_long_thin_object_beside_a_large_one_persists():
    left = picture((1, (2, 25), (0, 40)), (2, (25, 27), (0, 40)))
    right = picture((1, (2, 27), (3, 40)))
    assert joined(left, right) == [[1, 1]]


def test_the_arms_of_a_bent_object_are_one():
    left = picture((1, (5, 25), (2, 8)), (1, (5, 10), (2, 40)), (1, (20, 25), (2, 40)))
    right = picture((1, (5, 10), (3, 40)), (2, (20, 25), (3, 40)))
    assert joined(left, right) == [[1, 1], [1, 2]]


def test_what_only_a_margin_holds_is_not_named():
    left = picture((1, (5, 10), (3, 24)))
    right = picture((1, (5, 10), (14, 19)), (1, (5, 10), (19, 20)))
    assert stitch(TWO.result(0, left), TWO.result(1, right)).tolist() == []


def test_blocks_that_share_nothing_have_no_pairs():
    row = Row(3)
    seen = picture((1, (5, 10), (0, 60)), columns=60)
    assert len(stitch(row.result(0, seen), row.result(2, seen))) == 0
    empty = row.result(1, np.zeros_like(seen))
    assert len(stitch(row.result(0, seen), empty)) == 0


def test_a_region_cuts_and_numbers_its_objects():
    row = Row(3)
    seen = picture((3, (5, 10), (2, 55)), (5, (15, 20), (30, 50)), columns=60)
    results = [row.result(place, seen) for place in range(3)]
    whole = region_labels(results, Roi((0, 0, 0), (1, HEIGHT, 60)))
    np.testing.assert_array_equal(whole[0], np.searchsorted([0, 3, 5], seen))
    part = region_labels(results, Roi((0, 8, 25), (1, 20, 10)))
    np.testing.assert_array_equal(part[0] > 0, seen[8:28, 25:35] > 0)
    assert part.max() == 2
    assert region_labels([], Roi((0, 0, 0), (1, 2, 3))).tolist() == [[[0] * 3] * 2]


def test_an_object_of_several_blocks_is_as_sure_as_its_parts_by_their_voxels():
    row = Row(3)
    seen = picture((1, (5, 10), (10, 55)), (2, (15, 20), (42, 50)), columns=60)
    results = [row.result(place, seen) for place in range(3)]
    sure = [(0.9, 1), (0.6, 2 / 3), (0.3, 1 / 3)]
    results = [
        replace(r, probability=np.full(r.count, p, np.float32), agreement=np.full(r.count, a))
        for r, (p, a) in zip(results, sure, strict=True)
    ]
    for order in (results, results[::-1]):
        region = RegionLabels(Roi((0, 0, 0), (1, HEIGHT, 50)), [r.block for r in order])
        for result in order:
            region.add(result)
        found = region.finish()
        # Of the first one 10, 20 and 10 columns lie in the cores and in the region.
        assert found.probability == pytest.approx([(9 + 12 + 3) / 40, 0.3])
        assert found.agreement == pytest.approx([(10 + 40 / 3 + 10 / 3) / 40, 1 / 3])
    nothing = RegionLabels(Roi((0, 0, 0), (1, 2, 2)), []).finish()
    assert nothing.probability.shape == nothing.agreement.shape == (0,)


def test_blocks_that_meet_at_an_edge_are_compared_too():
    # An object that goes from one core to the one diagonally opposite, seen by those two alone.
    def corner(y, x, labels):
        core = Roi((0, 10 * y, 10 * x), (1, 10, 10))
        box = core.grow((0, 4, 4)).intersect(Roi((0, 0, 0), (1, 20, 20)))
        block = Block("slice", "xy", (0, y, x), core, box, box, box, CLOSED)
        part = labels[None, box.offset[1] : box.end[1], box.offset[2] : box.end[2]]
        ones = np.ones(int(part.max()), np.float32)
        return BlockResult(block, np.ascontiguousarray(part), ones, ones)

    seen = np.zeros((20, 20), np.uint32)
    for step in range(4, 16):
        seen[step, step] = 1
    nothing = np.zeros_like(seen)
    results = [
        corner(0, 0, seen), corner(0, 1, nothing), corner(1, 0, nothing), corner(1, 1, seen),
    ]  # fmt: skip
    whole = region_labels(results, Roi((0, 0, 0), (1, 20, 20)))
    np.testing.assert_array_equal(whole[0], seen)


def draw_pictures(data):
    """Return two pictures of a row of two that mostly agree."""
    count = data.draw(st.integers(1, 7))
    spans = st.tuples(st.integers(0, 29), st.integers(2, 12))
    both = []
    for shift in (0, data.draw(st.integers(0, 3))):
        drawn = np.zeros((HEIGHT, 2 * WIDTH), np.uint32)
        for label in range(1, count + 1):
            (y, dy), (x, dx) = data.draw(spans), data.draw(spans)
            drawn[y : y + dy, x + shift : x + shift + 2 * dx] = label
        both.append(drawn)
    if data.draw(st.booleans()):
        both[1] = both[0]
    return both


def naive_mutual(left, right, rules):
    """Return the pairs of labels whose pieces are each other's best, by plain loops."""
    pieces = [np.asarray(cc3d.connected_components(p, connectivity=8)) for p in (left, right)]
    scores = {}
    for p in range(1, int(pieces[0].max()) + 1):
        for q in range(1, int(pieces[1].max()) + 1):
            common = (pieces[0] == p) & (pieces[1] == q)
            if common.any():
                union = ((pieces[0] == p) | (pieces[1] == q)).sum()
                scores[p, q] = (common.sum() / union, common.sum(), -np.flatnonzero(common)[0])
    found = set()
    for (p, q), score in scores.items():
        rivals = [s for (a, b), s in scores.items() if (a == p) != (b == q)]
        if score[0] >= rules.iou and all(score > other for other in rivals):
            place = np.flatnonzero((pieces[0] == p) & (pieces[1] == q))[0]
            found.add((int(left.ravel()[place]), int(right.ravel()[place])))
    return found


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_pairs_are_those_of_a_plain_search_and_symmetric(data):
    pictures = draw_pictures(data)
    a, b = (TWO.result(place, p) for place, p in enumerate(pictures))
    for rules in (StitchRules(ioa=1.1), StitchRules()):
        pairs = {tuple(pair) for pair in stitch(a, b, rules).tolist()}
        assert pairs == {(one, other) for other, one in stitch(b, a, rules).tolist()}
        shared = a.block.box.intersect(b.block.box)
        views = [r.labels[shared.slices(r.block.box.offset)][0] for r in (a, b)]
        cores = [set(np.unique(r.core_labels).tolist()) for r in (a, b)]
        plain = {
            pair for pair in naive_mutual(*views, rules) if all(map(set.__contains__, cores, pair))
        }
        assert pairs >= plain
        if rules.ioa > 1:
            assert pairs == plain


@settings(max_examples=50, deadline=None)
@given(order=st.permutations(range(5)), seed=st.integers(0, 9))
def test_blocks_in_any_order_have_the_pairs_of_stitch(order, seed):
    row = Row(5)
    rng = np.random.default_rng(seed)
    results = []
    for place in range(5):
        seen = np.kron(rng.integers(0, 4, (3, 10)), np.ones((10, 10))).astype(np.uint32)
        results.append(row.result(place, seen))
    stitcher = Stitcher([r.block for r in results])
    found = set()
    for place in order:
        found |= {frozenset(pair) for pair in stitcher.add(results[place])}
    expected = {
        frozenset((((0, 0, p), a), ((0, 0, p + 1), b)))
        for p in range(4)
        for a, b in stitch(results[p], results[p + 1]).tolist()
    }
    assert found == expected


@pytest.mark.parametrize("rules", [StitchRules(), StitchRules(0.1, 0.1)])
def test_objects_do_not_depend_on_the_order_of_blocks(rules):
    row = Row(5)
    rng = np.random.default_rng(3)
    results = [
        row.result(p, np.kron(rng.integers(0, 4, (3, 10)), np.ones((10, 10))).astype(np.uint32))
        for p in range(5)
    ]
    roi = Roi((0, 3, 11), (1, 20, 70))
    first = region_labels(results, roi, rules)
    for _ in range(5):
        shuffled = [results[i] for i in rng.permutation(5)]
        np.testing.assert_array_equal(region_labels(shuffled, roi, rules), first)
