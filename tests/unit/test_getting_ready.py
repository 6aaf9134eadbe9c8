"""A new environment: what has to be compiled is, before anybody waits, and makes way for jobs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba import njit

from app import worker
from app.jobs import Job, JobStore
from segmentation_backend.workspace import FIRST_TIME, Workspace, on_compiling


def test_a_first_segmentation_finds_everything_compiled(tmp_path: Path) -> None:
    code = Path(__file__).parent / "compiled_late.py"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PYTHONWARNINGS": "ignore",
    }
    answer = subprocess.run(
        [sys.executable, str(code), str(tmp_path)], env=environment, capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stderr
    found = json.loads(answer.stdout.splitlines()[-1])
    assert found["late"] == []
    assert found["ready"] > 30


def new_loop() -> object:
    """Return a loop that was never called."""
    inner = njit(lambda a: a + 1)
    return njit(lambda a: inner(a).sum())


def test_compiling_is_told_once_for_each_loop_and_can_be_left(tmp_path: Path) -> None:
    loop, told = new_loop(), []

    class Leave(BaseException):
        pass

    def leave() -> None:
        told.append(1)
        raise Leave

    with on_compiling(leave), pytest.raises(Leave):
        loop(np.zeros(3))  # type: ignore[operator]
    with on_compiling(lambda: told.append(2)):
        assert loop(np.zeros(3)) == loop(np.zeros(3)) == 3  # type: ignore[operator]
    assert told == [1, 2]


@pytest.fixture
def parts(tmp_path: Path) -> tuple[Workspace, JobStore, tuple[None, str, None]]:
    place = (None, str(tmp_path), None)
    workspace = worker._workspace(*place)
    return workspace, JobStore(workspace.engine), place


def asked(jobs: JobStore) -> Job:
    jobs.submit("segment", "cell", {"volume": "cell"}, "ana", None)
    job = jobs.claim("d")
    assert job is not None
    return job


def test_getting_ready_makes_way_for_a_job_and_is_done_afterwards(
    parts: tuple[Workspace, JobStore, tuple[None, str, None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, jobs, place = parts
    loop, said = new_loop(), []

    class DaskWorker:
        def log_event(self, topic: str, step: str) -> None:
            said.append((topic, step))

    monkeypatch.setattr(worker.distributed, "get_worker", DaskWorker)
    monkeypatch.setattr(Workspace, "warm_up", lambda self, step: loop(np.zeros(3)))  # type: ignore[operator]
    job = asked(jobs)
    assert worker.warm_up(*place, "slice") is False
    assert said == [(worker.COMPILING, "slice")]
    jobs.update(job.job_id, 1, {"state": "done"})
    assert worker.warm_up(*place, "slice") is True
    assert worker.warm_up(*place, "slice") is True
    assert len(said) == 2


def test_a_job_that_compiles_says_so_and_can_be_cancelled(
    parts: tuple[Workspace, JobStore, tuple[None, str, None]],
) -> None:
    _, jobs, _ = parts
    job = asked(jobs)
    reporter = worker._Reporter(jobs, job)
    with on_compiling(reporter.first_time):
        new_loop()(np.zeros(3))  # type: ignore[operator]
    assert jobs.get(job.job_id).message == FIRST_TIME
    jobs.cancel(job.job_id)
    reporter._written = 0.0
    with on_compiling(reporter.first_time), pytest.raises(worker._Cancelled):
        new_loop()(np.zeros(3))  # type: ignore[operator]


def test_where_nothing_can_be_kept_each_process_compiles_for_itself() -> None:
    nowhere = {
        "NUMBA_CACHE_DIR": "/dev/null/nowhere",
        "NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator",
    }
    code = (
        "import numpy as np; from segmentation_backend.labels.kernels import run_values;"
        "print(run_values(np.ones(3, np.uint64)))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **nowhere, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout == "[1]\n"
