"""Jobs: claimed once, told apart by attempt, given back, given up, cancelled."""

from pathlib import Path

import pytest
import sqlalchemy as sa
from databases import address_in

from app.dispatcher import BUSY_FOR_S, POLL_S, Dispatcher
from app.jobs import MAX_ATTEMPTS, STALE_AFTER_S, Job, JobStore
from segmentation_backend.database import open_database, write
from segmentation_backend.errors import ConflictError, ErrorKind, NotFoundError

PLAN = {"volume": "cell"}


@pytest.fixture
def engine(tmp_path: Path, database: str) -> sa.Engine:
    return open_database(address_in(tmp_path))


@pytest.fixture
def jobs(engine: sa.Engine) -> JobStore:
    return JobStore(engine)


def submit(jobs: JobStore, request_id: str | None = None, **plan: str) -> Job:
    return jobs.submit("segment", "cell", {**PLAN, **plan}, "ana", request_id)


class Outcome:
    def __init__(self, failure: str | None = None, done: bool = True) -> None:
        self.is_done = done
        self.reason = failure
        self.released = False

    def done(self) -> bool:
        return self.is_done

    def failure(self) -> str | None:
        return self.reason

    def release(self) -> None:
        self.released = True


class Workers:
    """Keeps what it is given; the test decides what becomes of it."""

    def __init__(self, slots: int = 1) -> None:
        self.free = slots
        self.words: str | None = None
        self.given: list[tuple[str, int]] = []
        self.outcomes: list[Outcome] = []

    def slots(self) -> int:
        return self.free

    def submit(self, job_id: str, attempt: int) -> Outcome:
        self.given.append((job_id, attempt))
        self.outcomes.append(Outcome(done=False))
        return self.outcomes[-1]

    def preparing(self) -> str | None:
        return self.words


def test_a_new_job_waits_in_the_queue(jobs: JobStore) -> None:
    job = submit(jobs)
    assert jobs.get(job.job_id) == job
    assert (job.state, job.progress, job.attempts) == ("queued", 0.0, 0)
    assert jobs.count_by_state() == {"queued": 1}


def test_a_repeated_request_id_is_the_same_job_and_a_reused_one_is_refused(jobs: JobStore) -> None:
    first = submit(jobs, "r1")
    assert submit(jobs, "r1") == first
    assert submit(jobs, "r2").job_id != first.job_id
    with pytest.raises(ConflictError) as caught:
        submit(jobs, "r1", mode="stack")
    assert caught.value.kind == ErrorKind.REQUEST_ID_REUSED
    assert len(jobs.newest()) == 2


def test_the_oldest_job_is_claimed_once(jobs: JobStore) -> None:
    first, second = submit(jobs), submit(jobs)
    claimed = [jobs.claim("d"), jobs.claim("d"), jobs.claim("d")]
    assert [job and job.job_id for job in claimed] == [first.job_id, second.job_id, None]
    assert jobs.get(first.job_id).attempts == 1


def test_jobs_are_listed_newest_first_and_by_volume(jobs: JobStore) -> None:
    ids = [submit(jobs).job_id for _ in range(3)]
    assert [job.job_id for job in jobs.newest()] == ids[::-1]
    assert len(jobs.newest("cell", 2)) == 2
    assert jobs.newest("other") == []


def test_only_the_present_attempt_may_report(jobs: JobStore) -> None:
    job = submit(jobs)
    jobs.claim("d")
    assert jobs.update(job.job_id, 1, {"progress": 0.5})
    assert jobs.give_back(jobs.get(job.job_id), "its worker died")
    assert not jobs.update(job.job_id, 1, {"progress": 0.9})
    jobs.claim("d")
    assert not jobs.update(job.job_id, 1, {"state": "done"})
    assert jobs.update(job.job_id, 2, {"state": "done"})
    assert not jobs.update(job.job_id, 2, {"state": "failed"})


def test_a_job_is_given_up_after_some_attempts(jobs: JobStore) -> None:
    job_id = submit(jobs).job_id
    for _ in range(MAX_ATTEMPTS):
        claimed = jobs.claim("d")
        assert claimed is not None
        jobs.give_back(claimed, "its worker died")
    job = jobs.get(job_id)
    assert job.state == "interrupted"
    assert "its worker died" in job.message
    assert jobs.claim("d") is None


def test_a_queued_job_is_cancelled_at_once_and_a_running_one_is_asked(jobs: JobStore) -> None:
    queued = submit(jobs)
    assert jobs.cancel(queued.job_id).state == "cancelled"
    running = submit(jobs)
    jobs.claim("d")
    asked = jobs.cancel(running.job_id)
    assert (asked.state, asked.cancel_requested) == ("running", True)
    jobs.give_back(jobs.get(running.job_id), "its worker died")
    assert jobs.get(running.job_id).state == "cancelled"
    with pytest.raises(ConflictError) as caught:
        jobs.cancel(running.job_id)
    assert caught.value.kind == ErrorKind.JOB_FINISHED
    with pytest.raises(NotFoundError):
        jobs.cancel("nothing")


def test_a_dispatcher_fills_its_workers_and_no_more(jobs: JobStore) -> None:
    ids = [submit(jobs).job_id for _ in range(3)]
    workers = Workers(slots=2)
    dispatcher = Dispatcher(jobs, workers)
    dispatcher.step()
    assert workers.given == [(ids[0], 1), (ids[1], 1)]
    assert jobs.get(ids[2]).state == "queued"
    jobs.update(ids[0], 1, {"state": "done"})
    workers.outcomes[0].is_done = True
    dispatcher.step()
    assert workers.outcomes[0].released
    assert workers.given[2] == (ids[2], 1)


def test_a_dispatcher_looks_more_often_while_somebody_segments(jobs: JobStore) -> None:
    dispatcher = Dispatcher(jobs, Workers())
    dispatcher.step()
    assert dispatcher.pause_s() == POLL_S
    submit(jobs)
    dispatcher.step()
    assert dispatcher.pause_s() < POLL_S / 2
    dispatcher._busy_until -= BUSY_FOR_S
    assert dispatcher.pause_s() == POLL_S


def test_a_job_says_what_its_worker_does_first_until_the_worker_begins(jobs: JobStore) -> None:
    job_id = submit(jobs).job_id
    workers = Workers()
    dispatcher = Dispatcher(jobs, workers)
    dispatcher.step()
    assert jobs.get(job_id).message == "Starting"
    for words in ("Getting ready", "Compiling"):
        workers.words = words
        dispatcher.step()
        assert jobs.get(job_id).message == words
    jobs.update(job_id, 1, {"message": "Block 1 of 2"})
    workers.words = "Something else"
    dispatcher.step()
    assert jobs.get(job_id).message == "Block 1 of 2"
    jobs.update(job_id, 1, {"state": "done"})
    workers.outcomes[0].is_done = True
    dispatcher.step()
    assert jobs.get(job_id).state == "done"


def test_a_job_whose_worker_died_runs_again(jobs: JobStore) -> None:
    job_id = submit(jobs).job_id
    workers = Workers()
    dispatcher = Dispatcher(jobs, workers)
    dispatcher.step()
    workers.outcomes[0].is_done, workers.outcomes[0].reason = True, "the worker died"
    dispatcher.step()
    assert workers.given == [(job_id, 1), (job_id, 2)]


def test_a_worker_that_leaves_no_answer_does_not_leave_the_job_running(jobs: JobStore) -> None:
    job_id = submit(jobs).job_id
    workers = Workers()
    dispatcher = Dispatcher(jobs, workers)
    for _ in range(MAX_ATTEMPTS):
        dispatcher.step()
        workers.outcomes[-1].is_done = True
    dispatcher.step()
    assert jobs.get(job_id).state == "interrupted"


def test_jobs_of_a_dead_dispatcher_are_taken_over(jobs: JobStore, engine: sa.Engine) -> None:
    job_id = submit(jobs).job_id
    jobs.beat("dead")
    jobs.claim("dead")
    workers = Workers()
    dispatcher = Dispatcher(jobs, workers)
    dispatcher.step()
    assert workers.given == []
    with write(engine) as connection:
        connection.execute(
            sa.text("update web_dispatchers set seen = seen - :s where name = 'dead'"),
            {"s": STALE_AFTER_S + 1},
        )
    assert [job.job_id for job in jobs.orphans()] == [job_id]
    dispatcher._next_beat = 0.0
    dispatcher.step()
    assert workers.given == [(job_id, 2)]


def test_a_dispatcher_that_stops_puts_its_jobs_back_uncounted(jobs: JobStore) -> None:
    job_id = submit(jobs).job_id
    dispatcher = Dispatcher(jobs, Workers())
    dispatcher.start()
    try:
        for _ in range(400):
            if jobs.get(job_id).state == "running":
                break
            dispatcher._stopping.wait(0.01)
        assert jobs.has_dispatcher()
    finally:
        dispatcher.stop()
    job = jobs.get(job_id)
    assert (job.state, job.attempts) == ("queued", 0)
    assert not jobs.has_dispatcher()
    assert not dispatcher.is_alive()


def test_what_was_asked_for_goes_before_what_follows_and_what_may_be_wanted(
    jobs: JobStore,
) -> None:
    asked = [jobs.submit(kind, "cell", PLAN, "ana", None) for kind in ("warm", "follow", "segment")]
    assert jobs.someone_waits()
    claimed = [jobs.claim("d") for _ in range(2)]
    assert [job and job.job_id for job in claimed] == [asked[2].job_id, asked[1].job_id]
    assert not jobs.someone_waits()
    last = jobs.claim("d")
    assert last is not None
    assert last.kind == "warm"


def test_a_page_has_one_job_of_a_kind_however_often_it_asks(jobs: JobStore) -> None:
    first = jobs.submit("follow", "cell", PLAN, "ana", None, "page 1")
    others = [
        jobs.submit("follow", "cell", PLAN, "ana", None, "page 2"),
        jobs.submit("warm", "cell", PLAN, "ana", None, "page 1"),
        submit(jobs),
    ]
    assert jobs.claim("d") is not None
    running = jobs.claim("d")
    assert running is not None
    assert running.job_id == first.job_id
    second = jobs.submit("follow", "cell", PLAN, "ana", "r", "page 1")
    assert jobs.get(first.job_id).cancel_requested
    third = jobs.submit("follow", "cell", PLAN, "ana", None, "page 1")
    assert jobs.get(second.job_id).state == "cancelled"
    # The same request again is the same job, and cancels nothing.
    assert jobs.submit("follow", "cell", PLAN, "ana", "r", "page 1").job_id == second.job_id
    assert jobs.get(third.job_id).state == "queued"
    assert not any(jobs.get(job.job_id).cancel_requested for job in others)
