"""Where a split falls: at the neck where there is one, half way where there is none."""

import numpy as np
import pytest

from segmentation_backend.edits.watershed import divide

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
