"""Bring a segmentation result into the labels without overwriting what people did."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from segmentation_backend.edits.voxels import write_voxels
from segmentation_backend.errors import ErrorKind, FormatError, InvalidInputError
from segmentation_backend.geometry import Roi
from segmentation_backend.labels import CHUNK_SIDE, ChunkKey, Delta, LabelView, StatisticsChange
from segmentation_backend.labels.chunks import EMPTY_CHUNK, chunk_roi, keys_over
from segmentation_backend.labels.confidence import Confidence
from segmentation_backend.labels.delta import edge_between
from segmentation_backend.labels.ids import LARGEST_STORED_ID
from segmentation_backend.labels.kernels import distinct_ids, translate
from segmentation_backend.labels.staging import Write

__all__ = ["AUTOMATIC_KINDS", "EXISTING", "Existing", "Join", "import_labels"]

Ids = npt.NDArray[np.uint64]

Existing = Literal["fill-empty", "replace-unedited", "replace-all"]
EXISTING: tuple[Existing, ...] = ("replace-unedited", "fill-empty", "replace-all")
"""What becomes of labels that are there already, the default first."""

Join = tuple[int, int]
"""A label of the result, and the supervoxel outside of the region that it goes on as."""

AUTOMATIC_KINDS = frozenset({"segment", "import", "undo", "redo", "revert"})
"""Kinds of operation that add no decision of a person about which voxels belong together."""

_NO_IDS: Ids = np.zeros(0, dtype=np.uint64)


def import_labels(
    view: LabelView,
    roi: Roi,
    labels: npt.NDArray[np.integer],
    first_id: int,
    existing: Existing = "replace-unedited",
    joins: Collection[Join] = (),
    confidences: Mapping[int, Confidence] | None = None,
) -> Delta:
    """Return the change that writes a segmentation of `roi` into the labels.

    `labels` is an integer z,y,x array shaped like `roi`, 0 background. Its n distinct labels become
    supervoxels `first_id` to `first_id + n - 1`, in ascending order of label, so reserve n ids
    (`labels.max()` is enough). Voxels that hold a label keep it; with "replace-unedited" those of
    supervoxels that only segmentations wrote and joined (`AUTOMATIC_KINDS`) are cleared inside
    `roi` first, with "replace-all" those of every supervoxel. A label that is covered wholly makes
    no object. `joins` makes labels one object with supervoxels that are there, except where either
    has no voxel afterwards or a person had a hand in the supervoxel. `confidences` says how sure
    the network is of labels; of others nothing is known.
    """
    _check(view, roi, labels, first_id, existing)
    return _Import(view, roi, labels, first_id, confidences or {}).delta(existing, joins)


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
    elif existing not in EXISTING:
        problem = f"existing must be one of {', '.join(EXISTING)}, not {existing!r}."
    if problem is not None:
        raise InvalidInputError(problem, ErrorKind.INVALID_PARAMETER)


@dataclass(frozen=True)
class _Import:
    view: LabelView
    roi: Roi
    labels: npt.NDArray[np.integer]
    first_id: int
    confidences: Mapping[int, Confidence]

    def delta(self, existing: Existing, joins: Collection[Join]) -> Delta:
        old_labels = np.unique(np.concatenate([_NO_IDS, *map(distinct_ids, self._blocks())]))
        new_ids = np.arange(len(old_labels), dtype=np.uint64) + np.uint64(self.first_id)
        cleared = self._cleared(existing)
        delta = write_voxels(self.view, self._writes(old_labels, new_ids, cleared))
        ids = dict(zip(old_labels.tolist(), new_ids.tolist(), strict=True))
        edges = self._edges(delta, [(ids[label], other) for label, other in joins if label in ids])
        statistics = self._with_confidences(delta.statistics, ids)
        return replace(delta, edges_added=delta.edges_added | edges, statistics=statistics)

    def _with_confidences(
        self, statistics: Mapping[int, StatisticsChange], ids: Mapping[int, int]
    ) -> Mapping[int, StatisticsChange]:
        """Return the statistics with how sure the network is of the labels that are left."""
        found = dict(statistics)
        for label in self.confidences.keys() & ids.keys():
            change = found.get(ids[label])
            if change is not None and change.after is not None:
                after = replace(change.after, confidence=self.confidences[label])
                found[ids[label]] = StatisticsChange(change.before, after)
        return found

    def _writes(
        self, old_labels: Ids, new_ids: Ids, cleared: Ids
    ) -> Iterator[tuple[ChunkKey, list[Write]]]:
        chunks = self.view.chunks_over(self.roi)
        for (key, box), part in zip(self._places(), self._blocks(), strict=True):
            new = _translated(part, old_labels, new_ids)
            chunk = chunks.get(key, EMPTY_CHUNK)
            if chunk.block.size:
                kept = _translated(chunk.cut(box), cleared, np.zeros_like(cleared))
                new = np.where(kept != 0, kept, new)
            elif not new.any():
                continue
            yield key, [(box.offset, new)]

    def _edges(self, delta: Delta, joins: Collection[Join]) -> frozenset[tuple[int, int]]:
        """Return the edges of joins between what is there afterwards and no person touched."""
        changes = delta.statistics
        asked = {other for _, other in joins}
        there = self.view.statistics_of(asked).keys() - self._edited(asked)
        gone = {s for s, change in changes.items() if change.after is None}
        return frozenset(
            edge_between(new, other)
            for new, other in joins
            if new in changes and other in there and other not in gone
        )

    def _places(self) -> Iterator[tuple[ChunkKey, Roi]]:
        """Yield each chunk of the region: its key, and the part in the region, from its corner."""
        for key in keys_over(self.roi, 0):
            part = chunk_roi(key, self.view.levels[0]).intersect(self.roi)
            z, y, x = (-position * CHUNK_SIDE for position in key[1:])
            yield key, part.shift((z, y, x))

    def _blocks(self) -> Iterator[Ids]:
        """Yield the labels of each chunk of the region, in the order of `_places`."""
        for key in keys_over(self.roi, 0):
            part = chunk_roi(key, self.view.levels[0]).intersect(self.roi)
            block = self.labels[part.slices(self.roi.offset)]
            yield np.ascontiguousarray(block, dtype=np.uint64)

    def _cleared(self, existing: Existing) -> Ids:
        """Return the sorted supervoxels that make way inside the region."""
        if existing == "fill-empty":
            return _NO_IDS
        chunks = self.view.chunks_over(self.roi)
        parts = [distinct_ids(chunks[k].cut(box)) for k, box in self._places() if k in chunks]
        found = np.unique(np.concatenate([_NO_IDS, *parts]))
        if existing == "replace-all":
            return found
        edited = np.array(sorted(self._edited(found.tolist())), dtype=np.uint64)
        return found[~np.isin(found, edited)]

    def _edited(self, supervoxels: Collection[int]) -> set[int]:
        """Return those that a person wrote or joined."""
        return self.view.edited_supervoxels(supervoxels, AUTOMATIC_KINDS)


def _translated(block: Ids, keys: Ids, values: Ids) -> Ids:
    out = np.empty_like(block)
    translate(block.reshape(-1), _NO_IDS, _NO_IDS, keys, values, out.reshape(-1))
    return out
