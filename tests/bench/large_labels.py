"""Label stores with a million of everything, made by bulk inserts of what commits write.

A volume of cubes of 8 voxels, 512 to a chunk, ids in the order of chunks. Each chunk was imported
by an operation of its own; then each odd id was merged with the next one, again one operation each.
`check_bulk` compares every row with those of real commits.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from segmentation_backend.database import open_database
from segmentation_backend.edits import import_labels
from segmentation_backend.geometry import Roi, ScaleLevel
from segmentation_backend.labels import ChunkKey, LabelRepository, OperationMeta
from segmentation_backend.labels.chunks import Chunk, encode
from segmentation_backend.labels.pack_format import lay_out, relative_path
from segmentation_backend.workspace.editing import EditContext, Editor

PER_CHUNK = 512
_TIME = "2026-01-01T00:00:00.000+00:00"


@dataclass(frozen=True)
class Cubes:
    """How large the volume is, and how many merges were made on it."""

    side: int
    """Chunks per axis."""
    merges: int

    @property
    def chunks(self) -> int:
        return self.side**3

    @property
    def supervoxels(self) -> int:
        return self.chunks * PER_CHUNK

    @property
    def operations(self) -> int:
        return self.chunks + self.merges

    @property
    def levels(self) -> tuple[ScaleLevel, ...]:
        return (ScaleLevel(0, (8.0, 8.0, 8.0), (self.side * 64,) * 3),)

    def roi(self, chunk: int) -> Roi:
        z, y, x = np.unravel_index(chunk, (self.side,) * 3)
        return Roi((int(z) * 64, int(y) * 64, int(x) * 64), (64, 64, 64))

    def labels(self, chunk: int) -> npt.NDArray[np.uint64]:
        ids = np.arange(PER_CHUNK, dtype=np.uint64).reshape(8, 8, 8)
        ids += np.uint64(chunk * PER_CHUNK + 1)
        return ids.repeat(8, 0).repeat(8, 1).repeat(8, 2)

    def open(self, folder: Path, **options: Any) -> LabelRepository:
        engine = open_database(folder / "labels.sqlite")
        return LabelRepository(engine, folder / "packs", "cubes", self.levels, **options)


def make(cubes: Cubes, folder: Path) -> LabelRepository:
    """Return a store made by bulk inserts."""
    repository = cubes.open(folder)
    repository._engine.dispose()
    chunk_rows = list(_packs(cubes, folder / "packs"))
    connection = sqlite3.connect(folder / "labels.sqlite", isolation_level=None)
    for pragma in (
        "journal_mode=OFF",
        "synchronous=OFF",
        "cache_size=-200000",
        "temp_store=MEMORY",
    ):
        connection.execute(f"PRAGMA {pragma}")
    # Built afterwards: much faster than kept up to date row by row.
    indexes = connection.execute(
        "SELECT name, sql FROM sqlite_master "
        "WHERE type = 'index' AND sql IS NOT NULL AND tbl_name LIKE 'label_%'"
    ).fetchall()
    for name, _ in indexes:
        connection.execute(f"DROP INDEX {name}")
    connection.execute("BEGIN")
    _insert(connection, cubes, chunk_rows)
    for _, sql in indexes:
        connection.execute(sql)
    connection.execute("COMMIT")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.close()
    return cubes.open(folder)


def _packs(cubes: Cubes, folder: Path) -> Iterator[tuple[Any, ...]]:
    """Write one pack per chunk and yield the chunk's row."""
    for chunk in range(cubes.chunks):
        name = hashlib.sha256(str(chunk).encode()).hexdigest()[:24]
        key = ChunkKey(0, *(corner // 64 for corner in cubes.roi(chunk).offset))
        content, places = lay_out(name, {key: encode(Chunk((0, 0, 0), cubes.labels(chunk)))})
        path = folder / relative_path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        yield (1, *key, chunk + 1, name, places[key].start, places[key].length)


_CORNERS = """
  SELECT n.s AS s, (n.s - 1) / 512 AS c,
    ((n.s - 1) / 512) / ({side} * {side}) * 64 + ((n.s - 1) % 512) / 64 * 8 AS z,
    ((n.s - 1) / 512) / {side} % {side} * 64 + ((n.s - 1) % 512) / 8 % 8 * 8 AS y,
    ((n.s - 1) / 512) % {side} * 64 + (n.s - 1) % 8 * 8 AS x
  FROM n
"""
"""Each supervoxel `s` with its chunk and its first voxel."""

_STATEMENTS = {
    "label_supervoxels": """
      SELECT 1, s, c + 1, 512, z, y, x, z + 8, y + 8, x + 8,
        512 * z + 1792, 512 * y + 1792, 512 * x + 1792 FROM p ORDER BY s
    """,
    "label_roots": """
      SELECT 1, s, o, f, f * 512, h * z, h * y, h * x, h * (z + 8), h * (y + 8), h * (x + 8 * w),
        f * (512 * z + 1792), f * (512 * y + 1792), f * (512 * x + 1792 + 2048 * (w - 1))
      FROM (
        SELECT p.*, c + 1 AS o, 1 AS f, 1 AS h, 1 AS w FROM p
        UNION ALL
        SELECT p.*, {chunks} + (s + 1) / 2, s % 2 * 2, s % 2, 2 FROM p WHERE s <= 2 * {merges}
      ) ORDER BY s, o
    """,
    "label_edges": "SELECT 1, {chunks} + s, 2 * s - 1, 2 * s, 1 FROM n WHERE s <= {merges}",
    "label_members": "SELECT 1, 2 * s, {chunks} + s, 2 * s - 1 FROM n WHERE s <= {merges}",
    "label_operations": """
      SELECT 1, {chunks} + (s + 1) / 2, 1, {chunks} + (s + 1) / 2 - 1, 'merge', 'ann', '{time}',
        'merge-' || ((s + 1) / 2), lower(hex(randomblob(16))), NULL, 0, NULL,
        printf('{{"offset": [%d, %d, %d], "shape": [8, 8, 16]}}', z, y, x),
        printf('{{"removed": [%d, %d], "added": [%d], ', s, s + 1, s)
          || printf('"became": [[%d, %d], [%d, %d]], "moved": []}}', s, s, s + 1, s),
        printf('{{"ids": [%d, %d]}}', s, s + 1)
      FROM p WHERE s % 2 AND s < 2 * {merges}
    """,
}


def _insert(connection: sqlite3.Connection, cubes: Cubes, chunk_rows: list[Any]) -> None:
    names = {"side": cubes.side, "chunks": cubes.chunks, "merges": cubes.merges, "time": _TIME}
    bound = "WITH RECURSIVE n(s) AS (SELECT 1 UNION ALL SELECT s + 1 FROM n WHERE s < ?), p AS ("
    bound += _CORNERS.format(**names) + ") "
    marks = ",".join("?" * 15)
    connection.executemany(
        f"INSERT INTO label_operations VALUES ({marks})",
        (_import_row(cubes, chunk) for chunk in range(cubes.chunks)),
    )
    for table, text in _STATEMENTS.items():
        statement = f"INSERT INTO {table} {bound}{text.format(**names)}"
        connection.execute(statement, (cubes.supervoxels,))
    connection.executemany("INSERT INTO label_chunks VALUES (?,?,?,?,?,?,?,?,?)", chunk_rows)
    connection.execute("UPDATE label_branches SET head = ?", (cubes.operations,))
    connection.execute(
        "UPDATE label_volumes SET head = ?, next_id = ?",
        (cubes.operations, cubes.supervoxels + 1),
    )


def _import_row(cubes: Cubes, chunk: int) -> tuple[Any, ...]:
    added = list(range(chunk * PER_CHUNK + 1, (chunk + 1) * PER_CHUNK + 1))
    lineage = {"removed": [], "added": added, "became": [], "moved": []}
    made = (1, chunk + 1, 1, chunk, "import", "ann", _TIME, f"import-{chunk}", None, None, 1, None)
    return (*made, json.dumps(cubes.roi(chunk).to_json()), json.dumps(lineage), "{}")


def make_by_commits(cubes: Cubes, folder: Path) -> LabelRepository:
    """Return the same store, made by real edits."""
    return make_by_commits_into(cubes.open(folder), cubes)


def make_by_commits_into(repository: LabelRepository, cubes: Cubes) -> LabelRepository:
    """Return an empty store after real edits of the same kind."""
    for chunk in range(cubes.chunks):
        first = repository.reserve_ids(PER_CHUNK)
        labels = cubes.labels(chunk)
        delta = import_labels(repository.at(), cubes.roi(chunk), labels, first, "fill-empty")
        repository.commit(delta, OperationMeta("import", "ann", request_id=f"import-{chunk}"))
    editor = Editor(repository)
    for merge in range(1, cubes.merges + 1):
        context = EditContext("ann", request_id=f"merge-{merge}")
        editor.merge([2 * merge - 1, 2 * merge], None, context)
    return repository


_NEVER_THE_SAME = {"time", "request_digest", "pack"}


def check_bulk(folder: Path) -> None:
    """Fail unless bulk inserts give the rows that commits give, in every table of labels."""
    cubes = Cubes(2, 300)
    makers = {"bulk": make, "commits": make_by_commits}
    stores = [_rows(maker(cubes, folder / name), folder / name) for name, maker in makers.items()]
    assert stores[0] == stores[1]
    assert sum(map(len, stores[0].values())) > 5000


def _rows(repository: LabelRepository, folder: Path) -> dict[str, list[dict[str, Any]]]:
    repository._engine.dispose()
    connection = sqlite3.connect(folder / "labels.sqlite")
    connection.row_factory = sqlite3.Row
    tables = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'label_%'"
    ).fetchall()
    kept = {}
    for (table,) in tables:
        rows = [dict(row) for row in connection.execute(f"SELECT * FROM {table}")]
        for row in rows:
            for name in _NEVER_THE_SAME & row.keys():
                del row[name]
        kept[table] = sorted(rows, key=lambda row: str(tuple(row.values())))
    return kept
