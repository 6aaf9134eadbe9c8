"""One set of objects from three stacks, of the xy, xz and yz sections of the same volume.

The stacks cut the volume into cells: the voxels to which they give the same three labels. Cells
grow together into objects, the pair about which the stacks agree most first. A stack says that two
clusters are one as far as its labels in the smaller lie in the larger, too; it says that they are
two as far as each has labels of its own there; where it sees nothing it says nothing. Only a
majority joins: that one stack took two neighbours for one does not glue them together while the
other two tell them apart, and that one stack cut an object does not cut it. It is correlation
clustering (Bansal et al., Machine Learning 2004) of the cells, greedy and by average agreement.

Then voxels are kept by their votes, and filters act on what the vote has left. Everything is
decided on cells, in the order of their labels, so the result is always the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.inference.cells import collect_cells, count_labels, paint_cells
from segmentation_backend.inference.clusters import cluster_cells
from segmentation_backend.inference.filters import (
    CLOSED,
    Faces,
    find_large_objects,
    select_objects,
)
from segmentation_backend.inference.parameters import InferenceParameters

__all__ = ["Consensus", "VoteRules", "merge_stacks", "narrow", "vote_stuff"]


@dataclass(frozen=True, slots=True)
class VoteRules:
    """What it takes to be an object, and part of one."""

    pixel_vote_thr: int = 2
    """Stacks that must see a voxel as part of the object, 1 to 3."""
    allow_one_view: bool = False
    """Whether one stack is enough for an object. Its voxels then need as many votes as there are
    stacks that see the object, if that is less than `pixel_vote_thr`."""

    @property
    def least(self) -> int:
        """Labels that a voxel must have to be looked at."""
        return 1 if self.allow_one_view else self.pixel_vote_thr


@dataclass(frozen=True, slots=True)
class Consensus:
    """Objects that stacks agree on, and how far."""

    labels: NDArray[np.uint32]
    """(z, y, x), 1..n, 0 = background"""
    agreement: NDArray[np.float32]
    """(n + 1,): by object the mean share of stacks that see its voxels as part of it, 0..1; the
    background's is 0."""


def merge_stacks(
    stacks: Sequence[NDArray[Any]],
    parameters: InferenceParameters,
    open_faces: Faces = CLOSED,
) -> Consensus:
    """Return what three stacks' labels agree on, filtered by `min_size` and `min_extent`.

    Each of `stacks` is (z, y, x), unsigned integers, 0 = background, in any order in memory; a
    view with moved axes will do. The labels of different stacks have nothing to do with each
    other. They should not have been filtered: an object cut by the volume's edge would lose votes.
    Where the volume goes on past a face (`open_faces`), what touches that face is never too small.
    Their order and the numbers of their labels decide nothing.
    """
    rules = VoteRules(parameters.pixel_vote_thr, parameters.allow_one_view)
    one, two, three = _checked(stacks)
    cells, slots = collect_cells(one, two, three, rules.least)
    # In the order of their places, so that these decide ties, whatever the labels' numbers are.
    whole = [_voxels(s, cells[:, k]) for k, s in enumerate((one, two, three))]
    objects, votes = _elect(cells, np.stack(whole, 1), rules)
    labels = paint_cells(one, two, three, rules.least, cells, slots, objects)
    agreement = _mean_votes(objects, votes, cells[:, 3])
    kept = find_large_objects(labels, parameters.min_size, parameters.min_extent, open_faces)
    labels = select_objects(labels, kept, in_place=True)
    kept[0] = True  # the background's entry stays
    return Consensus(labels, agreement[: len(kept)][kept])


def vote_stuff(stacks: Sequence[NDArray[Any]], pixel_vote_thr: int) -> NDArray[np.bool_]:
    """Return where at least so many of three stacks (z, y, x) see stuff, that is, are not 0."""
    one, two, three = _checked(stacks)
    votes = (one > 0).astype(np.uint8)
    votes += two > 0
    votes += three > 0
    return votes >= pixel_vote_thr


def narrow(labels: NDArray[np.uint32]) -> NDArray[Any]:
    """Return labels in two bytes each if they fit, so that three stacks take less memory."""
    return labels.astype(np.uint16) if labels.max(initial=0) < 2**16 else labels


def _checked(stacks: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """Return the stacks with one type, refusing those that are not three of one shape."""
    shapes = [stack.shape for stack in stacks]
    if len(stacks) != 3 or len(set(shapes)) != 1 or len(shapes[0]) != 3:
        raise InvalidInputError(
            f"A consensus takes three stacks of one shape (z, y, x), not {shapes}.",
            ErrorKind.INVALID_PARAMETER,
        )
    for stack in stacks:
        if stack.dtype.kind not in "ui" or (stack.dtype.kind == "i" and stack.min(initial=0) < 0):
            raise InvalidInputError(
                f"Labels must be whole numbers from 0, not {stack.dtype} with a minimum of "
                f"{stack.min(initial=0)}.",
                ErrorKind.INVALID_PARAMETER,
            )
    small = all(stack.max(initial=0) < 2**16 for stack in stacks)
    return [np.asarray(stack, dtype=np.uint16 if small else np.uint32) for stack in stacks]


def _voxels(stack: NDArray[Any], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many voxels of a stack have each of some labels."""
    # In the order of memory, which makes a view of a view with moved axes, not a copy.
    sizes: NDArray[np.int64] = count_labels(stack.ravel(order="K"), int(stack.max(initial=0)))
    return sizes[labels]


def _elect(
    cells: NDArray[np.int64], whole: NDArray[np.int64], rules: VoteRules
) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Return for each cell its object, 0 = none, and the votes that it has."""
    cluster, belongs = cluster_cells(cells, whole)
    votes = belongs.sum(1)
    count = int(cluster.max(initial=-1)) + 1
    seen = np.zeros((count + 1, 3), np.bool_)
    for stack in range(3):
        seen[cluster[belongs[:, stack]], stack] = True
    views = seen.sum(1)  # the last entry is that of no cluster at all
    wanted = np.full(len(views), rules.pixel_vote_thr)
    if rules.allow_one_view:
        wanted = np.minimum(wanted, views)
    else:
        wanted[views < 2] = 4
    kept = (cluster >= 0) & (votes >= wanted[cluster]) & (votes > 0)
    numbers = np.zeros(count + 1, np.uint32)
    present = np.unique(cluster[kept])
    numbers[present] = np.arange(1, len(present) + 1)
    return np.where(kept, numbers[cluster], 0).astype(np.uint32), votes


def _mean_votes(
    objects: NDArray[np.uint32], votes: NDArray[np.int64], sizes: NDArray[np.int64]
) -> NDArray[np.float32]:
    voxels = np.bincount(objects, sizes)
    sums = np.bincount(objects, sizes * votes)
    agreement: NDArray[np.float32] = (sums / np.maximum(voxels, 1) / 3).astype(np.float32)
    agreement[:1] = 0
    return agreement if len(agreement) else np.zeros(1, np.float32)
