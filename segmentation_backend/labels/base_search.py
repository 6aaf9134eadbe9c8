"""Where a base shows an id, from its coarse levels: the first hint when nothing was counted yet."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from math import prod
from threading import Lock

import numpy as np
import numpy.typing as npt

from segmentation_backend.geometry import Roi, ScaleLevel
from segmentation_backend.labels.base import LabelBase
from segmentation_backend.labels.kernels import distinct_ids
from segmentation_backend.labels.statistics import StatisticsTable

__all__ = ["CoarseMaps"]

_CHEAP = 2**24
"""Voxels of a level that is looked at for every object (a second or so, once per process)."""

_SEARCHED = 2**26
"""Voxels of a level that is looked at only for an id that is found nowhere else."""

_SIDE = 128


class CoarseMaps:
    """Which ids the stored coarse levels show, and in which boxes; each level is read once."""

    def __init__(self, base: LabelBase, threads: ThreadPoolExecutor) -> None:
        """Look at the levels of `base` that are small enough."""
        self._base = base
        self._threads = threads
        self._lock = Lock()
        self._maps: dict[int, _Map] = {}

    def boxes_of(self, supervoxels: Collection[int], *, thoroughly: bool) -> list[Roi]:
        """Return level-0 boxes of the ids on the coarsest level that shows each.

        Finer levels (never the finest) are asked for ids that the coarser ones do not show;
        `thoroughly` also asks larger ones.
        """
        limit = _SEARCHED if thoroughly else _CHEAP
        found: list[Roi] = []
        left = set(supervoxels)
        for planned in reversed(self._base.plan[1:]):
            if planned.stored is None:
                continue
            if not left or prod(planned.level.shape) > limit:
                break
            level_map = self._map(planned.stored, planned.level)
            shown = level_map.boxes_of(left)
            left -= shown.keys()
            found += [box for boxes in shown.values() for box in boxes]
        return found

    def _map(self, stored: int, level: ScaleLevel) -> _Map:
        with self._lock:
            known = self._maps.get(stored)
            if known is None:
                known = self._maps[stored] = self._read(stored, level)
        return known

    def _read(self, stored: int, level: ScaleLevel) -> _Map:
        reader = self._base.reader
        whole = Roi((0, 0, 0), reader.levels[stored].shape)
        corners = product(*(range(0, side, _SIDE) for side in whole.shape))
        blocks = [Roi((z, y, x), (_SIDE,) * 3).intersect(whole) for z, y, x in corners]
        fine = self._base.levels[0]
        factor = [c / f for c, f in zip(level.voxel_size, fine.voxel_size, strict=True)]

        def look(roi: Roi) -> list[tuple[int, ...]]:
            ids = self._base.read_stored(roi, stored)
            table = StatisticsTable(distinct_ids(ids))
            table.add(ids, roi.offset)
            return [
                (supervoxel, *_scaled(stats.bbox.offset, factor), *_scaled(stats.bbox.end, factor))
                for supervoxel, stats in table.found().items()
            ]

        rows = [row for found in self._threads.map(look, blocks) for row in found]
        table = np.array(sorted(rows), dtype=np.int64).reshape(-1, 7)
        return _Map(table, Roi((0, 0, 0), fine.shape))


def _scaled(point: Collection[int], factor: Collection[float]) -> list[int]:
    return [round(p * f) for p, f in zip(point, factor, strict=True)]


class _Map:
    def __init__(self, rows: npt.NDArray[np.int64], bounds: Roi) -> None:
        self._rows = rows
        self._bounds = bounds

    def boxes_of(self, supervoxels: Collection[int]) -> dict[int, list[Roi]]:
        """Return the boxes of each id that is shown, one per block of the level."""
        found: dict[int, list[Roi]] = {}
        ids = self._rows[:, 0]
        for supervoxel in supervoxels:
            first, stop = np.searchsorted(ids, [supervoxel, supervoxel + 1])
            boxes = [
                Roi.from_bounds(row[1:4], row[4:7]).intersect(self._bounds)
                for row in self._rows[first:stop].tolist()
            ]
            if boxes:
                found[supervoxel] = boxes
        return found
