"""Where an object's supervoxels lie in a region: painted, counted by side, given new ids.

The loops are compiled and read the chunks' own blocks in place: a split looks at millions of voxels
and copies none that it need not. All arrays are C-contiguous in z, y, x; instead of slices, the
loops get corners.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from segmentation_backend.compiled import njit
from segmentation_backend.geometry import Coordinate, Roi
from segmentation_backend.labels import CHUNK_SIDE, ChunkKey, LabelView
from segmentation_backend.labels.staging import Write

__all__ = ["Overlap", "count_sides", "overlaps", "paint_members", "recoloured"]

Ids: TypeAlias = npt.NDArray[np.uint64]
Sides: TypeAlias = npt.NDArray[np.uint8]
Integers: TypeAlias = npt.NDArray[np.int64]


class Overlap(NamedTuple):
    """What a region and the labelled box of one chunk have in common."""

    key: ChunkKey
    block: Ids
    """The chunk's whole box."""
    origin: Coordinate
    """Where the block begins in the chunk."""
    begin: Coordinate
    """Where the common part begins in the block, and where it ends."""
    end: Coordinate
    at: Coordinate
    """Where the common part begins in the region."""


def overlaps(view: LabelView, roi: Roi, level: int = 0) -> list[Overlap]:
    """Return the labelled parts of a region of `level`, chunk by chunk."""
    found = []
    for key, chunk in view.chunks_over(roi, level).items():
        place = chunk.box.shift([p * CHUNK_SIDE for p in key[1:]])
        common = place.intersect(roi)
        if not common.is_empty:
            inside = common.shift([-o for o in place.offset])
            at = common.shift([-o for o in roi.offset]).offset
            found.append(Overlap(key, chunk.block, chunk.offset, inside.offset, inside.end, at))
    return found


def paint_members(parts: Iterable[Overlap], roi: Roi, members: Ids, values: Sides) -> Sides:
    """Return an array shaped like `roi` with each member's value at its voxels, 0 elsewhere.

    `members` are sorted, here and below.
    """
    out = np.zeros(roi.shape, dtype=np.uint8)
    for part in parts:
        _paint(part.block, part.begin, part.end, part.at, members, values, out)
    return out


def count_sides(parts: Iterable[Overlap], members: Ids, sides: Sides) -> Integers:
    """Return the voxels of each member on each side, int64 (members, largest side + 1)."""
    counts = np.zeros((len(members), int(sides.max()) + 1), dtype=np.int64)
    for part in parts:
        _count(part.block, part.begin, part.end, part.at, members, sides, counts)
    return counts


def recoloured(
    parts: Iterable[Overlap], members: Ids, sides: Sides, ids: Ids
) -> Iterator[tuple[ChunkKey, list[Write]]]:
    """Yield what gives the voxels of member m on side s the id `ids[m, s]`."""
    for part in parts:
        block = np.empty(Roi.from_bounds(part.begin, part.end).shape, dtype=np.uint64)
        corners = _recolour(part.block, part.begin, part.at, members, sides, ids, block).tolist()
        changed = Roi.from_bounds(corners[:3], corners[3:])
        if not changed.is_empty:
            corner = changed.shift(part.origin).shift(part.begin).offset
            yield part.key, [(corner, block[changed.slices()])]


@njit(cache=True, nogil=True)
def _find(members: Ids, supervoxel: np.uint64) -> int:
    at = int(np.searchsorted(members, supervoxel))
    return at if at < members.size and members[at] == supervoxel else -1


@njit(cache=True, nogil=True)
def _paint(
    block: Ids,
    begin: Coordinate,
    end: Coordinate,
    at: Coordinate,
    members: Ids,
    values: Sides,
    out: Sides,
) -> None:
    last = np.uint64(0)
    value = np.uint8(0)
    for z in range(end[0] - begin[0]):
        for y in range(end[1] - begin[1]):
            for x in range(end[2] - begin[2]):
                supervoxel = block[z + begin[0], y + begin[1], x + begin[2]]
                if supervoxel != last:
                    last = supervoxel
                    m = _find(members, supervoxel)
                    value = values[m] if m >= 0 else np.uint8(0)
                out[z + at[0], y + at[1], x + at[2]] = value


@njit(cache=True, nogil=True)
def _count(
    block: Ids,
    begin: Coordinate,
    end: Coordinate,
    at: Coordinate,
    members: Ids,
    sides: Sides,
    counts: Integers,
) -> None:
    last = np.uint64(0)
    m = -1
    for z in range(end[0] - begin[0]):
        for y in range(end[1] - begin[1]):
            for x in range(end[2] - begin[2]):
                supervoxel = block[z + begin[0], y + begin[1], x + begin[2]]
                if supervoxel != last:
                    last = supervoxel
                    m = _find(members, supervoxel)
                if m >= 0:
                    counts[m, sides[z + at[0], y + at[1], x + at[2]]] += 1


@njit(cache=True, nogil=True)
def _recolour(
    block: Ids, begin: Coordinate, at: Coordinate, members: Ids, sides: Sides, ids: Ids, out: Ids
) -> Integers:
    """Write a part of a block to `out` with the new ids; return the box around what changed.

    The box is (z0, y0, x0, z1, y1, x1) in `out`, half-open, as of `labels.kernels.changed_box`.
    """
    box = np.array([out.shape[0], out.shape[1], out.shape[2], 0, 0, 0], dtype=np.int64)
    last = np.uint64(0)
    m = -1
    for z in range(out.shape[0]):
        for y in range(out.shape[1]):
            for x in range(out.shape[2]):
                supervoxel = block[z + begin[0], y + begin[1], x + begin[2]]
                if supervoxel != last:
                    last = supervoxel
                    m = _find(members, supervoxel)
                new = supervoxel if m < 0 else ids[m, sides[z + at[0], y + at[1], x + at[2]]]
                if new != supervoxel:
                    box[0], box[3] = min(box[0], z), z + 1
                    box[1], box[4] = min(box[1], y), max(box[4], y + 1)
                    box[2], box[5] = min(box[2], x), max(box[5], x + 1)
                out[z, y, x] = new
    return box
