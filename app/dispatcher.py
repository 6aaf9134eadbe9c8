"""Takes queued jobs to workers, and back into the queue when a worker dies."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from typing import Protocol

from app.jobs import Job, JobStore
from segmentation_backend.errors import ResourceError

__all__ = ["Compute", "Dispatcher", "Outcome"]

POLL_S = 0.04
BUSY_POLL_S = 0.01
"""While somebody segments: who has just done so is likely to go on, and waits for each."""
BUSY_FOR_S = 60.0
BEAT_S = 2.0

_log = logging.getLogger(__name__)


class Outcome(Protocol):
    """A job under way on a worker."""

    def done(self) -> bool:
        """Whether the worker has answered, or is dead."""
        ...

    def failure(self) -> str | None:
        """Return why there is no answer, or None when there is one."""
        ...

    def release(self) -> None:
        """Forget the job."""
        ...


class Compute(Protocol):
    """Worker processes that run jobs."""

    def slots(self) -> int:
        """Return how many jobs can run at once just now."""
        ...

    def submit(self, job_id: str, attempt: int) -> Outcome:
        """Start a job on a worker."""
        ...

    def preparing(self) -> str | None:
        """Return what workers do before they begin with a job, if anything, for its message."""
        ...


class Dispatcher:
    """One per launcher; several on one database share the work."""

    def __init__(self, jobs: JobStore, compute: Compute) -> None:
        """Serve the jobs of a database with workers."""
        self.name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._jobs = jobs
        self._compute = compute
        self._running: dict[str, tuple[Job, Outcome]] = {}
        self._said: dict[str, str] = {}
        """The message of jobs that no worker has begun with, as far as is known here."""
        self._next_beat = 0.0
        self._busy_until = 0.0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)

    def start(self) -> None:
        """Begin to serve, in a thread."""
        self.beat()
        self._thread.start()

    def stop(self) -> None:
        """Stop, and put what was running back into the queue for the next start."""
        self._stopping.set()
        self._thread.join(5)
        self._jobs.leave(self.name)

    def is_alive(self) -> bool:
        """Whether the thread still serves."""
        return self._thread.is_alive()

    def step(self) -> None:
        """Look after everything once: heartbeat, finished jobs, jobs of the dead, the queue."""
        if time.monotonic() >= self._next_beat:
            self.beat()
            self._adopt()
        self._settle()
        while len(self._running) < self._compute.slots():
            job = self._jobs.claim(self.name)
            if job is None:
                break
            self._running[job.job_id] = (job, self._compute.submit(job.job_id, job.attempts))
            self._said[job.job_id] = job.message
            self._busy_until = time.monotonic() + BUSY_FOR_S
        self._explain()

    def pause_s(self) -> float:
        """Return how long to rest before the next look."""
        return BUSY_POLL_S if time.monotonic() < self._busy_until else POLL_S

    def beat(self) -> None:
        """Say that this dispatcher is alive."""
        self._next_beat = time.monotonic() + BEAT_S
        self._jobs.beat(self.name)

    def _adopt(self) -> None:
        for job in self._jobs.orphans():
            self._jobs.give_back(job, "the server that ran it stopped")

    def _settle(self) -> None:
        for job_id, (job, outcome) in list(self._running.items()):
            if not outcome.done():
                continue
            now = self._jobs.get(job_id)
            if now.state == "running" and now.attempts == job.attempts:
                reason = outcome.failure() or "the worker ended without an answer"
                _log.warning("job %s, attempt %d: %s", job_id, job.attempts, reason)
                self._jobs.give_back(now, reason)
            outcome.release()
            del self._running[job_id], self._said[job_id]

    def _explain(self) -> None:
        """Say of jobs that wait for a worker to be ready what they wait for."""
        words = self._compute.preparing()
        for job_id, said in self._said.items():
            if words is not None and words != said:
                self._jobs.reword(self._running[job_id][0], said, words)
                self._said[job_id] = words

    def _run(self) -> None:
        while not self._stopping.wait(self.pause_s()):
            try:
                self.step()
            except ResourceError as err:
                # The database is busy or its disk is full: it may pass, and jobs can wait.
                _log.error("dispatcher: %s", err.message)
                self._stopping.wait(1.0)
