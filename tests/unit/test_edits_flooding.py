"""The compiled loops of a division equal plain code."""

from __future__ import annotations

import heapq
from itertools import product

import numpy as np
import pytest
from scipy import ndimage

from segmentation_backend.edits import flooding

STEPS = np.array([s for s in product((-1, 0, 1), repeat=3) if sum(map(abs, s)) == 1], np.int64)
AROUND = np.array([s for s in product((-1, 0, 1), repeat=3) if any(s)], np.int64)
CUBE = np.ones((3, 3, 3), bool)


def random_mask(seed: int, shape: tuple[int, ...] = (7, 9, 11), share: float = 0.7) -> np.ndarray:
    return (np.random.default_rng(seed).random(shape) < share).astype(np.uint8)


def naive_flood(sides: np.ndarray, mask: np.ndarray, depth: np.ndarray, sources: list) -> None:
    queue = [(-int(depth[at]), order, at) for order, at in enumerate(sources)]
    heapq.heapify(queue)
    order = len(queue)
    while queue:
        _, _, at = heapq.heappop(queue)
        for step in STEPS.tolist():
            near = tuple(a + s for a, s in zip(at, step, strict=True))
            inside = all(0 <= n < size for n, size in zip(near, mask.shape, strict=True))
            if inside and mask[near] and not sides[near]:
                sides[near] = sides[at]
                heapq.heappush(queue, (-int(depth[near]), order, near))
                order += 1


@pytest.mark.parametrize("seed", range(5))
def test_flooding_equals_a_priority_queue(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = random_mask(seed)
    depth = rng.integers(0, 5, mask.shape, np.uint16)
    seeds = np.argwhere(mask)[rng.choice(int(mask.sum()), 4, replace=False)]
    sides = np.zeros_like(mask)
    sides[tuple(seeds.T)] = [1, 2, 3, 1]
    expected = sides.copy()
    naive_flood(expected, mask, depth, [tuple(s) for s in seeds.tolist()])
    left = np.flatnonzero((mask > 0) & (sides == 0))
    sources = np.ravel_multi_index(tuple(seeds.T), mask.shape)
    flooding.flood(sides, mask, depth, left, sources, STEPS)
    assert np.array_equal(sides, expected)


@pytest.mark.parametrize("factor", [(2, 2, 2), (1, 2, 2), (4, 2, 1), (1, 1, 1)])
def test_a_cell_is_in_when_more_than_half_of_its_voxels_are(factor: tuple[int, int, int]) -> None:
    mask = random_mask(1, share=0.5)
    pooled = flooding.majority_pool(mask, factor)
    assert pooled.shape == tuple(-(-n // f) for n, f in zip(mask.shape, factor, strict=True))
    for cell in np.ndindex(*pooled.shape):
        voxels = mask[tuple(slice(c * f, c * f + f) for c, f in zip(cell, factor, strict=True))]
        assert pooled[cell] == (voxels.mean() > 0.5)


def test_sides_are_carried_to_the_voxels_of_their_cells() -> None:
    mask = random_mask(2)
    cells = np.random.default_rng(2).integers(0, 3, (4, 9, 3)).astype(np.uint8)
    sides = np.zeros_like(mask)
    left = flooding.carry_down(mask, cells, (2, 1, 4), sides)
    fine = cells.repeat(2, 0).repeat(4, 2)[:7, :, :11]
    assert np.array_equal(sides, fine * mask)
    assert np.array_equal(left, np.flatnonzero((mask > 0) & (fine == 0)))


def test_near_a_cut_nobody_has_a_side() -> None:
    sides = np.random.default_rng(3).choice(np.array([0, 1, 1, 1, 1, 2], np.uint8), (9, 9, 40))
    sides[:, :, 20:] = 1
    touching = np.zeros(sides.shape, bool)
    for axis, shift in product(range(3), (-1, 1)):
        other = np.roll(sides, shift, axis)
        edge = [slice(None)] * 3
        edge[axis] = slice(0, 1) if shift == 1 else slice(-1, None)
        other[tuple(edge)] = 0
        touching |= (sides > 0) & (other > 0) & (sides != other)
    expected = np.where(ndimage.binary_dilation(touching, CUBE), 0, sides)
    assert np.array_equal(flooding.clear_cut(sides), expected)
    assert expected.any()


def test_growing_fills_what_is_beside_a_side_and_keeps_the_rest() -> None:
    sides = (random_mask(4, share=0.05) * 3).astype(np.uint8)
    sides[0, 0, 0] = 7
    grown = flooding.grown(sides)
    assert np.array_equal(grown > 0, ndimage.binary_dilation(sides > 0, CUBE))
    assert np.array_equal(grown[sides > 0], sides[sides > 0])


def test_sources_are_the_sided_neighbours_each_once() -> None:
    sides = random_mask(5, share=0.3)
    left = np.flatnonzero(sides == 0)[::3]
    near = np.zeros(sides.shape, bool)
    near.flat[left] = True
    expected = ndimage.binary_dilation(near) & (sides > 0)
    found = flooding.sources_around(sides, left, STEPS, np.zeros(sides.shape, np.uint16))
    assert sorted(found.tolist()) == np.flatnonzero(expected).tolist()


def test_depth_is_the_rounded_distance_up_to_a_level() -> None:
    squared = np.array([[[0, 1, 4, 6.3, 100]]], np.float32)
    assert flooding.rounded_depth(squared, 1.0, 7).tolist() == [[[0, 1, 2, 3, 7]]]
    assert flooding.rounded_depth(squared, 2.0, 7).tolist() == [[[0, 0, 1, 1, 5]]]


def test_depth_between_cells_is_interpolated() -> None:
    squared = np.array([[[100.0, 400.0, 2500.0]]], np.float32)
    depth = np.zeros((1, 1, 12), np.uint16)
    places = np.arange(12)
    flooding.sampled_depth(squared, (1, 1, 4), 1.0, 45, places, depth)
    centres = (places + 0.5) / 4 - 0.5
    expected = np.minimum(np.rint(np.interp(centres, [0, 1, 2], [10, 20, 50])), 45)
    assert np.array_equal(depth[0, 0], expected)


def test_islands_go_to_the_nearest_seed_by_physical_distance() -> None:
    sides = np.zeros((1, 20, 20), np.uint8)
    island = [np.ravel_multi_index((0, 10, x), sides.shape) for x in (10, 11)]
    corner = [0]
    seeds = np.array([(0, 10, 16), (0, 5, 10)], np.int64)
    edges = np.array([1.0, 2.0, 1.0])
    left = np.array([*corner, *island], np.int64)
    flooding.give_islands(sides, left, seeds, np.array([1, 2], np.uint8), edges, AROUND)
    assert sides[0, 10, 10] == sides[0, 10, 11] == 1
    assert sides[0, 0, 0] == 2
    assert (sides > 0).sum() == 3
