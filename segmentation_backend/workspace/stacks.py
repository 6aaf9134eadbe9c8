"""What each of the three stacks of an orthoplane run shows by itself: to look at, never written.

One folder per run and plane, in it one file per chunk of 64 voxels a side, counted from the corner
of the run's region. Runs that were not looked at for longest are removed when room is needed.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt
import zstandard

from segmentation_backend.errors import ErrorKind, NotFoundError
from segmentation_backend.geometry import Roi

__all__ = ["KeptStacks", "stack_in"]

Labels = npt.NDArray[np.uint32]

_log = logging.getLogger(__name__)

_SIDE = 64
_MAX_BYTES = 2**30
_RUN_ID = re.compile("[0-9a-zA-Z-]{1,64}")
_PLANES = ("xy", "xz", "yz")


class KeptStacks:
    """Keeps the stacks of one run."""

    def __init__(self, data_dir: Path, run_id: str, max_bytes: int = _MAX_BYTES) -> None:
        """Keep stacks in a data directory, under the name of a run."""
        self.planes = 0
        """How many are there."""
        self._folder = _place(data_dir, run_id)
        self._max_bytes = max_bytes

    def add(self, plane: str, labels: Labels) -> None:
        """Take the objects (z, y, x) that a plane's sections show in the region, 0 = background.

        A full disk costs the stacks, not the run.
        """
        try:
            self._make_room()
            self._write(self._folder / plane, labels)
        except OSError as error:
            _log.warning("A stack could not be kept in %s: %s", self._folder, error)
            shutil.rmtree(self._folder / plane, ignore_errors=True)
        else:
            self.planes += 1

    def _write(self, folder: Path, labels: Labels) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        compressor = zstandard.ZstdCompressor(level=1, write_checksum=True)
        for place in np.ndindex(*(-(-side // _SIDE) for side in labels.shape)):
            part = labels[tuple(slice(p * _SIDE, (p + 1) * _SIDE) for p in place)]
            if part.any():
                whole = np.zeros((_SIDE,) * 3, np.uint32)
                whole[tuple(map(slice, part.shape))] = part
                content = compressor.compress(whole.tobytes())
                (folder / "-".join(map(str, place))).write_bytes(content)

    def _make_room(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        runs = sorted(self._folder.parent.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        sizes = [sum(f.stat().st_size for f in run.glob("*/*")) for run in runs]
        total = sum(sizes)
        for run, size in zip(runs, sizes, strict=True):
            if total <= self._max_bytes or run == self._folder:
                break
            shutil.rmtree(run, ignore_errors=True)
            total -= size


def stack_in(data_dir: Path, run_id: str, plane: str, roi: Roi) -> Labels:
    """Return what a plane's stack shows in a box counted from its run's region.

    NotFoundError JOB_NOT_FOUND where it is not kept (any more).
    """
    folder = _place(data_dir, run_id) / plane
    if plane not in _PLANES or not folder.is_dir():
        raise NotFoundError(
            f"The run {run_id} keeps no stack {plane[:16]!r} (any more); segment again with "
            "stacks.",
            ErrorKind.JOB_NOT_FOUND,
        )
    with suppress(OSError):  # it was of use now
        os.utime(folder.parent)
    found = np.zeros(roi.shape, np.uint32)
    cells = roi.snap_out((_SIDE,) * 3)
    for index in np.ndindex(*(side // _SIDE for side in cells.shape)):
        z, y, x = (o // _SIDE + i for o, i in zip(cells.offset, index, strict=True))
        cell = Roi((z * _SIDE, y * _SIDE, x * _SIDE), (_SIDE,) * 3)
        inside = cell.intersect(roi)
        with suppress(FileNotFoundError):
            content = (folder / f"{z}-{y}-{x}").read_bytes()
            whole = np.frombuffer(zstandard.ZstdDecompressor().decompress(content), np.uint32)
            part = whole.reshape(cell.shape)[inside.slices(cell.offset)]
            found[inside.slices(roi.offset)] = part
    return found


def _place(data_dir: Path, run_id: str) -> Path:
    if not _RUN_ID.fullmatch(run_id):
        raise NotFoundError(f"{run_id[:64]!r} is not the name of a run.", ErrorKind.JOB_NOT_FOUND)
    return data_dir / "caches" / "stacks" / run_id
