"""Which level of a label pyramid is an array of the base, and which is computed from the finer one.

A label pyramid halves or keeps each axis from level to level; published ones mostly do too, but
round odd sides down where we round up, skip levels, or hold the finest only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log2

from segmentation_backend.geometry import Coordinate, ScaleLevel, plan_levels

__all__ = ["BaseLevel", "plan_base_levels"]

_MOST_BEYOND = 3
"""Levels computed beyond the coarsest stored one: a voxel of the last costs at most 8x8x8 of it."""

_SMALLEST_SIDE = 64


@dataclass(frozen=True, slots=True)
class BaseLevel:
    """One level of the label pyramid over a base."""

    level: ScaleLevel
    stored: int | None
    """The level of the base that holds it; None: the mode of the level below."""


def plan_base_levels(stored: Sequence[ScaleLevel]) -> tuple[BaseLevel, ...]:
    """Return the label pyramid over arrays given finest first; level 0 is the first of them.

    An array is taken for a level when its voxels are powers of two of the finest along each axis
    and its sides are within a voxel of what halving gives; others are left out. Where one was
    skipped, the levels between are computed.
    """
    levels = [BaseLevel(ScaleLevel(0, stored[0].voxel_size, stored[0].shape), 0)]
    beyond = 0
    while True:
        fine = levels[-1].level
        target = _next_stored(fine, stored)
        if target is None and (max(fine.shape) <= _SMALLEST_SIDE or beyond == _MOST_BEYOND):
            return tuple(levels)
        if target is None:
            levels.append(BaseLevel(_halved(fine, _isotropic_step(fine)), None))
            beyond += 1
            continue
        number, ratio = target
        z, y, x = (min(2, r) for r in ratio)
        is_reached = max(ratio) == 2
        levels.append(BaseLevel(_halved(fine, (z, y, x)), number if is_reached else None))


def _next_stored(fine: ScaleLevel, stored: Sequence[ScaleLevel]) -> tuple[int, Coordinate] | None:
    """Return the finest array coarser than a level that fits it, and its factors."""
    for number, level in enumerate(stored):
        ratio = _powers_of_two(fine, level)
        if ratio is not None and max(ratio) > 1:
            expected = (-(-side // r) for side, r in zip(fine.shape, ratio, strict=True))
            if all(abs(a - b) <= 1 for a, b in zip(level.shape, expected, strict=True)):
                return number, ratio
    return None


def _powers_of_two(fine: ScaleLevel, coarse: ScaleLevel) -> Coordinate | None:
    ratios = [c / f for c, f in zip(coarse.voxel_size, fine.voxel_size, strict=True)]
    exponents = [log2(ratio) for ratio in ratios]
    if any(round(e) < 0 or abs(e - round(e)) > 0.02 for e in exponents):
        return None
    z, y, x = (2 ** round(e) for e in exponents)
    return (z, y, x)


def _isotropic_step(fine: ScaleLevel) -> Coordinate:
    """Return which axes to halve so that voxels grow towards cubes."""
    coarse = plan_levels(fine.shape, fine.voxel_size, min_side=1, max_levels=2)[1]
    z, y, x = (round(c / f) for c, f in zip(coarse.voxel_size, fine.voxel_size, strict=True))
    return (z, y, x)


def _halved(fine: ScaleLevel, factor: Coordinate) -> ScaleLevel:
    dz, dy, dx = (-(-side // f) for side, f in zip(fine.shape, factor, strict=True))
    ez, ey, ex = (edge * f for edge, f in zip(fine.voxel_size, factor, strict=True))
    return ScaleLevel(fine.level + 1, (ez, ey, ex), (dz, dy, dx))
