"""Scores of a segmentation against the truth: foreground overlap, and objects found and missed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.metrics.overlaps import Overlaps, count_overlaps

__all__ = ["Matches", "Scores", "evaluate", "foreground_iou", "instance_f1", "match", "score"]

Integers: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Scores:
    """How well objects were found; every share is 0..1."""

    foreground_iou: float
    """Intersection over union of the foregrounds; 1 where both are empty."""
    f1: float
    """TP / (TP + (FP + FN) / 2); 1 where there are no objects at all."""
    precision: float
    recall: float
    mean_iou: float
    """Mean IoU of the matched pairs; 0 without any."""
    true_positives: int
    false_positives: int
    false_negatives: int
    iou_threshold: float
    is_per_slice: bool
    """Whether the objects are the profiles of single sections."""

    def to_json(self) -> dict[str, Any]:
        """Return the scores as JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Matches:
    """Which objects are each other's at one threshold, and how many there are to find."""

    predicted: Integers
    """Number of each matched predicted object, as in the overlaps."""
    true: Integers
    """Number of its true object."""
    iou: NDArray[np.float64]
    """Intersection over union of each matched pair."""
    predicted_count: int
    """Predicted objects that are judged."""
    true_count: int
    """True objects with a voxel that counts."""

    @property
    def f1(self) -> float:
        """TP / (TP + (FP + FN) / 2); 1 where there are no objects at all."""
        objects = self.predicted_count + self.true_count
        return 2 * len(self.iou) / objects if objects else 1.0

    @property
    def precision(self) -> float:
        """TP / (TP + FP); 1 where nothing is predicted."""
        return len(self.iou) / self.predicted_count if self.predicted_count else 1.0

    @property
    def recall(self) -> float:
        """TP / (TP + FN); 1 where nothing is to be found."""
        return len(self.iou) / self.true_count if self.true_count else 1.0

    @property
    def average_precision(self) -> float:
        """TP / (TP + FP + FN); 1 where there are no objects at all."""
        either = self.predicted_count + self.true_count - len(self.iou)
        return len(self.iou) / either if either else 1.0

    @property
    def panoptic_quality(self) -> float:
        """F1 times the mean IoU of the matched pairs (Kirillov et al., CVPR 2019)."""
        objects = self.predicted_count + self.true_count
        return 2 * float(self.iou.sum()) / objects if objects else 1.0


def foreground_iou(
    pred: NDArray[Any], truth: NDArray[Any], ignore: NDArray[Any] | None = None
) -> float:
    """Return the intersection over union of everything not 0, outside of `ignore`."""
    return _foreground_iou(count_overlaps(pred, truth, ignore))


def instance_f1(
    pred: NDArray[Any], truth: NDArray[Any], iou: float = 0.5, per_slice: bool = False
) -> float:
    """Return the F1 score of the objects; see `evaluate`."""
    return evaluate(pred, truth, iou=iou, per_slice=per_slice).f1


def evaluate(
    pred: NDArray[Any],
    truth: NDArray[Any],
    ignore: NDArray[Any] | None = None,
    *,
    per_slice: bool = True,
    iou: float = 0.5,
    min_area: int = 0,
) -> Scores:
    """Return the scores of labels `pred` against `truth`, both (z, y, x) integers, 0 = background.

    A predicted and a true object match from the given IoU on; each is matched once, and as many
    pairs as possible are. With `per_slice` the objects are the 8-connected profiles of each id in
    each z section. Voxels marked in `ignore` count for nothing, nor do those of true objects below
    `min_area` voxels (tangential tips, smaller than a hand label is exact); a predicted object
    that lies by half or more in such voxels is left out. InvalidInputError where shapes differ.
    """
    overlaps = count_overlaps(pred, truth, ignore, per_slice=per_slice)
    return score(overlaps, per_slice=per_slice, iou=iou, min_area=min_area)


def score(overlaps: Overlaps, *, per_slice: bool, iou: float = 0.5, min_area: int = 0) -> Scores:
    """Return the scores that `evaluate` gives, of overlaps that have been counted."""
    matches = match(overlaps.without_small(min_area), iou)
    found = len(matches.iou)
    return Scores(
        foreground_iou=_foreground_iou(overlaps),
        f1=matches.f1,
        precision=matches.precision,
        recall=matches.recall,
        mean_iou=float(np.mean(matches.iou)) if found else 0.0,
        true_positives=found,
        false_positives=matches.predicted_count - found,
        false_negatives=matches.true_count - found,
        iou_threshold=iou,
        is_per_slice=per_slice,
    )


def match(overlaps: Overlaps, iou: float) -> Matches:
    """Return as many pairs of objects as possible whose IoU is at least `iou` (above 0, up to 1).

    From one half on the pairs are the only possible ones, but for exact halves.
    """
    if not 0 < iou <= 1:
        raise InvalidInputError(
            f"An object cannot count as found from an IoU of {iou}; choose a number above 0, up "
            "to 1, such as 0.5.",
            ErrorKind.INVALID_PARAMETER,
        )
    predicted_sizes, true_sizes = overlaps.predicted_sizes, overlaps.true_sizes
    judged = overlaps.is_judged
    i, j, shared = overlaps.predicted, overlaps.true, overlaps.shared
    kept = np.flatnonzero(judged[i] & (j > 0) & (shared > 0))
    i, j, shared = i[kept], j[kept], shared[kept]
    overlap = shared / (predicted_sizes[i] + true_sizes[j] - shared)
    close = overlap >= iou
    i, j, overlap = i[close], j[close], overlap[close]
    shape = (len(predicted_sizes), len(true_sizes))
    graph = csr_array((np.ones(len(i), np.int8), (i, j)), shape=shape)
    partner = maximum_bipartite_matching(graph, perm_type="column")
    chosen = partner[i] == j
    return Matches(
        i[chosen], j[chosen], overlap[chosen], int(judged.sum()), int((true_sizes[1:] > 0).sum())
    )


def _foreground_iou(overlaps: Overlaps) -> float:
    both = int(overlaps.shared[(overlaps.predicted > 0) & (overlaps.true > 0)].sum())
    either = int(overlaps.shared[(overlaps.predicted > 0) | (overlaps.true > 0)].sum())
    return both / either if either else 1.0
