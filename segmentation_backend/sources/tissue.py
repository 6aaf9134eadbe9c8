"""The geometry of synthetic tissue: where cells, mitochondria and vesicles are, before any grey.

Lengths are in units of 10 nm, positions z, y, x, so that one recipe serves every voxel size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import ceil, floor, prod

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segmentation_backend.geometry import Coordinate
from segmentation_backend.sources.fields import Field, box_grid, smooth_noise

__all__ = ["Cells", "Grid", "Mitochondria", "grow_cells", "grow_mitochondria"]

_BLOCK = 16.0
_SEED_BITS = 0x3FF
_CELL_PITCH = 68.0
_SEED_PITCH = 22.0
_MARGIN = 60.0
_STEP = 5.0
_GAP = 2.5


@dataclass(frozen=True)
class Grid:
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


@dataclass(frozen=True)
class Cells:
    """Which cell each voxel lies in and how deep."""

    owner: NDArray[np.int32]
    depth: Field
    """Units to the nearest face of the cell; the extracellular cleft is where it is near 0."""
    count: int


@dataclass(frozen=True)
class Mitochondria:
    """Instances and the coordinates that their membranes and cristae are drawn in."""

    label: NDArray[np.uint64]
    inside: Field
    """Units to the outer membrane, positive inside, about -20 far away."""
    phase: Field
    """Number of cristae passed on the way along the tube (a float)."""
    count: int


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    length = max(1e-9, float(np.linalg.norm(vector)))
    unit: NDArray[np.float64] = vector / length
    return unit


def _seed_cells(
    generator: np.random.Generator, extent: NDArray[np.float64]
) -> tuple[Field, Field, NDArray[np.int32]]:
    """Return chains of seeds (n,3), their weights (n,) and the cell of each (n,)."""
    room = extent + 2 * _MARGIN
    count = max(4, round(prod(room) / _CELL_PITCH**3))
    points, weights, owners = [], [], []
    for cell in range(count):
        point = generator.random(3) * room - _MARGIN
        heading = _unit(generator.standard_normal(3))
        # Neurites are chains; somata and swellings are few seeds with a big weight.
        length = int(generator.integers(1, 12))
        girth = generator.uniform(-1, 1) * 24
        for _ in range(length):
            points.append(point)
            weights.append(np.sign(girth) * girth**2 + generator.normal() * 60)
            owners.append(cell)
            heading = _unit(heading + 0.45 * generator.standard_normal(3))
            point = point + _SEED_PITCH * heading
    return (
        np.array(points, dtype=np.float32),
        np.array(weights, dtype=np.float32),
        np.array(owners, dtype=np.int32),
    )


def grow_cells(generator: np.random.Generator, grid: Grid) -> Cells:
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


@dataclass(frozen=True)
class _Tube:
    """A mitochondrion: points (n,3) and radii (n,) along its axis, its cristae spacing and tilt."""

    points: NDArray[np.float64]
    radii: NDArray[np.float64]
    spacing: float
    tilt: NDArray[np.float64]


class _Walker:
    """Grows tubes one after another inside cells, away from those that are there."""

    def __init__(self, generator: np.random.Generator, grid: Grid, cells: Cells) -> None:
        self._generator, self._grid, self._cells = generator, grid, cells
        self._points = np.empty((0, 3))
        self._radii = np.empty(0)

    def clearance(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the radius a tube may have at each point (n,3)."""
        top = np.array(self._grid.shape) - 1
        z, y, x = np.clip((points / self._grid.step).astype(int), 0, top).T
        room: NDArray[np.float64] = self._cells.depth[z, y, x] - 3.5
        if len(self._points):
            gap = np.linalg.norm(points[:, None] - self._points[None], axis=2) - self._radii
            room = np.minimum(room, gap.min(axis=1) - _GAP)
        return room

    def walk(
        self, start: NDArray[np.float64], heading: NDArray[np.float64], radius: float, length: float
    ) -> tuple[list[NDArray[np.float64]], list[float]]:
        """Return points and radii from `start` (left out) on, as far as there is room."""
        points: list[NDArray[np.float64]] = []
        radii: list[float] = []
        point, last = start, radius
        while len(points) * _STEP < length:
            turns = heading + 0.32 * self._generator.standard_normal((7, 3))
            turns /= np.linalg.norm(turns, axis=1, keepdims=True)
            room = self.clearance(point + _STEP * turns)
            best = int(np.argmax(np.minimum(room, radius) + 2 * turns @ heading))
            heading = turns[best]
            point = point + _STEP * heading
            wanted = radius * (1 + 0.12 * self._generator.standard_normal())
            last = min(room[best], 0.5 * last + 0.5 * wanted)
            outside = np.any(point < -last) or np.any(point > self._grid.extent + last)
            if last < max(3.0, 0.55 * radius) or outside:
                break
            points.append(point)
            radii.append(last)
        return points, radii

    def grow(self, start: NDArray[np.float64], radius: float) -> _Tube:
        """Return a new tube through `start` and keep others away from it."""
        heading = _unit(self._generator.standard_normal(3))
        reach = radius * self._generator.uniform(0.3, 3) + self._generator.exponential(45)
        ahead, ahead_radii = self.walk(start, heading, radius, reach / 2)
        behind, behind_radii = self.walk(start, -heading, radius, reach / 2)
        tube = _Tube(
            np.array([*behind[::-1], start, *ahead]),
            np.array([*behind_radii[::-1], radius, *ahead_radii]),
            float(self._generator.uniform(4.5, 8)),
            self._generator.standard_normal(3) * self._generator.uniform(0, 0.5),
        )
        self._points = np.concatenate([self._points, tube.points])
        self._radii = np.concatenate([self._radii, tube.radii])
        return tube


def grow_mitochondria(
    generator: np.random.Generator, grid: Grid, cells: Cells, fraction: float
) -> Mitochondria:
    """Return mitochondria inside the cells that fill about `fraction` of the grid."""
    walker = _Walker(generator, grid, cells)
    inside = np.full(grid.shape, -20, dtype=np.float32)
    phase = np.zeros(grid.shape, dtype=np.float32)
    winner = np.zeros(grid.shape, dtype=np.uint32)
    wanted, filled, count = fraction * prod(grid.extent), 0.0, 0
    for start in generator.random((max(200, ceil(wanted / 60)), 3)) * grid.extent:
        room = float(walker.clearance(start[None])[0])
        radius = min(room, float(np.clip(np.exp(generator.normal(2.4, 0.35)), 4.5, 20)))
        if radius < 4.5:
            continue
        tube = walker.grow(start, radius)
        count += 1
        _draw(tube, grid, count, (inside, phase, winner))
        filled += float((tube.radii**2).sum()) * np.pi * _STEP
        if filled > wanted:
            break
    inside += np.float32(0.8) * grid.noise(generator, 14)
    # The cell's own membrane stays free.
    inside[:] = np.minimum(inside, cells.depth - np.float32(2.2))
    label = _largest_pieces(np.where(inside > 0, winner, 0), inside)
    return Mitochondria(label, inside, phase, count)


def _largest_pieces(winner: NDArray[np.uint32], inside: Field) -> NDArray[np.uint64]:
    """Return the instances as one piece each; crumbs are taken out of `inside` too."""
    pieces, count = ndimage.label(winner > 0)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    number = np.zeros(count + 1, dtype=np.uint32)
    number[pieces.ravel()] = winner.ravel()
    # The last written wins, so pieces are visited from the smallest to the largest.
    order = np.argsort(sizes[1:], kind="stable") + 1
    largest = np.zeros(int(winner.max()) + 1, dtype=np.intp)
    largest[number[order]] = order
    kept = np.zeros(count + 1, dtype=bool)
    kept[largest[1:]] = True
    kept[0] = False
    label = np.where(kept, number, 0).astype(np.uint64)[pieces]
    inside[(pieces > 0) & (label == 0)] = -20
    return label


def _draw(
    tube: _Tube, grid: Grid, number: int, fields: tuple[Field, Field, NDArray[np.uint32]]
) -> None:
    """Draw a tube into (inside, phase, winner), segment by segment, each in its own box."""
    inside, phase, winner = fields
    points = tube.points if len(tube.points) > 1 else np.repeat(tube.points, 2, axis=0)
    radii = np.resize(tube.radii, len(points))
    for k in range(len(points) - 1):
        a, b, ra, rb = points[k], points[k + 1], radii[k], radii[k + 1]
        margin = max(ra, rb) + 4
        low = (np.minimum(a, b) - margin) / grid.step
        high = (np.maximum(a, b) + margin) / grid.step
        begin = [max(0, floor(v)) for v in low]
        end = [min(s, ceil(v) + 1) for v, s in zip(high, grid.shape, strict=True)]
        if any(e <= s for s, e in zip(begin, end, strict=True)):
            continue
        box = tuple(slice(s, e) for s, e in zip(begin, end, strict=True))
        z, y, x = (
            g - np.float32(o) for g, o in zip(box_grid(begin, end, grid.step), a, strict=True)
        )
        ab = (b - a).astype(np.float32)
        along = (z * ab[0] + y * ab[1] + x * ab[2]) / np.float32(max(1e-6, float(ab @ ab)))
        share = np.clip(along, 0, 1)
        away = np.sqrt(
            (z - share * ab[0]) ** 2 + (y - share * ab[1]) ** 2 + (x - share * ab[2]) ** 2
        )
        here = np.float32(ra) + share * np.float32(rb - ra) - away
        closer = here > inside[box]
        lean = (z + a[0]) * tube.tilt[0] + (y + a[1]) * tube.tilt[1] + (x + a[2]) * tube.tilt[2]
        turns = ((k + along) * _STEP + lean) / tube.spacing
        inside[box][closer] = here[closer]
        phase[box][closer] = turns[closer].astype(np.float32)
        winner[box][closer] = number
