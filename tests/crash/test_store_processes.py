"""Kills and crowds: what was answered is there, what was not is not half there, nothing is lost."""

from __future__ import annotations

import random
import time
from itertools import pairwise
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from databases import address_in, server
from processes import forked
from store_writer import (
    edit_and_die,
    keep_editing,
    merge_pairs,
    open_store,
    same_request,
)

from segmentation_backend.database import open_database
from segmentation_backend.geometry import Roi
from segmentation_backend.labels import LabelRepository, LabelView, PackFolder
from segmentation_backend.labels.statistics import StatisticsTable

pytestmark = [pytest.mark.crash, pytest.mark.usefixtures("durable_database")]

STEPS = (
    "pack-opened",
    "pack-written",
    "pack-synced",
    "pack-renamed",
    "pack-durable",
    "transaction-begun",
    "rows-written",
    "committed",
)


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    return forked()


def finish(process: BaseProcess) -> None:
    process.join(60)
    assert process.exitcode == 0


def check_view(view: LabelView) -> None:
    """Check statistics, joins and pyramid of one version against its voxels."""
    voxels = view.read_supervoxels(view.bounds)
    found = view.statistics_in(None)
    table = StatisticsTable(np.unique(voxels[voxels > 0]))
    table.add(voxels, (0, 0, 0))
    assert table.found() == found
    for edge in view.agglomeration.all_edges().tolist():
        assert set(edge) <= set(found)
    for level in view.levels[1:]:
        coarse = view.read_supervoxels(Roi((0, 0, 0), level.shape), level.level)
        assert set(np.unique(coarse).tolist()) <= {0, *found}


def check_store(folder: Path) -> LabelRepository:
    """Check a reopened store: readable, consecutive, nothing answered lost, packs whole."""
    engine = open_database(address_in(folder))
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            assert connection.execute(sa.text("PRAGMA integrity_check")).scalar_one() == "ok"
        names = connection.execute(
            sa.text("SELECT DISTINCT pack FROM label_chunks WHERE pack IS NOT NULL")
        )
        packs = PackFolder(folder / "packs")
        for (name,) in names:
            assert packs.verify(name) > 0
    repository = open_store(folder)
    operations = {o.operation_id: o for o in repository.operations(limit=10**6)}
    assert sorted(operations) == list(range(1, repository.head + 1))
    for acks in folder.glob("acks-*"):
        for line in acks.read_text().splitlines():
            operation_id, request_id = line.split()
            assert operations[int(operation_id)].request_id == request_id
    for version in {repository.head, repository.head // 2, max(0, repository.head - 1)}:
        check_view(repository.at(version))
    return repository


def test_kills_at_random_moments_lose_and_tear_nothing(
    tmp_path: Path, processes: ForkServerContext, request: pytest.FixtureRequest
) -> None:
    chance = random.Random(7)
    kills: int = request.config.getoption("--kills")
    for kill in range(kills):
        process = processes.Process(
            target=keep_editing, args=(tmp_path, f"k{kill}", kill, 10_000), daemon=True
        )
        process.start()
        acks = tmp_path / f"acks-k{kill}"
        deadline = time.monotonic() + 30
        while not (acks.exists() and acks.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(chance.random() * 0.25)
        process.kill()
        process.join()
        check_store(tmp_path)
    repository = check_store(tmp_path)
    assert repository.head >= kills
    before = repository.at().read(repository.at().bounds)
    repository.sweep_orphans(min_age_s=0.0)
    reopened = check_store(tmp_path)
    assert np.array_equal(reopened.at().read(reopened.at().bounds), before)


@pytest.mark.parametrize(
    ("kind", "step"),
    [("segment", step) for step in STEPS] + [("merge", step) for step in STEPS[5:]],
)
def test_a_kill_at_any_step_leaves_all_or_nothing(
    tmp_path: Path, processes: ForkServerContext, kind: str, step: str
) -> None:
    keep_editing(tmp_path, "first", 3, 1)
    head = open_store(tmp_path).head
    process = processes.Process(target=edit_and_die, args=(tmp_path, step, "r", kind))
    process.start()
    process.join(60)
    assert process.exitcode == -9
    repository = check_store(tmp_path)
    assert repository.head == head + (step == "committed")
    # The client never got an answer and asks again, with the same request id.
    retry = processes.Process(target=edit_and_die, args=(tmp_path, "no such step", "r", kind))
    retry.start()
    finish(retry)
    repository = check_store(tmp_path)
    assert repository.head == head + 1
    before = repository.at().read(repository.at().bounds)
    orphans = repository.sweep_orphans(min_age_s=0.0)
    assert len(orphans) == (kind == "segment" and step != "committed")
    again = check_store(tmp_path)
    assert np.array_equal(again.at().read(again.at().bounds), before)


def test_two_processes_editing_at_once_lose_nothing(
    tmp_path: Path, processes: ForkServerContext
) -> None:
    open_store(tmp_path)
    writers = [
        processes.Process(target=keep_editing, args=(tmp_path, f"w{n}", 10 + n, 25))
        for n in range(2)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        finish(writer)
    repository = check_store(tmp_path)
    acks = sum(len(p.read_text().splitlines()) for p in tmp_path.glob("acks-*"))
    assert repository.head == acks > 20


def test_two_processes_joining_one_row_of_objects_end_with_one_object(
    tmp_path: Path, processes: ForkServerContext
) -> None:
    for number in range(4):
        keep_editing(tmp_path, f"seed{number}", number, 1)
    head = open_store(tmp_path).head
    ids = [o.root for o in open_store(tmp_path).at().objects(sort="root")]
    pairs = list(pairwise(ids))
    writers = [
        processes.Process(target=merge_pairs, args=(tmp_path, "even", pairs[::2])),
        processes.Process(target=merge_pairs, args=(tmp_path, "odd", pairs[1::2])),
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        finish(writer)
    repository = check_store(tmp_path)
    assert [o.root for o in repository.at().objects()] == [ids[0]]
    assert repository.head == head + len(pairs)


def test_one_request_sent_to_two_processes_is_one_operation(
    tmp_path: Path, processes: ForkServerContext
) -> None:
    open_store(tmp_path)
    writers = [
        processes.Process(target=same_request, args=(tmp_path, "the request", f"n{n}"))
        for n in range(2)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        finish(writer)
    assert check_store(tmp_path).head == 1
    assert {p.read_text() for p in tmp_path.glob("answer-*")} == {"1"}


def test_a_crash_of_the_database_server_loses_nothing_that_was_answered(
    tmp_path: Path, processes: ForkServerContext, durable_database: str
) -> None:
    if durable_database == "sqlite":
        pytest.skip("SQLite has no server")
    chance = random.Random(3)
    open_store(tmp_path)
    for crash in range(3):
        writers = [
            processes.Process(target=keep_editing, args=(tmp_path, f"c{crash}-{n}", n, 10_000))
            for n in range(2)
        ]
        for writer in writers:
            writer.start()
        deadline = time.monotonic() + 30
        acks = [tmp_path / f"acks-c{crash}-{n}" for n in range(2)]
        while time.monotonic() < deadline:
            if all(path.exists() and path.stat().st_size for path in acks):
                break
            time.sleep(0.01)
        time.sleep(0.5 + chance.random())
        server(durable=True).crash()
        for writer in writers:
            writer.join(60)
            # It was told: an error, not a hang and not an answer.
            assert writer.exitcode == 1
        server(durable=True).start()
        check_store(tmp_path)
    assert open_store(tmp_path).head >= 6
