"""Links 2D profiles of consecutive sections into 3D objects without gluing neighbours together.

Mutual best overlaps make tracks, one profile for each section. Then every track's two ends look at
the next few sections. A track that begins there, in the same place, is the other part of this one,
seen past a section that lost it or that showed two neighbours as one. A short track covered by a
longer one is a piece that single sections split off, and joins it. Two long tracks are two objects,
unless one of them goes on to fill the other's place: then they are the arms of a bent object.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import fastremap
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["LinkRules", "Profile", "ProfileStack", "join_ends"]


@dataclass(frozen=True, slots=True)
class LinkRules:
    """When ends of tracks are joined."""

    iou: float = 0.25
    """Overlap from which two profiles, perhaps some sections apart, continue each other."""
    ioa: float = 0.5
    """Share of a profile that another object must cover to take it in."""
    persistence: int = 4
    """Sections from which a track is taken for an object of its own, and for which another must
    cover its place to be the same object."""
    gap: int = 2
    """Sections that may lie between two ends."""


@dataclass(frozen=True, slots=True)
class Profile:
    """One object in one section."""

    section: int
    box: tuple[slice, slice]
    area: int


class ProfileStack:
    """Sections as they arrive, with profiles numbered 1..n over all of them and their tracks."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        """Make room for labels of `shape` (sections, H, W)."""
        self.ids = np.zeros(shape, np.uint32)
        """The profile at each voxel, 0 = none."""
        self.profiles: list[Profile] = []
        self.sections = 0
        self._follows: list[int] = [0]
        """For each profile the one before it in its track, itself at the start."""
        self._parents = _Forest()

    def add(self, section: NDArray[np.int32], iou: float) -> None:
        """Take the next section's labels (H, W) and link them to the section before."""
        compact, _ = fastremap.renumber(section)
        before = len(self.profiles)
        numbered = compact.astype(np.uint32)
        numbered[compact > 0] += np.uint32(before)
        self.ids[self.sections] = numbered
        areas = np.bincount(compact.ravel())
        for label, (y, x) in enumerate(ndimage.find_objects(compact.astype(np.int32)), start=1):
            self.profiles.append(Profile(self.sections, (y, x), int(areas[label])))
            self._follows.append(before + label)
            self._parents.grow()
        if self.sections:
            for a, b in _mutual_best(self.ids[self.sections - 1], numbered, iou):
                self._follows[b] = a
                self.join(a, b)
        self.sections += 1

    def join(self, a: int, b: int) -> None:
        """Make the objects of two profiles one."""
        self._parents.join(a, b)

    def tracks(self) -> tuple[NDArray[np.int64], dict[int, tuple[int, int]]]:
        """Return the track of each profile, and each track's first and last profile.

        A track has the number of its first profile.
        """
        track = np.zeros(len(self.profiles) + 1, np.int64)
        ends: dict[int, tuple[int, int]] = {}
        for profile in range(1, len(track)):
            before = self._follows[profile]
            track[profile] = profile if before == profile else track[before]
            ends[int(track[profile])] = (int(track[profile]), profile)
        return track, ends

    def labels(self) -> NDArray[np.uint32]:
        """Return the objects (sections, H, W), numbered 1..n."""
        roots = self._parents.roots()
        numbers = np.zeros(len(roots), np.uint32)
        distinct = np.unique(roots[1:])
        numbers[1:] = np.searchsorted(distinct, roots[1:]) + 1
        result: NDArray[np.uint32] = numbers[self.ids]
        return result


class _Forest:
    """Disjoint sets of the integers 0..n; the smallest of a set is its root."""

    def __init__(self) -> None:
        self._parent = [0]

    def grow(self) -> None:
        self._parent.append(len(self._parent))

    def find(self, item: int) -> int:
        while self._parent[item] != item:
            self._parent[item] = self._parent[self._parent[item]]
            item = self._parent[item]
        return item

    def join(self, a: int, b: int) -> None:
        low, high = sorted((self.find(a), self.find(b)))
        self._parent[high] = low

    def roots(self) -> NDArray[np.int64]:
        return np.array([self.find(i) for i in range(len(self._parent))], np.int64)


@dataclass(frozen=True, slots=True)
class _Sight:
    """What lies in a profile's place some sections on."""

    track: int
    """The track that fills most of the place, 0 = none."""
    covered: float
    """The share of the place that it fills."""
    iou: float
    """Overlap of the two profiles."""
    faces: bool
    """Whether that track ends here, towards the profile that looks."""


def join_ends(stack: ProfileStack, rules: LinkRules) -> None:
    """Join the tracks of a stack at their ends, by the rules at the head of this file."""
    track, ends = stack.tracks()
    for first, last in ends.values():
        length = stack.profiles[last - 1].section - stack.profiles[first - 1].section + 1
        views = [list(_look(stack, track, ends, e, s, rules)) for e, s in ((first, -1), (last, 1))]
        for view in views:
            stack.join(first, _successor(view, rules) or first)
        if length < rules.persistence:
            # One host only: a piece that touches two objects must not glue them together.
            hosts = [view[0] for view in views if view and view[0].covered >= rules.ioa]
            best = max(hosts, key=lambda sight: sight.covered, default=None)
            stack.join(first, best.track if best else first)
        else:
            for view in views:
                stack.join(first, _lasting_host(view, rules) or first)


def _successor(view: list[_Sight], rules: LinkRules) -> int:
    """Return the track whose end faces this one closely enough to be its other part, or 0."""
    for sight in view[: rules.gap + 1]:
        if sight.faces and sight.iou >= rules.iou:
            return sight.track
    return 0


def _lasting_host(view: list[_Sight], rules: LinkRules) -> int:
    """Return the track that fills this one's place in all the sections ahead, or 0."""
    if len(view) < rules.persistence or len({sight.track for sight in view}) > 1:
        return 0
    return view[0].track if all(sight.covered >= rules.ioa for sight in view) else 0


def _look(
    stack: ProfileStack,
    track: NDArray[np.int64],
    ends: dict[int, tuple[int, int]],
    end: int,
    step: int,
    rules: LinkRules,
) -> Iterator[_Sight]:
    """Yield what lies in the place of a profile in the sections after (or before) it."""
    profile = stack.profiles[end - 1]
    place = stack.ids[profile.section][profile.box] == end
    for distance in range(1, rules.persistence + 1):
        section = profile.section + step * distance
        if not 0 <= section < stack.sections:
            return
        under, counts = np.unique(stack.ids[section][profile.box][place], return_counts=True)
        counts[under == 0] = 0
        best = int(counts.argmax())
        other, shared = int(under[best]), int(counts[best])
        if shared == 0:
            yield _Sight(0, 0.0, 0.0, faces=False)
            continue
        union = profile.area + stack.profiles[other - 1].area - shared
        facing = ends[int(track[other])][0 if step > 0 else 1] == other
        yield _Sight(int(track[other]), shared / profile.area, shared / union, facing)


def _mutual_best(
    before: NDArray[np.uint32], after: NDArray[np.uint32], iou: float
) -> Iterator[tuple[int, int]]:
    """Yield the pairs of ids of two sections (0 = none) that overlap each other the most."""
    both = (before > 0) & (after > 0)
    code = before[both].astype(np.uint64) << np.uint64(32) | after[both]
    pairs, shared = np.unique(code, return_counts=True)
    if len(pairs) == 0:
        return
    a, b = (
        (pairs >> np.uint64(32)).astype(np.int64),
        (pairs & np.uint64(2**32 - 1)).astype(np.int64),
    )
    area_a, area_b = _areas(before, a), _areas(after, b)
    overlap = shared / (area_a + area_b - shared)
    # Ties go to the smaller id, so that the result does not depend on the order.
    order = np.lexsort((b, a, -overlap))
    a, b, overlap = a[order], b[order], overlap[order]
    best_of_a = dict(zip(a[::-1].tolist(), b[::-1].tolist(), strict=True))
    best_of_b = dict(zip(b[::-1].tolist(), a[::-1].tolist(), strict=True))
    for one, other, value in zip(a.tolist(), b.tolist(), overlap.tolist(), strict=True):
        if value >= iou and best_of_a[one] == other and best_of_b[other] == one:
            yield one, other


def _areas(section: NDArray[np.uint32], ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the pixels of each of some ids of a section."""
    present, counts = np.unique(section, return_counts=True)
    areas: NDArray[np.int64] = counts[np.searchsorted(present, ids)]
    return areas
