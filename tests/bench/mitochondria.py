"""Labels that look like a segmentation of mitochondria: balls and rods on 12 % of the voxels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from segmentation_backend.geometry import Coordinate

__all__ = ["ball", "mitochondria"]


def ball(radius: int) -> npt.NDArray[np.bool_]:
    """Return a ball as a mask of `2 * radius` voxels a side."""
    side = 2 * radius
    z, y, x = np.ogrid[:side, :side, :side]
    middle = radius - 0.5
    return np.asarray((z - middle) ** 2 + (y - middle) ** 2 + (x - middle) ** 2 <= radius**2)


def mitochondria(shape: Coordinate, seed: int, share: float = 0.12) -> npt.NDArray[np.uint32]:
    """Return objects of 1 to 6 overlapping balls of radius 5 to 11, labelled from 1."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, dtype=np.uint32)
    label = 0
    while np.count_nonzero(labels) < share * labels.size:
        label += 1
        at = rng.uniform(0, shape)
        step = rng.normal(0, 5, 3)
        radius = int(rng.integers(5, 12))
        for _ in range(rng.integers(1, 7)):
            _stamp(labels, label, np.round(at).astype(int), radius)
            at += step
    return labels


def _stamp(
    labels: npt.NDArray[np.uint32], label: int, at: npt.NDArray[np.int_], radius: int
) -> None:
    low = np.clip(at - radius, 0, labels.shape)
    high = np.clip(at + radius, 0, labels.shape)
    if (low < high).all():
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        mask = ball(radius)[
            tuple(slice(a, b) for a, b in zip(low - at + radius, high - at + radius, strict=True))
        ]
        here = labels[box]
        here[mask & (here == 0)] = label
