"""How two label volumes overlap: the sparse table that every score is computed from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import cc3d
import numpy as np
from numpy.typing import NDArray

from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.metrics.kernels import COLUMNS, count_pairs

__all__ = ["Overlaps", "count_overlaps"]

Integers: TypeAlias = NDArray[np.int64]

_SLAB = 2**21
"""Voxels looked at together: what is copied of a volume at any time stays below 50 MB."""
_NOTHING_IGNORED = np.zeros(0, np.uint8)


@dataclass(frozen=True, slots=True)
class Overlaps:
    """Every pair of a predicted and a true object that share a voxel, background being number 0.

    Objects are numbered from 1 without gaps. All arrays of pairs have the same length and order.
    """

    predicted: Integers
    """Number of the pair's predicted object."""
    true: Integers
    """Number of the pair's true object."""
    shared: Integers
    """Voxels of the pair that count."""
    ignored: Integers
    """Voxels of the pair that do not count."""
    longest: Integers
    """Length of the pair's longest run of voxels along x."""
    place: Integers
    """Flat index (C order) of the voxel in the middle of that run."""
    predicted_labels: NDArray[np.uint64]
    """Label of each predicted object in its volume; entry 0 is background."""
    true_labels: NDArray[np.uint64]
    """Label of each true object in its volume; entry 0 is background."""
    shape: tuple[int, int, int]
    """Sides of the volumes, z, y, x."""

    @property
    def predicted_sizes(self) -> Integers:
        """Voxels of each predicted object that count."""
        return _sum(self.predicted, self.shared, len(self.predicted_labels))

    @property
    def true_sizes(self) -> Integers:
        """Voxels of each true object that count."""
        return _sum(self.true, self.shared, len(self.true_labels))

    @property
    def is_judged(self) -> NDArray[np.bool_]:
        """Whether more than half of each predicted object counts; entry 0 is false.

        An object that is mostly in unknown territory can be neither right nor wrong.
        """
        counted = self.predicted_sizes
        whole = counted + _sum(self.predicted, self.ignored, len(counted))
        judged: NDArray[np.bool_] = 2 * counted > whole
        judged[0] = False
        return judged

    def without_small(self, min_area: int) -> Overlaps:
        """Return the overlaps with the voxels of true objects below an area ignored."""
        whole = self.true_sizes + _sum(self.true, self.ignored, len(self.true_labels))
        small = (whole < min_area)[self.true] & (self.true > 0)
        shared = np.where(small, 0, self.shared)
        return replace(self, shared=shared, ignored=self.ignored + self.shared - shared)


def count_overlaps(
    pred: NDArray[Any],
    truth: NDArray[Any],
    ignore: NDArray[Any] | None = None,
    *,
    per_slice: bool = False,
) -> Overlaps:
    """Return how labels `pred` and `truth`, (z, y, x) integers with 0 = background, overlap.

    Voxels that are not 0 in `ignore` do not count. With `per_slice` the objects are the 8-connected
    profiles of each label in each z section. Volumes are looked at slab by slab: beside them the
    memory taken goes with the number of pairs. InvalidInputError (INVALID_PARAMETER) where shapes
    differ or labels are not whole numbers.
    """
    _check(pred, truth, ignore)
    first, second = _Numbering(per_slice), _Numbering(per_slice)
    keys, tally = np.zeros((2**10, 2), np.uint64), np.zeros((2**10, COLUMNS), np.int64)
    plane = truth.shape[1] * truth.shape[2]
    for slab in _slabs(truth.shape, per_slice):
        hidden = _NOTHING_IGNORED if ignore is None else _marked(ignore[slab])
        a, b = first.flat(pred[slab]), second.flat(truth[slab])
        keys, tally = count_pairs(a, b, hidden, slab.start * plane, keys, tally)
    return _table(keys, tally, first, second, truth.shape)


class _Numbering:
    """Gives the objects of one volume their ids, and remembers their labels."""

    def __init__(self, per_slice: bool) -> None:
        self._per_slice = per_slice
        self._profiles: list[NDArray[np.uint64]] = [np.zeros(1, np.uint64)]
        self._count = 0

    def flat(self, slab: NDArray[Any]) -> NDArray[np.uint64]:
        """Return the ids of a slab (of one section, where profiles are counted), flat."""
        labels = np.ascontiguousarray(slab).astype(np.uint64)
        if not self._per_slice or labels.size == 0:
            return labels.ravel()
        pieces, count = cc3d.connected_components(labels[0], connectivity=8, return_N=True)
        numbers = pieces.ravel().astype(np.uint64)
        names = np.zeros(count + 1, np.uint64)
        names[numbers] = labels.ravel()
        self._profiles.append(names[1:])
        numbers[numbers > 0] += np.uint64(self._count)
        self._count += count
        return numbers

    def compact(self, ids: NDArray[np.uint64]) -> tuple[Integers, NDArray[np.uint64]]:
        """Return the number of each id (background 0) and the label of each number."""
        distinct, numbers = np.unique(np.append(ids, np.uint64(0)), return_inverse=True)
        labels = np.concatenate(self._profiles)[distinct] if self._per_slice else distinct
        return numbers[:-1].astype(np.int64), labels


def _table(
    keys: NDArray[np.uint64],
    tally: Integers,
    first: _Numbering,
    second: _Numbering,
    shape: tuple[int, ...],
) -> Overlaps:
    rows = np.flatnonzero(tally[:, 2])
    rows = rows[np.lexsort((keys[rows, 1], keys[rows, 0]))]
    predicted, predicted_labels = first.compact(keys[rows, 0])
    true, true_labels = second.compact(keys[rows, 1])
    shared, ignored, longest, place = np.ascontiguousarray(tally[rows].T)
    z, y, x = shape
    return Overlaps(
        predicted,
        true,
        shared,
        ignored,
        longest,
        place,
        predicted_labels,
        true_labels,
        (z, y, x),
    )


def _slabs(shape: tuple[int, ...], per_slice: bool) -> Iterator[slice]:
    depth = 1 if per_slice else max(1, _SLAB // max(1, shape[1] * shape[2]))
    for begin in range(0, shape[0], depth):
        yield slice(begin, min(begin + depth, shape[0]))


def _marked(ignore: NDArray[Any]) -> NDArray[np.uint8]:
    marked: NDArray[np.uint8] = (np.asarray(ignore) != 0).ravel().view(np.uint8)
    return marked


def _sum(numbers: Integers, values: Integers, count: int) -> Integers:
    # float64 holds voxel counts exactly up to 2**53.
    return np.bincount(numbers, values, count).astype(np.int64)


def _check(pred: NDArray[Any], truth: NDArray[Any], ignore: NDArray[Any] | None) -> None:
    shapes = {pred.shape, truth.shape, truth.shape if ignore is None else ignore.shape}
    if len(shapes) > 1 or len(truth.shape) != 3:
        raise InvalidInputError(
            f"Prediction {pred.shape}, truth {truth.shape} and what is to be ignored must have the "
            "same three sides (z, y, x); cut them to the same box.",
            ErrorKind.INVALID_PARAMETER,
        )
    for name, labels in (("The prediction", pred), ("The truth", truth)):
        if labels.dtype.kind not in "uib":
            raise InvalidInputError(
                f"{name} holds {labels.dtype}; labels are whole numbers. Convert it first.",
                ErrorKind.INVALID_PARAMETER,
            )
