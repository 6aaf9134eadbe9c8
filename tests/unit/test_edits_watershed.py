"""Where a split falls: at the neck where there is one, half way where there is none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation_backend.edits.watershed import can_hold, divide

NM = (10.0, 10.0, 10.0)
Z, Y, X = np.indices((20, 60, 100))


def ellipsoid(cx: float, rx: float, ry: float = 18) -> np.ndarray:
    inside: np.ndarray = ((Z - 10) / 9) ** 2 + ((Y - 30) / ry) ** 2 + ((X - cx) / rx) ** 2 < 1
    return inside


@pytest.mark.parametrize(
    "seeds",
    [((10, 30, 25), (10, 30, 65)), ((10, 30, 7), (10, 30, 91)), ((10, 14, 25), (10, 45, 65))],
    ids=["in the middle", "at the far ends", "near the surface"],
)
def test_two_touching_mitochondria_part_at_their_neck_wherever_the_seeds_are(seeds) -> None:
    left, right = ellipsoid(25, 20), ellipsoid(65, 28)
    sides = divide(left | right, [[seeds[0]], [seeds[1]]], NM)
    assert (sides[left & ~right & (X < 38)] == 1).all()
    assert (sides[right & ~left & (X > 46)] == 2).all()


@pytest.mark.parametrize("limit", [1_000_000, 20_000], ids=["full resolution", "coarser grid"])
def test_an_object_without_a_neck_is_cut_half_way_between_the_seeds(limit: int) -> None:
    whole = ellipsoid(50, 45, 20)
    sides = divide(whole, [[(10, 30, 8)], [(10, 30, 92)]], NM, limit)
    shares = np.bincount(sides[whole])[1:] / whole.sum()
    assert shares == pytest.approx([0.5, 0.5], abs=0.1)


def test_a_seed_at_the_very_surface_still_gets_its_part() -> None:
    whole = ellipsoid(50, 45, 20)
    surface = tuple(np.argwhere(whole)[np.argwhere(whole)[:, 2].argmax()])
    sides = divide(whole, [[(10, 30, 30)], [surface]], NM)
    assert (sides == 2).sum() > 0.2 * whole.sum()


def agreement(a: np.ndarray, b: np.ndarray) -> float:
    """Return the intersection over union of side 1."""
    return float(((a == 1) & (b == 1)).sum() / ((a == 1) | (b == 1)).sum())


@pytest.mark.parametrize("limit", [60_000, 10_000], ids=["2 x coarser", "4 x coarser"])
def test_a_coarser_grid_hardly_moves_the_cut(limit: int) -> None:
    both = ellipsoid(25, 20) | ellipsoid(65, 28)
    groups = [[(10, 30, 25)], [(10, 30, 65)]]
    assert agreement(divide(both, groups, NM), divide(both, groups, NM, limit)) > 0.98


@pytest.mark.parametrize("gap", [1, 2])
def test_a_thin_gap_stays_a_gap_on_a_coarser_grid(gap: int) -> None:
    """Two rods side by side that touch only in the middle part along the gap, not across."""
    mask = np.zeros((40, 41 + gap, 120), dtype=bool)
    mask[4:36, 2:20] = mask[4:36, 20 + gap : 38 + gap] = True
    mask[18:22, 20 : 20 + gap, 58:62] = True
    groups = [[(20, 10, 20)], [(20, 28 + gap, 100)]]
    for limit in (2_000_000, 60_000):
        sides = divide(mask, groups, NM, limit)
        assert (sides[:, :18][mask[:, :18]] == 1).all()
        assert (sides[:, 22 + gap :][mask[:, 22 + gap :]] == 2).all()


def test_a_seed_on_a_thread_that_the_coarser_grid_loses_still_gets_the_thread() -> None:
    mask = np.zeros((40, 40, 120), dtype=bool)
    mask[10:30, 10:30, 5:40] = mask[20, 20, 40:110] = True
    sides = divide(mask, [[(20, 20, 20)], [(20, 20, 109)]], NM, limit=30_000)
    assert (sides[20, 20, 80:110] == 2).all()
    assert (sides[10:30, 10:30, 5:30] == 1).all()


def test_a_coarse_mask_must_tell_the_groups_apart_and_show_their_parts() -> None:
    cells = np.zeros((4, 4, 4), dtype=np.uint8)
    cells[:2] = 1
    assert can_hold(cells, [[(0, 0, 0), (0, 0, 0)], [(1, 1, 1)]])
    assert can_hold(cells, [[(0, 0, 0)], [(2, 0, 0)]])
    assert not can_hold(cells, [[(0, 0, 0)], [(3, 0, 0)]])
    assert not can_hold(cells, [[(0, 0, 0)], [(0, 0, 0)]])


@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(2, 16)),
    density=st.floats(0.05, 1.0),
    groups=st.integers(2, 4),
    limit=st.sampled_from([64, 300, 2_000_000]),
    edge=st.sampled_from([1.0, 3.0]),
)
@settings(max_examples=60, deadline=None)
def test_every_voxel_gets_a_side_and_every_group_its_own_voxels(
    seed: int, shape: tuple[int, ...], density: float, groups: int, limit: int, edge: float
) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random(shape) < density
    mask.flat[rng.choice(mask.size, min(groups, mask.size), replace=False)] = True
    points = rng.permutation(np.argwhere(mask))[: 2 * groups].tolist()
    seeds = [[tuple(p) for p in points[g::groups]] for g in range(min(groups, len(points)))]
    sides = divide(mask, seeds, (edge * 8, 8.0, 8.0), limit)
    assert np.array_equal(sides > 0, mask)
    assert sides.max() <= len(seeds)
    for side, group in enumerate(seeds, start=1):
        assert all(sides[point] == side for point in group)
    assert np.array_equal(sides, divide(mask, seeds, (edge * 8, 8.0, 8.0), limit))
