"""What the network should answer: centre heatmap and offsets of a labelled 2D crop."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cc3d
import edt
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["STRIDE", "Targets", "centres_of", "make_targets", "split_components"]

STRIDE = 4
"""The network decides centres and offsets on a grid of every fourth pixel."""

_USUAL_AREA = 1000.0
"""Pixels of an object whose offsets count once."""

_CENTRE_WEIGHT = 3.0
"""By how much more an error of the heatmap counts at a centre than far from any."""

_CLEFT_WEIGHT = 4.0
"""How often a pixel between two near objects counts."""

_CLEFT_REACH = 4.0
"""Pixels from an object within which another one is near."""


@dataclass(frozen=True, slots=True)
class Targets:
    """The answers for one crop of H x W pixels, all float32."""

    foreground: NDArray[np.float32]
    """(H, W), 1 in mitochondria, or how likely they are; with `favour_small` 0 in the seam where
    two touch."""
    weight: NDArray[np.float32]
    """(H, W), 0 where the label is unknown, else 1; with `favour_small` more in narrow clefts."""
    heatmap: NDArray[np.float32]
    """(H/4, W/4), 1 at a centre, falling as a Gaussian."""
    heatmap_weight: NDArray[np.float32]
    """(H/4, W/4), 0 where the label is unknown, else 1; with `favour_small` more at centres."""
    offsets: NDArray[np.float32]
    """(2, H/4, W/4), dy and dx to the centre of the pixel's object, in pixels of the crop."""
    offsets_weight: NDArray[np.float32]
    """(H/4, W/4), 1 in mitochondria whose label is known, else 0; with `favour_small` more in small
    ones and less in large ones."""


def split_components(labels: NDArray[Any]) -> NDArray[np.int32]:
    """Return (H, W) int32 labels 1..n in which each 8-connected piece of an object is its own.

    One mitochondrion may be cut twice by a plane; a 2D network cannot know that the two profiles
    belong together.
    """
    pieces = cc3d.connected_components(labels.astype(np.uint32), connectivity=8)
    return np.asarray(pieces, dtype=np.int32)


def centres_of(objects: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return (n, 2) centres y, x of objects 1..n, each of them inside its own object.

    The centre is the pixel nearest the centroid among those at least half as deep as the object's
    deepest: the centroid itself of a round object, a point on the middle line of a bent one.
    """
    count = int(objects.max(initial=0))
    if count == 0:
        return np.zeros((0, 2))
    y, x = np.nonzero(objects)
    owner = objects[y, x]
    size = np.bincount(owner, minlength=count + 1)
    mean_y = np.bincount(owner, y, count + 1) / np.maximum(size, 1)
    mean_x = np.bincount(owner, x, count + 1) / np.maximum(size, 1)
    depth = edt.edt(objects, black_border=False)[y, x]
    deepest = np.zeros(count + 1)
    np.maximum.at(deepest, owner, depth)
    deep = depth >= 0.5 * deepest[owner]
    y, x, owner = y[deep], x[deep], owner[deep]
    order = np.lexsort(((y - mean_y[owner]) ** 2 + (x - mean_x[owner]) ** 2, owner))
    first = np.searchsorted(owner[order], np.arange(1, count + 1))
    nearest = order[first]
    return np.stack([y[nearest], x[nearest]], 1).astype(np.float64)


def make_targets(
    labels: NDArray[Any],
    ignore: NDArray[np.bool_],
    sigma: float,
    favour_small: bool = False,
    foreground: NDArray[np.float32] | None = None,
) -> Targets:
    """Return the answers for a crop of `labels` (H, W), sides multiples of 4.

    `ignore` marks unknown pixels, `sigma` is the width of a centre's Gaussian in pixels. With
    `favour_small` small mitochondria count as much as large ones, and so do clefts between two.
    `foreground` (H, W), 0 to 1, is how likely each pixel is mitochondrion, where that is known
    better than from `labels`.
    """
    objects = split_components(labels)
    centres = centres_of(objects)
    height, width = objects.shape
    heatmap = np.zeros(objects.shape, np.float32)
    if len(centres):
        peaks = np.ones(objects.shape, bool)
        peaks[centres[:, 0].astype(int), centres[:, 1].astype(int)] = False
        # The largest of many equal Gaussians is the Gaussian of the nearest centre.
        distance = ndimage.distance_transform_edt(peaks)
        heatmap = np.exp(-0.5 * (distance / sigma) ** 2).astype(np.float32)
    blocks = heatmap.reshape(height // STRIDE, STRIDE, width // STRIDE, STRIDE)
    # Grid point i lies at pixel 4 i + 1.5: so does bilinear interpolation place it.
    coarse = objects[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]
    known = ~ignore[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]
    grid = np.mgrid[: height // STRIDE, : width // STRIDE] * STRIDE + (STRIDE - 1) / 2
    padded = np.vstack([np.zeros((1, 2)), centres])
    offsets = np.moveaxis(padded[coarse], -1, 0) - grid
    inside = (coarse > 0) & known
    plain = Targets(
        foreground=(objects > 0).astype(np.float32) if foreground is None else foreground,
        weight=(~ignore).astype(np.float32),
        heatmap=blocks.mean(axis=(1, 3), dtype=np.float32),
        heatmap_weight=known.astype(np.float32),
        offsets=(offsets * inside).astype(np.float32),
        offsets_weight=inside.astype(np.float32),
    )
    return _favoured(plain, objects, coarse) if favour_small else plain


def _favoured(plain: Targets, objects: NDArray[np.int32], coarse: NDArray[np.int32]) -> Targets:
    """Return the answers with weights that favour small objects and clefts.

    Else a small mitochondrion beside a large one hardly counts, and is taken into it.
    """
    seam, cleft = _between(objects)
    balance = np.sqrt(_USUAL_AREA / np.maximum(np.bincount(objects.ravel()), 1)).clip(0.3, 3.0)
    return replace(
        plain,
        foreground=plain.foreground * ~seam,
        weight=(plain.weight * np.where(cleft, _CLEFT_WEIGHT, 1.0)).astype(np.float32),
        heatmap_weight=plain.heatmap_weight * (1 + np.float32(_CENTRE_WEIGHT) * plain.heatmap),
        offsets_weight=(plain.offsets_weight * balance[coarse]).astype(np.float32),
    )


def _between(objects: NDArray[np.int32]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return (H, W) the seam, where pixels of two objects touch, and the cleft along it.

    The cleft is what lies within 2 pixels of a line that is equally far, at most `_CLEFT_REACH`
    pixels, from two objects (after the border weights of U-Net, Ronneberger et al. 2015).
    """
    distance, nearest = ndimage.distance_transform_edt(objects == 0, return_indices=True)
    owner = objects[tuple(nearest)] * (distance <= _CLEFT_REACH)
    line = np.zeros(objects.shape, bool)
    for axis in (0, 1):
        one, two = (np.moveaxis(m, axis, 0) for m in (owner, line))
        change = (one[1:] != one[:-1]) & (one[1:] > 0) & (one[:-1] > 0)
        two[1:] |= change
        two[:-1] |= change
    cleft = ndimage.binary_dilation(line, iterations=2) if line.any() else line
    return line & (objects > 0), cleft
