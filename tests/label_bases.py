"""Base labels held in memory, with a pyramid as strict as ours, for the tests of label bases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from threading import Lock

import numpy as np

from segmentation_backend.database import open_database
from segmentation_backend.errors import SegmentationError
from segmentation_backend.geometry import Coordinate, Roi, ScaleLevel, VoxelSize, plan_levels
from segmentation_backend.labels import LabelBase, LabelRepository, describe_base
from segmentation_backend.labels.kernels import mode_pool


@dataclass
class ArrayReader:
    """Arrays that can be told to fail, and that remember what was read of them."""

    arrays: list[np.ndarray]
    levels: tuple[ScaleLevel, ...]
    chunks: tuple[Coordinate, ...]
    failure: SegmentationError | None = None
    is_gone: SegmentationError | None = None
    reads: list[tuple[int, Roi]] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    @property
    def dtype(self) -> np.dtype:
        return self.arrays[0].dtype

    def read(self, roi: Roi, level: int) -> np.ndarray:
        assert Roi((0, 0, 0), self.arrays[level].shape).encloses(roi)
        with self._lock:
            self.reads.append((level, roi))
        if self.failure is not None:
            raise self.failure
        return self.arrays[level][roi.slices()].copy()

    def check_present(self, level: int) -> None:
        if self.is_gone is not None:
            raise self.is_gone


def reader_of(
    labels: np.ndarray,
    voxel_size: VoxelSize = (8.0, 8.0, 8.0),
    stored: int = 1,
    chunk: Coordinate = (64, 64, 64),
) -> ArrayReader:
    """Return labels with `stored` levels, each the mode of the one below, like our own."""
    z, y, x = labels.shape
    levels = plan_levels((z, y, x), voxel_size, min_side=1, max_levels=stored)
    arrays = [labels]
    for fine, coarse in pairwise(levels):
        factor = [round(c / f) for c, f in zip(coarse.voxel_size, fine.voxel_size, strict=True)]
        arrays.append(mode_pool(arrays[-1].astype(np.uint64), *factor).astype(labels.dtype))
    return ArrayReader(arrays, levels, (chunk,) * len(levels))


def base_of(reader: ArrayReader, cache_bytes: int = 64 * 2**20) -> LabelBase:
    """Return the base that a reader reads."""
    return LabelBase(describe_base(reader), lambda: reader, cache_bytes)


def repository_over(folder: Path, base: LabelBase, database: str | None = None) -> LabelRepository:
    """Return the labels `v` over a base, in a folder."""
    engine = open_database(database or folder / "labels.sqlite")
    return LabelRepository(engine, folder / "packs", "v", base.levels, base=base)


def block_of(
    shape: Coordinate, boxes: Sequence[tuple[int, Coordinate, Coordinate]], dtype: str = "uint32"
) -> np.ndarray:
    """Return labels with boxes (id, corner, sides) in them."""
    labels = np.zeros(shape, dtype=dtype)
    for value, corner, sides in boxes:
        labels[tuple(slice(c, c + s) for c, s in zip(corner, sides, strict=True))] = value
    return labels
