"""A segmentation as somebody published it: levels of integer ids, read by region, never written."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import tensorstore as ts
from numpy.typing import NDArray

from segmentation_backend.errors import (
    ErrorKind,
    FormatError,
    InvalidInputError,
    NotFoundError,
    ResourceError,
)
from segmentation_backend.geometry import Coordinate, Roi, ScaleLevel, VoxelSize
from segmentation_backend.sources.bombs import BombError
from segmentation_backend.sources.chunk_files import ChunkFiles, chunk_files
from segmentation_backend.sources.discovery import find_image
from segmentation_backend.sources.folders import inspect_folder
from segmentation_backend.sources.grids import Corner
from segmentation_backend.sources.pyramids import StoredLevel, build_pyramid, open_spatial
from segmentation_backend.sources.readers import FILE_SUFFIXES
from segmentation_backend.sources.specs import CloudSettings, locate
from segmentation_backend.sources.stores import CACHE_BYTES, open_context, wait

__all__ = ["LABEL_DTYPES", "LabelArrays", "open_labels"]

LABEL_DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64")


@dataclass(frozen=True)
class LabelArrays:
    """Label arrays that lie over one another, finest first; corners coincide."""

    url: str
    dtype: np.dtype[np.integer]
    levels: tuple[ScaleLevel, ...]
    """As stored; nothing is computed here."""
    chunks: tuple[Coordinate, ...]
    """The shape of one chunk (of one that can be read alone, where it is sharded) per level."""
    voxel_size_is_assumed: bool
    corners: tuple[Corner, ...]
    """Where the metadata may put the first corner (see `grids.first_corners`)."""
    stored: tuple[StoredLevel, ...] = field(repr=False)
    """What each level is."""
    _arrays: tuple[ts.TensorStore, ...] = field(repr=False)
    _context: ts.Context = field(repr=False)
    _offsets: tuple[Coordinate, ...] = ()
    """Where each array begins in its level, where labels were placed."""

    @property
    def is_placed(self) -> bool:
        """Whether they begin elsewhere than where their arrays do."""
        return any(any(offset) for offset in self._offsets)

    def read(self, roi: Roi, level: int) -> NDArray[np.integer]:
        """Return the ids of a region inside a level, z, y, x, of `dtype`.

        A chunk that does not exist holds the array's fill value, as its format says. Raises
        ResourceError SOURCE_UNAVAILABLE for one that cannot be fetched and FormatError
        CORRUPT_CHUNK for one that cannot be decoded.
        """
        own = roi.shift([-v for v in self._offset(level)])
        inside = own.intersect(Roi((0, 0, 0), _sides(self._arrays[level].shape)))
        if inside == own:
            return self._read(own, level)
        # Around labels that were placed there is nothing, by definition.
        ids = np.zeros(roi.shape, self.dtype)
        if not inside.is_empty:
            ids[inside.slices(own.offset)] = self._read(inside, level)
        return ids

    def _offset(self, level: int) -> Coordinate:
        return self._offsets[level] if self._offsets else (0, 0, 0)

    def _read(self, roi: Roi, level: int) -> NDArray[np.integer]:
        array, what = self._arrays[level], f"{self.url} {roi} at level {level}"
        try:
            if (files := self._files[level]) is not None:
                files.check(roi)
            found: NDArray[np.integer] = wait(lambda: array[roi.slices()].read(order="C"), what)
        except (FormatError, BombError) as err:
            raise FormatError(
                f"{err} A chunk of these labels is damaged; restore it.", ErrorKind.CORRUPT_CHUNK
            ) from err
        except NotFoundError as err:
            raise ResourceError(str(err), ErrorKind.SOURCE_UNAVAILABLE) from err
        return found

    @cached_property
    def _files(self) -> tuple[ChunkFiles | None, ...]:
        return tuple(map(chunk_files, self._arrays))

    def check_present(self, level: int) -> None:
        """Raise ResourceError SOURCE_UNAVAILABLE unless a level's metadata are still there.

        Where a disk was unmounted or a bucket deleted, every chunk looks as if it had never been
        written.
        """
        location = self.stored[level].source.location
        if inspect_folder(location, self._context) is None:
            raise ResourceError(
                f"The labels at {location.url} are no longer there; bring them back, or the disk "
                "or bucket that held them.",
                ErrorKind.SOURCE_UNAVAILABLE,
            )

    def with_voxel_size(self, voxel_size: VoxelSize) -> LabelArrays:
        """Return the same arrays with another voxel size at level 0, the levels scaled alike."""
        by = [new / old for new, old in zip(voxel_size, self.levels[0].voxel_size, strict=True)]
        levels = tuple(
            replace(level, voxel_size=_times(level.voxel_size, by)) for level in self.levels
        )
        corners = tuple(_times(corner, by) for corner in self.corners)
        return replace(self, levels=levels, corners=corners, voxel_size_is_assumed=False)

    def placed(self, offset: Coordinate) -> LabelArrays:
        """Return the same labels `offset` voxels further on; what lies before 0 is cut off.

        Levels whose voxels do not begin where `offset` says are left out.
        """
        if not any(offset):
            return self
        base = self.levels[0].voxel_size
        kept: list[tuple[int, Coordinate]] = []
        for index, level in enumerate(self.levels):
            ratios = [a / b for a, b in zip(level.voxel_size, base, strict=True)]
            own = [by / ratio for by, ratio in zip(offset, ratios, strict=True)]
            if all(abs(by - round(by)) < 1e-3 for by in own):
                z, y, x = (round(by) for by in own)
                kept.append((index, (z, y, x)))
        levels = []
        for number, (index, own_offset) in enumerate(kept):
            z, y, x = (
                side + by for side, by in zip(self.levels[index].shape, own_offset, strict=True)
            )
            levels.append(replace(self.levels[index], level=number, shape=(z, y, x)))
        chosen = [index for index, _ in kept]
        return replace(
            self,
            levels=tuple(levels),
            chunks=tuple(self.chunks[index] for index in chosen),
            stored=tuple(self.stored[index] for index in chosen),
            _arrays=tuple(self._arrays[index] for index in chosen),
            _offsets=tuple(by for _, by in kept),
        )


def _times(vector: tuple[float, float, float], by: list[float]) -> tuple[float, float, float]:
    z, y, x = (a * b for a, b in zip(vector, by, strict=True))
    return (z, y, x)


def open_labels(
    path_or_url: str,
    *,
    cloud: CloudSettings | None = None,
    cache_bytes: int = CACHE_BYTES,
    flipped: Collection[str] = (),
) -> LabelArrays:
    """Return the labels at a local path or a URL: zarr, OME-Zarr, N5 or precomputed.

    Along the axes in `flipped` (z, y, x) they are stored in reverse, as for `open_volume`. Errors
    are those of `open_volume`; FormatError UNSUPPORTED_DTYPE for anything but integers.
    """
    if "://" not in path_or_url and Path(path_or_url).suffix.lower() in FILE_SUFFIXES:
        raise InvalidInputError(
            f"Labels are read in place, by region, which {path_or_url} does not allow; write them "
            "as zarr, N5 or precomputed.",
            ErrorKind.INVALID_PARAMETER,
        )
    context = open_context(cache_bytes)
    source = find_image(locate(path_or_url, cloud), context)
    opened = [open_spatial(level, context) for level in source.levels]
    pyramid = build_pyramid(opened, None, flipped)
    arrays = pyramid.arrays
    dtypes = {array.dtype.name for array in arrays}
    if len(dtypes) > 1 or not dtypes <= set(LABEL_DTYPES):
        raise FormatError(
            f"{source.location.url} is of type {' and '.join(sorted(dtypes))}; labels are whole "
            f"numbers, all levels of one type: {', '.join(LABEL_DTYPES)}.",
            ErrorKind.UNSUPPORTED_DTYPE,
        )
    return LabelArrays(
        url=source.location.url,
        dtype=np.dtype(arrays[0].dtype.numpy_dtype),
        levels=pyramid.levels,
        chunks=tuple(_chunk(array) for array in arrays),
        voxel_size_is_assumed=pyramid.voxel_size_is_assumed or source.is_size_assumed,
        corners=pyramid.corners,
        stored=pyramid.stored_levels(source.levels),
        _arrays=arrays,
        _context=context,
    )


def _sides(shape: tuple[int, ...]) -> Coordinate:
    z, y, x = (int(side) for side in shape)
    return (z, y, x)


def _chunk(array: ts.TensorStore) -> Coordinate:
    shape = array.chunk_layout.read_chunk.shape or array.shape
    return _sides(tuple(max(1, min(c or s, s)) for c, s in zip(shape, array.shape, strict=True)))
