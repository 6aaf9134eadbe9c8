"""Synthetic electron microscopy with true mitochondria labels, for the demo and the tests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.geometry import Coordinate, VoxelSize
from segmentation_backend.sources.cells import Cells, grow_cells
from segmentation_backend.sources.fields import Field, TissueGrid, resample, ridge
from segmentation_backend.sources.mitochondria import Mitochondria, grow_mitochondria

__all__ = ["SyntheticVolume", "synthetic_em"]

_UNIT_NM = 10.0


@dataclass(frozen=True)
class SyntheticVolume:
    """An image and the truth about it."""

    em: NDArray[np.uint8]
    """uint8, z, y, x; membranes dark, as stained tissue looks."""
    mitochondria: NDArray[np.uint64]
    """uint64, z, y, x; one number per mitochondrion, 0 is background."""
    voxel_size: VoxelSize


@dataclass(frozen=True)
class _Look:
    """How the microscope and the stain render the tissue; grey values of 0..255."""

    cytoplasm: float
    cytoplasm_spread: float
    texture: float
    membrane: float
    cleft: float
    matrix: float
    """Grey of the matrix minus that of the cytoplasm."""
    crista: float
    crista_coverage: float
    """Threshold of the noise that interrupts cristae: lower is denser."""
    shot: float
    gaussian: float
    blur: float
    illumination: float

    @classmethod
    def draw(cls, generator: np.random.Generator) -> _Look:
        """Return a look at random."""
        uniform = generator.uniform
        brighter = generator.random() < 0.2
        # A pale matrix shows its cristae dark and dense; a dark one may show them either way.
        if brighter:
            crista, coverage = -uniform(45, 70), uniform(-1.4, -0.5)
        else:
            sign = -1.0 if generator.random() < 0.75 else 0.8
            crista, coverage = sign * uniform(30, 55), uniform(-1.4, 0.2)
        return cls(
            cytoplasm=uniform(135, 175),
            cytoplasm_spread=uniform(6, 18),
            texture=uniform(6, 13),
            membrane=uniform(55, 90),
            cleft=uniform(5, 30),
            matrix=uniform(2, 16) if brighter else -uniform(15, 60),
            crista=crista,
            crista_coverage=coverage,
            shot=uniform(0.35, 1.1),
            gaussian=uniform(2, 8),
            blur=uniform(0.5, 0.9),
            illumination=uniform(3, 12),
        )


def synthetic_em(
    shape: Coordinate = (128, 256, 256),
    seed: int = 0,
    voxel_size: VoxelSize = (10.0, 10.0, 10.0),
) -> SyntheticVolume:
    """Return tissue that looks like FIB-SEM, with the instances that were drawn into it.

    The same seed gives the same voxels; another seed gives other cells and another look
    (contrast of the matrix, density of cristae, noise, illumination).
    """
    if min(shape) < 1 or min(voxel_size) <= 0:
        raise InvalidInputError(
            f"Cannot draw a volume of shape {shape} with voxels of {voxel_size} nm; every side "
            "must be at least 1 and every edge positive.",
            ErrorKind.INVALID_PARAMETER,
        )
    generator = np.random.default_rng(seed)
    z, y, x = (edge / _UNIT_NM for edge in voxel_size)
    grid = TissueGrid(shape, (z, y, x))
    look = _Look.draw(generator)
    cells = grow_cells(generator, grid)
    mitochondria = grow_mitochondria(generator, grid, cells, generator.uniform(0.07, 0.12))
    grey = _paint_cytoplasm(generator, grid, cells, look)
    free = _free_room(cells, mitochondria)
    _paint_reticulum(generator, grid, grey, free, look)
    _paint_vesicles(generator, grid, grey, free, look)
    _paint_membranes(grey, cells, look)
    _paint_mitochondria(generator, grid, grey, mitochondria, look)
    return SyntheticVolume(_expose(generator, grid, grey, look), mitochondria.label, voxel_size)


def _free_room(cells: Cells, mitochondria: Mitochondria) -> Field:
    """Return the units to the nearest membrane of a cell or a mitochondrion, from outside."""
    return np.minimum(cells.depth, -mitochondria.inside)


def _paint_cytoplasm(
    generator: np.random.Generator, grid: TissueGrid, cells: Cells, look: _Look
) -> Field:
    """Return the ground: a grey per cell, ribosomes and a slow cloudiness."""
    tone = look.cytoplasm + look.cytoplasm_spread * generator.standard_normal(cells.count)
    grey = tone.astype(np.float32)[cells.owner]
    grey += np.float32(look.texture) * grid.noise(generator, 4)
    grey += np.float32(0.5 * look.texture) * grid.noise(generator, 13)
    grains = grid.noise(generator, 3.2)
    # Ribosomes come in patches: dark dots where a slow field is high.
    patches = np.clip(grid.noise(generator, 45), 0, 1.5)
    grey -= np.float32(14) * patches * np.maximum(grains - np.float32(0.9), 0)
    return grey


def _paint_reticulum(
    generator: np.random.Generator, grid: TissueGrid, grey: Field, free: Field, look: _Look
) -> None:
    """Draw endoplasmic reticulum: thin double-walled sheets and threads, here and there."""
    field = grid.noise(generator, 34)
    other = grid.noise(generator, 30)
    # Two level sets meet in curves: a tube around them; one alone is a sheet, kept short.
    slope = np.float32(12)
    sheet = np.abs(field) * slope
    tube = np.sqrt((field * slope) ** 2 + (other * slope) ** 2)
    allowed = np.clip(free - np.float32(3), 0, 1)
    sheets = np.clip(grid.noise(generator, 60) * 3 - 2.4, 0, 1) * allowed
    for distance, strength, radius in ((sheet, sheets, 1.6), (tube, allowed, 2.8)):
        lumen = np.clip(np.float32(radius) - distance, 0, 1) * strength
        wall = ridge(distance, radius + 0.6, 1.2) * strength
        grey += lumen * np.float32(16)
        grey -= wall * np.float32(0.6 * look.membrane)


def _paint_vesicles(
    generator: np.random.Generator, grid: TissueGrid, grey: Field, free: Field, look: _Look
) -> None:
    """Draw clusters of vesicles, single endosomes and a few dense bodies (no mitochondria)."""
    volume = float(np.prod(grid.extent))
    clusters = generator.random((max(1, round(volume / 3e5)), 3)) * grid.extent
    near = np.repeat(clusters, generator.integers(30, 120, len(clusters)), axis=0)
    near = near + generator.normal(0, 16, near.shape)
    lone = generator.random((max(2, round(volume / 4e4)), 3)) * grid.extent
    bodies = generator.random((max(1, round(volume / 9e5)), 3)) * grid.extent
    for centres, low, high in ((near, 1.9, 2.7), (lone, 2.5, 7.0), (bodies, 4.0, 11.0)):
        for centre in centres:
            radius = float(generator.uniform(low, high))
            fill = generator.uniform(-60, -30) if centres is bodies else generator.uniform(0, 28)
            _stamp(grid, grey, free, centre, (radius, float(fill), 0.75 * look.membrane))


def _stamp(
    grid: TissueGrid,
    grey: Field,
    free: Field,
    centre: NDArray[np.float64],
    style: tuple[float, float, float],
) -> None:
    """Draw one ball of (radius, grey of the lumen over the ground, darkness of the membrane)."""
    radius, fill, membrane = style
    middle = np.floor(centre / grid.step).astype(int)
    if np.any(middle < 0) or np.any(middle >= grid.shape):
        return
    if free[tuple(middle)] < radius + 2:
        return
    half = np.ceil((radius + 2) / np.array(grid.step)).astype(int)
    box = tuple(
        slice(max(0, m - h), min(s, m + h + 1))
        for m, h, s in zip(middle, half, grid.shape, strict=True)
    )
    z, y, x = np.ogrid[box]
    offsets = [(a + 0.5) * s - c for a, s, c in zip((z, y, x), grid.step, centre, strict=True)]
    away = np.sqrt(offsets[0] ** 2 + offsets[1] ** 2 + offsets[2] ** 2).astype(np.float32)
    lumen = np.clip(np.float32(radius) - away, 0, 1)
    base = float(grey[box].mean()) + fill
    patch = grey[box]
    patch += lumen * (np.float32(base) - patch) * np.float32(0.8)
    patch -= ridge(away, radius, 1.3) * np.float32(membrane)


def _paint_membranes(grey: Field, cells: Cells, look: _Look) -> None:
    """Draw plasma membranes on both sides of a lighter extracellular cleft."""
    depth = cells.depth
    grey -= ridge(depth, 1.4, 1.3) * np.float32(1.15 * look.membrane)
    grey += np.clip(np.float32(0.8) - depth, 0, 1) * np.float32(look.cleft - 0.35 * look.membrane)


def _paint_mitochondria(
    generator: np.random.Generator,
    grid: TissueGrid,
    grey: Field,
    mitochondria: Mitochondria,
    look: _Look,
) -> None:
    """Draw the matrix, cristae and the two membranes, in the voxels concerned alone."""
    warp = grid.noise(generator, 11)
    breaks = grid.noise(generator, 17)
    where = np.flatnonzero(mitochondria.inside > -1.5)
    inside = mitochondria.inside.ravel()[where]
    phase = mitochondria.phase.ravel()[where] + np.float32(0.28) * warp.ravel()[where]
    ground = grey.ravel()[where]
    tone = look.cytoplasm + look.matrix
    matrix = np.float32(tone) + np.float32(0.55) * (ground - np.float32(look.cytoplasm))
    # A lamella every full turn; some are interrupted, none reaches past the inner membrane.
    fold = np.abs(phase - np.round(phase))
    crista = np.clip(np.float32(1.35) - fold * np.float32(6), 0, 1)
    crista *= np.clip((breaks.ravel()[where] - np.float32(look.crista_coverage)) * 3, 0, 1)
    crista *= np.clip(inside - np.float32(2), 0, 1)
    matrix += crista * np.float32(look.crista)
    solid = np.clip(inside + np.float32(0.5), 0, 1)
    value = ground + solid * (matrix - ground)
    wall = 1.1 * look.membrane if look.matrix > -35 else 0.6 * look.membrane
    value -= ridge(inside, 0.4, 1.2) * np.float32(wall)
    value -= ridge(inside, 2.7, 1.1) * np.float32(0.7 * wall)
    grey.ravel()[where] = value


def _expose(
    generator: np.random.Generator, grid: TissueGrid, grey: Field, look: _Look
) -> NDArray[np.uint8]:
    """Return the picture the microscope takes: blur, slow illumination, shot and readout noise."""
    sigma = [look.blur / s if s < 2 else 0.0 for s in grid.step]
    picture = ndimage.gaussian_filter(grey, sigma, truncate=3)
    slow = generator.standard_normal((3, 3, 3), dtype=np.float32)
    spacing = [max(1.0, size / 2) for size in grid.shape]
    picture += np.float32(look.illumination) * resample(slow, grid.shape, spacing)
    picture += generator.normal(0, 1.2, (grid.shape[0], 1, 1)).astype(np.float32)
    np.clip(picture, 4, 250, out=picture)
    noise = generator.standard_normal(grid.shape, dtype=np.float32)
    # Detectors smear a little along the scan line, so neighbouring pixels share noise.
    noise[:, :, 1:] += np.float32(0.35) * noise[:, :, :-1]
    noise *= np.sqrt(picture * np.float32(look.shot**2) + np.float32(look.gaussian**2))
    picture += noise
    return np.clip(np.round(picture), 0, 255).astype(np.uint8)
