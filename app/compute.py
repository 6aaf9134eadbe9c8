"""Dask: the worker process that a launcher starts, or a scheduler that runs elsewhere."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from concurrent.futures import CancelledError
from multiprocessing import resource_tracker
from typing import Any

import dask
import distributed

from app.config import Config
from app.worker import COMPILING, run_job, warm_up
from segmentation_backend.workspace import FIRST_TIME, READY_STEPS

__all__ = ["DaskCompute"]

_SLOTS_EVERY_S = 2.0
_FIRST_SLOT_EVERY_S = 0.1
"""While there is no worker, someone may be waiting for it."""

_TRIES = 20
"""How often a step of getting ready may be left for a job's sake before nobody begins it again."""

_dask: Any = distributed
"""Dask's own methods carry no types."""

_MALLOC = {
    # Measured: glibc otherwise gives big tensors back to the kernel after each layer and faults
    # them in again; 1024 x 1024 pixels take 5.3 s instead of 1.8 s.
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "20000000000",
    "MALLOC_TOP_PAD_": "500000000",
}


class DaskOutcome:
    """A job under way in Dask."""

    def __init__(self, future: distributed.Future[None]) -> None:
        """Watch a future."""
        self._future: Any = future

    def done(self) -> bool:
        """Whether the worker has answered, or is dead."""
        return bool(self._future.done())

    def failure(self) -> str | None:
        """Return why there is no answer, or None when there is one."""
        try:
            error = self._future.exception(timeout=1)
        except (TimeoutError, CancelledError):
            return "the scheduler lost it"
        return None if error is None else f"the worker died ({type(error).__name__})"

    def release(self) -> None:
        """Forget the job."""
        self._future.release()


class DaskCompute:
    """Workers reached through Dask; starts one of its own unless a scheduler is configured."""

    def __init__(self, config: Config) -> None:
        """Connect to the configured scheduler, or start one of one's own without a worker yet."""
        self._place = (config.database_url, str(config.data_dir), config.packs)
        self._cluster: Any = None if config.scheduler else _local_cluster(config)
        self._client = _dask.Client(config.scheduler or self._cluster, set_as_default=False)
        self._steps: dict[str, Any] = {}
        """What a worker of one's own does before anybody asks."""
        self._compiles = threading.Event()
        self._client.subscribe_topic(COMPILING, lambda _event: self._compiles.set())
        self._slots = 0
        self._slots_until = 0.0

    def start_worker(self) -> None:
        """Start the worker of one's own: it loads the network libraries for a few seconds."""
        if self._cluster is not None:
            # Ctrl-C in a terminal reaches the whole group: the worker's process inherits this from
            # the thread that makes it, and leaves stopping to the launcher.
            # (The tracker, when it is started on the way, would undo it. It sweeps up semaphores
            # after a process that ended at once, as ours do, and need not say so.)
            sys.warnoptions.append("ignore:resource_tracker:UserWarning")
            resource_tracker.ensure_running()
            self._cluster.loop.add_callback(
                signal.pthread_sigmask, signal.SIG_BLOCK, {signal.SIGINT}
            )
            self._cluster.scale(1)
            for number, step in enumerate(READY_STEPS, 1):
                self._prepare(step, number, _TRIES)

    def preparing(self) -> str | None:
        """Return what is to be said of a job that the worker is not ready for; None when it is."""
        if all(step.done() for step in list(self._steps.values())):
            return None
        return FIRST_TIME if self._compiles.is_set() else "Getting ready"

    def _prepare(self, step: str, number: int, tries: int) -> None:
        def again(done: Any) -> None:  # noqa: ANN401  (untyped in Dask)
            if done.status == "finished" and not done.result() and tries > 1:
                self._prepare(step, number, tries - 1)

        # Jobs go first, and steps in their order.
        future = self._client.submit(warm_up, *self._place, step, pure=False, priority=-number)
        self._steps[step] = future
        future.add_done_callback(again)

    def slots(self) -> int:
        """Return the number of worker threads there are."""
        now = time.monotonic()
        if now >= self._slots_until:
            self._slots = sum(self._client.nthreads().values())
            self._slots_until = now + (_SLOTS_EVERY_S if self._slots else _FIRST_SLOT_EVERY_S)
        return self._slots

    def submit(self, job_id: str, attempt: int) -> DaskOutcome:
        """Start a job on a worker; Dask itself never tries again, the dispatcher does."""
        future = self._client.submit(
            run_job,
            *(*self._place, job_id, attempt),
            key=f"job-{job_id}-{attempt}",
            pure=False,
            retries=0,
        )
        return DaskOutcome(future)

    def kill(self) -> None:
        """End the worker that was started here; its process does not outlive this one anyway."""
        if self._cluster is not None:
            for child in multiprocessing.active_children():
                child.kill()


def _local_cluster(config: Config) -> Any:  # noqa: ANN401  (untyped in Dask)
    threads = str(config.compute_threads or os.cpu_count() or 1)
    settings = {
        # A worker's environment, set before it is spawned: torch and OpenMP read it only once.
        "distributed.nanny.pre-spawn-environ": {
            **_MALLOC,
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            # Threads that wait by spinning would slow down the web beside them, and each other.
            "OMP_WAIT_POLICY": "PASSIVE",
            "GOMP_SPINCOUNT": "0",
        },
        # Loaded while the worker starts, so that the first job need not wait for torch.
        "distributed.worker.preload": ["segmentation_backend.inference.runner"],
        # Nobody looks at Dask's own profile and ticks; both run all the time, in every process.
        "distributed.worker.profile.enabled": False,
        "distributed.admin.tick.interval": "1s",
        # A job whose worker died is the dispatcher's to try again, and its row counts that.
        "distributed.scheduler.allowed-failures": 0,
    }
    # For good, not in a `with`: the worker's process is made later, in another thread.
    dask.config.set(settings)
    return _dask.LocalCluster(
        n_workers=0,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        # The network's peak belongs to it; pausing or killing the worker would help nobody.
        memory_limit=0,
        silence_logs=logging.ERROR,
    )
