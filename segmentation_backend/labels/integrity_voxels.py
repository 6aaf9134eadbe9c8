"""What must hold of voxels and sizes at each version of a label volume; see `integrity`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from segmentation_backend.geometry import Roi
from segmentation_backend.labels.branches import Path, within
from segmentation_backend.labels.chunks import CHUNK_SIDE, chunk_roi, keys_over
from segmentation_backend.labels.delta import ChunkKey
from segmentation_backend.labels.findings import Finding, Severity
from segmentation_backend.labels.integrity_joins import ids_on, portions
from segmentation_backend.labels.kernels import distinct_ids, mode_pool
from segmentation_backend.labels.schema import CHUNKS, SUPERVOXELS
from segmentation_backend.labels.statistics import StatisticsTable
from segmentation_backend.labels.view import LabelView

__all__ = ["levels_match_the_level_below", "statistics_match_the_voxels"]

Ids = npt.NDArray[np.uint64]

_CHUNKS = 16
"""Chunks decoded at a time (at most 2 MB each)."""
_BACKUP = "Restore the database from a backup (mitoglance restore)."


def _where(view: LabelView) -> str:
    return f"version {view.version}"


def _stored(view: LabelView, level: int, slab: int) -> set[ChunkKey]:
    """Return the chunks of one layer of the grid that were ever written on the way to a version."""
    c = CHUNKS.c

    def ask(connection: sa.Connection, path: Path) -> set[ChunkKey]:
        query = sa.select(c.y, c.x).distinct().where(c.level == level, c.z == slab)
        rows = connection.execute(query.where(within(path, c.branch_id, c.operation_id)))
        return {ChunkKey(level, slab, y, x) for y, x in rows}

    return view.storage.query(view.version, ask)


def _slabs(view: LabelView, level: int) -> range:
    return range(-(-view.levels[level].shape[0] // CHUNK_SIDE))


def statistics_match_the_voxels(view: LabelView) -> Iterator[Finding]:
    """Size, box and sums of each supervoxel are what counting gives; no other one has voxels.

    Over a base: of the supervoxels that an edit touched, those of the base only where all of it is
    counted.
    """
    counted = view.storage.base_statistics is None or view.storage.base_statistics.share == 1
    ids, left_out = _countable(view, counted)
    table = StatisticsTable(ids)
    unknown: set[int] = set()
    for keys in portions(_keys_to_count(view, ids if counted else ids[:0]), _CHUNKS):
        for key, chunk in view.load_chunks(keys).items():
            z, y, x = (p * CHUNK_SIDE + o for p, o in zip(key[1:], chunk.offset, strict=True))
            table.add(chunk.block, (z, y, x))
            strange = np.setdiff1d(distinct_ids(chunk.block), ids, assume_unique=True)
            unknown.update(s for s in strange.tolist() if not _is_of_base(view, s))
    yield from _compared(view, table)
    here = statistics_match_the_voxels.__name__
    for supervoxel in sorted(unknown):
        what = f"Supervoxel {supervoxel} has voxels, but nothing is on record of it."
        yield Finding(here, _where(view), what, _BACKUP)
    if left_out:
        yield Finding(
            here,
            _where(view),
            f"{left_out} edited supervoxels of the base were not counted.",
            "Have the whole base counted (mitoglance index), then check again.",
            Severity.NOTE,
        )


def _is_of_base(view: LabelView, supervoxel: int) -> bool:
    base = view.storage.base_statistics
    return base is not None and base.holds(supervoxel)


def _countable(view: LabelView, counted: bool) -> tuple[Ids, int]:
    """Return the supervoxels on record that can be counted, sorted; and how many cannot."""
    ids = ids_on(view, SUPERVOXELS.c.supervoxel)
    if view.storage.base is None or counted:
        return ids, 0
    mine = ids >= np.uint64(view.storage.base.first_new_id)
    return ids[mine], int((~mine).sum())


def _keys_to_count(view: LabelView, of_base: Ids) -> Iterator[ChunkKey]:
    """Yield the chunks that can hold what is counted: stored ones, and what is near `of_base`."""
    reached: set[ChunkKey] = set()
    if view.storage.base is not None:
        for portion in portions(of_base.tolist()):
            for found in view.statistics_of(portion).values():
                reached.update(keys_over(found.bbox, 0))
    for slab in _slabs(view, 0):
        stored = _stored(view, 0, slab)
        yield from sorted(stored)
        reached -= stored
    yield from sorted(reached)


def _compared(view: LabelView, table: StatisticsTable) -> Iterator[Finding]:
    for portion in portions(table.ids.tolist()):
        recorded = view.statistics_of(portion)
        for supervoxel in portion:
            found, counted = recorded.get(supervoxel), table.get(supervoxel)
            if found is not None and counted is not None:
                # Voxels do not tell.
                counted = replace(counted, confidence=found.confidence)
            if found != counted:
                yield Finding(
                    statistics_match_the_voxels.__name__,
                    _where(view),
                    f"Supervoxel {supervoxel} is on record as {found or 'gone'}, but counting "
                    f"gives {counted or 'no voxel'}.",
                    _BACKUP,
                )


def levels_match_the_level_below(view: LabelView) -> Iterator[Finding]:
    """Each chunk of a coarse level is the mode of the voxels below it.

    Levels that a base brings along were made by others, by other rules; they are passed over.
    """
    base = view.storage.base
    for level in range(1, len(view.levels)):
        if base is None or base.plan[level].stored is None:
            for slab in _slabs(view, level):
                for key in sorted(_written(view, level, slab)):
                    yield from _level_chunk(view, key)


def _written(view: LabelView, level: int, slab: int) -> set[ChunkKey]:
    """Return the chunks of a layer of a level that were written, or have a written one below."""
    fz, fy, fx = view.storage.factors[level - 1]
    keys = _stored(view, level, slab)
    for below in range(slab * fz, slab * fz + fz):
        keys.update(
            ChunkKey(level, slab, key.y // fy, key.x // fx)
            for key in _stored(view, level - 1, below)
        )
    return keys


def _level_chunk(view: LabelView, key: ChunkKey) -> Iterator[Finding]:
    factor = view.storage.factors[key.level - 1]
    roi = chunk_roi(key, view.levels[key.level])
    finer = view.levels[key.level - 1].shape
    below = Roi.from_bounds(
        [a * f for a, f in zip(roi.offset, factor, strict=True)],
        [min(b * f, s) for b, f, s in zip(roi.end, factor, finer, strict=True)],
    )
    expected = mode_pool(view.read_supervoxels(below, key.level - 1), *factor)
    wrong = expected != view.read_supervoxels(roi, key.level)
    if wrong.any():
        first = np.argwhere(wrong)[0] + roi.offset
        yield Finding(
            levels_match_the_level_below.__name__,
            _where(view),
            f"{int(wrong.sum())} voxels of level {key.level}, the first at {first.tolist()} "
            "(z, y, x), are not what the level below says.",
            "The finest level is the truth; repaint a voxel there, or restore from a backup.",
        )
