"""The tight boxes of supervoxels that lost voxels at their outermost planes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from segmentation_backend.edits.blocks import corner_of
from segmentation_backend.errors import ErrorKind, FormatError
from segmentation_backend.geometry import Roi
from segmentation_backend.labels import CHUNK_SIDE, ChunkChange, ChunkKey, LabelView
from segmentation_backend.labels.chunks import keys_over
from segmentation_backend.labels.statistics import StatisticsTable

__all__ = ["Face", "bare_faces", "shrunk_boxes"]

_BATCH = 4
"""Chunks that are read before looking whether that was enough (at most 2 MB each)."""


class Face(NamedTuple):
    """One side of a box."""

    axis: int
    high: bool

    def of(self, box: Roi) -> int:
        """Return where the side of a box lies: its first or its last plane of voxels."""
        return box.end[self.axis] - 1 if self.high else box.offset[self.axis]


_FACES = tuple(Face(axis, high) for axis in range(3) for high in (False, True))


def bare_faces(before: Roi, lost: Roi, gained: Roi | None) -> list[Face]:
    """Return the sides of the box before and after on which no voxel may be left.

    `lost` and `gained` are the boxes of the voxels that went and came. Voxels that went from inside
    the box cannot change it.
    """
    outer = before if gained is None else before.union(gained)
    return [
        face
        for face in _FACES
        if face.of(lost) == face.of(outer) and (gained is None or face.of(gained) != face.of(outer))
    ]


def shrunk_boxes(
    view: LabelView,
    changes: Mapping[ChunkKey, ChunkChange],
    outer: Mapping[int, Roi],
    bare: Mapping[int, Collection[Face]],
) -> dict[int, Roi]:
    """Return the tight box of each supervoxel of `bare` after `changes`; each has a voxel left.

    `outer` holds a box around each. Chunks are read layer by layer from the bare sides inwards,
    and only until a voxel is found: usually less than one layer per side.
    """
    search = _Search(view, changes, outer, StatisticsTable(bare))
    for s in bare:
        for face in bare[s]:
            seek = _Seek(s, face, face.of(outer[s]) // CHUNK_SIDE)
            while not search.settles(seek):
                seek = seek.inwards()
    return {s: search.box(s) for s in bare}


class _Seek(NamedTuple):
    supervoxel: int
    face: Face
    layer: int
    """Which layer of chunks along the face's axis is looked at."""

    def inwards(self) -> _Seek:
        return self._replace(layer=self.layer + (-1 if self.face.high else 1))


class _Search:
    def __init__(
        self,
        view: LabelView,
        changes: Mapping[ChunkKey, ChunkChange],
        outer: Mapping[int, Roi],
        table: StatisticsTable,
    ) -> None:
        self._view = view
        self._changes = changes
        self._table = table
        self._visited: set[ChunkKey] = set()
        self._outer = outer
        self._bounds = {s: [list(box.offset), list(box.end)] for s, box in outer.items()}

    def _slab(self, seek: _Seek) -> Roi:
        outer, axis = self._outer[seek.supervoxel], seek.face.axis
        begin, end = list(outer.offset), list(outer.end)
        begin[axis] = max(begin[axis], seek.layer * CHUNK_SIDE)
        end[axis] = min(end[axis], (seek.layer + 1) * CHUNK_SIDE)
        slab = Roi.from_bounds(begin, end)
        if slab.is_empty:
            raise FormatError(
                f"The statistics of supervoxel {seek.supervoxel} do not fit its voxels: none was "
                f"found in {outer}.",
                ErrorKind.CORRUPT_CHUNK,
            )
        return slab

    def settles(self, seek: _Seek) -> bool:
        """Note where the outermost voxel lies; False when the layer holds none.

        What else was read lies further in: outer layers come first.
        """
        fresh = [key for key in keys_over(self._slab(seek), 0) if key not in self._visited]
        for start in range(0, len(fresh), _BATCH):
            if self._outermost(seek) == seek.face.of(self._outer[seek.supervoxel]):
                break
            self._read(fresh[start : start + _BATCH])
        at = self._outermost(seek)
        if at is None or at // CHUNK_SIDE != seek.layer:
            return False
        low, high = self._bounds[seek.supervoxel]
        if seek.face.high:
            high[seek.face.axis] = at + 1
        else:
            low[seek.face.axis] = at
        return True

    def _outermost(self, seek: _Seek) -> int | None:
        """Return the outermost plane with a voxel among all chunks read so far."""
        found = self._table.get(seek.supervoxel)
        return None if found is None else seek.face.of(found.bbox)

    def _read(self, keys: list[ChunkKey]) -> None:
        self._visited.update(keys)
        same = self._view.load_chunks([key for key in keys if key not in self._changes])
        changed = {key: self._changes[key].after for key in keys if key in self._changes}
        loaded = self._view.storage.load(changed.values())
        for key, chunk in [*same.items(), *((k, loaded[ref]) for k, ref in changed.items())]:
            self._table.add(chunk.block, corner_of(key, chunk.offset))

    def box(self, supervoxel: int) -> Roi:
        """Return the box as far as it was settled."""
        return Roi.from_bounds(*self._bounds[supervoxel])
