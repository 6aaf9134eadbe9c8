"""Branches the slow way: whole arrays per version, sets of versions, groups by trial."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from invariants import Edge, naive_roots


@dataclass(frozen=True)
class State:
    """What every voxel holds at one version, and which edges there are."""

    voxels: np.ndarray
    edges: frozenset[Edge]

    def roots(self) -> np.ndarray:
        return naive_roots(self.voxels, self.edges)

    def exists(self, supervoxel: int) -> bool:
        return bool((self.voxels == supervoxel).any())

    def supervoxels(self) -> set[int]:
        return set(np.unique(self.voxels).tolist()) - {0}

    def root_of(self, supervoxels: Collection[int]) -> dict[int, int]:
        ids = np.array(sorted(supervoxels), dtype=np.uint64)
        return dict(zip(ids.tolist(), naive_roots(ids, self.edges).tolist(), strict=True))


@dataclass
class History:
    """How versions were made from each other."""

    parent: dict[int, int] = field(default_factory=dict)
    source: dict[int, int] = field(default_factory=dict)
    """Branch merges → the version they brought in."""
    skipped: dict[int, frozenset[int]] = field(default_factory=dict)
    undoes: dict[int, int] = field(default_factory=dict)

    def line(self, version: int) -> list[int]:
        found = [version]
        while found[-1]:
            found.append(self.parent[found[-1]])
        return found

    def undone(self, version: int) -> set[int]:
        undone: set[int] = set()
        for at in self.line(version):
            if at in self.undoes and at not in undone:
                undone.add(self.undoes[at])
        return undone

    def has(self, version: int) -> tuple[set[int], set[int]]:
        """Return the versions a version was made from, and the branch merges among them."""
        versions, merges = set(self.line(version)), set()
        for at in (self.source.keys() & versions) - self.undone(version):
            more, nested = self.has(self.source[at])
            versions |= more
            merges |= {at} | nested
        return versions, merges

    def bases(self, one: int, other: int) -> tuple[int, ...]:
        common = self.has(one)[0] & self.has(other)[0]
        older = {c for c in common for d in common - {c} if c in self.has(d)[0]}
        return tuple(sorted(common - older, reverse=True))

    def open_conflicts(self, one: int, other: int) -> set[int]:
        merges = self.has(one)[1] | self.has(other)[1]
        found: set[int] = set()
        for at in merges:
            again = any(
                self._is_between(at, self.parent[later], self.source[later])
                for later in merges
                if later > at
            )
            if self._is_between(at, one, other) and not again:
                found |= self.skipped[at]
        return found

    def _is_between(self, merge: int, one: int, other: int) -> bool:
        a, b = self.has(one)[0], self.has(other)[0]
        return any(
            merge in into and merge not in whence and self.source[merge] in whence
            for into, whence in ((a, b), (b, a))
        )


def groups(states: Sequence[State]) -> list[set[int]]:
    """Return the supervoxels of all states in groups that no voxel and no join leads out of."""
    stack = np.stack([s.voxels for s in states])
    varied = (stack != stack[0]).any(axis=0)
    together = [set(row) - {0} for row in np.unique(stack[:, varied], axis=1).T.tolist()]
    for state in states:
        by_root: dict[int, set[int]] = {}
        for supervoxel, root in state.root_of(state.supervoxels()).items():
            by_root.setdefault(root, set()).add(supervoxel)
        together += by_root.values()
    found: list[set[int]] = []
    for ids in together:
        apart = [group for group in found if group.isdisjoint(ids)]
        found = [*apart, set(ids).union(*(g for g in found if not g.isdisjoint(ids)))]
    return found


def differ(one: State, other: State, ids: Collection[int]) -> bool:
    """Whether the objects of some supervoxels are not the same voxels together."""
    wanted = np.array(sorted(ids), dtype=np.uint64)
    here = np.isin(one.voxels, wanted) | np.isin(other.voxels, wanted)
    return bool((one.voxels != other.voxels)[here].any()) or one.root_of(ids) != other.root_of(ids)


def standings(
    ours: State, theirs: State, bases: Sequence[State], open_conflicts: Collection[int]
) -> dict[int, tuple[str, set[int]]]:
    """Return who changed each group, by its smallest supervoxel."""
    found = {}
    for ids in groups([ours, theirs, *bases]):
        by_us = any(differ(ours, base, ids) for base in bases)
        by_them = any(differ(theirs, base, ids) for base in bases)
        if not differ(ours, theirs, ids):
            standing = "same"
        elif not ids.isdisjoint(open_conflicts) or (by_us and by_them):
            standing = "both"
        else:
            standing = "theirs" if by_them else "ours"
        found[min(ids)] = standing, ids
    return found


def merged(ours: State, theirs: State, taken: Iterable[set[int]]) -> State:
    """Return ours with some groups as they are in theirs."""
    voxels, edges = ours.voxels.copy(), set(ours.edges)
    for ids in taken:
        wanted = np.array(sorted(ids), dtype=np.uint64)
        here = np.isin(ours.voxels, wanted) | np.isin(theirs.voxels, wanted)
        voxels[here] = theirs.voxels[here]
        edges = {edge for edge in edges if edge[0] not in ids}
        edges |= {edge for edge in theirs.edges if edge[0] in ids}
    return State(voxels, frozenset(edges))


def became(before: State, after: State) -> set[tuple[int, int]]:
    """Return (old root, new root) of objects that share a supervoxel or handed voxels over."""
    old, new = before.roots(), after.roots()
    both = (old > 0) & (new > 0)
    pairs = set(zip(old[both].tolist(), new[both].tolist(), strict=True))
    kept = before.supervoxels() & after.supervoxels()
    was, now = before.root_of(kept), after.root_of(kept)
    return pairs | {(was[s], now[s]) for s in kept}


def latest_roots(line: Sequence[int], states: Mapping[int, State], root: int) -> set[int]:
    """Return what an object of the first version of a line (oldest first) is at its last."""
    alive: set[int] = {root}
    gone: set[int] = set()
    for before, after in pairwise(line):
        old, new = states[before], states[after]
        pairs = became(old, new)
        members = old.root_of(old.supervoxels())
        deleted = alive - {a for a, _ in pairs}
        gone |= {s for s, r in members.items() if r in deleted}
        back = {s for s in gone if new.exists(s)}
        alive = {b for a, b in pairs if a in alive} | set(new.root_of(back).values())
        gone -= back
    return alive
