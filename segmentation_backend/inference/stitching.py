"""Which object of one block is which of its neighbour, and so the objects of any region.

Two neighbours both see the voxels around their common face. What each found there is compared
piece by piece, a piece being what of one object hangs together among those voxels. Pieces that
are each other's best overlap belong to one object. A piece that lies inside another one joins it
too, unless that would glue two objects of one block together that both persist: one of them, where
it lies in its own block, is no mere fragment beside the other. (Two arms of one bent object are two
pieces, so each finds its own match and no arm is lost to that veto.)

A comparison depends on the two results alone, and objects are the sets that all comparisons make:
neither the region nor the order of the blocks has a part in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import cc3d
import fastremap
import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from segmentation_backend.compiled import njit
from segmentation_backend.geometry import Coordinate, Roi
from segmentation_backend.inference.grid import Block
from segmentation_backend.inference.parameters import InferenceParameters
from segmentation_backend.inference.results import BlockResult, pack, unpack

__all__ = [
    "BlockObject",
    "RegionLabels",
    "RegionObjects",
    "StitchRules",
    "Stitcher",
    "region_labels",
    "stitch",
]

BlockObject: TypeAlias = tuple[Coordinate, int]
"""The index of a block and the number of an object in it."""

Pairs: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class StitchRules:
    """When pieces of two blocks are one object."""

    iou: float = 0.25
    """Overlap (intersection over union) from which two pieces are the same."""
    ioa: float = 0.5
    """Share of a piece inside another from which it may join that."""
    fragment: float = 0.25
    """An object smaller than this share of another one of its block is a fragment beside it,
    unless as large a share of it goes on beyond the voxels that both blocks see."""
    is_one: bool = False
    """Whether all that any block finds is one object, as of a class without single objects."""

    @classmethod
    def of(cls, parameters: InferenceParameters) -> StitchRules:
        """Return the rules with the thresholds that sections are linked by."""
        return cls(parameters.match_iou_thr, parameters.match_ioa_thr)


@dataclass(frozen=True, slots=True)
class _View:
    """What one block found among the voxels that it shares with a neighbour; k objects."""

    labels: NDArray[np.uint32]
    """(z, y, x), 1..k"""
    names: NDArray[np.uint32]
    """(k + 1,) the objects' numbers in their block; 0 for the background"""
    sizes: NDArray[np.int64]
    """(k + 1,) voxels in the whole box of the block"""
    in_core: NDArray[np.bool_]
    """(k + 1,) whether the block's core holds any of it"""

    def to_bytes(self) -> bytes:
        """Return the view compressed: labels shrink a hundredfold."""
        return pack({name: getattr(self, name) for name in self.__slots__})

    @classmethod
    def from_bytes(cls, content: bytes) -> _View:
        """Return the view that `to_bytes` wrote."""
        return cls(**unpack(content))


def stitch(a: BlockResult, b: BlockResult, rules: StitchRules | None = None) -> Pairs:
    """Return (n, 2) objects of `a` and of `b` that are one, sorted; none unless they overlap.

    Only objects with voxels in their block's core are named. Swapping `a` and `b` swaps the
    columns and changes nothing else.
    """
    shared = a.block.box.intersect(b.block.box)
    if shared.is_empty:
        return np.zeros((0, 2), np.int64)
    views = [_view(r, _sizes(r), _in_core(r), shared) for r in (a, b)]
    return _compare(views[0], views[1], rules or StitchRules())


class Stitcher:
    """Compares blocks with those of their neighbours that were there before them.

    Of a finished block only the voxels that it shares with neighbours still to come are kept,
    compressed.
    """

    def __init__(self, planned: Iterable[Block], rules: StitchRules | None = None) -> None:
        """Expect these blocks, each once, in any order."""
        self._planned = {block.index: block for block in planned}
        self._rules = rules or StitchRules()
        self._waiting: dict[tuple[Coordinate, Coordinate], bytes] = {}

    def add(self, result: BlockResult) -> list[tuple[BlockObject, BlockObject]]:
        """Return the pairs that are one of this block's objects and earlier blocks' objects."""
        found: list[tuple[BlockObject, BlockObject]] = []
        others = self._neighbours(result.block)
        if not others:
            return found
        sizes, in_core = _sizes(result), _in_core(result)
        here = result.block.index
        for other in others:
            view = _view(result, sizes, in_core, result.block.box.intersect(other.box))
            earlier = self._waiting.pop((other.index, here), None)
            if earlier is None:
                self._waiting[here, other.index] = view.to_bytes()
                continue
            pairs = _compare(view, _View.from_bytes(earlier), self._rules)
            found += [((here, a), (other.index, b)) for a, b in pairs.tolist()]
        return found

    def _neighbours(self, block: Block) -> list[Block]:
        around = np.indices((3, 3, 3)).reshape(3, -1).T - 1 + np.array(block.index)
        places = [self._planned.get((z, y, x)) for z, y, x in around.tolist()]
        return [other for other in places if other is not None and block.is_beside(other)]


@dataclass(frozen=True, slots=True)
class RegionObjects:
    """The objects of a region, and how sure the network is of each."""

    labels: NDArray[np.uint32]
    """(z, y, x), 1..n, 0 = background"""
    probability: NDArray[np.float32]
    """(n,) what blocks say of their parts of an object, weighted by the voxels in the region"""
    agreement: NDArray[np.float32]
    """(n,) likewise"""
    kinds: NDArray[np.int64]
    """(n,) which of the kinds that were gathered each is of, from 0"""

    def renumbered(self, labels: NDArray[np.uint32]) -> RegionObjects:
        """Return what labels (z, y, x) still show of the objects, with their numbers, as 1..m.

        Numbers are written over those in `labels`, which are contiguous.
        """
        same = np.arange(len(self.probability) + 1, dtype=np.uint32)
        numbers = _number(labels.reshape(-1), same)
        kept = np.flatnonzero(numbers)
        kept = kept[np.argsort(numbers[kept])] - 1
        sure = (self.probability[kept], self.agreement[kept])
        return RegionObjects(labels, *sure, self.kinds[kept])


class RegionLabels:
    """The labels of a region, filled in block by block; objects of several kinds never join."""

    def __init__(
        self,
        roi: Roi,
        planned: Sequence[Block],
        rules: StitchRules | Sequence[StitchRules] | None = None,
    ) -> None:
        """Make room for a region that the planned blocks cover; `rules` are those of each kind."""
        each = [rules or StitchRules()] if not isinstance(rules, Sequence) else rules
        self._roi = roi
        self._stitchers = [Stitcher(planned, one) for one in each]
        self._one: dict[int, int] = {}
        """The first object of each kind of which all is one."""
        self._is_one = [one.is_one for one in each]
        self._labels = np.zeros(roi.shape, np.uint32)
        self._first: dict[tuple[int, Coordinate], int] = {}
        self._count = 0
        self._pairs: list[tuple[int, int]] = []
        self._sure = [np.zeros((4, 1))]
        """By block, of each object: its voxels here, its confidences by voxels, and its kind."""

    def add(self, result: BlockResult, kind: int = 0) -> None:
        """Take a block's objects of a kind; where a kind before it found some they stay."""
        index = result.block.index
        first = self._first[kind, index] = self._count
        voxels = self._write(result, kind)
        if self._is_one[kind]:
            one = self._one.setdefault(kind, first + 1)
            self._pairs += [(one, first + number) for number in range(1, result.count + 1)]
        ones = np.ones(result.count)
        self._sure.append(voxels * [ones, result.probability, result.agreement, kind * ones])
        self._count += result.count
        for (a, number), (b, other) in self._stitchers[kind].add(result):
            self._pairs.append((self._first[kind, a] + number, self._first[kind, b] + other))

    def _write(self, result: BlockResult, kind: int) -> NDArray[np.int64]:
        """Write a block's objects into the region; return how many voxels each got."""
        part = result.block.core.intersect(self._roi)
        if part.is_empty:
            return np.zeros(result.count, np.int64)
        labels = result.labels[part.slices(result.block.box.offset)]
        target = self._labels[part.slices(self._roi.offset)]
        if kind:
            labels = np.where(target == 0, labels, np.uint32(0))
        np.add(labels, np.uint32(self._count), out=target, where=labels > 0)
        return _count(labels, result.count)[1:]

    def finish(self) -> RegionObjects:
        """Return the objects, numbered 1..n in the order of their first voxels.

        It is the end of this object, too: they are written over what it gathered.
        """
        sets = _sets(self._count, np.array(self._pairs, np.int64).reshape(-1, 2))
        numbers = _number(self._labels.reshape(-1), sets)
        members = numbers[sets]
        sums = [np.bincount(members, row) for row in np.concatenate(self._sure, axis=1)]
        probability, agreement, kinds = (row[1:] / sums[0][1:] for row in sums[1:])
        sure = (probability.astype(np.float32), agreement.astype(np.float32))
        return RegionObjects(self._labels, *sure, np.rint(kinds).astype(np.int64))


def region_labels(
    results: Sequence[BlockResult], roi: Roi, rules: StitchRules | None = None
) -> NDArray[np.uint32]:
    """Return the objects of a region: uint32 (z, y, x), 1..n, 0 = background.

    Blocks outside of the region may be among the results, and join what passes through them;
    voxels that no block covers are background.
    """
    region = RegionLabels(roi, [result.block for result in results], rules)
    for result in results:
        region.add(result)
    return region.finish().labels


def _sets(count: int, pairs: Pairs) -> NDArray[np.uint32]:
    """Return (count + 1,) the set of each object, 0 for the background alone."""
    links = (np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1]))
    graph = sparse.coo_array(links, (count + 1, count + 1))
    _, sets = csgraph.connected_components(graph, directed=False)
    # The background is never in a pair, and the first set found is that of the first member.
    return np.asarray(sets, np.uint32)


@njit(cache=True, nogil=True)
def _number(labels: NDArray[np.uint32], sets: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Replace flat labels by the numbers of their sets, 1..n as they first appear, in place.

    Returns the number of each set; 0: no label is of it.
    """
    numbers = np.zeros(sets.size, np.uint32)
    count = 0
    for i in range(labels.size):
        found = sets[labels[i]]
        if found and not numbers[found]:
            count += 1
            numbers[found] = count
        labels[i] = numbers[found]
    return numbers


def _sizes(result: BlockResult) -> NDArray[np.int64]:
    return _count(result.labels, result.count)


def _in_core(result: BlockResult) -> NDArray[np.bool_]:
    return _count(result.core_labels, result.count) > 0


def _count(labels: NDArray[np.uint32], highest: int) -> NDArray[np.int64]:
    """Return the voxels of each label, section by section: a bincount of all would copy them."""
    counts = np.zeros(highest + 1, np.int64)
    for section in labels:
        counts += np.bincount(section.ravel(), minlength=highest + 1)
    return counts


def _view(
    result: BlockResult, sizes: NDArray[np.int64], in_core: NDArray[np.bool_], shared: Roi
) -> _View:
    part = np.ascontiguousarray(result.labels[shared.slices(result.block.box.offset)])
    compact, mapping = fastremap.renumber(part)
    names = np.zeros(len(mapping) + (0 not in mapping), np.uint32)
    names[np.array(list(mapping.values()), np.int64)] = list(mapping)
    return _View(compact.astype(np.uint32), names, sizes[names], in_core[names])


@dataclass(frozen=True, slots=True)
class _Overlaps:
    """Every pair of pieces that share voxels, the closest pairs first."""

    objects: Pairs
    """(n, 2) the objects of both views that the pieces belong to"""
    pieces: Pairs
    """(n, 2)"""
    iou: NDArray[np.float64]
    ioa: NDArray[np.float64]
    """Share of the smaller piece inside the other."""


def _overlaps(a: _View, b: _View) -> _Overlaps:
    """Return what the pieces of two views share."""
    one, other = (
        np.asarray(cc3d.connected_components(v.labels, connectivity=26), np.int64) for v in (a, b)
    )
    both = np.flatnonzero((one > 0) & (other > 0))
    p, q = one.ravel()[both], other.ravel()[both]
    _, first, shared = np.unique(
        p * (int(other.max(initial=0)) + 1) + q, return_index=True, return_counts=True
    )
    place = both[first]
    pieces = np.stack([one.ravel()[place], other.ravel()[place]], 1)
    objects = np.stack([a.labels.ravel()[place], b.labels.ravel()[place]], 1).astype(np.int64)
    areas = np.stack(
        [np.bincount(x.ravel())[k] for x, k in zip((one, other), pieces.T, strict=True)]
    )
    iou, ioa = shared / (areas.sum(0) - shared), shared / areas.min(0)
    # The first common voxel breaks ties, since it is the same whichever block comes first.
    order = np.lexsort((place, -shared, -iou))
    return _Overlaps(objects[order], pieces[order], iou[order], ioa[order])


def _compare(a: _View, b: _View, rules: StitchRules) -> Pairs:
    """Return the pairs of objects (their numbers in their blocks) that are one."""
    overlaps = _overlaps(a, b)
    mutual = _firsts(overlaps.pieces[:, 0]) & _firsts(overlaps.pieces[:, 1])
    same = mutual & (overlaps.iou >= rules.iou)
    groups = _Groups(a, b, rules)
    for one, other in overlaps.objects[same].tolist():
        groups.join(one, other)
    inside = ~same & (overlaps.ioa >= rules.ioa)
    joined = [pair for pair in overlaps.objects[inside].tolist() if groups.join_fragment(*pair)]
    pairs = np.array([*overlaps.objects[same].tolist(), *joined], np.int64).reshape(-1, 2)
    pairs = pairs[a.in_core[pairs[:, 0]] & b.in_core[pairs[:, 1]]]
    named = np.stack([a.names[pairs[:, 0]], b.names[pairs[:, 1]]], 1).astype(np.int64)
    return np.unique(named, axis=0)


def _firsts(values: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return where each value occurs for the first time."""
    found = np.zeros(len(values), bool)
    found[np.unique(values, return_index=True)[1]] = True
    return found


class _Groups:
    """Objects of two views, joined into sets; knows whose joining would glue two objects."""

    def __init__(self, a: _View, b: _View, rules: StitchRules) -> None:
        self._views = (a, b)
        self._rules = rules
        self._beyond = tuple(
            v.sizes - np.bincount(v.labels.ravel(), minlength=len(v.sizes)) for v in (a, b)
        )
        self._members: dict[tuple[int, int], list[tuple[int, int]]] = {}

    def join(self, a: int, b: int) -> None:
        """Make the sets of two objects one."""
        first, second = self._set(0, a), self._set(1, b)
        if first is not second:
            first += second
            for member in second:
                self._members[member] = first

    def join_fragment(self, a: int, b: int) -> bool:
        """Join unless two objects of one block would be glued; say whether they are one now."""
        first, second = self._set(0, a), self._set(1, b)
        if first is not second and any(
            self._are_rivals(side, one, other)
            for side, one in first
            for other_side, other in second
            if side == other_side
        ):
            return False
        self.join(a, b)
        return True

    def _set(self, side: int, name: int) -> list[tuple[int, int]]:
        return self._members.setdefault((side, name), [(side, name)])

    def _are_rivals(self, side: int, one: int, other: int) -> bool:
        """Return whether both objects of one block persist beside each other."""
        sizes, beyond = self._views[side].sizes, self._beyond[side]
        share = self._rules.fragment
        small, large = sorted((one, other), key=lambda name: int(sizes[name]))
        if sizes[small] >= share * sizes[large]:
            return True
        return bool(beyond[small] >= max(1, share * sizes[small]))
