"""Makes one labelled slice look like many microscopes: scale, pose, contrast, blur, noise."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional

__all__ = ["Augmentation", "LabelledSlice", "augment", "degrade", "warp"]

Image = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How far a crop may be from the slice it was taken from; 0 switches a change off."""

    scale: tuple[float, float] = (0.4, 2.2)
    """Smallest and largest magnification (log-uniform)."""
    stretch: float = 0.25
    """Largest relative stretch of one axis against the other."""
    elastic: float = 5.0
    """Largest displacement of a bent crop, in pixels."""
    contrast: tuple[float, float] = (0.55, 1.6)
    brightness: float = 0.4
    """Standard deviation of a shift, in standard deviations of the volume."""
    gamma: tuple[float, float] = (0.6, 1.7)
    illumination: float = 0.5
    """Largest slow change of brightness across the crop."""
    blur: float = 2.0
    """Largest Gaussian sigma, pixels."""
    sharpen: float = 1.5
    """Largest share of high frequencies added."""
    noise: float = 0.7
    """Largest standard deviation of white noise; shot noise and grain are scaled with it."""
    artefacts: float = 0.12
    """Probability of each section artefact: curtains, a fold, a blank patch."""
    untouched: float = 0.0
    """Share of crops that keep their grey values as they are, so that the staining is learned, too:
    what is black in one set is myelin, not a mitochondrion."""


@dataclass(frozen=True, slots=True)
class LabelledSlice:
    """A slice with its labels; all arrays (H, W)."""

    image: Image
    """float32, mean 0 and standard deviation 1 over the volume."""
    labels: NDArray[np.int32]
    ignore: NDArray[np.bool_]
    foreground: Image | None = None
    """How likely each pixel is mitochondrion; None: as the labels say."""


def augment(
    source: LabelledSlice, side: int, config: Augmentation, rng: np.random.Generator
) -> LabelledSlice:
    """Return a random square crop of `side` pixels of a slice, changed in shape and in grey."""
    crop = warp(source, side, config, rng)
    return replace(crop, image=degrade(crop.image, config, rng))


def warp(
    source: LabelledSlice, side: int, config: Augmentation, rng: np.random.Generator
) -> LabelledSlice:
    """Return a crop scaled, stretched, turned, mirrored and bent; past the edge it is mirrored."""
    height, width = source.image.shape
    scale = float(np.exp(rng.uniform(*np.log(config.scale))))
    stretch = np.exp(rng.uniform(-1, 1, 2) * np.log1p(config.stretch) / 2)
    angle = rng.uniform(0, 2 * np.pi)
    cosine, sine = np.cos(angle), np.sin(angle)
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    matrix = np.array([[cosine, -sine * mirror], [sine, cosine * mirror]]) / (scale * stretch)
    reach = side / (2 * scale)
    centre = [rng.uniform(min(reach, n / 2), max(n - reach, n / 2)) for n in (height, width)]
    axis = np.arange(side) - (side - 1) / 2
    plane = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1)
    if config.elastic > 0 and rng.random() < 0.3:
        plane = plane + _bend(side, config.elastic, rng)
    place = plane @ matrix.T + np.array(centre)
    # grid_sample wants x before y, -1 and 1 at the outer edges of the outer pixels.
    grid = np.stack(
        [2 * (place[..., 1] + 0.5) / width - 1, 2 * (place[..., 0] + 0.5) / height - 1], -1
    )
    where = torch.from_numpy(grid.astype(np.float32))[None]
    image = source.image
    if scale < 0.9:
        # Averages before the pixels are skipped, as area-mean pyramids do.
        image = ndimage.gaussian_filter(image, 0.45 * np.sqrt(1 / scale**2 - 1))
    codes = np.stack([source.labels.astype(np.float32), source.ignore.astype(np.float32)])
    picked = _resample(codes, where, "nearest")
    return LabelledSlice(
        image=_resample(image[None], where, "bilinear")[0],
        labels=picked[0].astype(np.int32),
        ignore=picked[1] > 0.5,
        foreground=None
        if source.foreground is None
        else _resample(source.foreground[None], where, "bilinear")[0],
    )


def degrade(image: Image, config: Augmentation, rng: np.random.Generator) -> Image:
    """Return a crop (H, W) with another contrast, sharpness and noise."""
    if config.untouched > 0 and rng.random() < config.untouched:
        return image
    x = _regrade(image, config, rng)
    kind = rng.random()
    if kind < 0.4:
        x = ndimage.gaussian_filter(x, rng.uniform(0, config.blur))
    elif kind < 0.6:
        soft = ndimage.gaussian_filter(x, rng.uniform(0.7, 2.0))
        x = x + rng.uniform(0, config.sharpen) * (x - soft)
    x = _add_noise(x, config, rng)
    x = _add_artefacts(x, config, rng)
    return x.astype(np.float32)


def _resample(maps: NDArray[np.float32], where: torch.Tensor, mode: str) -> NDArray[np.float32]:
    tensor = torch.from_numpy(np.ascontiguousarray(maps))[None]
    picked = functional.grid_sample(
        tensor, where, mode=mode, padding_mode="reflection", align_corners=False
    )
    result: NDArray[np.float32] = picked[0].numpy()
    return result


def _smooth_field(shape: tuple[int, int, int], cells: int, rng: np.random.Generator) -> Image:
    """Return random maps (C, H, W) of about -1..1 that vary over 1/cells of the crop."""
    coarse = torch.from_numpy(rng.uniform(-1, 1, (1, shape[0], cells, cells)).astype(np.float32))
    fine = functional.interpolate(coarse, size=shape[1:], mode="bicubic", align_corners=True)
    result: Image = fine[0].numpy()
    return result


def _bend(side: int, reach: float, rng: np.random.Generator) -> Image:
    """Return displacements (H, W, 2) of up to `reach` pixels."""
    field = _smooth_field((2, side, side), int(rng.integers(3, 7)), rng)
    return np.moveaxis(field, 0, -1) * np.float32(rng.uniform(0, reach))


def _regrade(image: Image, config: Augmentation, rng: np.random.Generator) -> Image:
    """Return the crop with another gamma, contrast, brightness and illumination."""
    unit = np.clip((image + 4) / 8, 0, 1)
    low, high = np.log(config.gamma)
    curved = unit ** np.exp(rng.uniform(low, high)) * 8 - 4
    # The curve keeps black and white but moves the middle: centre it again half of the time.
    if rng.random() < 0.5:
        curved = curved - (curved.mean() - image.mean())
    low, high = np.log(config.contrast)
    x = curved * np.exp(rng.uniform(low, high)) + rng.normal(0, config.brightness)
    if rng.random() < 0.3:
        tilt = _smooth_field((1, *image.shape), 3, rng)[0]
        x = x + tilt * rng.uniform(0, config.illumination)
    return np.asarray(x, dtype=np.float32)


def _add_noise(image: Image, config: Augmentation, rng: np.random.Generator) -> Image:
    """Return the crop with white noise, shot noise or grain."""
    kind = rng.random()
    if config.noise <= 0 or kind < 0.3:
        return image
    white = rng.standard_normal(image.shape, dtype=np.float32) * rng.uniform(0, config.noise)
    if kind < 0.65:
        return image + white
    if kind < 0.85:
        # Shot noise grows with the square root of the signal.
        signal: Image = np.clip(image + 3, 0, None)
        return image + white * np.sqrt(signal / 3)
    grain: Image = ndimage.gaussian_filter(white, rng.uniform(0.6, 1.2))
    return image + 2 * grain


def _add_artefacts(image: Image, config: Augmentation, rng: np.random.Generator) -> Image:
    """Return the crop with, now and then, curtains, a dark fold or a blank patch."""
    height, width = image.shape
    x = image
    if rng.random() < config.artefacts:
        stripes = ndimage.gaussian_filter1d(rng.normal(0, 1, width), rng.uniform(0.5, 3))
        stripes = stripes * (rng.uniform(0, 0.5) / (stripes.std() + 1e-6))
        x = x + (stripes[None, :] if rng.random() < 0.5 else stripes[:height, None])
    if rng.random() < config.artefacts:
        angle = rng.uniform(0, np.pi)
        y, z = np.mgrid[:height, :width]
        along = (y - rng.uniform(0, height)) * np.cos(angle) + (z - rng.uniform(0, width)) * np.sin(
            angle
        )
        x = x - rng.uniform(0.5, 2.5) * np.exp(-0.5 * (along / rng.uniform(0.7, 3)) ** 2)
    if rng.random() < config.artefacts:
        y0, x0 = rng.integers(0, height - 8), rng.integers(0, width - 8)
        x = x.copy()
        x[y0 : y0 + rng.integers(4, 20), x0 : x0 + rng.integers(4, 20)] = rng.normal(0, 1)
    return np.asarray(x, dtype=np.float32)
