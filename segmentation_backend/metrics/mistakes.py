"""What went wrong, object by object, with a voxel to look at.

An object *holds* another of the other volume when at least half of the other's voxels lie in it.
A predicted object that holds several true ones is a merge; a true object that holds several
predicted ones is a split. What is left unmatched either has one counterpart, whose outline is too
far off (inexact), or none: a true object is then a miss, a predicted one an extra.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from segmentation_backend.metrics.matching import Matches
from segmentation_backend.metrics.overlaps import Overlaps

__all__ = ["Mistake", "MistakeKind", "find_mistakes"]

Integers: TypeAlias = NDArray[np.int64]


class MistakeKind(StrEnum):
    """What is wrong with an object."""

    MISS = "miss"
    EXTRA = "extra"
    MERGE = "merge"
    SPLIT = "split"
    INEXACT = "inexact"


@dataclass(frozen=True, slots=True)
class Mistake:
    """One object that is wrong, and where."""

    kind: MistakeKind
    true_labels: tuple[int, ...]
    """Labels in the truth: those that are missed, glued together or in pieces."""
    predicted_labels: tuple[int, ...]
    """Labels in the prediction: those that are invented, glue, or are the pieces."""
    voxels: int
    """Of the object that is wrong: the predicted one of a merge or extra, else the true one."""
    place: tuple[int, int, int]
    """A voxel z, y, x of that object."""
    iou: float
    """Overlap with its best counterpart."""

    def to_json(self) -> dict[str, Any]:
        """Return the mistake as JSON; labels are strings, since JavaScript rounds large ones."""
        document = asdict(self)
        for name in ("true_labels", "predicted_labels"):
            document[name] = [str(label) for label in document[name]]
        return {**document, "kind": str(self.kind), "place": list(self.place)}


def find_mistakes(overlaps: Overlaps, matches: Matches) -> list[Mistake]:
    """Return every mistake: merges, splits, misses, inexact and extra objects, each largest first.

    Every object that is not matched is in at least one of them.
    """
    links = _link(overlaps)
    merges = _crowded(links.predicted[links.in_predicted])
    splits = _crowded(links.true[links.in_true])
    told = (links.in_predicted & np.isin(links.predicted, merges)) | (
        links.in_true & np.isin(links.true, splits)
    )
    lost = overlaps.true_sizes > 0
    lost[0] = False
    lost[matches.true] = lost[links.true[told]] = False
    odd = overlaps.is_judged
    odd[matches.predicted] = odd[links.predicted[told]] = False
    odd[links.predicted[lost[links.true]]] = False  # named beside their inexact true object
    linked = np.zeros(len(lost), bool)
    linked[links.true] = True
    book = _Book(overlaps, links)
    return [
        *book.about_predicted(MistakeKind.MERGE, merges),
        *book.about_true(MistakeKind.SPLIT, splits),
        *book.about_true(MistakeKind.MISS, np.flatnonzero(lost & ~linked)),
        *book.about_true(MistakeKind.INEXACT, np.flatnonzero(lost & linked)),
        *book.about_predicted(MistakeKind.EXTRA, np.flatnonzero(odd)),
    ]


@dataclass(frozen=True, slots=True)
class _Links:
    """The pairs of objects of which one holds the other."""

    predicted: Integers
    true: Integers
    in_predicted: NDArray[np.bool_]
    """Whether the predicted object holds the true one."""
    in_true: NDArray[np.bool_]
    """Whether the true object holds the predicted one."""


def _link(overlaps: Overlaps) -> _Links:
    i, j, shared = overlaps.predicted, overlaps.true, overlaps.shared
    candidate = overlaps.is_judged[i] & (j > 0) & (shared > 0)
    in_predicted = candidate & (2 * shared >= overlaps.true_sizes[j])
    in_true = candidate & (2 * shared >= overlaps.predicted_sizes[i])
    kept = np.flatnonzero(in_predicted | in_true)
    return _Links(i[kept], j[kept], in_predicted[kept], in_true[kept])


def _crowded(holders: Integers) -> Integers:
    """Return the objects that hold more than one."""
    return np.flatnonzero(np.bincount(holders) > 1)


class _Book:
    """Writes mistakes down: labels instead of numbers, a place, the best overlap."""

    def __init__(self, overlaps: Overlaps, links: _Links) -> None:
        self._overlaps = overlaps
        self._links = links
        sizes_p, sizes_t = overlaps.predicted_sizes, overlaps.true_sizes
        i, j, shared = overlaps.predicted, overlaps.true, overlaps.shared
        iou = np.where(
            (i > 0) & (j > 0), shared / np.maximum(sizes_p[i] + sizes_t[j] - shared, 1), 0
        )
        self._predicted = _Side(overlaps, i, sizes_p, overlaps.predicted_labels, iou)
        self._true = _Side(overlaps, j, sizes_t, overlaps.true_labels, iou)

    def about_predicted(self, kind: MistakeKind, numbers: Integers) -> Iterator[Mistake]:
        """Yield a mistake for each predicted object: the true ones it holds beside it."""
        links, side = self._links, self._predicted
        held = _grouped(links.predicted[links.in_predicted], links.true[links.in_predicted])
        for number in side.by_size(numbers):
            others = self._true.names(held.get(number, []))
            yield Mistake(kind, others, side.names([number]), *side.facts(number))

    def about_true(self, kind: MistakeKind, numbers: Integers) -> Iterator[Mistake]:
        """Yield a mistake for each true object: the pieces it holds, or its counterpart."""
        links, side = self._links, self._true
        kept = links.in_true if kind is MistakeKind.SPLIT else np.ones_like(links.in_true)
        held = _grouped(links.true[kept], links.predicted[kept])
        for number in side.by_size(numbers):
            others = self._predicted.names(held.get(number, []))
            yield Mistake(kind, side.names([number]), others, *side.facts(number))


class _Side:
    """The objects of one of the two volumes."""

    def __init__(
        self,
        overlaps: Overlaps,
        numbers: Integers,
        sizes: Integers,
        labels: NDArray[np.uint64],
        iou: NDArray[np.float64],
    ) -> None:
        self._sizes, self._labels = sizes, labels
        self._shape = overlaps.shape
        counted = np.flatnonzero(overlaps.shared > 0)
        order = counted[np.argsort(overlaps.longest[counted], kind="stable")]
        self._place = np.zeros(len(sizes), np.int64)
        self._place[numbers[order]] = overlaps.place[order]  # the longest is written last
        self._iou = np.zeros(len(sizes))
        np.maximum.at(self._iou, numbers, iou)

    def by_size(self, numbers: Integers) -> list[int]:
        order = np.argsort(-self._sizes[numbers], kind="stable")
        return [int(number) for number in numbers[order]]

    def names(self, numbers: Sequence[int]) -> tuple[int, ...]:
        return tuple(int(self._labels[number]) for number in numbers)

    def facts(self, number: int) -> tuple[int, tuple[int, int, int], float]:
        """Return voxels, place and best overlap of an object."""
        z, y, x = np.unravel_index(int(self._place[number]), self._shape)
        return int(self._sizes[number]), (int(z), int(y), int(x)), float(self._iou[number])


def _grouped(keys: Integers, values: Integers) -> dict[int, list[int]]:
    groups: dict[int, list[int]] = {}
    for key, value in zip(keys.tolist(), values.tolist(), strict=True):
        groups.setdefault(key, []).append(value)
    return groups
