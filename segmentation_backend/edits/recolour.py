"""An object's voxels divided into sides → the delta that gives each side supervoxels of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from segmentation_backend.edits.joints import rejoin
from segmentation_backend.geometry import Roi
from segmentation_backend.labels import CHUNK_SIDE, ChunkKey, Delta, LabelView, StatisticsChange
from segmentation_backend.labels.chunks import EMPTY_CHUNK, keys_over
from segmentation_backend.labels.kernels import changed_box
from segmentation_backend.labels.staging import Write, stage
from segmentation_backend.labels.statistics import StatisticsTable

__all__ = ["cut_supervoxels"]

Ids = npt.NDArray[np.uint64]
Index = npt.NDArray[np.unsignedinteger]
Sides = npt.NDArray[np.uint8]


def cut_supervoxels(
    view: LabelView,
    roi: Roi,
    members: Sequence[int],
    index: Index,
    sides: Sides,
    reserve_ids: Callable[[int], int],
) -> Delta:
    """Return the change that makes one object of each side.

    `index` (position in `members` + 1, 0 outside the object) and `sides` (from 1, 0 outside) are
    shaped like `roi`, the object's box. A supervoxel that lies on one side as a whole keeps its id.
    """
    counts = _counts(index, sides, len(members))
    ids, cut, moved = _piece_ids(members, counts, reserve_ids)
    writes = dict(_writes(view, roi, ids, np.array(members, dtype=np.uint64), index, sides))
    pieces = {
        (members[m - 1], side): int(ids[m, side]) for m, side in np.argwhere(counts > 0).tolist()
    }
    added, removed = rejoin(pieces, view.edges_of(members[0]))
    return Delta(
        base_version=view.version,
        bbox=roi,
        chunks=stage(view.storage, view.version, writes),
        edges_added=added,
        edges_removed=removed,
        statistics=_statistics(view, roi, ids, cut, counts, index, sides, members),
        moved=moved,
    )


def _counts(index: Index, sides: Sides, members: int) -> npt.NDArray[np.int64]:
    """Return the voxels of each (member, side); row and column 0 stand for "outside" and hold 0."""
    width = int(sides.max()) + 1
    counts = np.zeros((members + 1, width), dtype=np.int64)
    for plane, side in zip(index, sides, strict=True):
        flat = plane.astype(np.int64) * width + side
        counts += np.bincount(flat.reshape(-1), minlength=counts.size).reshape(counts.shape)
    counts[0] = 0
    return counts


def _piece_ids(
    members: Sequence[int], counts: npt.NDArray[np.int64], reserve_ids: Callable[[int], int]
) -> tuple[Ids, list[int], frozenset[tuple[int, int]]]:
    """Return the id of each (member, side), the rows of cut members, and what moved where."""
    ids = np.zeros(counts.shape, dtype=np.uint64)
    ids[1:] = np.array(members, dtype=np.uint64)[:, None]
    cut = np.flatnonzero((counts > 0).sum(axis=1) > 1).tolist()
    largest = int(counts.sum(axis=0).argmax())
    new_pieces = []
    for m in cut:
        keeps = largest if counts[m, largest] else int(counts[m].argmax())
        new_pieces += [(m, int(s)) for s in np.flatnonzero(counts[m]) if s != keeps]
    first = reserve_ids(len(new_pieces)) if new_pieces else 0
    for number, (m, side) in enumerate(new_pieces):
        ids[m, side] = first + number
    moved = frozenset((members[m - 1], int(ids[m, side])) for m, side in new_pieces)
    return ids, cut, moved


def _parts(roi: Roi) -> Iterator[tuple[ChunkKey, Roi, Roi]]:
    """Yield each chunk of a region: key, the part inside the region (volume, chunk coordinates)."""
    for key in keys_over(roi, 0):
        corner = [p * CHUNK_SIDE for p in key[1:]]
        whole = Roi((corner[0], corner[1], corner[2]), (CHUNK_SIDE,) * 3)
        part = whole.intersect(roi)
        yield key, part, part.shift([-c for c in corner])


def _writes(
    view: LabelView, roi: Roi, ids: Ids, members: Ids, index: Index, sides: Sides
) -> Iterator[tuple[ChunkKey, list[Write]]]:
    old_ids = np.concatenate([np.zeros(1, dtype=np.uint64), members])
    is_new = ids != old_ids[:, None]
    chunks = view.chunks_over(roi)
    for key, part, inside in _parts(roi):
        here = part.slices(roi.offset)
        new = is_new[index[here], sides[here]]
        if not new.any():
            continue
        old = chunks.get(key, EMPTY_CHUNK).cut(inside)
        block = np.where(new, ids[index[here], sides[here]], old)
        z0, y0, x0, z1, y1, x1 = changed_box(old, block).tolist()
        box = Roi.from_bounds((z0, y0, x0), (z1, y1, x1))
        yield key, [(box.shift(inside.offset).offset, block[box.slices()])]


def _statistics(
    view: LabelView,
    roi: Roi,
    ids: Ids,
    cut: Sequence[int],
    counts: npt.NDArray[np.int64],
    index: Index,
    sides: Sides,
    members: Sequence[int],
) -> dict[int, StatisticsChange]:
    wanted = np.zeros_like(ids)
    for m in cut:
        wanted[m] = np.where(counts[m] > 0, ids[m], 0)
    table = StatisticsTable(np.unique(wanted[wanted > 0]))
    is_cut = np.zeros(len(ids), dtype=np.bool_)
    is_cut[list(cut)] = True
    for _, part, _ in _parts(roi):
        here = part.slices(roi.offset)
        if is_cut[index[here]].any():
            table.add(wanted[index[here], sides[here]], part.offset)
    before = view.statistics_of([members[m - 1] for m in cut])
    return {s: StatisticsChange(before.get(s), after) for s, after in table.found().items()}
