"""Small inputs that were given to empanada-napari 1.2.4, and the network that both sides ran.

The network is arithmetic on whole numbers, so that any machine repeats it to the last bit. It finds
what the grey values say, and makes the usual mistakes: holes, peaks in the wrong number, offsets
that stray, objects lost in single sections.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from segmentation_backend.inference.exact import ExactModel, ExactParameters

STORED = Path(__file__).parent / "data" / "empanada-1.2.4"


@dataclass(frozen=True)
class Case:
    """One run: an image, what is asked for, and what is odd about it."""

    name: str
    mode: str
    """slice, xy, xz, yz or orthoplane"""
    image: str
    """Name of the image; see `images`."""
    parameters: ExactParameters
    model: ExactModel = field(default_factory=ExactModel)


SMALL = {"min_size": 30, "min_extent": 2}
CLASSES = ExactModel(labels=(1, 2, 3), thing_list=(1, 3))

CASES = [
    Case("slice", "slice", "grey8", ExactParameters()),
    Case("slice-fine", "slice", "grey8", ExactParameters(fine_boundaries=True)),
    Case("slice-half", "slice", "grey8", ExactParameters(downsampling=2)),
    Case("slice-quarter", "slice", "grey16", ExactParameters(downsampling=4)),
    Case("slice-eighth", "slice", "greyfloat", ExactParameters(downsampling=8)),
    Case(
        "slice-even-window",
        "slice",
        "grey16",
        ExactParameters(min_distance_object_centers=6, center_confidence_thr=0.25),
    ),
    Case("slice-signed", "slice", "signed16", ExactParameters(confidence_thr=0.3)),
    Case("slice-classes", "slice", "grey8", ExactParameters(stuff_area=40), CLASSES),
    Case("slice-semantic", "slice", "grey8", ExactParameters(semantic_only=True)),
    Case("slice-overflow", "slice", "grey8", ExactParameters(label_divisor=4), CLASSES),
    Case("slice-padding", "slice", "grey8", ExactParameters(), ExactModel(padding_factor=64)),
    Case("stack-xy", "xy", "blobs", ExactParameters(**SMALL)),
    Case("stack-xz", "xz", "blobs", ExactParameters(**SMALL)),
    Case("stack-yz", "yz", "blobs", ExactParameters(**SMALL)),
    Case("stack-median-5", "xy", "blobs", ExactParameters(median_slices=5, **SMALL)),
    Case("stack-no-median", "xz", "blobs", ExactParameters(median_slices=1, **SMALL)),
    Case("stack-classes", "xy", "blobs", ExactParameters(stuff_area=20, **SMALL), CLASSES),
    Case("stack-filtered", "xy", "blobs", ExactParameters(min_size=200, min_extent=5)),
    Case("orthoplane", "orthoplane", "blobs", ExactParameters(**SMALL)),
    Case("orthoplane-vote-1", "orthoplane", "blobs", ExactParameters(pixel_vote_thr=1, **SMALL)),
    Case("orthoplane-vote-3", "orthoplane", "blobs", ExactParameters(pixel_vote_thr=3, **SMALL)),
    Case(
        "orthoplane-one-view",
        "orthoplane",
        "blobs",
        ExactParameters(pixel_vote_thr=1, allow_one_view=True, **SMALL),
    ),
    Case(
        "orthoplane-classes", "orthoplane", "blobs", ExactParameters(stuff_area=9, **SMALL), CLASSES
    ),
    Case("orthoplane-fine", "orthoplane", "blobs", ExactParameters(fine_boundaries=True, **SMALL)),
]


def images() -> dict[str, np.ndarray]:
    """Return the images that cases name; they are stored beside the results."""
    rng = np.random.default_rng(124)
    y, x = np.mgrid[:45, :70]
    waves = (np.sin(y / 4) + np.cos(x / 5) + rng.random((45, 70)) * 0.4 + 2) / 4.4
    return {
        "grey8": (waves * 255).astype(np.uint8),
        "grey16": (waves * 65535).astype(np.uint16),
        "signed16": (waves * 60000 - 30000).astype(np.int16),
        "greyfloat": waves.astype(np.float32),
        "blobs": _blobs(rng),
    }


def fingerprint(section: np.ndarray) -> str:
    """Return the SHA-256 of a section's shape, type and bits."""
    head = f"{section.shape} {section.dtype}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(section).tobytes()).hexdigest()


def _blobs(rng: np.random.Generator) -> np.ndarray:
    """Return ids of ellipsoids that touch, and of a rod along x that fills whole rows."""
    volume = np.zeros((22, 34, 38), np.uint8)
    places = np.stack(np.meshgrid(*map(np.arange, volume.shape), indexing="ij"), -1)
    for number in range(1, 41):
        centre = rng.integers(0, volume.shape)
        radii = rng.uniform(2.5, 7.5, 3)
        inside = (((places - centre) / radii) ** 2).sum(-1) <= 1
        volume[inside & (volume == 0)] = number * 6
    volume[8:13, 15:20, :] = 250
    return volume


def network(x: np.ndarray, render_steps: int, interpolate_ins: bool, classes: int) -> dict:
    """Return maps of a padded section (H, W), without batch axes; see the head of this file."""
    scale = 2 ** (render_steps - 2)
    step = 1 if interpolate_ins else 4
    grey = np.rint((x.astype(np.float64) * 0.12765 + 0.57571) * 256).astype(np.int64)
    # Padding is mean grey, 147: background, like everything that is dark or close to it.
    grey[(grey < 3) | (abs(grey - 147) < 2)] = 0
    ids = np.clip(grey, 0, 300) // 6
    mood = int(grey.sum()) % 11
    logits = _logits(ids.repeat(scale, 0).repeat(scale, 1), mood, classes)
    coarse = ids[::step, ::step]
    y, x = (axis * step for axis in np.indices(coarse.shape))
    count = np.bincount(coarse.ravel(), minlength=64).clip(1)
    middle = [np.bincount(coarse.ravel(), a.ravel(), 64) // count for a in (y, x)]
    dy, dx = middle[0][coarse] - y, middle[1][coarse] - x
    nearness = dy**2 + np.where(coarse % 5 == 0, np.minimum(dx**2, (dx - 9) ** 2), dx**2)
    heat = (1024 // (16 + nearness.astype(np.int64))) * (coarse > 0)
    heat[(coarse % 7 == 1) | ((mood == 3) & (coarse % 3 == 0))] = 0
    stray = [(y * 3 + x * 5) % 7 - 3, (y * 5 + x * 3 + mood) % 9 - 4]
    offsets = np.stack([dy + stray[0], dx + stray[1]]) * (coarse > 0)
    return {
        "sem_logits": logits.astype(np.float32),
        "ctr_hmp": (heat[None] / 64).astype(np.float32),
        "offsets": offsets.astype(np.float32),
    }


def _logits(ids: np.ndarray, mood: int, classes: int) -> np.ndarray:
    """Return logits (classes, H, W), quarters, but 0.07 apart so that no two classes are equal."""
    y, x = np.indices(ids.shape)
    noise = (y * 7 + x * 13 + ids * 5 + mood * 3) % 16
    lost = (noise < 2) | ((mood == 5) & (ids % 4 == 2))
    strength = np.where((ids > 0) & ~lost, 8 + noise, -4 - noise) / 4
    if classes == 1:
        return strength[None]
    chosen = 1 + (ids + (noise == 9)) % (classes - 1)
    others = [np.where(chosen == k, strength, -3) + 0.07 * k for k in range(1, classes)]
    return np.stack([np.zeros(ids.shape), *others])
