"""How sure the network is of an object: its mean probability."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.inference.section_kernels import sum_by_label

__all__ = ["mean_probability"]


def mean_probability(labels: NDArray[Any], probability: NDArray[Any]) -> NDArray[np.float32]:
    """Return (n + 1,) float32: by object the mean probability of its pixels, 0 for absent numbers.

    Both arrays have the same shape, labels unsigned or from 0, probabilities floats 0..1, or bytes
    0..255 that stand for them. Entry 0, the background's, is 0.
    """
    if labels.shape != probability.shape:
        raise InvalidInputError(
            f"Labels of shape {labels.shape} need probabilities of the same shape, not "
            f"{probability.shape}.",
            ErrorKind.INVALID_PARAMETER,
        )
    count = int(labels.max(initial=0)) + 1
    sums = np.zeros(count, np.float64)
    voxels = np.zeros(count, np.float64)
    # Along the first axis, so that views in any order in memory are copied a section at a time.
    for part, values in zip(np.atleast_2d(labels), np.atleast_2d(probability), strict=True):
        flat = np.ascontiguousarray(part).reshape(-1)
        sum_by_label(flat, np.ascontiguousarray(values).reshape(-1), sums, voxels)
    if probability.dtype == np.uint8:
        sums /= 255
    means = (sums / np.maximum(voxels, 1)).astype(np.float32)
    means[0] = 0
    return means
