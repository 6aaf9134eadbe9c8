"""A label store of 100,000 versions, each of which wrote one chunk: rows as paints write them.

The chunks' bytes are a few variants in one pack, named again and again (as undos name old chunks).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from mitochondria import ball, mitochondria

from segmentation_backend.database import open_database
from segmentation_backend.geometry import Roi, ScaleLevel
from segmentation_backend.labels import ChunkKey, LabelRepository, StoredChunk
from segmentation_backend.labels.chunks import chunk_roi, encode, trim
from segmentation_backend.labels.pack_format import lay_out, relative_path

__all__ = ["SIDE", "VERSIONS", "chunk_of", "make", "open_store"]

VERSIONS = 100_000
SIDE = 4
"""Chunks per axis."""

_VARIANTS = 8
_LEVEL = ScaleLevel(0, (8.0, 8.0, 8.0), (SIDE * 64,) * 3)
_PACK = "1f" * 12


def open_store(folder: Path, **options: Any) -> LabelRepository:
    engine = open_database(folder / "labels.sqlite")
    return LabelRepository(engine, folder / "packs", "painted", (_LEVEL,), **options)


def chunk_of(version: int) -> Roi:
    """Return the place that a version wrote."""
    return chunk_roi(_key(version), _LEVEL)


def _key(version: int) -> ChunkKey:
    z, y, x = np.unravel_index(version * 7919 % SIDE**3, (SIDE,) * 3)
    return ChunkKey(0, int(z), int(y), int(x))


def make(folder: Path) -> LabelRepository:
    open_store(folder)._engine.dispose()
    places = _pack(folder / "packs")
    connection = sqlite3.connect(folder / "labels.sqlite", isolation_level=None)
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute("BEGIN")
    for table, width in {"operations": 15, "chunks": 9, "supervoxels": 13, "roots": 14}.items():
        marks = ",".join("?" * width)
        rows = _ROWS[table](places)
        connection.executemany(f"INSERT INTO label_{table} VALUES ({marks})", rows)
    connection.execute("UPDATE label_branches SET head = ?", (VERSIONS,))
    connection.execute("UPDATE label_volumes SET head = ?, next_id = 100000", (VERSIONS,))
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return open_store(folder)


def _pack(folder: Path) -> dict[tuple[ChunkKey, int], StoredChunk]:
    labels = mitochondria(_LEVEL.shape, 5).astype(np.uint64)
    rng = np.random.default_rng(6)
    encoded = {}
    for variant in range(_VARIANTS):
        for number in range(SIDE**3):
            key = _key(number)
            block = labels[chunk_roi(key, _LEVEL).slices()]
            corner = rng.integers(0, 40, 3)
            block[tuple(slice(c, c + 24) for c in corner)][ball(12)] = 9000 + variant
            # A pack holds each chunk once: the variants lie at levels that nobody asks for.
            encoded[ChunkKey(variant, *key[1:])] = encode(trim(block, (0, 0, 0)))
    content, places = lay_out(_PACK, encoded)
    path = folder / relative_path(_PACK)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return {(ChunkKey(0, *key[1:]), key.level): place for key, place in places.items()}


def _operation_rows(_places: Any) -> Iterator[tuple[Any, ...]]:
    for version in range(1, VERSIONS + 1):
        roi = chunk_of(version)
        root = version % 500 + 1
        lineage = {"removed": [root], "added": [root], "became": [[root, root]], "moved": []}
        ids = (1, version, 1, version - 1, "paint", "ann", f"2026-01-01T{version:09d}")
        meta = (f"paint-{version}", f"{version:032x}", None, 1, None)
        yield (*ids, *meta, json.dumps(roi.to_json()), json.dumps(lineage), "{}")


def _chunk_rows(places: dict[tuple[ChunkKey, int], StoredChunk]) -> Iterator[tuple[Any, ...]]:
    for version in range(1, VERSIONS + 1):
        key = _key(version)
        place = places[key, version // SIDE**3 % _VARIANTS]
        yield (1, *key, version, place.pack, place.start, place.length)


def _size_of(version: int) -> tuple[int, ...]:
    begin = chunk_of(version).offset
    return (512, *begin, *(b + 8 for b in begin), *(512 * b for b in begin))


def _supervoxel_rows(_places: Any) -> Iterator[tuple[int, ...]]:
    for version in range(1, VERSIONS + 1):
        yield (1, version % 500 + 1, version, *_size_of(version))


def _root_rows(_places: Any) -> Iterator[tuple[int, ...]]:
    for version in range(1, VERSIONS + 1):
        yield (1, version % 500 + 1, version, 1, *_size_of(version))


_ROWS: dict[str, Any] = {
    "operations": _operation_rows,
    "chunks": _chunk_rows,
    "supervoxels": _supervoxel_rows,
    "roots": _root_rows,
}
