"""The mitochondria of synthetic tissue: curved tubes inside cells, with room between them.

Lengths are in units of 10 nm, positions z, y, x.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, prod

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segmentation_backend.sources.cells import Cells
from segmentation_backend.sources.fields import Field, TissueGrid, box_grid, unit_vector

__all__ = ["Mitochondria", "grow_mitochondria"]

_STEP = 5.0
_GAP = 2.5


@dataclass(frozen=True)
class Mitochondria:
    """Instances and the coordinates that their membranes and cristae are drawn in."""

    label: NDArray[np.uint64]
    inside: Field
    """Units to the outer membrane, positive inside, about -20 far away."""
    phase: Field
    """Number of cristae passed on the way along the tube (a float)."""
    count: int


@dataclass(frozen=True)
class _Tube:
    """A mitochondrion: points (n,3) and radii (n,) along its axis, its cristae spacing and tilt."""

    points: NDArray[np.float64]
    radii: NDArray[np.float64]
    spacing: float
    tilt: NDArray[np.float64]


class _Walker:
    """Grows tubes one after another inside cells, away from those that are there."""

    def __init__(self, generator: np.random.Generator, grid: TissueGrid, cells: Cells) -> None:
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
        heading = unit_vector(self._generator.standard_normal(3))
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
    generator: np.random.Generator, grid: TissueGrid, cells: Cells, fraction: float
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
    tube: _Tube, grid: TissueGrid, number: int, fields: tuple[Field, Field, NDArray[np.uint32]]
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
