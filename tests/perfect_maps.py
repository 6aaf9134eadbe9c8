"""What a perfect network would say about known labels: the stand-in for one in tests of the rest.

It does what the stand-in of the empanada baseline does: a full-resolution foreground, and centres
and offsets at a quarter of the resolution, sampled at every fourth pixel.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segmentation_backend.inference.panoptic import Maps

__all__ = ["ellipsoids", "f1_scores", "perfect_maps", "perfect_stack"]


def perfect_maps(ids: NDArray[np.integer], stride: int = 4) -> Maps:
    """Return the maps of a section of labels (H, W)."""
    coarse = ids[::stride, ::stride].astype(np.int64)
    y, x = (stride * g.astype(np.float32) for g in np.mgrid[: coarse.shape[0], : coarse.shape[1]])
    count = int(ids.max(initial=0)) + 1
    voxels = np.maximum(np.bincount(coarse.ravel(), minlength=count), 1)
    centre_y, centre_x = (
        (np.bincount(coarse.ravel(), g.ravel(), count) / voxels).astype(np.float32) for g in (y, x)
    )
    # Offsets also in a rim of one cell: a trained network is smooth there.
    rim = np.where(coarse > 0, coarse, ndimage.maximum_filter(coarse, 3, mode="constant"))
    offsets = np.where(rim > 0, np.stack([centre_y[rim] - y, centre_x[rim] - x]), 0)
    # Cells as near to the centre as others must not be as high.
    tie = 1e-4 * np.remainder(0.754877 * y + 0.569840 * x, 1.0)
    heat = (np.exp(-(offsets**2).sum(0) / 200) - tie) * (coarse > 0)
    probability = np.where(ids > 0, 0.9975, 0.0025)
    return Maps(*(a.astype(np.float32) for a in (probability, heat, offsets)))


def perfect_stack(volume: NDArray[np.integer], axis: int) -> Iterator[Maps]:
    """Yield the maps of a volume's sections (z, y, x) along an axis."""
    for section in np.moveaxis(volume, axis, 0):
        yield perfect_maps(section)


def ellipsoids(shape: tuple[int, int, int], count: int, seed: int = 0) -> NDArray[np.uint16]:
    """Return a volume of ellipsoids, many of which touch; none is cut by more than a fifth."""
    rng = np.random.default_rng(seed)
    volume = np.zeros(shape, np.uint16)
    grid = np.stack(np.mgrid[tuple(slice(0, n) for n in shape)], -1)
    placed = 0
    while placed < count:
        radii = rng.uniform(5, 12, 3) * [1, 1, rng.uniform(1, 2)]
        turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        inside = ((((grid - rng.integers(0, shape)) @ turn) / radii) ** 2).sum(-1) <= 1
        free = inside & (volume == 0)
        if free.sum() > max(600, 0.8 * inside.sum()):
            placed += 1
            volume[free] = placed
    return volume


def f1_scores(truth: NDArray[np.integer], found: NDArray[np.integer]) -> tuple[float, float]:
    """Return the F1 scores of the objects at an IoU above .5 and above .75."""
    codes = truth.ravel().astype(np.int64) << 32 | found.ravel().astype(np.int64)
    pairs, shared = np.unique(codes, return_counts=True)
    a, b = pairs >> 32, pairs & (2**32 - 1)
    areas, others = np.bincount(truth.ravel()), np.bincount(found.ravel())
    iou = (shared / (areas[a] + others[b] - shared))[(a > 0) & (b > 0)]
    objects = np.count_nonzero(areas[1:]) + np.count_nonzero(others[1:])
    f50, f75 = (2 * int((iou > t).sum()) / max(objects, 1) for t in (0.5, 0.75))
    return f50, f75
