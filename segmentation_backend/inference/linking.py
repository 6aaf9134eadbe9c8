"""Links 2D profiles of consecutive sections into 3D objects without gluing neighbours together.

Mutual best overlaps make tracks, one profile for each section. A section that shows two neighbours
as one may swap them, the track of one going on as the other; such tracks are cut there, and the
profile that both share counts as nothing for either. Then every track's two ends look at the next
few sections. A track that begins there, in the same place, is the other part of this one,
seen past a section that lost it or that showed two neighbours as one. A short track covered by a
longer one is a piece that single sections split off, and joins it. Two long tracks are two objects,
unless one of them goes on to fill the other's place: then they are the arms of a bent object. Not
so where a track ends in a tip, since whatever lies behind a tip fills its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmentation_backend.inference.section_kernels import (
    most_below,
    number_section,
    overlapping_runs,
    replace_ids,
)

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
    taper: float = 0.5
    """An end is a tip if its profile has less than this share of the area `persistence` sections
    before the end."""
    swell: float = 1.25
    """Times the area of one before or after it, from which a profile may be two objects' own."""


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
        self._joined: list[tuple[int, int]] = []

    def add(self, section: NDArray[np.int32], iou: float) -> None:
        """Take the next section's labels (H, W) and link them to the section before."""
        before = len(self.profiles)
        numbered = self.ids[self.sections]
        table = number_section(np.ascontiguousarray(section, dtype=np.int32), before, numbered)
        for number, (area, top, left, bottom, right) in enumerate(table.tolist(), start=1):
            box = (slice(top, bottom), slice(left, right))
            self.profiles.append(Profile(self.sections, box, area))
            self._follows.append(before + number)
        if self.sections:
            for a, b in self._mutual_best(numbered, iou):
                self._follows[b] = a
        self.sections += 1

    def join(self, a: int, b: int) -> None:
        """Make the objects of two profiles one."""
        self._joined.append((a, b))

    def cut(self, profile: int) -> None:
        """Let a profile be the first of its track."""
        self._follows[profile] = profile

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

    def labels(self, *, in_place: bool = False) -> NDArray[np.uint32]:
        """Return the objects (sections, H, W), numbered 1..n.

        In place they are written over the profiles, and the stack is used up.
        """
        forest = _Forest(len(self.profiles) + 1)
        for a, b in [*enumerate(self._follows), *self._joined]:
            forest.join(a, b)
        roots = forest.roots()
        numbers = np.zeros(len(roots), np.uint32)
        distinct = np.unique(roots[1:])
        numbers[1:] = np.searchsorted(distinct, roots[1:]) + 1
        result = self.ids if in_place else np.empty_like(self.ids)
        replace_ids(self.ids.reshape(-1), numbers, result.reshape(-1))
        return result

    def _mutual_best(self, after: NDArray[np.uint32], iou: float) -> list[tuple[int, int]]:
        """Return the pairs of profiles of the last section and `after` that overlap the most.

        Each is the other's best. Ties go to the smaller ids, so that the result is always the same.
        """
        runs = overlapping_runs(self.ids[self.sections - 1], after)
        if len(runs) == 0:
            return []
        codes, which = np.unique(runs[:, 0] << 32 | runs[:, 1], return_inverse=True)
        shared = np.bincount(which, runs[:, 2])
        a, b = codes >> 32, codes & (2**32 - 1)
        areas = np.array([profile.area for profile in self.profiles[int(a.min()) - 1 :]])
        union = areas[a - a.min()] + areas[b - a.min()] - shared
        best_of_a: dict[int, int] = {}
        best_of_b: dict[int, int] = {}
        pairs = []
        for k in np.lexsort((b, a, -shared / union)).tolist():
            one, other = int(a[k]), int(b[k])
            best = best_of_a.setdefault(one, other), best_of_b.setdefault(other, one)
            if best == (other, one) and shared[k] >= iou * union[k]:
                pairs.append((one, other))
        return pairs


class _Forest:
    """Disjoint sets of the integers 0..n; the smallest of a set is its root."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

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
    shared = _untangle(stack, rules)
    track, ends = stack.tracks()
    members = _members(track)
    for first, last in ends.values():
        length = stack.profiles[last - 1].section - stack.profiles[first - 1].section + 1
        if first in shared:
            continue
        looker = _Looker(stack, track, ends, shared, rules)
        views = [list(looker.look(end, step)) for end, step in ((first, -1), (last, 1))]
        for view in views:
            stack.join(first, _successor(view, rules) or first)
        if length < rules.persistence:
            # One host only: a piece that touches two objects must not glue them together.
            hosts = [view[0] for view in views if view and view[0].covered >= rules.ioa]
            best = max(hosts, key=lambda sight: sight.covered, default=None)
            stack.join(first, best.track if best else first)
            continue
        inwards = [stack.profiles[p - 1].area for p in members[first]]
        for view, areas in zip(views, (inwards, inwards[::-1]), strict=True):
            if not _is_tip(areas, rules):
                stack.join(first, _lasting_host(view, rules) or first)


def _untangle(stack: ProfileStack, rules: LinkRules) -> set[int]:
    """Cut tracks that go over from one object to another; return the profiles where they did.

    Each of those joins the side that it overlaps more.
    """
    shared: set[int] = set()
    for members in list(_members(stack.tracks()[0]).values()):
        at = 0
        while at < len(members) - 2:
            after = _other_side(stack, members, at, rules)
            for profile in members[at + 1 : after + 1] if after else []:
                stack.cut(profile)
            between = members[at + 1 : after] if after else []
            for profile in between:
                sides = members[at], members[after]
                stack.join(profile, max(sides, key=lambda side: _overlap(stack, profile, side)))
            shared.update(between)
            at = after or at + 1
    return shared


def _other_side(stack: ProfileStack, members: list[int], at: int, rules: LinkRules) -> int:
    """Return where a track has become another object after a swollen profile or two, or 0."""
    for after in range(at + 2, min(at + 2 + rules.gap, len(members))):
        ends = [stack.profiles[members[k] - 1].area for k in (at, after)]
        swollen = all(
            stack.profiles[p - 1].area >= rules.swell * min(ends) for p in members[at + 1 : after]
        )
        if swollen and _are_swapped(stack, members[at], members[after], rules):
            return after
    return 0


def _are_swapped(stack: ProfileStack, a: int, b: int, rules: LinkRules) -> bool:
    """Return whether `a` or `b` goes on in the other's section, and not as the other."""
    goes_on = False
    for one, other in ((a, b), (b, a)):
        profile = stack.profiles[one - 1]
        section = stack.profiles[other - 1].section
        there, _ = most_below(
            stack.ids[profile.section][profile.box], stack.ids[section][profile.box], one
        )
        if there == other:
            return False
        goes_on |= there > 0 and _overlap(stack, one, there) >= rules.iou
    return goes_on


def _overlap(stack: ProfileStack, a: int, b: int) -> float:
    """Return the intersection over union of two profiles of different sections."""
    one, other = stack.profiles[a - 1], stack.profiles[b - 1]
    place = stack.ids[one.section][one.box] == a
    shared = int(np.count_nonzero(place & (stack.ids[other.section][one.box] == b)))
    return shared / (one.area + other.area - shared)


def _members(track: NDArray[np.int64]) -> dict[int, list[int]]:
    """Return the profiles of each track, first to last."""
    members: dict[int, list[int]] = {}
    for profile, owner in enumerate(track[1:].tolist(), start=1):
        members.setdefault(owner, []).append(profile)
    return members


def _is_tip(areas: list[int], rules: LinkRules) -> bool:
    """Return whether a track narrows towards its end; `areas` begin there."""
    return areas[0] < rules.taper * areas[min(rules.persistence, len(areas) - 1)]


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


@dataclass(frozen=True, slots=True)
class _Looker:
    """Looks from the ends of tracks into the sections beyond them."""

    stack: ProfileStack
    track: NDArray[np.int64]
    ends: dict[int, tuple[int, int]]
    shared: set[int]
    rules: LinkRules

    def look(self, end: int, step: int) -> Iterator[_Sight]:
        """Yield what lies in the place of a profile in the sections after (or before) it.

        Sections where a shared profile lies there are passed over.
        """
        stack, rules = self.stack, self.rules
        profile = stack.profiles[end - 1]
        place = stack.ids[profile.section][profile.box]
        seen = 0
        for distance in range(1, rules.persistence + rules.gap + 1):
            section = profile.section + step * distance
            if not 0 <= section < stack.sections or seen == rules.persistence:
                return
            other, shared = most_below(place, stack.ids[section][profile.box], end)
            if other in self.shared:
                continue
            seen += 1
            if other == 0:
                yield _Sight(0, 0.0, 0.0, faces=False)
                continue
            union = profile.area + stack.profiles[other - 1].area - shared
            track = int(self.track[other])
            facing = self.ends[track][0 if step > 0 else 1] == other
            yield _Sight(track, shared / profile.area, shared / union, facing)
