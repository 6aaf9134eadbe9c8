"""Bring a segmentation result into the labels without overwriting what people did."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from segmentation_backend.edits.voxels import write_voxels
from segmentation_backend.errors import ErrorKind, FormatError, InvalidInputError
from segmentation_backend.geometry import Roi
from segmentation_backend.labels import CHUNK_SIDE, ChunkKey, Delta, LabelView, StatisticsChange
from segmentation_backend.labels.chunks import EMPTY_CHUNK, Chunk, chunk_roi, keys_over
from segmentation_backend.labels.confidence import Confidence
from segmentation_backend.labels.delta import edge_between
from segmentation_backend.labels.ids import LARGEST_STORED_ID
from segmentation_backend.labels.kernels import distinct_ids, translate
from segmentation_backend.labels.staging import Write

__all__ = [
    "AUTOMATIC_KINDS",
    "EXISTING",
    "Existing",
    "Join",
    "Part",
    "import_labels",
    "import_parts",
]

Ids = npt.NDArray[np.uint64]

Existing = Literal["fill-empty", "replace-unedited", "replace-all"]
EXISTING: tuple[Existing, ...] = ("replace-unedited", "fill-empty", "replace-all")
"""What becomes of labels that are there already, the default first."""

Join = tuple[int, int]
"""A label of the result, and the supervoxel outside of the region that it goes on as."""

AUTOMATIC_KINDS = frozenset({"segment", "import", "undo", "redo", "revert"})
"""Kinds of operation that add no decision of a person about which voxels belong together."""

_NO_IDS: Ids = np.zeros(0, dtype=np.uint64)


class Part(NamedTuple):
    """The result for one box of a segmentation."""

    roi: Roi
    labels: npt.NDArray[np.integer]
    """(z, y, x) of the box's shape, 0 = background."""
    within: npt.NDArray[np.bool_] | None = None
    """(z, y, x), sides of 1 or the box's: where voxels may change; everywhere without it."""


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
    return import_parts(view, [Part(roi, labels)], first_id, existing, joins, confidences)


def import_parts(
    view: LabelView,
    parts: Sequence[Part],
    first_id: int,
    existing: Existing = "replace-unedited",
    joins: Collection[Join] = (),
    confidences: Mapping[int, Confidence] | None = None,
) -> Delta:
    """Return the one change that writes several boxes, which do not overlap; see `import_labels`.

    A label means the same object in all of them. What lies outside of `Part.within` stays.
    """
    for part in parts:
        _check(view, part, first_id, existing)
    return _Import(view, parts, first_id, confidences or {}).delta(existing, joins)


def _check(view: LabelView, part: Part, first_id: int, existing: str) -> None:
    roi, labels, _ = part
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


class _Piece(NamedTuple):
    """What a part says of one chunk."""

    box: Roi
    """In voxels from the chunk's first one."""
    labels: Ids
    within: npt.NDArray[np.bool_] | None
    """Of the labels' shape."""


@dataclass(frozen=True)
class _Import:
    view: LabelView
    parts: Sequence[Part]
    first_id: int
    confidences: Mapping[int, Confidence]
    _by_key: dict[ChunkKey, list[Part]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        found: dict[ChunkKey, list[Part]] = defaultdict(list)
        for part in self.parts:
            for key in keys_over(part.roi, 0):
                found[key].append(part)
        self._by_key.update(found)

    def delta(self, existing: Existing, joins: Collection[Join]) -> Delta:
        known = [distinct_ids(piece.labels) for key in self._by_key for piece in self._pieces(key)]
        old_labels = np.unique(np.concatenate([_NO_IDS, *known]))
        new_ids = np.arange(len(old_labels), dtype=np.uint64) + np.uint64(self.first_id)
        chunks = self.view.load_chunks(list(self._by_key))
        cleared = self._cleared(existing, chunks)
        writes = self._writes(chunks, old_labels, new_ids, cleared)
        delta = write_voxels(self.view, writes)
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
        self, chunks: dict[ChunkKey, Chunk], old_labels: Ids, new_ids: Ids, cleared: Ids
    ) -> Iterator[tuple[ChunkKey, list[Write]]]:
        for key in self._by_key:
            chunk = chunks.get(key, EMPTY_CHUNK)
            writes: list[Write] = []
            for piece in self._pieces(key):
                new = _translated(piece.labels, old_labels, new_ids)
                if chunk.block.size:
                    there = chunk.cut(piece.box)
                    kept = _translated(there, cleared, np.zeros_like(cleared))
                    new = np.where(kept != 0, kept, new)
                    if piece.within is not None:
                        new = np.where(piece.within, new, there)
                elif not new.any():
                    continue
                writes.append((piece.box.offset, new))
            if writes:
                yield key, writes

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

    def _pieces(self, key: ChunkKey) -> Iterator[_Piece]:
        """Yield the parts of a chunk; labels outside of `within` are none."""
        z, y, x = (-position * CHUNK_SIDE for position in key[1:])
        for roi, labels, within in self._by_key[key]:
            box = chunk_roi(key, self.view.levels[0]).intersect(roi)
            inside = box.slices(roi.offset)
            block = np.ascontiguousarray(labels[inside], dtype=np.uint64)
            where = None
            if within is not None:
                where = np.broadcast_to(within, roi.shape)[inside]
                block = block * where
            yield _Piece(box.shift((z, y, x)), block, where)

    def _cleared(self, existing: Existing, chunks: dict[ChunkKey, Chunk]) -> Ids:
        """Return the sorted supervoxels that make way where the parts are."""
        if existing == "fill-empty":
            return _NO_IDS
        known = [
            distinct_ids(chunks[key].cut(piece.box))
            for key in self._by_key
            if key in chunks
            for piece in self._pieces(key)
        ]
        found = np.unique(np.concatenate([_NO_IDS, *known]))
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
