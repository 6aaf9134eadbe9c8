"""Label chunks in the form Neuroglancer keeps in GPU memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import compressed_segmentation
import numpy as np
import numpy.typing as npt

from segmentation_backend.geometry import Coordinate

__all__ = ["BLOCK", "EncodedChunk", "encode_labels", "encode_nothing", "etag_of"]

BLOCK = (8, 8, 8)
"""The compressed_segmentation block size announced in every `info`."""


@dataclass(frozen=True, slots=True)
class EncodedChunk:
    """A chunk whose content tag is known before its bytes are made."""

    etag: str
    data: Callable[[], bytes]


def encode_labels(labels: npt.NDArray[np.uint64]) -> bytes:
    """Return one channel of ids (z, y, x) as Neuroglancer's compressed_segmentation."""
    # The format counts x fastest: the transpose of a C-ordered z, y, x array is just that.
    encoded = compressed_segmentation.compress(
        np.ascontiguousarray(labels, np.uint64).T[..., np.newaxis], block_size=BLOCK, order="F"
    )
    return bytes(encoded)


@lru_cache(maxsize=64)
def encode_nothing(shape: Coordinate) -> bytes:
    """Return an encoded chunk that holds no label."""
    return encode_labels(np.zeros(shape, np.uint64))


def etag_of(*parts: object) -> str:
    """Return a short content tag of the parts' text."""
    return hashlib.blake2b("|".join(map(str, parts)).encode(), digest_size=12).hexdigest()
