"""What lies under the edits: the reader of a base, its ids, and how to recognise it again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from segmentation_backend.errors import ErrorKind, FormatError
from segmentation_backend.geometry import Coordinate, Roi, ScaleLevel

__all__ = ["BaseDescription", "BaseReader", "checked_ids", "describe_base", "first_new_id"]

Ids = npt.NDArray[np.uint64]

_LARGEST_BASE_ID = 2**62 - 1
"""SQL integers are signed, and new ids need room above: a 64-bit base may use 62 of its bits."""

_SAMPLE_SIDE = 32
_COARSE_SAMPLE = 128


class BaseReader(Protocol):
    """Label arrays that lie over one another, finest first, whatever their format."""

    @property
    def levels(self) -> tuple[ScaleLevel, ...]:
        """The arrays that exist."""
        ...

    @property
    def chunks(self) -> tuple[Coordinate, ...]:
        """The shape of what is best read together, per level."""
        ...

    @property
    def dtype(self) -> np.dtype[np.integer]:
        """The integer type of all levels."""
        ...

    def read(self, roi: Roi, level: int) -> npt.NDArray[np.integer]:
        """Return the ids of a region inside a level; ResourceError or FormatError otherwise."""
        ...

    def check_present(self, level: int) -> None:
        """Raise ResourceError when the whole array is gone, so that all of it looks empty."""
        ...


@dataclass(frozen=True, slots=True)
class BaseDescription:
    """What a base is, as recorded when it was registered: it must never be anything else."""

    levels: tuple[ScaleLevel, ...]
    chunks: tuple[Coordinate, ...]
    dtype: str
    fingerprint: str
    """Hash of the labels in a few places."""

    def to_json(self) -> dict[str, Any]:
        """Return the description as it is recorded."""
        return {
            "levels": [level.to_json() for level in self.levels],
            "chunks": [list(chunk) for chunk in self.chunks],
            "dtype": self.dtype,
            "fingerprint": self.fingerprint,
        }

    @property
    def identity(self) -> str:
        """A short name of exactly this base."""
        text = json.dumps(self.to_json(), sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> BaseDescription:
        """Return what `to_json` made."""
        levels = tuple(
            ScaleLevel(item["level"], tuple(item["voxel_size"]), tuple(item["shape"]))
            for item in value["levels"]
        )
        chunks = tuple((z, y, x) for z, y, x in value["chunks"])
        return cls(levels, chunks, value["dtype"], value["fingerprint"])


def describe_base(reader: BaseReader) -> BaseDescription:
    """Return what a base is; reads a few chunks of it. Errors are those of `LabelBase.load`."""
    digest = hashlib.blake2b(digest_size=16)
    for level, roi in _samples(reader.levels, reader.chunks):
        ids = checked_ids(reader.read(roi, level), f"{roi} of level {level}")
        digest.update(f"{level}{roi}".encode())
        digest.update(ids.tobytes())
    return BaseDescription(
        reader.levels, reader.chunks, np.dtype(reader.dtype).name, digest.hexdigest()
    )


def _samples(
    levels: Sequence[ScaleLevel], chunks: Sequence[Coordinate]
) -> Iterator[tuple[int, Roi]]:
    """Yield the middle of the coarsest level, and corners of single chunks of the finest one."""
    whole = Roi((0, 0, 0), levels[-1].shape)
    begin = [max(0, (side - _COARSE_SAMPLE) // 2) for side in whole.shape]
    end = [b + _COARSE_SAMPLE for b in begin]
    yield len(levels) - 1, Roi.from_bounds(begin, end).intersect(whole)
    whole = Roi((0, 0, 0), levels[0].shape)
    for place in ((0.5, 0.5, 0.5), (0.25, 0.25, 0.75), (0.75, 0.25, 0.25), (0.25, 0.75, 0.5)):
        corner = [
            int(p * side) // c * c for p, side, c in zip(place, whole.shape, chunks[0], strict=True)
        ]
        end = [b + min(c, _SAMPLE_SIDE) for b, c in zip(corner, chunks[0], strict=True)]
        yield 0, Roi.from_bounds(corner, end).intersect(whole)


def first_new_id(dtype: str) -> int:
    """Return the first id that no base of a type can hold, so that new ones begin there."""
    bits = np.dtype(dtype).itemsize * 8
    return 2**bits if bits < 64 else _LARGEST_BASE_ID + 1


def checked_ids(raw: npt.NDArray[np.integer], what: str) -> Ids:
    """Return ids as uint64 (z, y, x, C order), or refuse those that cannot name an object here."""
    wrong = None
    if raw.size and raw.dtype.kind == "i" and int(raw.min()) < 0:
        wrong = f"the id {int(raw.min())}; ids are positive, 0 is background"
    elif raw.size and raw.dtype.itemsize == 8 and int(raw.max()) > _LARGEST_BASE_ID:
        wrong = f"the id {int(raw.max())}; ids of labels to be edited are below 2^62"
    if wrong is not None:
        raise FormatError(
            f"The labels hold, in {what}, {wrong}. Write a copy with smaller ids and use that.",
            ErrorKind.UNSUPPORTED_DTYPE,
        )
    return np.ascontiguousarray(raw, dtype=np.uint64)
