"""Jobs are rows: any process can ask, any dispatcher can claim, and a restart forgets none."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from app.storage import METADATA, utc_now
from segmentation_backend.database import read, write
from segmentation_backend.errors import ConflictError, ErrorKind, NotFoundError

__all__ = ["FINISHED", "MAX_ATTEMPTS", "Job", "JobStore"]

MAX_ATTEMPTS = 3
"""How often a job is tried when its worker dies, before a person has to look."""

FINISHED = ("done", "failed", "cancelled", "interrupted")

STALE_AFTER_S = 6.0
"""A dispatcher that has not been heard of for this long is dead, and its jobs are free."""

_jobs = sa.Table(
    "web_jobs",
    METADATA,
    sa.Column("job_id", sa.Text, primary_key=True),
    sa.Column("volume", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False, index=True),
    sa.Column("progress", sa.Float, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("plan", sa.Text, nullable=False),
    sa.Column("user", sa.Text, nullable=False),
    sa.Column("created", sa.Text, nullable=False),
    sa.Column("updated", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("cancel_requested", sa.Boolean, nullable=False),
    sa.Column("operation_id", sa.Integer),
    sa.Column("error", sa.Text),
    sa.Column("request_id", sa.Text),
    sa.Column("dispatcher", sa.Text),
    sa.Column("result", sa.Text),
    sa.UniqueConstraint("volume", "request_id"),
)

_URGENCY = sa.case((_jobs.c.kind == "warm", 2), (_jobs.c.kind == "follow", 1), else_=0)

_heartbeats = sa.Table(
    "web_dispatchers",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("seen", sa.Float, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it is now."""

    job_id: str
    volume: str
    kind: str
    """segment, follow or warm: the purpose of the plan."""
    state: str
    """queued, running, done, failed, cancelled or interrupted."""
    progress: float
    """0 to 1."""
    message: str
    plan: str
    """What to do, as JSON text."""
    user: str
    created: str
    updated: str
    attempts: int
    cancel_requested: bool
    operation_id: int | None
    """The operation it committed, when done."""
    error: str | None
    """`{"kind", "message"}` as JSON text, when failed."""
    request_id: str | None
    dispatcher: str | None
    """Who claimed it, while running."""
    result: str | None
    """JSON text: while it runs, how many blocks can be looked at; of a rehearsal, what it found."""

    def to_json(self) -> dict[str, Any]:
        """Return the job as the HTTP interface shows it."""
        shown = ("job_id", "volume", "kind", "state", "progress", "message", "user", "created")
        return {
            **{name: getattr(self, name) for name in shown},
            "updated": self.updated,
            "operation_id": self.operation_id,
            "error": None if self.error is None else json.loads(self.error),
            "result": None if self.result is None else json.loads(self.result),
        }


class JobStore:
    """Every job of every process, in one table."""

    def __init__(self, engine: sa.Engine) -> None:
        """Use the tables in `engine`."""
        self._engine = engine

    # What callers do

    def submit(
        self,
        kind: str,
        volume: str,
        plan: Mapping[str, Any],
        user: str,
        request_id: str | None,
        page: str | None = None,
    ) -> Job:
        """Queue a job and return it; a repeated `request_id` answers with the first job.

        With a `page`, that page's earlier jobs of the kind are cancelled: it has one at the most.
        """
        now = utc_now()
        plan = plan if page is None else {**plan, "page": page}
        values = {
            "job_id": uuid.uuid4().hex,
            "volume": volume,
            "kind": kind,
            "state": "queued",
            "progress": 0.0,
            "message": "Waiting for a worker",
            "plan": json.dumps(plan, sort_keys=True),
            "user": user,
            "created": now,
            "updated": now,
            "attempts": 0,
            "cancel_requested": False,
            "request_id": request_id,
        }
        try:
            with write(self._engine) as connection:
                earlier = _earlier(connection, volume, request_id)
                if earlier is None:
                    if page is not None:
                        _supersede(connection, kind, page)
                    connection.execute(_jobs.insert().values(**values))
                    earlier = _job(connection, str(values["job_id"]))
        except exc.IntegrityError:
            # The same request at the same moment, where writers do not wait for each other.
            with read(self._engine) as connection:
                earlier = _earlier(connection, volume, request_id)
            if earlier is None:
                raise
        if earlier.plan != values["plan"]:
            raise ConflictError(
                f"The request_id {request_id!r} already names another job, {earlier.job_id}; use "
                "a new request_id for a new request.",
                ErrorKind.REQUEST_ID_REUSED,
            )
        return earlier

    def get(self, job_id: str) -> Job:
        """Return a job; an unknown id is a NotFoundError."""
        with read(self._engine) as connection:
            return _job(connection, job_id)

    def newest(self, volume: str | None = None, limit: int = 100) -> list[Job]:
        """Return jobs, newest first."""
        query = sa.select(_jobs).order_by(_jobs.c.created.desc()).limit(limit)
        if volume is not None:
            query = query.where(_jobs.c.volume == volume)
        with read(self._engine) as connection:
            return [Job(**row._mapping) for row in connection.execute(query)]

    def cancel(self, job_id: str) -> Job:
        """Stop a queued job now and a running one at its next block; a finished one is refused."""
        with write(self._engine) as connection:
            job = _job(connection, job_id)
            if job.state in FINISHED:
                raise ConflictError(
                    f"The job {job_id} is {job.state} already; undo its operation instead."
                    if job.state == "done"
                    else f"The job {job_id} is {job.state} already; there is nothing to cancel.",
                    ErrorKind.JOB_FINISHED,
                )
            _cancel(connection, job)
            return _job(connection, job_id)

    def someone_waits(self) -> bool:
        """Whether there is a queued job that somebody waits for."""
        waiting = (_jobs.c.state == "queued") & (_jobs.c.kind != "warm")
        with read(self._engine) as connection:
            return connection.scalar(sa.select(_jobs.c.job_id).where(waiting).limit(1)) is not None

    def someone_asked(self) -> bool:
        """Whether there is a job, queued or running, that somebody waits for."""
        asked = _jobs.c.state.in_(("queued", "running")) & (_jobs.c.kind != "warm")
        with read(self._engine) as connection:
            return connection.scalar(sa.select(_jobs.c.job_id).where(asked).limit(1)) is not None

    def count_by_state(self) -> dict[str, int]:
        """Return how many jobs are in each state."""
        query = sa.select(_jobs.c.state, sa.func.count()).group_by(_jobs.c.state)
        with read(self._engine) as connection:
            return {state: count for state, count in connection.execute(query)}

    # What dispatchers and workers do

    def claim(self, dispatcher: str) -> Job | None:
        """Take the next queued job for a dispatcher, or return None; never given out twice.

        What was asked for is before what follows a view, and that before what may be wanted later;
        among these the oldest is first.
        """
        oldest = (
            sa.select(_jobs.c.job_id)
            .where(_jobs.c.state == "queued")
            .order_by(_URGENCY, _jobs.c.created)
            .limit(1)
        )
        # Looked at first without the write lock: the queue is nearly always empty.
        with read(self._engine) as connection:
            job_id = connection.scalar(oldest)
        if job_id is None:
            return None
        claimed = (
            _jobs.update()
            .where(_jobs.c.job_id == job_id, _jobs.c.state == "queued")
            .values(
                state="running",
                message="Starting",
                attempts=_jobs.c.attempts + 1,
                dispatcher=dispatcher,
                updated=utc_now(),
            )
        )
        with write(self._engine) as connection:
            if connection.execute(claimed).rowcount != 1:
                return None
            return _job(connection, job_id)

    def update(self, job_id: str, attempt: int, values: Mapping[str, Any]) -> bool:
        """Change a running job on behalf of one attempt; False when that attempt lost it."""
        changed = (
            _jobs.update()
            .where(
                _jobs.c.job_id == job_id,
                _jobs.c.state == "running",
                _jobs.c.attempts == attempt,
            )
            .values(**values, updated=utc_now())
        )
        with write(self._engine) as connection:
            return connection.execute(changed).rowcount == 1

    def reword(self, job: Job, said: str, words: str) -> None:
        """Change the message of a running job's attempt, if it is still what was said before."""
        same = (_jobs.c.job_id == job.job_id) & (_jobs.c.attempts == job.attempts)
        unchanged = (_jobs.c.state == "running") & (_jobs.c.message == said)
        with write(self._engine) as connection:
            connection.execute(_jobs.update().where(same, unchanged).values(message=words))

    def give_back(self, job: Job, reason: str) -> bool:
        """Queue a running job again, or give it up after `MAX_ATTEMPTS`; False when it ended."""
        if job.cancel_requested:
            values = {"state": "cancelled", "message": "Cancelled"}
        elif job.attempts < MAX_ATTEMPTS:
            values = {"state": "queued", "message": f"Trying again: {reason}"}
        else:
            values = {
                "state": "interrupted",
                "message": f"Given up after {job.attempts} attempts: {reason}",
            }
        return self.update(job.job_id, job.attempts, values)

    def beat(self, dispatcher: str) -> None:
        """Say that a dispatcher is alive, and forget those long dead."""
        now = time.time()
        with write(self._engine) as connection:
            connection.execute(
                _heartbeats.delete().where(
                    (_heartbeats.c.name == dispatcher) | (_heartbeats.c.seen < now - 3600)
                )
            )
            connection.execute(_heartbeats.insert().values(name=dispatcher, seen=now))

    def leave(self, dispatcher: str) -> None:
        """Say that a dispatcher stops: its running jobs go back into the queue, uncounted."""
        mine = (_jobs.c.dispatcher == dispatcher) & (_jobs.c.state == "running")
        with write(self._engine) as connection:
            connection.execute(_heartbeats.delete().where(_heartbeats.c.name == dispatcher))
            connection.execute(
                _jobs.update()
                .where(mine)
                .values(
                    state="queued",
                    message="Waiting for the server to start again",
                    attempts=_jobs.c.attempts - 1,
                )
            )

    def has_dispatcher(self) -> bool:
        """Whether a dispatcher has been heard of lately."""
        fresh = _heartbeats.c.seen > time.time() - STALE_AFTER_S
        with read(self._engine) as connection:
            return connection.scalar(sa.select(sa.func.count()).where(fresh)) != 0

    def orphans(self) -> list[Job]:
        """Return running jobs whose dispatcher is dead."""
        alive = sa.select(_heartbeats.c.name).where(
            _heartbeats.c.seen > time.time() - STALE_AFTER_S
        )
        query = sa.select(_jobs).where(_jobs.c.state == "running", _jobs.c.dispatcher.not_in(alive))
        with read(self._engine) as connection:
            return [Job(**row._mapping) for row in connection.execute(query)]


def _job(connection: sa.Connection, job_id: str) -> Job:
    row = connection.execute(sa.select(_jobs).where(_jobs.c.job_id == job_id)).first()
    if row is None:
        raise NotFoundError(
            f"There is no job {job_id[:64]!r}; GET /api/v1/jobs lists them.",
            ErrorKind.JOB_NOT_FOUND,
        )
    return Job(**row._mapping)


def _cancel(connection: sa.Connection, job: Job) -> None:
    values: dict[str, Any] = {"cancel_requested": True, "updated": utc_now()}
    if job.state == "queued":
        values |= {"state": "cancelled", "message": "Cancelled before it began"}
    connection.execute(_jobs.update().where(_jobs.c.job_id == job.job_id).values(**values))


def _supersede(connection: sa.Connection, kind: str, page: str) -> None:
    unfinished = _jobs.c.state.in_(("queued", "running")) & (_jobs.c.kind == kind)
    for row in connection.execute(sa.select(_jobs).where(unfinished)).all():
        job = Job(**row._mapping)
        if json.loads(job.plan).get("page") == page:
            _cancel(connection, job)


def _earlier(connection: sa.Connection, volume: str, request_id: str | None) -> Job | None:
    if request_id is None:
        return None
    query = sa.select(_jobs).where(_jobs.c.volume == volume, _jobs.c.request_id == request_id)
    row = connection.execute(query).first()
    return None if row is None else Job(**row._mapping)
