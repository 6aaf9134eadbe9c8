"""How large supervoxels and objects are and where: kept beside the voxels, never recounted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from segmentation_backend.geometry import Coordinate, Roi
from segmentation_backend.labels.confidence import PARTS, Confidence, ConfidenceSums
from segmentation_backend.labels.kernels import accumulate

__all__ = [
    "ObjectStats",
    "StatisticsTable",
    "SupervoxelStatistics",
    "joined_statistics",
    "sum_statistics",
]


@dataclass(frozen=True, slots=True)
class SupervoxelStatistics:
    """Size and place of one supervoxel; `voxels` is at least 1."""

    voxels: int
    bbox: Roi
    """Tight, level 0."""
    sums: Coordinate
    """Sums of the voxels' z, y, x coordinates; the centroid is their mean."""
    confidence: Confidence | None = None
    """How sure the network was that made it; None: made by hand. It stays what it was when voxels
    come and go."""


@dataclass(frozen=True, slots=True)
class ObjectStats:
    """Size and place of one object at a version."""

    root: int
    bbox: Roi
    """Tight, level 0."""
    voxels: int
    centroid: tuple[float, float, float]
    """Mean voxel position, z, y, x, level 0."""
    supervoxels: int
    """How many supervoxels the object is joined from."""
    confidence: Confidence | None = None
    """The mean over the voxels of supervoxels that a network made; None: there are none."""

    def to_json(self) -> dict[str, Any]:
        """Return the object as the HTTP interface shows it; the id is a string."""
        probability, agreement = self.confidence or (None, None)
        return {
            "id": str(self.root),
            "bbox": self.bbox.to_json(),
            "voxels": self.voxels,
            "centroid": list(self.centroid),
            "supervoxels": self.supervoxels,
            "probability": None if probability is None else probability / PARTS,
            "agreement": None if agreement is None else agreement / PARTS,
        }


def sum_statistics(root: int, parts: Sequence[SupervoxelStatistics]) -> ObjectStats:
    """Return the statistics of the object joined from `parts` (at least one)."""
    voxels, bbox, (z, y, x) = parts[0].voxels, parts[0].bbox, parts[0].sums
    for part in parts[1:]:
        voxels += part.voxels
        bbox = bbox.union(part.bbox)
        z, y, x = z + part.sums[0], y + part.sums[1], x + part.sums[2]
    sure = ConfidenceSums.total(ConfidenceSums.of(p.voxels, p.confidence) for p in parts)
    centroid = (z / voxels, y / voxels, x / voxels)
    return ObjectStats(root, bbox, voxels, centroid, len(parts), sure.mean)


def joined_statistics(
    a: SupervoxelStatistics | None, b: SupervoxelStatistics
) -> SupervoxelStatistics:
    """Return the statistics of two sets of voxels that have none in common; None is no voxel.

    A network's confidence in the one, or else the other, stays.
    """
    if a is None:
        return b
    z, y, x = (p + q for p, q in zip(a.sums, b.sums, strict=True))
    sure = b.confidence if a.confidence is None else a.confidence
    return SupervoxelStatistics(a.voxels + b.voxels, a.bbox.union(b.bbox), (z, y, x), sure)


class StatisticsTable:
    """Collects the statistics of given ids over blocks that together hold all their voxels."""

    def __init__(self, ids: Iterable[int] | npt.NDArray[np.uint64]) -> None:
        """Start with no voxel counted for each of `ids` (background is not one)."""
        listed = ids if isinstance(ids, np.ndarray) else np.array(sorted(ids), dtype=np.uint64)
        self.ids = np.unique(listed).astype(np.uint64)
        self._table = np.zeros((len(self.ids), 10), dtype=np.int64)
        self._table[:, 4:7] = np.iinfo(np.int64).max

    def add(self, block: npt.NDArray[np.uint64], offset: Coordinate) -> None:
        """Count the voxels of a uint64 z,y,x block whose first voxel is at `offset` (level 0)."""
        accumulate(np.ascontiguousarray(block), *offset, self.ids, self._table)

    def get(self, supervoxel: int) -> SupervoxelStatistics | None:
        """Return what was counted for one id; None when no voxel was seen."""
        at = int(np.searchsorted(self.ids, np.uint64(supervoxel)))
        return _statistics(*self._table[at].tolist())

    def found(self) -> dict[int, SupervoxelStatistics]:
        """Return the statistics of every id of which a voxel was seen."""
        rows = zip(self.ids.tolist(), self._table.tolist(), strict=True)
        counted = ((supervoxel, _statistics(*row)) for supervoxel, row in rows)
        return {supervoxel: found for supervoxel, found in counted if found is not None}


def _statistics(
    voxels: int, sz: int, sy: int, sx: int, z0: int, y0: int, x0: int, z1: int, y1: int, x1: int
) -> SupervoxelStatistics | None:
    if voxels == 0:
        return None
    return SupervoxelStatistics(
        voxels, Roi((z0, y0, x0), (z1 - z0, y1 - y0, x1 - x0)), (sz, sy, sx)
    )
