"""Merges per second of four processes on one volume, on SQLite and PostgreSQL; none may be lost.

Every merge is durable when it is counted (SQLite with synchronous=FULL, PostgreSQL with fsync), has
a request id, and is on objects of its own. Run:
`.venv/bin/python -m pytest tests/bench/test_write_throughput.py --benchmark-only -s`.
"""

from __future__ import annotations

import os
import time
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import large_labels
import pytest
from databases import address_in
from large_labels import Cubes
from processes import forked
from pytest_benchmark.fixture import BenchmarkFixture

from segmentation_backend.database import open_database
from segmentation_backend.labels import LabelRepository
from segmentation_backend.workspace.editing import EditContext, Editor

pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("durable_database")]

WRITERS = 4
SECONDS = 6.0
CUBES = Cubes(side=4, merges=0)
TARGETS = {"sqlite": 200, "postgresql": 500}


def opened(folder: Path) -> LabelRepository:
    engine = open_database(address_in(folder))
    return LabelRepository(engine, folder / "packs", "cubes", CUBES.levels)


def write(folder: Path, writer: int, ready: Barrier, done: Queue[int]) -> None:
    editor = Editor(opened(folder))
    share = CUBES.supervoxels // WRITERS
    mine = range(writer * share + 1, (writer + 1) * share + 1, 2)
    editor.merge([mine[0], mine[0] + 1], None, EditContext("warm-up"))
    ready.wait(60)
    end = time.monotonic() + SECONDS
    count = 0
    for first in mine[1:]:
        if time.monotonic() > end:
            break
        context = EditContext(f"writer-{writer}", request_id=f"{writer}-{first}")
        editor.merge([first, first + 1], None, context)
        count += 1
    done.put(count)


def test_four_writers(benchmark: BenchmarkFixture, tmp_path: Path, durable_database: str) -> None:
    repository = large_labels.make_by_commits_into(opened(tmp_path), CUBES)
    before = repository.head
    context = forked()
    ready, done = context.Barrier(WRITERS + 1), context.Queue()
    writers = [
        context.Process(target=write, args=(tmp_path, number, ready, done))
        for number in range(WRITERS)
    ]
    for writer in writers:
        writer.start()
    ready.wait(60)
    counts: list[int] = []

    def all_of_them() -> None:
        counts.extend(done.get(timeout=SECONDS + 60) for _ in writers)

    benchmark.pedantic(all_of_them, rounds=1)
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    merges = repository.head - before - WRITERS
    assert merges == sum(counts)
    objects = repository.at().objects(limit=CUBES.supervoxels)
    assert len(objects) == CUBES.supervoxels - WRITERS - merges
    per_second = merges / SECONDS
    benchmark.extra_info["merges_per_second"] = round(per_second)
    print(
        f"\n{durable_database}: {per_second:.0f} merges per second by {WRITERS} writers, none lost "
        f"of {merges}; at least {TARGETS[durable_database]} wanted; each {counts}; "
        f"load {os.getloadavg()[0]:.1f}"
    )
