"""The cells of synthetic tissue: which one each voxel lies in, and how deep.

Lengths are in units of 10 nm, positions z, y, x, so that one recipe serves every voxel size.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from segmentation_backend.sources.fields import Field, TissueGrid, box_grid, unit_vector

__all__ = ["Cells", "grow_cells"]

_BLOCK = 16.0
_SEED_BITS = 0x3FF
_CELL_PITCH = 68.0
_SEED_PITCH = 22.0
_MARGIN = 60.0


@dataclass(frozen=True)
class Cells:
    """Which cell each voxel lies in and how deep."""

    owner: NDArray[np.int32]
    depth: Field
    """Units to the nearest face of the cell; the extracellular cleft is where it is near 0."""
    count: int


def _seed_cells(
    generator: np.random.Generator, extent: NDArray[np.float64]
) -> tuple[Field, Field, NDArray[np.int32]]:
    """Return chains of seeds (n,3), their weights (n,) and the cell of each (n,)."""
    room = extent + 2 * _MARGIN
    count = max(4, round(prod(room) / _CELL_PITCH**3))
    points, weights, owners = [], [], []
    for cell in range(count):
        point = generator.random(3) * room - _MARGIN
        heading = unit_vector(generator.standard_normal(3))
        # Neurites are chains; somata and swellings are few seeds with a big weight.
        length = int(generator.integers(1, 12))
        girth = generator.uniform(-1, 1) * 24
        for _ in range(length):
            points.append(point)
            weights.append(np.sign(girth) * girth**2 + generator.normal() * 60)
            owners.append(cell)
            heading = unit_vector(heading + 0.45 * generator.standard_normal(3))
            point = point + _SEED_PITCH * heading
    return (
        np.array(points, dtype=np.float32),
        np.array(weights, dtype=np.float32),
        np.array(owners, dtype=np.int32),
    )


def grow_cells(generator: np.random.Generator, grid: TissueGrid) -> Cells:
    """Return cells that fill the grid: a power diagram of chains of seeds, in warped space."""
    seeds, weights, owners = _seed_cells(generator, grid.extent)
    warp = [
        np.float32(10) * grid.noise(generator, 90) + np.float32(3) * grid.noise(generator, 30)
        for _ in range(3)
    ]
    owner = np.empty(grid.shape, dtype=np.int32)
    depth = np.empty(grid.shape, dtype=np.float32)
    for block in grid.blocks(_BLOCK):
        begin, end = [s.start for s in block], [s.stop for s in block]
        axes = box_grid(begin, end, grid.step)
        place = np.stack([(a + w[block]).ravel() for a, w in zip(axes, warp, strict=True)])
        here, face = _nearest_two(place, seeds, weights, owners)
        owner[block] = here.reshape(owner[block].shape)
        depth[block] = face.reshape(owner[block].shape)
    return Cells(owner, depth, int(owners[-1]) + 1)


def _nearest_two(
    place: Field, seeds: Field, weights: Field, owners: NDArray[np.int32]
) -> tuple[NDArray[np.int32], Field]:
    """Return the cell of each place (3,n) and its distance to the next cell."""
    centre = place.mean(axis=1)
    radius = float(np.sqrt(((place - centre[:, None]) ** 2).sum(axis=0).max()))
    away = np.sqrt(((seeds - centre) ** 2).sum(axis=1))
    farthest = (away + radius) ** 2 - weights
    first = owners[np.argmin(farthest)]
    rival = farthest[owners != first].min()
    near = np.flatnonzero(np.maximum(away - radius, 0) ** 2 - weights <= rival)
    local = seeds[near] - centre
    moved = place - centre[:, None]
    power = (-2 * local) @ moved
    power += (moved**2).sum(axis=0)
    # Powers are made positive, so that their bits sort like integers and the number of the seed
    # can ride in the lowest ones: a minimum is several times faster than an argmin. (k,n).
    power += ((local**2).sum(axis=1) + (weights[near].max() - weights[near]))[:, None]
    np.maximum(power, 0, out=power)
    packed = power.view(np.int32)
    packed &= ~_SEED_BITS
    packed |= np.arange(len(near), dtype=np.int32)[:, None]
    nearest = packed.min(axis=0)
    best = nearest & _SEED_BITS
    cell = owners[near][best]
    np.putmask(packed, owners[near][:, None] == cell, np.iinfo(np.int32).max)
    next_cell = packed.min(axis=0)
    second = next_cell & _SEED_BITS
    apart = np.sqrt(((local[:, None] - local[None]) ** 2).sum(axis=2))
    face = next_cell.view(np.float32) - nearest.view(np.float32)
    face /= (2 * np.maximum(apart, 4))[best, second]
    return cell, face
