"""The grey values that a network is fed: the volume's own, or as somebody sees them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from segmentation_backend.geometry import Roi
from segmentation_backend.models.registry import ModelSpec
from segmentation_backend.sources.volume import Contrast, Volume
from segmentation_backend.workspace.planning import GreyRange

__all__ = ["network_greys"]


def network_greys(
    shown: GreyRange | None, contrast: Contrast, image: Volume, level: int, spec: ModelSpec
) -> tuple[Contrast, Callable[[Roi], npt.NDArray[Any]]]:
    """Return what the network is to take for mean and deviation, and how it is to read.

    A shown range is mapped to that of the images the model was trained on: black and white are
    theirs. Inverted values are turned round when read.
    """
    if shown is None:
        return contrast, lambda roi: image.read(roi, level)
    low, high = sorted(shown)
    mean, std = spec.norms
    mapped = Contrast(low + mean * (high - low), std * (high - low), low, high)
    if shown.low < shown.high:
        return mapped, lambda roi: image.read(roi, level)
    return mapped, lambda roi: (low + high) - image.read(roi, level).astype(np.float32)
