"""What runs inside a Dask worker process: one job, from its row to its operation."""

from __future__ import annotations

import json
import logging
import time
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import distributed

from app.config import cloud_settings
from app.jobs import Job, JobStore
from segmentation_backend.errors import ErrorKind, SegmentationError
from segmentation_backend.workspace import (
    FIRST_TIME,
    EditContext,
    FoundSoFar,
    SegmentationPlan,
    Workspace,
    on_compiling,
)

__all__ = ["COMPILING", "run_job", "warm_up"]

COMPILING = "mitoglance-compiling"
"""The topic under which a worker says that it compiles."""

REPORT_EVERY_S = 0.15
"""Progress is a database write; nobody sees more than a few a second."""

_log = logging.getLogger(__name__)


class _Cancelled(BaseException):
    """Leaves a run between two blocks; no error, so nothing that handles errors may stop it."""


class _MakesWay(BaseException):
    """Leaves what can be done later; no error either."""


def run_job(
    database_url: str | None, data_dir: str, packs: str | None, job_id: str, attempt: int
) -> None:
    """Run one attempt of a job; whatever comes of it stands in the job's row.

    A run that was committed but not yet recorded when its worker died is found again by its
    request id, so that a second attempt commits nothing.
    """
    workspace = _workspace(database_url, data_dir, packs)
    jobs = JobStore(workspace.engine)
    job = jobs.get(job_id)
    if job.state == "running" and job.attempts == attempt:
        jobs.update(job_id, attempt, _run(workspace, jobs, job))


def warm_up(database_url: str | None, data_dir: str, packs: str | None, step: str) -> bool:
    """Do beforehand a part of what the first jobs would have to wait for.

    Where it takes long it makes way for a job, which may need something else; returns whether it
    was done. Dask tells whoever subscribed to `COMPILING`.
    """
    worker: Any = distributed.get_worker()
    workspace = _workspace(database_url, data_dir, packs)
    jobs = JobStore(workspace.engine)

    def tell() -> None:
        worker.log_event(COMPILING, step)
        if jobs.someone_asked():
            raise _MakesWay

    try:
        with on_compiling(tell):
            workspace.warm_up(step)
    except _MakesWay:
        return False
    return True


@cache
def _workspace(database_url: str | None, data_dir: str, packs: str | None) -> Workspace:
    # Kept for the next job: opening volumes again would cost each of them.
    return Workspace(Path(data_dir), database_url, cloud_settings(), packs=packs)


def _run(workspace: Workspace, jobs: JobStore, job: Job) -> dict[str, Any]:
    """Return what the job's row becomes."""
    try:
        return {"state": "done", "progress": 1.0, **_segmented(workspace, jobs, job)}
    except _Cancelled:
        return {"state": "cancelled", "message": "Cancelled; nothing was changed"}
    except SegmentationError as err:
        if err.kind == ErrorKind.NOTHING_TO_CHANGE:
            return {"state": "done", "progress": 1.0, "message": err.message, "result": None}
        return _failed(err.kind, err.message)
    except Exception:  # noqa: BLE001  (whatever a job does, its row must say that it ended)
        _log.exception("job %s failed", job.job_id)
        return _failed(
            ErrorKind.INTERNAL,
            f"The job failed unexpectedly; the server's log has the details under {job.job_id}.",
        )


def _segmented(workspace: Workspace, jobs: JobStore, job: Job) -> dict[str, Any]:
    """Return what is to be said of a job that was done."""
    plan = SegmentationPlan.from_json(json.loads(job.plan))
    reporter = _Reporter(jobs, job)
    with on_compiling(reporter.first_time):
        return _run_plan(workspace, job, plan, reporter)


def _run_plan(
    workspace: Workspace, job: Job, plan: SegmentationPlan, reporter: _Reporter
) -> dict[str, Any]:
    if plan.is_rehearsal:
        change = workspace.rehearse(plan, progress=reporter)
        return {"message": str(change), "result": json.dumps(change.to_json())}
    if plan.purpose == "warm":
        workspace.warm(plan, reporter)
        return {"message": "Ready, should it be wanted"}
    edit = EditContext(job.user, request_id=f"job:{job.job_id}")
    with closing(workspace.show_found(plan, job.job_id)) as found:
        reporter.found = found
        operation = workspace.segment(plan, edit, reporter, found)
        has_layers = found.maps is not None or found.stacks is not None
        shown = json.dumps(_shown(found)) if has_layers else None
    return {"message": "Done", "operation_id": operation.operation_id, "result": shown}


def _shown(found: FoundSoFar) -> dict[str, int]:
    """Return how many blocks there are to look at, as labels and as maps, and how many stacks."""
    return {
        "blocks": found.blocks,
        "maps": 0 if found.maps is None else found.maps.blocks,
        "stacks": 0 if found.stacks is None else found.stacks.planes,
    }


def _failed(kind: ErrorKind, message: str) -> dict[str, Any]:
    error = json.dumps({"kind": str(kind), "message": message})
    return {"state": "failed", "message": message, "error": error}


class _Reporter:
    """Writes progress into the job's row, and leaves the run when the row asks for it."""

    def __init__(self, jobs: JobStore, job: Job) -> None:
        self._jobs = jobs
        self._job = job
        self._written = 0.0
        self._share = 0.0
        self.found: FoundSoFar | None = None
        """What there is to look at already."""

    def first_time(self) -> None:
        """Say what takes so long."""
        self(self._share, FIRST_TIME)

    def __call__(self, share: float, message: str) -> None:
        """Take `share` (0 to 1) of the work as done."""
        now = time.monotonic()
        if now - self._written < REPORT_EVERY_S:
            return
        self._written, self._share = now, min(1.0, max(0.0, share))
        values: dict[str, Any] = {"progress": self._share, "message": message}
        if self.found is not None and any(_shown(self.found).values()):
            values["result"] = json.dumps(_shown(self.found))
        mine = self._jobs.update(self._job.job_id, self._job.attempts, values)
        if not mine or self._jobs.get(self._job.job_id).cancel_requested:
            raise _Cancelled
        # Its finished blocks are kept, so little is lost.
        if self._job.kind == "warm" and self._jobs.someone_waits():
            raise _Cancelled
