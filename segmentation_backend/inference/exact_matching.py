"""Profiles of neighbouring sections matched as empanada-napari 1.2.4 does, forward, then backward.

Profiles are matched one to one so that their summed IoU is greatest (Hungarian method); pairs below
the threshold are dropped. A profile left over joins the object of the section before that covers
most of it, if that is enough of it; otherwise it is a new object (forward) or keeps its id
(backward). Several profiles of a section may so get one id. The order in which ids appear is kept
as well, since it decides ties and numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

__all__ = ["Profiles", "match_stack"]

Integers: TypeAlias = NDArray[np.int64]
Profiles: TypeAlias = dict[int, list[int]]
"""The pieces (numbers of a section's connected components) of each object id, in order."""


@dataclass(frozen=True, slots=True)
class _Contact:
    """How the pieces of two sections overlap."""

    before: Integers
    after: Integers
    shared: Integers


def match_stack(
    pieces: Sequence[NDArray[np.uint32]], first_id: int, iou_thr: float, ioa_thr: float
) -> list[Profiles]:
    """Return the objects of each section, of its connected components (H, W) numbered 1..n.

    `first_id` is what the number 0 would be; new ids count on from those of the first section.
    """
    areas = [np.bincount(section.ravel()) for section in pieces]
    contacts = [_touch(a, b) for a, b in pairwise(pieces)]
    own = [{first_id + n: [n] for n in range(1, len(area))} for area in areas]
    if not own:
        return []
    stack = [own[0]]
    fresh = max(own[0], default=first_id) + 1
    for index in range(1, len(own)):
        match = _Match(stack[-1], own[index], areas[index - 1], areas[index], contacts[index - 1])
        stack.append({})
        for label, _, parts in match.decide(iou_thr, ioa_thr):
            if label is None:
                label, fresh = fresh, fresh + 1
            stack[-1].setdefault(label, []).extend(parts)
    for index in range(len(own) - 2, -1, -1):
        contact = contacts[index]
        mirrored = _Contact(contact.after, contact.before, contact.shared)
        match = _Match(stack[index + 1], stack[index], areas[index + 1], areas[index], mirrored)
        again: Profiles = {}
        for label, kept, parts in match.decide(iou_thr, ioa_thr):
            again.setdefault(kept if label is None else label, []).extend(parts)
        stack[index] = again
    return stack


def _touch(before: NDArray[np.uint32], after: NDArray[np.uint32]) -> _Contact:
    both = (before > 0) & (after > 0)
    base = int(after.max(initial=0)) + 1
    codes = before[both].astype(np.int64) * base + after[both]
    pairs, shared = np.unique(codes, return_counts=True)
    return _Contact(pairs // base, pairs % base, shared.astype(np.int64))


class _Match:
    """The objects of one section (target) beside those of another."""

    def __init__(
        self,
        target: Profiles,
        other: Profiles,
        target_areas: Integers,
        other_areas: Integers,
        contact: _Contact,
    ) -> None:
        self._target, self._other = target, other
        rows = _lookup(target, len(target_areas))
        columns = _lookup(other, len(other_areas))
        shared = np.zeros((len(target), len(other)), np.int64)
        np.add.at(shared, (rows[contact.before], columns[contact.after]), contact.shared)
        of_target = np.array([target_areas[parts].sum() for parts in target.values()], np.int64)
        of_other = np.array([other_areas[parts].sum() for parts in other.values()], np.int64)
        self._iou = shared / np.maximum(of_target[:, None] + of_other - shared, 1)
        # The original keeps these in float32, which decides between near equals.
        self._covered = (shared / np.maximum(of_other, 1)).astype(np.float32)

    def decide(self, iou_thr: float, ioa_thr: float) -> Iterator[tuple[int | None, int, list[int]]]:
        """Yield for each object its target's id (None without one), its own id and its pieces."""
        rows, columns = linear_sum_assignment(self._iou, maximize=True)
        close = self._iou[rows, columns] >= iou_thr
        partner = dict(zip(columns[close].tolist(), rows[close].tolist(), strict=True))
        ids = list(self._target)
        for column, (own, parts) in enumerate(self._other.items()):
            row = partner.get(column)
            if row is None and ids:
                best = int(self._covered[:, column].argmax())
                row = best if self._covered[best, column] >= ioa_thr else None
            yield (None if row is None else ids[row]), own, parts


def _lookup(profiles: Profiles, count: int) -> Integers:
    """Return the position of the object that each piece belongs to."""
    table = np.zeros(count, np.int64)
    for position, parts in enumerate(profiles.values()):
        table[parts] = position
    return table
