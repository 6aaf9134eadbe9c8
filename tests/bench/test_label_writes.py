"""Paint, undo and disk space of the label store, and the same commits to OCDBT and Icechunk.

Run: `.venv/bin/python -m pytest tests/bench/test_label_writes.py --benchmark-only -s`.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tensorstore as ts
import zarr
import zstandard
from floors import BareCommit, Timings
from mitochondria import ball, mitochondria
from pytest_benchmark.fixture import BenchmarkFixture

from segmentation_backend.database import open_database
from segmentation_backend.edits import import_labels, paint
from segmentation_backend.edits.voxels import write_voxels
from segmentation_backend.geometry import Roi, plan_levels
from segmentation_backend.labels import (
    ChunkKey,
    Delta,
    LabelRepository,
    LabelView,
    OperationMeta,
)
from segmentation_backend.labels.chunks import chunk_roi
from segmentation_backend.labels.staging import stage
from segmentation_backend.workspace.editing import EditContext, Editor

pytestmark = pytest.mark.timeout(1800)

SIDE = 256
SHAPE = (SIDE, SIDE, SIDE)
LEVELS = plan_levels(SHAPE, (8.0, 8.0, 8.0))
PER_AXIS = SIDE // 64

Block = npt.NDArray[np.uint64]
_requests = itertools.count()


def repository_with(
    folder: Path, labels: npt.NDArray[np.uint32], levels: int = len(LEVELS)
) -> LabelRepository:
    engine = open_database(folder / "labels.sqlite")
    repository = LabelRepository(engine, folder / "packs", "bench", LEVELS[:levels])
    first = repository.reserve_ids(int(labels.max()))
    delta = import_labels(repository.at(), Roi((0, 0, 0), SHAPE), labels, first)
    repository.commit(delta, OperationMeta("import", "ann"))
    # A store in use has all of its 256 folders.
    for name in range(256):
        (folder / "packs" / f"{name:02x}").mkdir(exist_ok=True)
    return repository


class Painter:
    """A user with a brush of up to 32 voxels: half the strokes extend an object."""

    def __init__(self, repository: LabelRepository) -> None:
        self.editor = Editor(repository)
        self.repository = repository
        self._rng = np.random.default_rng(7)

    def stroke(self) -> Callable[[], Any]:
        while True:
            mask = ball(int(self._rng.integers(6, 17)))
            corner = [int(c) for c in self._rng.integers(0, SIDE - mask.shape[0], 3)]
            roi = Roi((corner[0], corner[1], corner[2]), mask.shape)
            present = self.repository.at().read_supervoxels(roi)[mask]
            target = int(present[0]) or None
            if (present != target).any():
                break

        def delta(view: LabelView) -> Delta:
            return paint(view, roi, mask, target, "all", self.repository.reserve_ids)

        intent = {"roi": roi.to_json()}
        return lambda: self.editor.commit("paint", intent, self.context(), delta)

    def undo(self) -> None:
        self.editor.undo(self.context(), None)

    def context(self) -> EditContext:
        return EditContext("ann", request_id=f"bench-{next(_requests)}")


@pytest.fixture
def painter(tmp_path: Path) -> Painter:
    return Painter(repository_with(tmp_path, mitochondria(SHAPE, 1)))


def test_paint(benchmark: BenchmarkFixture, painter: Painter, tmp_path: Path) -> None:
    timings = Timings()
    bare = BareCommit(tmp_path)

    def round_() -> None:
        timings.time("bare commit", bare)
        timings.time("paint", painter.stroke())
        timings.time("undo of a paint", painter.undo)
        painter.stroke()()

    benchmark.pedantic(round_, rounds=100, warmup_rounds=5)
    timings.store_in(benchmark, ["bare commit", "paint", "undo of a paint"])
    timings.report(
        f"Paint up to 32^3, {len(LEVELS)} levels: at most 35 ms; undo: at most 30 ms",
        timings.ratio("paint", "bare commit"),
        timings.ratio("undo of a paint", "bare commit"),
    )


def test_space_of_a_paint(benchmark: BenchmarkFixture, painter: Painter, tmp_path: Path) -> None:
    first, before = painter.repository.head, _bytes_in(tmp_path)

    def strokes() -> None:
        for _ in range(400):
            painter.stroke()()

    benchmark.pedantic(strokes)
    after = _bytes_in(tmp_path)
    head = painter.repository.head
    packs = after["packs"] - before["packs"]
    rows = after["database"] - before["database"]
    whole = sum(_whole_chunks(painter.repository, at) for at in range(first + 1, head + 1))
    print(f"\nSpace of {head - first} paints, after a checkpoint: at most 1.3 x changed chunks")
    for name, size in {"changed chunks, zstd 1": whole, "packs": packs, "rows": rows}.items():
        print(f"  {name:24s} {size / (head - first) / 1e3:8.2f} kB each")
    print(f"  (packs + rows) / changed chunks: {(packs + rows) / whole:.2f}")
    benchmark.extra_info["ratio"] = round((packs + rows) / whole, 3)


def _bytes_in(folder: Path) -> dict[str, int]:
    connection = sqlite3.connect(folder / "labels.sqlite")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    packs = sum(path.stat().st_size for path in (folder / "packs").glob("*/*.pack"))
    return {"database": pages * size, "packs": packs}


def _whole_chunks(repository: LabelRepository, operation_id: int) -> int:
    """Return the bytes of an operation's chunks as any array store would keep them: zstd 1."""
    changes = repository.delta(operation_id).chunks
    chunks = repository.at(operation_id).load_chunks(changes.keys())
    total = 0
    for key, chunk in chunks.items():
        shape = chunk_roi(key, LEVELS[key.level]).shape
        total += len(zstandard.compress(chunk.cut(Roi((0, 0, 0), shape)).tobytes(), 1))
    return total


# The same commits to other stores


class OurStore:
    """Encoded, stored and committed; with `statistics`, objects are counted as edits do it."""

    def __init__(self, folder: Path, labels: npt.NDArray[np.uint32], statistics: bool) -> None:
        folder.mkdir()
        self._repository = repository_with(folder, labels, levels=1)
        self._statistics = statistics

    def __call__(self, blocks: dict[tuple[int, int, int], Block]) -> None:
        writes = {ChunkKey(0, *at): [((0, 0, 0), block)] for at, block in blocks.items()}
        repository = self._repository
        with repository.reading():
            view = repository.at()
            if self._statistics:
                delta = write_voxels(view, writes)
            else:
                chunks = stage(view.storage, view.version, writes)
                delta = Delta(view.version, Roi((0, 0, 0), SHAPE), chunks)
            outcome = repository.outcome(delta)
        repository.commit(delta, OperationMeta("paint", "ann"), outcome)


class Ocdbt:
    def __init__(self, folder: Path, labels: npt.NDArray[np.uint32]) -> None:
        spec = {
            "driver": "zarr3",
            "kvstore": {"driver": "ocdbt", "base": f"file://{folder}/"},
            "metadata": {
                "shape": SHAPE,
                "data_type": "uint64",
                "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [64] * 3}},
                "codecs": [{"name": "zstd", "configuration": {"level": 1}}],
            },
        }
        self._array = ts.open(spec, create=True).result()
        self._array[...] = labels.astype(np.uint64)

    def __call__(self, blocks: dict[tuple[int, int, int], Block]) -> None:
        transaction = ts.Transaction(atomic=True)
        array = self._array.with_transaction(transaction)
        for at, block in blocks.items():
            array[_slices(at)] = block
        transaction.commit_sync()


class Icechunk:
    def __init__(self, folder: Path, labels: npt.NDArray[np.uint32]) -> None:
        icechunk = pytest.importorskip("icechunk", reason="Icechunk is not installed")
        storage = icechunk.local_filesystem_storage(str(folder))
        self._repository = icechunk.Repository.create(storage)
        session = self._repository.writable_session("main")
        array = zarr.create_array(
            session.store,
            shape=SHAPE,
            chunks=(64, 64, 64),
            dtype="uint64",
            compressors=zarr.codecs.ZstdCodec(level=1),
        )
        array[...] = labels.astype(np.uint64)
        session.commit("import")

    def __call__(self, blocks: dict[tuple[int, int, int], Block]) -> None:
        session = self._repository.writable_session("main")
        array = zarr.open_array(session.store)
        for at, block in blocks.items():
            array[_slices(at)] = block
        session.commit("paint")


def _slices(at: tuple[int, int, int]) -> tuple[slice, ...]:
    return tuple(slice(64 * p, 64 * p + 64) for p in at)


def _edits(labels: npt.NDArray[np.uint32], count: int) -> Iterator[dict[Any, Block]]:
    """Yield `count` chunks at a time with a ball painted into each."""
    rng = np.random.default_rng(3)
    whole = labels.astype(np.uint64)
    new = int(labels.max())
    while True:
        flat = rng.choice(PER_AXIS**3, count, replace=False)
        blocks = {}
        for at in np.transpose(np.unravel_index(flat, (PER_AXIS,) * 3)).tolist():
            here = whole[_slices(tuple(at))]
            corner = rng.integers(0, 40, 3)
            new += 1
            here[tuple(slice(c, c + 24) for c in corner)][ball(12)] = new
            blocks[tuple(at)] = here.copy()
        yield blocks


@pytest.mark.parametrize("count", [1, 8])
def test_commit_of_chunks(benchmark: BenchmarkFixture, count: int, tmp_path: Path) -> None:
    labels = mitochondria(SHAPE, 2)
    stores: dict[str, Callable[[dict[Any, Block]], None]] = {
        "ours": OurStore(tmp_path / "ours", labels, statistics=False),
        "ours, objects counted": OurStore(tmp_path / "counted", labels, statistics=True),
        "zarr3 on OCDBT": Ocdbt(tmp_path / "ocdbt", labels),
        "Icechunk (not synced)": Icechunk(tmp_path / "icechunk", labels),
    }
    timings = Timings()
    edits = _edits(labels, count)

    def round_() -> None:
        blocks = next(edits)
        for name, store in stores.items():
            timings.time(name, lambda store=store: store(blocks))  # type: ignore[misc]

    benchmark.pedantic(round_, rounds=60, warmup_rounds=3)
    timings.store_in(benchmark, list(stores))
    timings.report(
        f"Commit of {count} changed chunks of 64^3, one level",
        *(timings.ratio("ours", name) for name in list(stores)[2:]),
    )
