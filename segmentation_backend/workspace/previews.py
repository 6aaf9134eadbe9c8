"""Split previews: small label volumes that live for an hour and are never part of the store."""

from __future__ import annotations

import json
import os
import re
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import zstandard

from segmentation_backend import edits
from segmentation_backend.errors import ErrorKind, NotFoundError, ResourceError
from segmentation_backend.geometry import Coordinate, Roi, parse_coordinate

__all__ = ["Previews", "SplitPreview"]

KEEP_S = 3600.0
"""How long a preview can still be looked at."""

_SUFFIX = ".preview"
"""A file is one line of JSON (the preview, and its `factor`) and a zstd frame of its sides."""


@dataclass(frozen=True, slots=True)
class SplitPreview:
    """What a split would do to one object."""

    preview_id: str
    volume: str
    version: int
    root: int
    roi: Roi
    voxels: tuple[int, ...]
    """The voxels each group would get, in the order the groups were given."""
    factor: Coordinate
    """Voxels per cell of the preview; 1, 1, 1: the cut and the sizes are those of the split."""

    @property
    def is_exact(self) -> bool:
        """Whether the split will be just this; else the sizes are estimates."""
        return self.factor == (1, 1, 1)

    def to_json(self) -> dict[str, Any]:
        """Return the preview as the HTTP interface shows it (without its URL)."""
        return {
            "id": self.preview_id,
            "volume": self.volume,
            "version": self.version,
            "root": str(self.root),
            "roi": self.roi.to_json(),
            "voxels": list(self.voxels),
            "exact": self.is_exact,
        }


class Previews:
    """Previews in a folder, so that any process can answer for any of them."""

    def __init__(self, folder: Path) -> None:
        """Use (and make) a folder."""
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def save(self, volume: str, found: edits.SplitPreview) -> SplitPreview:
        """Keep a preview; ResourceError SOURCE_UNAVAILABLE when the disk takes no file."""
        preview = SplitPreview(
            uuid.uuid4().hex,
            volume,
            found.version,
            found.root,
            found.roi,
            found.voxels,
            found.factor,
        )
        about = json.dumps({**preview.to_json(), "factor": found.factor}).encode()
        frame = zstandard.ZstdCompressor().compress(np.ascontiguousarray(found.sides).data)
        path = self._folder / (preview.preview_id + _SUFFIX)
        try:
            self._sweep()
            # Nobody knows the id before this returns, so nobody sees a file half written.
            path.write_bytes(about + b"\n" + frame)
        except OSError as err:
            raise ResourceError(
                f"The preview could not be kept ({err.strerror or err}); nothing was changed. "
                "Check the disk that holds the data directory and preview the split again.",
                ErrorKind.SOURCE_UNAVAILABLE,
            ) from err
        return preview

    def find(self, preview_id: str) -> SplitPreview:
        """Return a preview made within the last hour; NotFoundError OBJECT_NOT_FOUND."""
        with self._open(preview_id) as file:
            return _about(file)

    def sides(self, preview_id: str, roi: Roi) -> npt.NDArray[np.uint8]:
        """Return the side of each voxel of a part of a preview, uint8 (z, y, x), 0 outside.

        See `edits.voxel_sides` for what that is at the surface where `is_exact` is not.
        """
        with self._open(preview_id) as file:
            preview = _about(file)
            frame = file.read()
        shape = preview.roi.downscale(preview.factor).shape
        sides = np.frombuffer(zstandard.ZstdDecompressor().decompress(frame), dtype=np.uint8)
        return edits.voxel_sides(
            edits.SplitPreview(
                preview.root,
                preview.version,
                preview.roi,
                preview.factor,
                sides.reshape(shape),
                preview.voxels,
            ),
            roi,
        )

    def _open(self, preview_id: str) -> BinaryIO:
        try:
            if re.fullmatch(r"[0-9a-f]{32}", preview_id):
                return (self._folder / (preview_id + _SUFFIX)).open("rb")
        except FileNotFoundError:
            pass
        raise NotFoundError(
            f"There is no split preview {preview_id!r}; previews are kept for an hour. "
            "Preview the split again.",
            ErrorKind.OBJECT_NOT_FOUND,
        )

    def _sweep(self) -> None:
        oldest = time.time() - KEEP_S
        with os.scandir(self._folder) as files:
            for file in files:
                with suppress(FileNotFoundError):  # swept by another process meanwhile
                    if file.stat().st_mtime < oldest:
                        os.unlink(file)


def _about(file: BinaryIO) -> SplitPreview:
    about = json.loads(file.readline())
    return SplitPreview(
        about["id"],
        about["volume"],
        about["version"],
        int(about["root"]),
        Roi.from_json(about["roi"]),
        tuple(about["voxels"]),
        parse_coordinate(about["factor"], "factor"),
    )
