"""Grids and smooth random fields: the raw material of synthetic tissue."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segmentation_backend.geometry import Coordinate

__all__ = [
    "Field",
    "TissueGrid",
    "box_grid",
    "resample",
    "ridge",
    "smooth_noise",
    "unit_vector",
]

Field: TypeAlias = NDArray[np.float32]
"""float32, z, y, x."""


def resample(knots: Field, shape: Sequence[int], spacing: Sequence[float]) -> Field:
    """Return `knots` (z,y,x; `spacing` voxels apart) interpolated linearly to `shape`."""
    (index, weight), across, along = (
        _weights(n, size, step) for n, size, step in zip(knots.shape, shape, spacing, strict=True)
    )
    # x first and z last: the large step then works on whole planes that stay in the cache.
    rows = _between(knots, *along, axis=2)
    planes = _between(rows, *across, axis=1)
    field = np.empty(tuple(shape), dtype=np.float32)
    for out, i, w in zip(field, index, weight, strict=True):
        np.subtract(planes[i + 1], planes[i], out=out)
        out *= w
        out += planes[i]
    return field


def _weights(count: int, size: int, step: float) -> tuple[NDArray[np.intp], Field]:
    """Return, per voxel, the knot below and how far it lies towards the next."""
    position = np.arange(size, dtype=np.float32) / np.float32(step)
    index = np.minimum(position.astype(np.intp), count - 2)
    return index, (position - index).astype(np.float32)


def _between(field: Field, index: NDArray[np.intp], weight: Field, axis: int) -> Field:
    below = np.take(field, index, axis=axis)
    above = np.take(field, index + 1, axis=axis)
    above -= below
    above *= np.expand_dims(weight, [a for a in range(3) if a != axis])
    above += below
    return above


def smooth_noise(
    generator: np.random.Generator, shape: Sequence[int], wavelength: Sequence[float]
) -> Field:
    """Return noise of mean 0 and deviation 1 whose bumps are about `wavelength` voxels wide."""
    # Knots three to a bump, smoothed over one: linear interpolation shows no lattice then.
    spacing = [max(1.0, width / 3) for width in wavelength]
    count = [ceil(size / step) + 2 for size, step in zip(shape, spacing, strict=True)]
    knots = generator.standard_normal([n + 6 for n in count], dtype=np.float32)
    knots = ndimage.gaussian_filter(knots, 1.0, truncate=3)[3:-3, 3:-3, 3:-3]
    # The deviation of unit white noise after this filter is known: (2 sqrt(pi))^(-3/2).
    return resample(knots * np.float32(6.67), shape, spacing)


def ridge(distance: Field, centre: float, width: float) -> Field:
    """Return 1 where `distance` is `centre`, falling linearly to 0 at `width` away."""
    out: Field = np.abs(distance - np.float32(centre))
    out *= np.float32(-1 / width)
    out += np.float32(1)
    np.maximum(out, 0, out=out)
    return out


def box_grid(
    begin: Sequence[int], end: Sequence[int], step: Sequence[float]
) -> tuple[Field, Field, Field]:
    """Return open z, y, x coordinates of the voxels of a box, `step` units per voxel."""
    z, y, x = (
        np.arange(a, b, dtype=np.float32) * np.float32(s)
        for a, b, s in zip(begin, end, step, strict=True)
    )
    return z[:, None, None], y[None, :, None], x[None, None, :]


@dataclass(frozen=True)
class TissueGrid:
    """The voxels to fill: their number and their edge in units, z, y, x."""

    shape: Coordinate
    step: tuple[float, float, float]

    @property
    def extent(self) -> NDArray[np.float64]:
        """The size of the whole grid in units."""
        extent: NDArray[np.float64] = np.array(self.shape) * np.array(self.step)
        return extent

    def noise(self, generator: np.random.Generator, wavelength: float) -> Field:
        """Return smooth noise over the grid, `wavelength` in units."""
        return smooth_noise(generator, self.shape, [wavelength / s for s in self.step])

    def blocks(self, side: float) -> Iterator[tuple[slice, slice, slice]]:
        """Yield slices of blocks about `side` units wide that cover the grid exactly once."""
        sides = [max(1, round(side / step)) for step in self.step]
        starts = (range(0, size, n) for size, n in zip(self.shape, sides, strict=True))
        for corner in product(*starts):
            z, y, x = (
                slice(c, min(c + n, s)) for c, n, s in zip(corner, sides, self.shape, strict=True)
            )
            yield z, y, x


def unit_vector(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a vector of length 1 in the same direction (0 stays 0)."""
    length = max(1e-9, float(np.linalg.norm(vector)))
    unit: NDArray[np.float64] = vector / length
    return unit
