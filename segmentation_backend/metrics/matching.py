"""Scores of a segmentation against the truth: foreground overlap, and objects found and missed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from segmentation_backend.errors import ErrorKind, InvalidInputError

__all__ = ["Scores", "evaluate", "foreground_iou", "instance_f1"]


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
class _Tally:
    """What is counted in one section, or in a whole volume."""

    overlaps: tuple[float, ...]
    """IoU of each matched pair."""
    predicted: int
    true: int


def foreground_iou(
    pred: NDArray[Any], truth: NDArray[Any], ignore: NDArray[Any] | None = None
) -> float:
    """Return the intersection over union of everything not 0, outside of `ignore`."""
    _check_shapes(pred, truth, ignore)
    known = np.ones(truth.shape, bool) if ignore is None else ignore == 0
    both = int(np.count_nonzero((pred != 0) & (truth != 0) & known))
    either = int(np.count_nonzero(((pred != 0) | (truth != 0)) & known))
    return both / either if either else 1.0


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
    _check_shapes(pred, truth, ignore)
    known = np.ones(truth.shape, bool) if ignore is None else ignore == 0
    if per_slice:
        sections = [
            (_profiles(p), _profiles(t), k) for p, t, k in zip(pred, truth, known, strict=True)
        ]
    else:
        sections = [(_compact(pred), _compact(truth), known)]
    tallies = [_tally(p, t, k & ~_tiny(t, min_area), iou) for p, t, k in sections]
    overlaps = [value for tally in tallies for value in tally.overlaps]
    found, predicted = len(overlaps), sum(t.predicted for t in tallies)
    true = sum(t.true for t in tallies)
    return Scores(
        foreground_iou=foreground_iou(pred, truth, ignore),
        f1=2 * found / (predicted + true) if predicted + true else 1.0,
        precision=found / predicted if predicted else 1.0,
        recall=found / true if true else 1.0,
        mean_iou=float(np.mean(overlaps)) if overlaps else 0.0,
        true_positives=found,
        false_positives=predicted - found,
        false_negatives=true - found,
        iou_threshold=iou,
        is_per_slice=per_slice,
    )


def _check_shapes(pred: NDArray[Any], truth: NDArray[Any], ignore: NDArray[Any] | None) -> None:
    shapes = {pred.shape, truth.shape, truth.shape if ignore is None else ignore.shape}
    if len(shapes) > 1 or truth.ndim != 3:
        raise InvalidInputError(
            f"Prediction {pred.shape}, truth {truth.shape} and what is to be ignored must have the "
            "same three sides (z, y, x); cut them to the same box.",
            ErrorKind.INVALID_PARAMETER,
        )


def _compact(labels: NDArray[Any]) -> NDArray[np.int64]:
    """Return the labels renumbered 1..n, 0 kept."""
    values, index = np.unique(labels, return_inverse=True)
    shift = 0 if len(values) and values[0] == 0 else 1
    return (index.reshape(labels.shape) + shift).astype(np.int64)


def _profiles(labels: NDArray[Any]) -> NDArray[np.int64]:
    """Return the connected profiles of a section, numbered 1..n."""
    pieces = cc3d.connected_components(_compact(labels).astype(np.uint32), connectivity=8)
    return np.asarray(pieces, dtype=np.int64)


def _tiny(truth: NDArray[np.int64], min_area: int) -> NDArray[np.bool_]:
    """Return where objects below an area are."""
    area = np.bincount(truth.ravel())
    small = area < min_area
    small[0] = False
    tiny: NDArray[np.bool_] = small[truth]
    return tiny


def _tally(
    pred: NDArray[np.int64], truth: NDArray[np.int64], known: NDArray[np.bool_], iou: float
) -> _Tally:
    p, t = pred[known], truth[known]
    rows, columns = int(pred.max(initial=0)) + 1, int(truth.max(initial=0)) + 1
    whole = np.bincount(pred.ravel(), minlength=rows)
    area_p, area_t = np.bincount(p, minlength=rows), np.bincount(t, minlength=columns)
    # An object that is mostly in unknown territory can be neither right nor wrong.
    judged = (whole > 0) & (2 * area_p > whole)
    judged[0] = False
    pairs, shared = np.unique(p * columns + t, return_counts=True)
    i, j = pairs // columns, pairs % columns
    overlap = shared / (area_p[i] + area_t[j] - shared)
    keep = judged[i] & (j > 0) & (overlap >= iou)
    table = csr_array((overlap[keep], (i[keep], j[keep])), shape=(rows, columns))
    partner = maximum_bipartite_matching(table, perm_type="column")
    matched = np.flatnonzero(partner >= 0)
    values = {(a, b): float(v) for a, b, v in zip(i[keep], j[keep], overlap[keep], strict=True)}
    overlaps = tuple(values[(a, partner[a])] for a in matched)
    return _Tally(overlaps, int(judged.sum()), int((area_t[1:] > 0).sum()))
