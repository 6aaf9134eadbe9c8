"""An object's voxels divided into sides → the delta that gives each side supervoxels of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from segmentation_backend.edits.joints import JoinsChange, rejoin
from segmentation_backend.edits.members import Overlap, count_sides, recoloured
from segmentation_backend.edits.voxels import with_confidence_kept, write_voxels
from segmentation_backend.geometry import Roi
from segmentation_backend.labels import Delta, LabelView

__all__ = ["cut_supervoxels"]

Ids = npt.NDArray[np.uint64]
Sides = npt.NDArray[np.uint8]


def cut_supervoxels(
    view: LabelView,
    roi: Roi,
    members: Ids,
    parts: Sequence[Overlap],
    sides: Sides,
    reserve_ids: Callable[[int], int],
) -> Delta:
    """Return the change that makes one object of each side.

    `members` are the object's supervoxels, sorted, `parts` the chunks that hold them, and `sides`
    (from 1, 0 outside) is shaped like `roi`, the object's box. A supervoxel that lies on one side
    as a whole keeps its id.
    """
    counts = count_sides(parts, members, sides)
    ids = _piece_ids(members, counts, reserve_ids)
    pieces = {
        (int(members[m]), side): int(ids[m, side]) for m, side in np.argwhere(counts > 0).tolist()
    }
    added, removed = rejoin(pieces, view.edges_of(int(members[0])))
    writes = recoloured(parts, members, sides, ids)
    return with_confidence_kept(write_voxels(view, writes, JoinsChange(added, removed, roi)))


def _piece_ids(
    members: Ids, counts: npt.NDArray[np.int64], reserve_ids: Callable[[int], int]
) -> Ids:
    """Return the id of each (member, side)."""
    ids = np.repeat(members[:, None], counts.shape[1], axis=1)
    largest = int(counts.sum(axis=0).argmax())
    new_pieces = []
    for m in np.flatnonzero((counts > 0).sum(axis=1) > 1).tolist():
        keeps = largest if counts[m, largest] else int(counts[m].argmax())
        new_pieces += [(m, int(s)) for s in np.flatnonzero(counts[m]) if s != keeps]
    first = reserve_ids(len(new_pieces)) if new_pieces else 0
    for number, (m, side) in enumerate(new_pieces):
        ids[m, side] = first + number
    return ids
