"""An EM volume as the rest of the program sees it: levels in z, y, x, read by region."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from math import prod

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
from segmentation_backend.geometry import (
    Coordinate,
    Roi,
    ScaleLevel,
    VoxelSize,
    nearest_level,
    plan_levels,
)
from segmentation_backend.sources.bombs import BombError
from segmentation_backend.sources.chunk_files import ChunkFiles, chunk_files
from segmentation_backend.sources.contrast import Contrast, StatedRange, measure
from segmentation_backend.sources.discovery import LevelSource, find_image
from segmentation_backend.sources.grids import Corner
from segmentation_backend.sources.in_place import stack_level
from segmentation_backend.sources.pending import PendingRead
from segmentation_backend.sources.pyramids import (
    OpenLevel,
    Pyramid,
    StoredLevel,
    build_pyramid,
    open_spatial,
)
from segmentation_backend.sources.readers import is_stack, open_stack
from segmentation_backend.sources.specs import CloudSettings, locate
from segmentation_backend.sources.stores import CACHE_BYTES, open_context, wait

__all__ = ["IMAGE_DTYPES", "Contrast", "Volume", "open_volume"]

IMAGE_DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32")
"""What an image may be made of; float64 is read as float32."""

# A virtual level averages what is stored each time it is read, so one voxel of it may cost at
# most 8 x 8 x 8 stored ones, unless reading the whole volume is cheap anyway.
_MAX_VIRTUAL_FACTOR = 8
_CHEAP_VOXELS = 2**28
_SAMPLE_EDGE_NM = 16.0
_SAMPLE_VOXELS = 2**24
_SAMPLE_BLOCK = 96
_SAMPLE_DECODED = 2**26


@dataclass(frozen=True)
class Volume:
    """An image with its pyramid; levels share their first corner, which is (0, 0, 0) in each."""

    name: str
    url: str
    dtype: np.dtype[np.generic]
    levels: tuple[ScaleLevel, ...]
    voxel_size_is_assumed: bool
    """Whether nobody said how large a voxel is, so that lengths in nm are a guess."""
    stored_levels: int
    """How many of the levels exist as arrays; those after them are computed when read."""
    _arrays: tuple[ts.TensorStore, ...] = field(repr=False)
    corners: tuple[Corner, ...] = ((0.0, 0.0, 0.0),)
    """Where the file's own coordinates may put the first corner (see `grids.first_corners`)."""
    stated: StatedRange | None = None
    """How the file's own metadata want it shown."""
    stored: tuple[StoredLevel, ...] = field(default=(), repr=False)
    """Of a store of chunks, what the stored levels are; of a file, nothing."""

    @property
    def origin(self) -> Corner:
        """Where the file's own coordinates put the outer corner of voxel (0, 0, 0), in nm."""
        return self.corners[0]

    @property
    def bounds(self) -> Roi:
        """The extent of level 0."""
        return self.level_bounds(0)

    def level_bounds(self, level: int) -> Roi:
        """Return the extent of a level in its own voxels; InvalidInputError when it has none."""
        if not 0 <= level < len(self.levels):
            raise InvalidInputError(
                f"Volume {self.name} has no level {level}; its levels are 0 to "
                f"{len(self.levels) - 1}.",
                ErrorKind.INVALID_PARAMETER,
            )
        return Roi((0, 0, 0), self.levels[level].shape)

    def read(self, roi: Roi, level: int = 0) -> NDArray[np.generic]:
        """Return the voxels of a region, z, y, x, of `dtype`, owned by the caller.

        Chunks that were never written are 0 (or the array's fill value). Raises
        InvalidInputError (ROI_EMPTY, ROI_OUT_OF_BOUNDS) and, when a chunk cannot be fetched or
        decoded, ResourceError (SOURCE_UNAVAILABLE).
        """
        return self.begin_read(roi, level).result()

    def begin_read(self, roi: Roi, level: int = 0) -> PendingRead:
        """Ask for the voxels of a region, without waiting; see `read`.

        Raises InvalidInputError (ROI_EMPTY, ROI_OUT_OF_BOUNDS) at once, and for a file that is too
        large for a chunk ResourceError (SOURCE_UNAVAILABLE); what else when its result is asked
        for.
        """
        bounds = self.level_bounds(level)
        if roi.is_empty:
            raise InvalidInputError(
                f"The region {roi} holds no voxel; every side must be at least 1.",
                ErrorKind.ROI_EMPTY,
            )
        if not bounds.encloses(roi):
            raise InvalidInputError(
                f"The region {roi} is not inside volume {self.name}, which is {bounds} at level "
                f"{level}; choose a region within.",
                ErrorKind.ROI_OUT_OF_BOUNDS,
            )
        array = self._arrays[level]
        self._check_files(roi, level)

        def finish(future: ts.Future[NDArray[np.generic]]) -> NDArray[np.generic]:
            try:
                voxels = wait(lambda: future, f"{self.url} {roi}")
            except (FormatError, NotFoundError) as err:
                raise ResourceError(
                    f"The region {roi} of {self.url} at level {level} cannot be read: {err} "
                    "A chunk of it is damaged; restore it or choose another region.",
                    ErrorKind.SOURCE_UNAVAILABLE,
                ) from err
            return np.ascontiguousarray(voxels, dtype=self.dtype)

        return PendingRead(array[roi.slices()].read(order="C"), finish)

    def _check_files(self, roi: Roi, level: int) -> None:
        """Refuse to read files on this machine that would fill the memory."""
        if not self._files:
            return
        last = min(level, self.stored_levels - 1)
        fine, own = self.levels[last], self.levels[level]
        by = [round(a / b) for a, b in zip(own.voxel_size, fine.voxel_size, strict=True)]
        begin = [a * n for a, n in zip(roi.offset, by, strict=True)]
        end = [min(a * n, side) for a, n, side in zip(roi.end, by, fine.shape, strict=True)]
        files = self._files[last]
        try:
            if files is not None:
                files.check(Roi.from_bounds(begin, end))
        except BombError as err:
            raise ResourceError(
                f"The region {roi} of {self.url} at level {level} cannot be read: {err}. A chunk "
                "of it is damaged; restore it or choose another region.",
                ErrorKind.SOURCE_UNAVAILABLE,
            ) from err

    @cached_property
    def _files(self) -> tuple[ChunkFiles | None, ...]:
        return tuple(map(chunk_files, self._arrays[: self.stored_levels])) if self.stored else ()

    def read_chunk(self, level: int) -> Coordinate:
        """Return the box (z, y, x) that is fetched and decoded as one at a level."""
        sides = self._arrays[level].chunk_layout.read_chunk.shape or self.levels[level].shape
        z, y, x = (max(1, side or 1) for side in sides)
        return (z, y, x)

    def contrast(self) -> Contrast:
        """Return grey-level statistics of a sample spread over the volume; measured once.

        The sample is taken at the stored level nearest to 16 nm, where networks look. Padding
        is left out (see `contrast.measure`). Raises ResourceError (SOURCE_UNAVAILABLE) like
        `read`.
        """
        return self._contrast

    @cached_property
    def _contrast(self) -> Contrast:
        return measure(self._sample())

    def _sample(self) -> NDArray[np.generic]:
        """Return voxels (n,) from the whole level or from blocks of one chunk at most each."""
        level = nearest_level(self.levels[: self.stored_levels], _SAMPLE_EDGE_NM)
        blocks = _sample_blocks(level.shape, self.read_chunk(level.level))
        if prod(level.shape) <= _SAMPLE_VOXELS:
            blocks.insert(0, self.level_bounds(level.level))
        parts: list[NDArray[np.generic]] = []
        for block in blocks:
            try:
                parts.append(self.read(block, level.level).ravel())
            except ResourceError:
                # One damaged chunk must not keep the rest of a volume from being seen.
                if block == blocks[-1] and not parts:
                    raise
            if parts and block.shape == level.shape:
                break
        return np.concatenate(parts)


def _sample_blocks(shape: Sequence[int], chunk: Sequence[int]) -> list[Roi]:
    """Return blocks within single chunks, the middle first, that stay cheap to decode."""
    places = sorted(
        product((0.25, 0.5, 0.75), repeat=3), key=lambda p: sum(abs(v - 0.5) for v in p)
    )
    count = max(1, min(len(places), _SAMPLE_DECODED // prod(chunk)))
    bounds = Roi.from_bounds((0, 0, 0), shape)
    blocks = []
    for place in places[:count]:
        begin = [int(p * s) // c * c for p, s, c in zip(place, shape, chunk, strict=True)]
        side = [min(c, _SAMPLE_BLOCK) for c in chunk]
        end = [b + s for b, s in zip(begin, side, strict=True)]
        blocks.append(Roi.from_bounds(begin, end).intersect(bounds))
    return list(dict.fromkeys(blocks))


def open_volume(
    path_or_url: str,
    *,
    dataset: str | None = None,
    voxel_size: VoxelSize | None = None,
    name: str | None = None,
    cloud: CloudSettings | None = None,
    cache_bytes: int = CACHE_BYTES,
    flipped: Collection[str] = (),
) -> Volume:
    """Return the image at a local path or a URL: zarr, OME-Zarr, N5 or precomputed, zipped too.

    A local TIFF, HDF5, MRC, NPY, NPZ or picture file, or a folder of pictures, is read in place
    where its kind allows reading by box. `dataset` is a path below it, `voxel_size` (nm, z, y, x)
    overrules the metadata; along the axes in `flipped` (z, y, x) it is stored in reverse, whether
    its metadata say so or not, and is read the right way round. All volumes opened with the same
    `cache_bytes` share one cache of that size. Raises InvalidInputError for an address that makes
    no sense or a container of several images, NotFoundError (PATH_NOT_FOUND), FormatError
    (UNSUPPORTED_FORMAT, UNSUPPORTED_DTYPE, UNSUPPORTED_RANK) and ResourceError
    (SOURCE_UNAVAILABLE).
    """
    if voxel_size is not None and not all(0 < edge < 1e9 for edge in voxel_size):
        raise InvalidInputError(
            f"The voxel size must be three positive lengths in nm, not {voxel_size}.",
            ErrorKind.INVALID_PARAMETER,
        )
    context = open_context(cache_bytes)
    location = locate(path_or_url, cloud)
    sources: tuple[LevelSource, ...]
    local, stated = location.local_path, None
    if local is not None and location.format is None and is_stack(local, dataset):
        stack = open_stack(local, dataset)
        url, named, is_size_assumed = location.url, local.stem, False
        opened, sources = [stack_level(stack, url, context)], ()
    else:
        source = find_image(location.child(dataset) if dataset else location, context)
        url, named, is_size_assumed = (
            source.location.url, source.location.name, source.is_size_assumed,
        )  # fmt: skip
        opened = [open_spatial(level, context) for level in source.levels]
        stated, sources = source.stated, source.levels
    pyramid = build_pyramid(_images(opened, url), voxel_size, flipped)
    assumed = pyramid.voxel_size_is_assumed or (is_size_assumed and voxel_size is None)
    pyramid = replace(pyramid, voxel_size_is_assumed=assumed)
    stored = pyramid.stored_levels(sources) if sources else ()
    return replace(_assemble(name or named, url, pyramid), stated=stated, stored=stored)


def _assemble(name: str, url: str, pyramid: Pyramid) -> Volume:
    arrays, levels = list(pyramid.arrays), list(pyramid.levels)
    dtypes = {array.dtype.name for array in arrays}
    if len(dtypes) > 1:
        raise FormatError(
            f"The levels of {url} are of different types ({sorted(dtypes)}); "
            "open one of them by naming it as the dataset.",
            ErrorKind.UNSUPPORTED_DTYPE,
        )
    _add_virtual_levels(levels, arrays)
    return Volume(
        name,
        url,
        arrays[0].dtype.numpy_dtype,
        tuple(levels),
        pyramid.voxel_size_is_assumed,
        len(pyramid.levels),
        tuple(arrays),
        pyramid.corners,
    )


def _images(opened: Sequence[OpenLevel], url: str) -> list[OpenLevel]:
    """Return the levels as types that images may have, or raise FormatError."""
    levels = []
    for level in opened:
        dtype = level.array.dtype.name
        if dtype == "float64":
            levels.append(replace(level, array=ts.cast(level.array, ts.float32)))
        elif dtype in IMAGE_DTYPES:
            levels.append(level)
        else:
            raise FormatError(
                f"{url} is of type {dtype}; an image is one of "
                f"{', '.join(IMAGE_DTYPES)} or float64.",
                ErrorKind.UNSUPPORTED_DTYPE,
            )
    return levels


def _shape(array: ts.TensorStore) -> tuple[int, int, int]:
    z, y, x = (int(side) for side in array.shape)
    return (z, y, x)


def _add_virtual_levels(levels: list[ScaleLevel], arrays: list[ts.TensorStore]) -> None:
    """Append levels that average the coarsest stored one, so that all of it fits a screen."""
    base, array = levels[-1], arrays[-1]
    is_cheap = prod(base.shape) <= _CHEAP_VOXELS
    for plan in plan_levels(base.shape, base.voxel_size)[1:]:
        factors = [round(a / b) for a, b in zip(plan.voxel_size, base.voxel_size, strict=True)]
        if max(factors) > _MAX_VIRTUAL_FACTOR and not is_cheap:
            break
        coarse = ts.downsample(array, factors, "mean")
        levels.append(ScaleLevel(len(levels), plan.voxel_size, _shape(coarse)))
        arrays.append(coarse)
