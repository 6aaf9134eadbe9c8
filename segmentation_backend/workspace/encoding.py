"""Label chunks on their way out: in Neuroglancer's own form, or zarr's; made once, kept a while."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache, partial
from typing import TypeVar

import compressed_segmentation
import numpy as np
import numpy.typing as npt
import zstandard

from segmentation_backend.errors import (
    ErrorKind,
    FormatError,
    NotFoundError,
    ReadOnlyError,
    ResourceError,
)
from segmentation_backend.geometry import Coordinate, Roi
from segmentation_backend.labels import LabelRepository, LabelView
from segmentation_backend.workspace.bounded import Bounded

__all__ = [
    "BLOCK",
    "ZARR_CHUNK",
    "ZSTD_LEVEL",
    "EncodedChunk",
    "LabelChunks",
    "LabelForm",
    "encode_labels",
    "encode_nothing",
    "encode_zarr",
    "etag_of",
    "readable",
]

BLOCK = (8, 8, 8)
"""The compressed_segmentation block size announced in every `info`."""

ZARR_CHUNK: Coordinate = (64, 64, 64)
"""The chunks of our zarr arrays, voxels z, y, x: one stored chunk each."""

ZSTD_LEVEL = 3

_MOST_VIEWS = 64
_MOST_TAGS = 16_384
"""About 7 MB: the chunks that two screens show, over hundreds of versions."""

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class EncodedChunk:
    """A chunk whose content tag is known before its bytes are made."""

    etag: str
    data: Callable[[], bytes]


class LabelForm(StrEnum):
    """The form in which a chunk of root ids leaves."""

    COMPRESSED_SEGMENTATION = "compressed_segmentation"
    ZARR = "zarr"


def encode_labels(labels: npt.NDArray[np.uint64]) -> bytes:
    """Return one channel of ids (z, y, x) as Neuroglancer's compressed_segmentation."""
    # The format counts x fastest: the transpose of a C-ordered z, y, x array is just that.
    encoded = compressed_segmentation.compress(
        np.ascontiguousarray(labels, np.uint64).T[..., np.newaxis], block_size=BLOCK, order="F"
    )
    return bytes(encoded)


def encode_zarr(labels: npt.NDArray[np.uint64]) -> bytes:
    """Return ids (z, y, x) as a zarr chunk: padded with 0 to ZARR_CHUNK, little-endian, zstd."""
    padded = np.ascontiguousarray(labels, "<u8")
    if labels.shape != ZARR_CHUNK:
        # Chunks at the far border of a zarr array are stored whole.
        padded = np.zeros(ZARR_CHUNK, "<u8")
        padded[Roi((0, 0, 0), labels.shape).slices()] = labels
    return zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(padded.data)


_ENCODERS: dict[LabelForm, Callable[[npt.NDArray[np.uint64]], bytes]] = {
    LabelForm.COMPRESSED_SEGMENTATION: encode_labels,
    LabelForm.ZARR: encode_zarr,
}


@lru_cache(maxsize=64)
def encode_nothing(shape: Coordinate, form: LabelForm = LabelForm.COMPRESSED_SEGMENTATION) -> bytes:
    """Return an encoded chunk that holds no label."""
    return _ENCODERS[form](np.zeros(shape, np.uint64))


def etag_of(*parts: object) -> str:
    """Return a short content tag of the parts' text."""
    return hashlib.blake2b("|".join(map(str, parts)).encode(), digest_size=12).hexdigest()


class LabelChunks:
    """Encoded chunks of root ids, so that everybody who looks at the same labels shares the work.

    A version never changes, nor does the tag of a chunk at a version, nor the bytes behind a tag;
    all three are remembered, within bounds. Once somebody has asked for a chunk, the next one costs
    a look at which version is the newest, and nothing where the version is named. Thread-safe.
    """

    def __init__(self, capacity_bytes: int = 32 * 2**20) -> None:
        """Keep at most `capacity_bytes` of encoded chunks."""
        self._views: Bounded[tuple[str, int], LabelView] = Bounded(_MOST_VIEWS, lambda _: 1)
        self._tags: Bounded[tuple[str, int, int, Roi], str] = Bounded(_MOST_TAGS, lambda _: 1)
        self._encoded: Bounded[tuple[str, int, Roi, LabelForm, str], bytes] = Bounded(
            capacity_bytes, len
        )

    @property
    def kept_bytes(self) -> int:
        """How many bytes of encoded chunks are kept now."""
        return self._encoded.weight

    def chunk(
        self,
        labels: LabelRepository,
        version: int | None,
        level: int,
        roi: Roi,
        form: LabelForm = LabelForm.COMPRESSED_SEGMENTATION,
    ) -> EncodedChunk:
        """Return a region of a version (None: the newest) of `labels`; bytes are made when asked.

        Missing is not empty: where labels cannot be read, for whatever reason, this and the chunk's
        `data` raise ResourceError. NotFoundError VERSION_NOT_FOUND means just that.
        """
        at = labels.head if version is None else version
        place = (labels.volume, at, level, roi)
        tag = self._tags.get(place)
        if tag is None:
            tag = readable(partial(self._view(labels, at).etag, roi, level))
            self._tags.put(place, tag)

        def data() -> bytes:
            # The tag is that of the stored chunks that the region lies in, not of the region.
            content = (labels.volume, level, roi, form, tag)
            encoded = self._encoded.get(content)
            if encoded is None:
                roots = readable(partial(self._view(labels, at).read, roi, level))
                encoded = _ENCODERS[form](roots) if roots.any() else encode_nothing(roi.shape, form)
                self._encoded.put(content, encoded)
            return encoded

        return EncodedChunk(tag, data)

    def _view(self, labels: LabelRepository, version: int) -> LabelView:
        view = self._views.get((labels.volume, version))
        if view is None:
            view = labels.at(version)
            self._views.put((labels.volume, version), view)
        return view


def readable(read: Callable[[], Value]) -> Value:
    """Return what `read` does; whatever keeps it from being read is a ResourceError."""
    # A viewer takes 403 and 404 for "nothing there" and gives up on 500: a chunk that cannot be
    # read now is one to ask for again, whether its pack is damaged, the base below it was moved
    # away, or may no longer be opened.
    try:
        return read()
    except (FormatError, ReadOnlyError) as err:
        raise ResourceError(err.message, err.kind) from err
    except NotFoundError as err:
        raise ResourceError(err.message, ErrorKind.SOURCE_UNAVAILABLE) from err
