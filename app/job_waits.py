"""Answers that wait a moment for a job to end, so that its page learns of it at once."""

from __future__ import annotations

import threading
import time

from app.jobs import FINISHED, Job, JobStore

__all__ = ["LONGEST_WAIT_MS", "JobWaits"]

LONGEST_WAIT_MS = 1000
"""A server that stops waits this long for an answer, and a proxy surely longer."""

LOOK_EVERY_S = 0.01

_SHARE = 4
"""One thread in so many may wait; the others answer."""


class JobWaits:
    """The waits of one process: few at a time, since each keeps a thread from answering others."""

    def __init__(self, jobs: JobStore, threads: int) -> None:
        """Wait for jobs with a quarter of a process's threads at the most."""
        self._jobs = jobs
        self._seats = threading.Semaphore(threads // _SHARE)

    def ended(self, job_id: str, wait_s: float) -> Job:
        """Return a job when it has ended, or as it is after `wait_s`, or now where too many wait.

        An unknown id is a NotFoundError.
        """
        job = self._jobs.get(job_id)
        if wait_s <= 0 or job.state in FINISHED or not self._seats.acquire(blocking=False):
            return job
        try:
            end = time.monotonic() + wait_s
            while job.state not in FINISHED and (left := end - time.monotonic()) > 0:
                time.sleep(min(LOOK_EVERY_S, left))
                job = self._jobs.get(job_id)
        finally:
            self._seats.release()
        return job
