"""The labels of one volume at one version: never changes, costs nothing to make."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from segmentation_backend.errors import ErrorKind, InvalidInputError, NotFoundError
from segmentation_backend.geometry import Roi, ScaleLevel
from segmentation_backend.labels import index
from segmentation_backend.labels.agglomeration import Agglomeration
from segmentation_backend.labels.chunks import CHUNK_SIDE, Chunk, chunk_roi, keys_over
from segmentation_backend.labels.delta import ChunkKey, Edge
from segmentation_backend.labels.ids import check_id
from segmentation_backend.labels.makers import makers_of, noted
from segmentation_backend.labels.object_pages import Page
from segmentation_backend.labels.operations import Operation
from segmentation_backend.labels.statistics import ObjectStats, SupervoxelStatistics
from segmentation_backend.labels.storage import LabelStorage

__all__ = ["LabelView"]

Ids = npt.NDArray[np.uint64]

_NO_IDS: Ids = np.zeros(0, dtype=np.uint64)


class LabelView:
    """The labels at `version`; every read answers the same for ever."""

    def __init__(self, storage: LabelStorage, version: int) -> None:
        """Look at one version (see `LabelRepository.at`)."""
        self.storage = storage
        self.version = version

    @property
    def levels(self) -> tuple[ScaleLevel, ...]:
        """The scale levels, finest first."""
        return self.storage.levels

    @property
    def bounds(self) -> Roi:
        """The extent of the volume at level 0."""
        return Roi((0, 0, 0), self.levels[0].shape)

    @property
    def agglomeration(self) -> Agglomeration:
        """Which supervoxels are joined at this version."""
        return self.storage.agglomeration(self.version)

    # Voxels

    def read_supervoxels(self, roi: Roi, level: int = 0) -> Ids:
        """Return supervoxel ids, uint64 z,y,x shaped like `roi` (voxels of `level`); caller owns.

        Raises InvalidInputError ROI_OUT_OF_BOUNDS, FormatError CORRUPT_CHUNK, ResourceError.
        """
        return _pasted(self.chunks_over(roi, level), roi)

    def load_chunks(self, keys: Collection[ChunkKey]) -> dict[ChunkKey, Chunk]:
        """Return the supervoxels of chunks, as stored; chunks never written are absent."""
        places = self.storage.places(keys, self.version)
        chunks = self.storage.load(places.values())
        return {key: chunks[place] for key, place in places.items()}

    def chunks_over(self, roi: Roi, level: int = 0) -> dict[ChunkKey, Chunk]:
        """Return the chunks that overlap a region of a level; see `load_chunks`."""
        self.storage.check_roi(roi, level)
        return self.load_chunks(list(keys_over(roi, level)))

    def read(self, roi: Roi, level: int = 0) -> Ids:
        """Return root ids, uint64 z,y,x shaped like `roi` (voxels of `level`); caller owns."""
        chunks = self.chunks_over(roi, level)
        known = [chunk.ids for chunk in chunks.values() if chunk.ids is not None]
        # Found when the chunks were decoded. A small part of them may hold few of these.
        is_large = roi.size * 8 >= len(chunks) * CHUNK_SIDE**3
        ids = None
        if is_large and len(known) == len(chunks):
            ids = np.unique(np.concatenate([*known, _NO_IDS]))
        return self.agglomeration.to_roots(_pasted(chunks, roi), ids)

    def supervoxel_at(self, point: Sequence[int]) -> int:
        """Return the supervoxel of a level-0 voxel (z, y, x); 0 is background.

        Over a base, the place is remembered: an edit of the object finds it there.
        """
        z, y, x = point
        supervoxel = int(self.read_supervoxels(Roi((z, y, x), (1, 1, 1)))[0, 0, 0])
        self.storage.point_out(supervoxel, (z, y, x))
        return supervoxel

    def root_at(self, point: Sequence[int]) -> int:
        """Return the object of a level-0 voxel (z, y, x); 0 is background."""
        return self.root_of(self.supervoxel_at(point))

    def written_chunks(self, most: int) -> set[ChunkKey] | None:
        """Return chunks, of all levels, outside of which there is no label.

        None where it takes too long to say: over a base, or after more than `most` writes.
        """
        if self.storage.base is not None:
            return None
        return self.storage.query(
            self.version, lambda connection, path: index.written_chunks(connection, path, most)
        )

    def chunk(self, level: int, position: Sequence[int]) -> Ids | None:
        """Return the root ids of one chunk of the 64-voxel grid, clipped to the level's shape.

        None: the chunk holds no label. `position` is the chunk's z, y, x on the grid.
        """
        key = self._key(level, position)
        place = self.storage.places([key], self.version).get(key)
        chunk = self.storage.load([place])[place]
        if chunk.block.size == 0:
            return None
        shape = chunk_roi(key, self.storage.level(level)).shape
        return self.to_roots(chunk.cut(Roi((0, 0, 0), shape)))

    def chunk_etag(self, level: int, position: Sequence[int]) -> str:
        """Return a name of the chunk's content: it changes if and only if `chunk` does.

        "Only if" holds for edits; an undo of voxels may give an old content an old or a new name.
        """
        key = self._key(level, position)
        return self.etag(chunk_roi(key, self.storage.level(level)), level)

    def etag(self, roi: Roi, level: int = 0) -> str:
        """Return a name of what the chunks over a region hold; see `chunk_etag`."""
        self.storage.check_roi(roi, level)
        name = (self.version, level, roi)
        known = self.storage.etags.get(name)
        if known is None:
            known = self._etag(roi, level)
            self.storage.etags.keep({name: known})
        return known

    def _etag(self, roi: Roi, level: int) -> str:
        digest = hashlib.blake2b(digest_size=16)
        places = self.storage.places(list(keys_over(roi, level)), self.version)
        for key in sorted(places):
            digest.update(f"{key}{places[key]}".encode())
            digest.update(self.to_roots(self.storage.distinct(places[key])).tobytes())
        return digest.hexdigest()

    def _key(self, level: int, position: Sequence[int]) -> ChunkKey:
        z, y, x = position
        key = ChunkKey(level, z, y, x)
        if min(position) < 0 or chunk_roi(key, self.storage.level(level)).is_empty:
            raise InvalidInputError(
                f"There is no chunk {tuple(position)} at level {level}.",
                ErrorKind.ROI_OUT_OF_BOUNDS,
            )
        return key

    # Joins

    def to_roots(self, supervoxels: Ids) -> Ids:
        """Return root ids for supervoxel ids (uint64, any shape); 0 stays 0."""
        return self.agglomeration.to_roots(supervoxels)

    def root_of(self, supervoxel: int) -> int:
        """Return the object a supervoxel belongs to; an id without edges is its own root."""
        return self.agglomeration.root_of(supervoxel)

    def members(self, root: int) -> tuple[int, ...]:
        """Return the supervoxels of an object, sorted; any of its supervoxels names it."""
        return tuple(self.agglomeration.members(root))

    def edges_of(self, root: int) -> frozenset[Edge]:
        """Return the edges that join an object."""
        return self.agglomeration.edges_of(root)

    def edited_supervoxels(
        self, supervoxels: Collection[int], automatic_kinds: Collection[str]
    ) -> set[int]:
        """Return those that an operation of another kind wrote, or joined."""
        return self.storage.query(
            self.version,
            lambda connection, path: index.edited_supervoxels(
                connection, self.storage.volume_id, path, supervoxels, automatic_kinds
            ),
        )

    def makers_of(self, supervoxels: Collection[int]) -> dict[int, Operation]:
        """Return the operation that made each supervoxel; those of a base are absent."""
        return makers_of(self.storage, self.version, supervoxels)

    def noted(self, kind: str, fields: Collection[str]) -> list[dict[str, Any]]:
        """Return fields that operations of a kind noted, newest first; see `makers.noted`."""
        return noted(self.storage, kind, fields)

    # Objects

    def statistics_of(self, supervoxels: Collection[int]) -> dict[int, SupervoxelStatistics]:
        """Return size and place of supervoxels; those that do not exist are absent."""
        return self.storage.statistics_of(supervoxels, self.version)

    def statistics_in(self, roi: Roi | None) -> dict[int, SupervoxelStatistics]:
        """Return size and place of the supervoxels whose box overlaps `roi` (None: all)."""
        return self.storage.statistics_in(roi, self.version)

    def object(self, root: int) -> ObjectStats:
        """Return size and place of an object, named by its root or any of its supervoxels.

        Raises NotFoundError OBJECT_NOT_FOUND, InvalidInputError INVALID_ID and
        BACKGROUND_NOT_AN_OBJECT.
        """
        return self.resolve([root])[0]

    def resolve(self, ids: Sequence[int]) -> list[ObjectStats]:
        """Return the object of each id (a root or any supervoxel), in order; see `object`."""
        supervoxels = [check_id(value) for value in ids]
        if 0 in supervoxels:
            raise InvalidInputError(
                "Id 0 is background, not an object; point at a labelled voxel.",
                ErrorKind.BACKGROUND_NOT_AN_OBJECT,
            )
        if self.storage.base is not None:
            groups = self.agglomeration.members_of(set(supervoxels))
            self.storage.locate({member for group in groups.values() for member in group})
        roots = self.agglomeration.roots_of(set(supervoxels))
        sizes = self.storage.sizes_of(set(roots.values()), self.version)
        for supervoxel in supervoxels:
            if roots[supervoxel] not in sizes:
                raise NotFoundError(
                    f"There is no object {supervoxel} at version {self.version}"
                    + self.storage.hint(supervoxel),
                    ErrorKind.OBJECT_NOT_FOUND,
                )
        return [sizes[roots[s]].stats(roots[s]) for s in supervoxels]

    def objects(
        self,
        roi: Roi | None = None,
        sort: str = "-voxels",
        limit: int = 1000,
        after: int | None = None,
    ) -> list[ObjectStats]:
        """Return objects with a supervoxel whose box overlaps `roi` (None: all), by `sort`.

        At most `limit` of them, each with the statistics of the whole object. `sort` is one of
        `object_pages.ORDERS`. `after` names the object that the page begins behind: the last one
        of the page before (NotFoundError OBJECT_NOT_FOUND where there is none of this id).
        """
        page = Page(sort, limit)
        if after is not None:
            page = replace(page, after=self.object(after))
        whole = roi is not None and roi.encloses(self.bounds)
        return self.storage.objects(None if whole else roi, self.version, page)


def _pasted(chunks: Mapping[ChunkKey, Chunk], roi: Roi) -> Ids:
    """Return a region as a dense array; chunks that are absent are background."""
    out = np.zeros(roi.shape, dtype=np.uint64)
    for key, chunk in chunks.items():
        z, y, x = (begin - p * CHUNK_SIDE for p, begin in zip(key[1:], roi.offset, strict=True))
        chunk.paste(out, (z, y, x))
    return out
