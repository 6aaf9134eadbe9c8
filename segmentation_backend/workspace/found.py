"""What a running segmentation has found so far: labels to look at, never part of the store.

One folder per run, one file per chunk of 64 voxels a side, counted from the region's corner. The
numbers tell the objects of a block apart; pieces of one object in two blocks have two numbers until
the run is committed.
"""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Iterator
from math import ceil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import zstandard

from segmentation_backend.errors import ErrorKind, NotFoundError
from segmentation_backend.geometry import Coordinate, Roi, VoxelSize
from segmentation_backend.workspace.heat_maps import HeatMaps
from segmentation_backend.workspace.resampling import to_level_zero
from segmentation_backend.workspace.stacks import KeptStacks

__all__ = ["FoundSoFar", "found_in"]

SIDE = 64
_SHAPE = (SIDE, SIDE, SIDE)
_PER_BLOCK = 2**20
"""Numbers for each block; a section or a cube with more objects is no image of cells."""

_RUN_ID = re.compile("[0-9a-zA-Z-]{1,64}")

Labels = npt.NDArray[np.uint32]


class FoundSoFar:
    """Writes the blocks of one run as they are finished."""

    def __init__(
        self,
        folder: Path,
        run_id: str,
        roi: Roi,
        voxel_size: VoxelSize,
        within: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        """Show `roi`, level-0 voxels of `voxel_size` (nm), under the name of a run.

        Of it only what is `within` (z, y, x; sides of 1 or the region's), where that is given.
        """
        self.blocks = 0
        """How many are there."""
        self.maps: HeatMaps | None = None
        """Where the network's maps are kept, if they are."""
        self.stacks: KeptStacks | None = None
        """Where the three stacks of mode "orthoplane" are kept, if they are."""
        self._folder = _place(folder, run_id)
        self._roi = roi
        self._voxel_size = voxel_size
        self._within = None if within is None else np.broadcast_to(within, roi.shape)

    def add(self, labels: Labels, box: Roi, voxel_size: VoxelSize) -> None:
        """Take the labels (z, y, x) of a block's core: `box`, in voxels of a level's size (nm)."""
        part = self._finer(box, voxel_size).intersect(self._roi)
        self.blocks += 1
        if part.is_empty or not labels.any():
            return
        fine = to_level_zero(labels, box, voxel_size, part, self._voxel_size)
        if self._within is not None:
            fine = fine * self._within[part.slices(self._roi.offset)]
        # As many as colours can tell apart; which number it is has no meaning.
        fine = np.where(fine > 0, fine % _PER_BLOCK + (self.blocks % 4095) * _PER_BLOCK, 0)
        place = part.shift([-o for o in self._roi.offset])
        for position, cell in _cells(place):
            inside = cell.intersect(place)
            content = _read(self._folder, position)
            content[inside.slices(cell.offset)] = fine[inside.slices(place.offset)]
            self._write(position, content)

    def close(self) -> None:
        """Forget everything: the labels themselves have it now, or nobody wants it."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _finer(self, box: Roi, voxel_size: VoxelSize) -> Roi:
        """Return the level-0 voxels whose centres lie in a box of a coarser level."""
        factors = [c / f for c, f in zip(voxel_size, self._voxel_size, strict=True)]
        begin, end = (
            [ceil(v * f - 0.5) for v, f in zip(corner, factors, strict=True)]
            for corner in (box.offset, box.end)
        )
        return Roi.from_bounds(begin, end)

    def _write(self, position: Coordinate, content: Labels) -> None:
        path = _file(self._folder, position)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
        part.write_bytes(zstandard.ZstdCompressor(level=1).compress(content.tobytes()))
        part.replace(path)


def found_in(folder: Path, run_id: str, roi: Roi) -> Labels:
    """Return what a run has found in a box counted from its region's corner; 0 where nothing yet.

    NotFoundError JOB_NOT_FOUND when the run has nothing to show (any more).
    """
    place = _place(folder, run_id)
    if not place.is_dir():
        raise NotFoundError(
            f"The run {run_id[:64]!r} has nothing to show; it has ended, or found nothing yet.",
            ErrorKind.JOB_NOT_FOUND,
        )
    found = np.zeros(roi.shape, np.uint32)
    for position, cell in _cells(roi):
        inside = cell.intersect(roi)
        found[inside.slices(roi.offset)] = _read(place, position)[inside.slices(cell.offset)]
    return found


def _place(folder: Path, run_id: str) -> Path:
    if not _RUN_ID.fullmatch(run_id):
        raise NotFoundError(f"{run_id[:64]!r} is not the name of a run.", ErrorKind.JOB_NOT_FOUND)
    # Hidden: what a killed worker leaves is swept with other left-overs.
    return folder / f".found-{run_id}"


def _cells(roi: Roi) -> Iterator[tuple[Coordinate, Roi]]:
    cells = roi.snap_out(_SHAPE)
    counts = [side // SIDE for side in cells.shape]
    for index in np.ndindex(*counts):
        z, y, x = (o // SIDE + i for o, i in zip(cells.offset, index, strict=True))
        yield (z, y, x), Roi((z * SIDE, y * SIDE, x * SIDE), _SHAPE)


def _file(folder: Path, position: Coordinate) -> Path:
    return folder / "-".join(map(str, position))


def _read(folder: Path, position: Coordinate) -> Labels:
    try:
        content = _file(folder, position).read_bytes()
    except FileNotFoundError:
        return np.zeros(_SHAPE, np.uint32)
    whole = zstandard.ZstdDecompressor().decompress(content)
    return np.frombuffer(bytearray(whole), np.uint32).reshape(_SHAPE)
