"""Every score of a segmentation at once, from one pass over both volumes."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmentation_backend.metrics.information import adapted_rand_error, variation_of_information
from segmentation_backend.metrics.matching import Scores, match, score
from segmentation_backend.metrics.mistakes import Mistake, MistakeKind, find_mistakes
from segmentation_backend.metrics.overlaps import Overlaps, count_overlaps

__all__ = ["AtThreshold", "Partition", "Report", "compare"]

_STRICTNESS = [twentieths / 20 for twentieths in range(10, 20)]
"""IoU .5, .55 to .95, over which the segmentation accuracy is averaged (as in COCO)."""


@dataclass(frozen=True, slots=True)
class AtThreshold:
    """The scores of objects at a fixed IoU."""

    f1: float
    precision: float
    recall: float
    ap: float
    """TP / (TP + FP + FN)."""


@dataclass(frozen=True, slots=True)
class Partition:
    """Scores that need no matching; voxels of true objects are compared."""

    voi_split: float
    """Bits; grows where true objects are in pieces."""
    voi_merge: float
    """Bits; grows where true objects are glued together."""
    arand: float
    """Adapted Rand error."""
    arand_precision: float
    arand_recall: float


@dataclass(frozen=True, slots=True)
class Report:
    """What is right and what is wrong with a segmentation."""

    scores: Scores
    """At the threshold that was asked for."""
    foreground_dice: float
    """2 I / (P + T) of the foregrounds; 1 where both are empty."""
    at_50: AtThreshold
    at_75: AtThreshold
    pq: float
    """Panoptic quality at IoU .5: F1 times the mean IoU of the pairs."""
    msa: float
    """Mean segmentation accuracy: the mean of AP at IoU .5 to .95 in steps of .05."""
    partition: Partition | None
    """None where the truth is empty and the prediction is not: there is nothing to compare."""
    mistakes: tuple[Mistake, ...]

    def to_json(self) -> dict[str, Any]:
        """Return all scores in one flat object; `objects` lists the mistakes."""
        partition = dict.fromkeys(Partition.__dataclass_fields__, None)
        if self.partition is not None:
            partition = asdict(self.partition)
        counts = Counter(mistake.kind for mistake in self.mistakes)
        plurals = {MistakeKind.MISS: "misses", MistakeKind.INEXACT: "inexact"}
        return {
            **self.scores.to_json(),
            "foreground_dice": self.foreground_dice,
            **{f"{name}_50": value for name, value in asdict(self.at_50).items()},
            **{f"{name}_75": value for name, value in asdict(self.at_75).items()},
            "pq": self.pq,
            "msa": self.msa,
            **partition,
            **{plurals.get(kind, f"{kind}s"): counts[kind] for kind in MistakeKind},
            "objects": [mistake.to_json() for mistake in self.mistakes],
        }


def compare(
    pred: NDArray[Any],
    truth: NDArray[Any],
    ignore: NDArray[Any] | None = None,
    *,
    per_slice: bool = True,
    iou: float = 0.5,
    min_area: int = 0,
) -> Report:
    """Return every score of labels `pred` against `truth`, both (z, y, x) integers.

    Objects, `ignore`, `iou` and `min_area` are those of `matching.evaluate`; `iou` is also what
    the mistakes are told by.
    """
    counted = count_overlaps(pred, truth, ignore, per_slice=per_slice)
    overlaps = counted.without_small(min_area)
    return Report(
        scores=score(counted, per_slice=per_slice, iou=iou, min_area=min_area),
        foreground_dice=_dice(counted),
        at_50=_at(overlaps, 0.5),
        at_75=_at(overlaps, 0.75),
        pq=match(overlaps, 0.5).panoptic_quality,
        msa=float(np.mean([match(overlaps, t).average_precision for t in _STRICTNESS])),
        partition=_partition(overlaps),
        mistakes=tuple(find_mistakes(overlaps, match(overlaps, iou))),
    )


def _at(overlaps: Overlaps, iou: float) -> AtThreshold:
    matches = match(overlaps, iou)
    return AtThreshold(matches.f1, matches.precision, matches.recall, matches.average_precision)


def _dice(overlaps: Overlaps) -> float:
    predicted = int(overlaps.predicted_sizes[1:].sum())
    true = int(overlaps.true_sizes[1:].sum())
    both = int(overlaps.shared[(overlaps.predicted > 0) & (overlaps.true > 0)].sum())
    return 2 * both / (predicted + true) if predicted + true else 1.0


def _partition(overlaps: Overlaps) -> Partition | None:
    if not overlaps.true_sizes[1:].any() and overlaps.is_judged.any():
        return None
    variation = variation_of_information(overlaps)
    rand = adapted_rand_error(overlaps)
    return Partition(variation.split, variation.merge, rand.error, rand.precision, rand.recall)
