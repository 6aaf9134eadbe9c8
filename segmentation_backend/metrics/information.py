"""Scores of partitions: how much is left to say about one when the other is known.

Both compare voxels of true objects only, as is customary for sparse objects (CREMI challenge): the
prediction's background is one label among others, and voxels outside of every true object do not
count. Background can be made to count like an object.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from segmentation_backend.metrics.overlaps import Overlaps

__all__ = ["RandError", "Variation", "adapted_rand_error", "variation_of_information"]

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Variation:
    """Variation of information (Meilă, J. Multivariate Analysis 98, 2007) in bits."""

    split: float
    """H(prediction | truth): grows where true objects are in pieces."""
    merge: float
    """H(truth | prediction): grows where true objects are glued together."""


@dataclass(frozen=True, slots=True)
class RandError:
    """Adapted Rand error (Arganda-Carreras et al., Front. Neuroanat. 9:142, 2015), 0..1."""

    error: float
    """1 - F, F the harmonic mean of precision and recall."""
    precision: float
    """Of two voxels together in the prediction, how often they are in the truth."""
    recall: float
    """Of two voxels together in the truth, how often they are in the prediction."""


def variation_of_information(overlaps: Overlaps, *, with_background: bool = False) -> Variation:
    """Return what is left to say, in bits; 0 where no voxel is compared."""
    joint, of_pred, of_true = _joint(overlaps, with_background)
    total = float(joint.sum())
    if total == 0:
        return Variation(0.0, 0.0)
    share = joint / total
    # + 0.0 makes the -0.0 of a perfect prediction a plain 0.
    split = -float(np.sum(share * np.log2(joint / of_true))) + 0.0
    merge = -float(np.sum(share * np.log2(joint / of_pred))) + 0.0
    return Variation(split, merge)


def adapted_rand_error(overlaps: Overlaps, *, with_background: bool = False) -> RandError:
    """Return the error; where no two voxels are together, nothing can be wrong and it is 0.

    Pairs of different voxels are counted, so that objects of one voxel say nothing.
    """
    keep = _compared(overlaps, with_background)
    i, j, joint = overlaps.predicted[keep], overlaps.true[keep], overlaps.shared[keep]
    both = _pairs(joint.astype(np.float64))
    in_pred = _pairs(_sums(i, joint))
    in_true = _pairs(_sums(j, joint))
    return RandError(
        error=1 - 2 * both / (in_pred + in_true) if in_pred + in_true else 0.0,
        precision=both / in_pred if in_pred else 1.0,
        recall=both / in_true if in_true else 1.0,
    )


def _compared(overlaps: Overlaps, with_background: bool) -> NDArray[np.bool_]:
    keep: NDArray[np.bool_] = (overlaps.shared > 0) & (with_background | (overlaps.true > 0))
    return keep


def _joint(overlaps: Overlaps, with_background: bool) -> tuple[Floats, Floats, Floats]:
    """Return for each pair its voxels, and those of its two objects that are compared."""
    keep = _compared(overlaps, with_background)
    i, j = overlaps.predicted[keep], overlaps.true[keep]
    joint = overlaps.shared[keep].astype(np.float64)
    return joint, _sums(i, joint)[i], _sums(j, joint)[j]


def _sums(numbers: NDArray[np.int64], voxels: NDArray[np.generic]) -> Floats:
    """Return the voxels of each object; float64 counts exactly up to 2**53."""
    sums: Floats = np.bincount(numbers, voxels).astype(np.float64)
    return sums


def _pairs(sizes: Floats) -> float:
    """Return the ordered pairs of different voxels within sets of given sizes."""
    return float(np.sum(sizes * (sizes - 1)))
