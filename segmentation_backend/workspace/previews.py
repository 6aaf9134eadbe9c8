"""Split previews: small label volumes that live for an hour and are never part of the store."""

from __future__ import annotations

import json
import os
import re
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from segmentation_backend.errors import ErrorKind, NotFoundError
from segmentation_backend.geometry import Roi

__all__ = ["Previews", "SplitPreview"]

KEEP_S = 3600.0
"""How long a preview can still be looked at."""


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

    def to_json(self) -> dict[str, Any]:
        """Return the preview as the HTTP interface shows it (without its URL)."""
        return {
            "id": self.preview_id,
            "volume": self.volume,
            "version": self.version,
            "root": str(self.root),
            "roi": self.roi.to_json(),
            "voxels": list(self.voxels),
        }


class Previews:
    """Previews in a folder, so that any process can answer for any of them."""

    def __init__(self, folder: Path) -> None:
        """Use (and make) a folder."""
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def save(
        self, volume: str, version: int, root: int, roi: Roi, sides: npt.NDArray[np.uint8]
    ) -> SplitPreview:
        """Keep a preview: `sides`, uint8 (z, y, x) shaped like `roi`, 0 outside, 1… per group."""
        self._sweep()
        counts = np.bincount(sides.ravel(), minlength=2)[1:]
        preview = SplitPreview(
            uuid.uuid4().hex, volume, version, root, roi, tuple(int(c) for c in counts)
        )
        temporary = self._folder / f".{preview.preview_id}.npz"
        np.savez_compressed(temporary, sides=sides, about=np.array(json.dumps(preview.to_json())))
        os.replace(temporary, self._path(preview.preview_id))
        return preview

    def load(self, preview_id: str) -> tuple[SplitPreview, npt.NDArray[np.uint8]]:
        """Return a preview and its sides."""
        if not re.fullmatch(r"[0-9a-f]{32}", preview_id) or not self._path(preview_id).exists():
            raise NotFoundError(
                f"There is no split preview {preview_id!r}; previews are kept for an hour. "
                "Preview the split again.",
                ErrorKind.OBJECT_NOT_FOUND,
            )
        with np.load(self._path(preview_id)) as file:
            about = json.loads(str(file["about"]))
            sides: npt.NDArray[np.uint8] = file["sides"]
        preview = SplitPreview(
            preview_id,
            about["volume"],
            about["version"],
            int(about["root"]),
            Roi.from_json(about["roi"]),
            tuple(about["voxels"]),
        )
        return preview, sides

    def _path(self, preview_id: str) -> Path:
        return self._folder / f"{preview_id}.npz"

    def _sweep(self) -> None:
        for path in self._folder.glob("*.npz"):
            if time.time() - path.stat().st_mtime > KEEP_S:
                path.unlink(missing_ok=True)
