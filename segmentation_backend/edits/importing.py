"""Bring a segmentation result into the labels without overwriting what people did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from segmentation_backend.errors import ErrorKind, FormatError, InvalidInputError
from segmentation_backend.geometry import Coordinate, Roi
from segmentation_backend.labels import (
    CHUNK_SIDE,
    ChunkKey,
    Delta,
    LabelView,
    StatisticsChange,
    SupervoxelStatistics,
)
from segmentation_backend.labels.chunks import EMPTY_CHUNK, Chunk, chunk_roi, keys_over
from segmentation_backend.labels.ids import LARGEST_STORED_ID
from segmentation_backend.labels.kernels import distinct_ids, translate
from segmentation_backend.labels.staging import Write, stage
from segmentation_backend.labels.statistics import StatisticsTable

__all__ = ["AUTOMATIC_KINDS", "Existing", "import_labels"]

Ids = npt.NDArray[np.uint64]

Existing = Literal["keep", "replace-unedited"]

AUTOMATIC_KINDS = frozenset({"segment", "import", "undo", "redo", "revert"})
"""Kinds of operation that add no decision of a person about which voxels belong together."""

_NO_IDS: Ids = np.zeros(0, dtype=np.uint64)


def import_labels(
    view: LabelView,
    roi: Roi,
    labels: npt.NDArray[np.integer],
    first_id: int,
    existing: Existing = "replace-unedited",
) -> Delta:
    """Return the change that writes a segmentation of `roi` into the labels.

    `labels` is an integer z,y,x array shaped like `roi`, 0 background. Its n distinct labels become
    supervoxels `first_id` to `first_id + n - 1`, in ascending order of label, so reserve n ids
    (`labels.max()` is enough). Voxels that hold a label keep it; with "replace-unedited" those of
    supervoxels that only segmentations wrote (`AUTOMATIC_KINDS`) and that were never joined to
    anything are cleared inside `roi` first. A label that is covered wholly makes no object.
    """
    _check(view, roi, labels, first_id, existing)
    return _Import(view, roi, labels, first_id).delta(existing)


def _check(
    view: LabelView, roi: Roi, labels: npt.NDArray[np.integer], first_id: int, existing: str
) -> None:
    view.storage.check_roi(roi)
    if not np.issubdtype(labels.dtype, np.integer):
        raise FormatError(
            f"Labels must be whole numbers, not {labels.dtype}; convert them to uint32 or uint64.",
            ErrorKind.UNSUPPORTED_DTYPE,
        )
    problem = None
    if roi.is_empty:
        raise InvalidInputError(f"The region {roi} holds no voxel.", ErrorKind.ROI_EMPTY)
    if labels.shape != roi.shape:
        problem = f"Labels of shape {labels.shape} do not fit the region {roi}."
    elif np.issubdtype(labels.dtype, np.signedinteger) and int(labels.min()) < 0:
        problem = f"Label {int(labels.min())} is negative; 0 is background, objects are positive."
    elif not 1 <= first_id <= LARGEST_STORED_ID:
        problem = f"The first new id must be from 1 to 2**63 - 1, not {first_id}."
    elif existing not in ("keep", "replace-unedited"):
        problem = f'existing must be "keep" or "replace-unedited", not {existing!r}.'
    if problem is not None:
        raise InvalidInputError(problem, ErrorKind.INVALID_PARAMETER)


@dataclass(frozen=True)
class _Import:
    view: LabelView
    roi: Roi
    labels: npt.NDArray[np.integer]
    first_id: int

    def delta(self, existing: Existing) -> Delta:
        present = self._present()
        cleared = self._cleared(present) if existing == "replace-unedited" else _NO_IDS
        old_labels = self._distinct_labels()
        new_ids = np.arange(len(old_labels), dtype=np.uint64) + np.uint64(self.first_id)
        table = StatisticsTable(new_ids)
        writes: dict[ChunkKey, list[Write]] = {}
        for key, box, part in self._parts():
            new = _translated(part, old_labels, new_ids)
            old = present.get(key, EMPTY_CHUNK).cut(box)
            if key in present:
                kept = _translated(old, cleared, np.zeros_like(cleared))
                new = np.where(kept != 0, kept, new)
            if key not in present or not np.array_equal(new, old):
                writes[key] = [(box.offset, new)]
                table.add(new, _corner(key, box.offset))
        chunks = stage(self.view.storage, self.view.version, writes)
        changes = {s: StatisticsChange(None, after) for s, after in table.found().items()}
        changes.update(self._remainders(cleared, present))
        return Delta(
            base_version=self.view.version,
            bbox=self.roi if chunks else None,
            chunks=chunks,
            statistics=changes,
        )

    def _present(self) -> dict[ChunkKey, Chunk]:
        """Return the chunks in the region that hold labels already."""
        chunks = self.view.chunks_over(self.roi)
        return {key: chunk for key, chunk in chunks.items() if chunk.block.size}

    def _parts(self) -> Iterator[tuple[ChunkKey, Roi, Ids]]:
        """Yield each chunk of the region: its key, the part in the region, and the labels there."""
        for key in keys_over(self.roi, 0):
            part = chunk_roi(key, self.view.levels[0]).intersect(self.roi)
            corner = (key.z * CHUNK_SIDE, key.y * CHUNK_SIDE, key.x * CHUNK_SIDE)
            block = self.labels[part.slices(self.roi.offset)]
            yield (
                key,
                Roi.from_bounds(
                    [a - c for a, c in zip(part.offset, corner, strict=True)],
                    [b - c for b, c in zip(part.end, corner, strict=True)],
                ),
                np.ascontiguousarray(block, dtype=np.uint64),
            )

    def _distinct_labels(self) -> Ids:
        parts = [distinct_ids(block) for _, _, block in self._parts()]
        return np.unique(np.concatenate([_NO_IDS, *parts]))

    def _cleared(self, present: Mapping[ChunkKey, Chunk]) -> Ids:
        """Return the sorted supervoxels in the region that no person ever touched."""
        parts = [
            distinct_ids(present[key].cut(box)) for key, box, _ in self._parts() if key in present
        ]
        found = np.unique(np.concatenate([_NO_IDS, *parts]))
        edited = self.view.edited_supervoxels(found.tolist(), AUTOMATIC_KINDS)
        return found[~np.isin(found, np.array(sorted(edited), dtype=np.uint64))]

    def _remainders(
        self, cleared: Ids, present: Mapping[ChunkKey, Chunk]
    ) -> dict[int, StatisticsChange]:
        """Return the statistics of cleared supervoxels: what is left of them outside the region."""
        before = self.view.statistics_of(cleared.tolist())
        lost, table = StatisticsTable(cleared), StatisticsTable(cleared)
        for key, box, _ in self._parts():
            if key in present:
                lost.add(present[key].cut(box), _corner(key, box.offset))
        reaching_out = [s.bbox for s in before.values() if not self.roi.encloses(s.bbox)]
        keys = {key for bbox in reaching_out for key in keys_over(bbox, 0)}
        for key, chunk in self.view.load_chunks(keys).items():
            corner = _corner(key, chunk.offset)
            outside = chunk.block.copy()
            inside = chunk.box.shift(_corner(key, (0, 0, 0))).intersect(self.roi)
            if not inside.is_empty:
                outside[inside.slices(corner)] = 0
            table.add(outside, corner)
        return {
            s: StatisticsChange(old, _left_over(old, lost.get(s), table.get(s)))
            for s, old in before.items()
        }


def _left_over(
    before: SupervoxelStatistics,
    lost: SupervoxelStatistics | None,
    outside: SupervoxelStatistics | None,
) -> SupervoxelStatistics | None:
    """Return the statistics of a supervoxel without the voxels it lost; `outside` has its box."""
    if lost is None or outside is None or lost.voxels == before.voxels:
        return before if lost is None else None
    z, y, x = (a - b for a, b in zip(before.sums, lost.sums, strict=True))
    return SupervoxelStatistics(before.voxels - lost.voxels, outside.bbox, (z, y, x))


def _translated(block: Ids, keys: Ids, values: Ids) -> Ids:
    out = np.empty_like(block)
    translate(block.reshape(-1), _NO_IDS, _NO_IDS, keys, values, out.reshape(-1))
    return out


def _corner(key: ChunkKey, offset: Coordinate) -> Coordinate:
    z, y, x = (p * CHUNK_SIDE + o for p, o in zip(key[1:], offset, strict=True))
    return (z, y, x)
