"""A bucket of packs that fails, and one that several processes share."""

from __future__ import annotations

import multiprocessing
import os
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from packs import ABSENT, CHUNKS, bucket, chunks, data_of, name_of, read_back
from s3_faults import BUSY, LOST_ANSWER, LOST_REQUEST, Fault, FaultProxy

from segmentation_backend.errors import ErrorKind, FormatError, ResourceError
from segmentation_backend.labels import StoredChunk
from segmentation_backend.labels.pack_bucket import PackBucket


@pytest.fixture(scope="module")
def proxy(s3: Any) -> Iterator[FaultProxy]:
    found = FaultProxy(s3.endpoint)
    yield found
    found.stop()


# What goes wrong


def test_a_missing_bucket_says_so(s3: Any) -> None:
    packs = bucket(s3.endpoint, name="no-such-bucket")
    for call in (
        lambda: packs.write(CHUNKS),
        lambda: list(packs.read([ABSENT])),
        lambda: list(packs.names()),
        lambda: packs.remove(ABSENT.pack),
        lambda: packs.content(ABSENT.pack),
        packs.check,
    ):
        with pytest.raises(ResourceError, match=r"no such bucket.*setting `packs`") as caught:
            call()
        assert caught.value.kind == ErrorKind.SOURCE_UNAVAILABLE
        assert "s3://no-such-bucket" in str(caught.value)


def test_a_server_that_is_not_there_is_an_outage() -> None:
    packs = bucket("http://127.0.0.1:9", timeout_s=1.0)
    for call in (lambda: packs.write(CHUNKS), lambda: list(packs.read([ABSENT])), packs.check):
        start = time.monotonic()
        with pytest.raises(ResourceError, match="connection was refused") as caught:
            call()
        assert caught.value.kind == ErrorKind.SOURCE_UNAVAILABLE
        assert time.monotonic() - start < 8


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        (Fault(False, 403, "AccessDenied"), ErrorKind.SOURCE_UNAVAILABLE, "AWS_ACCESS_KEY_ID"),
        (Fault(False, 403, "RequestTimeTooSkewed"), ErrorKind.SOURCE_UNAVAILABLE, "TimeTooSkewed"),
        (Fault(False, 403, "QuotaExceeded"), ErrorKind.DISK_FULL, "full"),
        (Fault(False, 507, "XMinioStorageFull"), ErrorKind.DISK_FULL, "full"),
        (Fault(False, 301, "PermanentRedirect"), ErrorKind.SOURCE_UNAVAILABLE, "AWS_REGION"),
        (Fault(False, 400, "Odd"), ErrorKind.SOURCE_UNAVAILABLE, "400"),
        (Fault(False, 503, "SlowDown"), ErrorKind.SOURCE_UNAVAILABLE, "503"),
    ],
    ids=lambda value: value.code if isinstance(value, Fault) else None,
)
def test_a_refused_write_says_why_and_that_nothing_was_changed(
    proxy: FaultProxy, fault: Fault, kind: ErrorKind, words: str
) -> None:
    packs = bucket(proxy.address)
    proxy.plan("PUT", *[fault] * 10)
    with pytest.raises(ResourceError, match="Nothing was changed") as caught:
        packs.write(CHUNKS)
    proxy.plan("PUT")
    assert caught.value.kind == kind
    assert words in str(caught.value)
    assert not list(packs.names())


@pytest.mark.parametrize(
    "faults",
    [
        [LOST_ANSWER],
        [LOST_ANSWER, LOST_ANSWER],
        [LOST_REQUEST],
        [BUSY, BUSY],
        [BUSY, LOST_ANSWER, BUSY],
        [Fault(forwarded=False, status=409, code="ConditionalRequestConflict")],
        [Fault(forwarded=True, status=500, code="InternalError")],
        [Fault(forwarded=False, status=501, code="NotImplemented")] * 4,
    ],
    ids=["answer lost", "two answers lost", "request lost", "busy", "mixed", "conflict",
         "failed after writing", "no conditional writes"],
)  # fmt: skip
def test_a_write_gets_through_as_one_object(proxy: FaultProxy, faults: list[Fault]) -> None:
    packs = bucket(proxy.address)
    proxy.plan("PUT", *faults)
    places = packs.write(CHUNKS)
    assert [name for name, _ in packs.names()] == [name_of(places)]
    assert packs.verify(name_of(places)) == 2
    paths = {request.path for request in proxy.requests[-len(faults) - 1 :]}
    assert len({path for path in paths if re.search(r"\.pack$", path)}) == 1


def test_a_store_without_conditional_writes_is_asked_once(proxy: FaultProxy) -> None:
    packs = bucket(proxy.address)
    proxy.plan("PUT", *[Fault(forwarded=False, status=501, code="NotImplemented")] * 4)
    packs.write(CHUNKS)
    with proxy.counting("PUT") as puts:
        packs.write(CHUNKS)
    assert len(puts) == 1
    assert "if-none-match" not in puts[0].headers


def test_an_answer_that_never_comes_ends_the_wait(proxy: FaultProxy) -> None:
    packs = bucket(proxy.address, timeout_s=0.5)
    places = packs.write(CHUNKS)
    slow = Fault(delay_s=1.5)
    proxy.plan("GET", *[slow] * 20)
    proxy.plan("PUT", *[slow] * 20)
    for call in (lambda: packs.write(CHUNKS), lambda: list(packs.read(places.values()))):
        start = time.monotonic()
        with pytest.raises(ResourceError, match="did not answer in time") as caught:
            call()
        assert caught.value.kind == ErrorKind.SOURCE_UNAVAILABLE
        assert time.monotonic() - start < 6
    proxy.plan("GET")
    proxy.plan("PUT")
    assert read_back(packs, places) == data_of(CHUNKS)


@pytest.mark.parametrize("fault", [Fault(delay_s=0.8), Fault(late_s=0.8)], ids=["late", "lost"])
def test_a_write_that_took_too_long_is_one_object(proxy: FaultProxy, fault: Fault) -> None:
    packs = bucket(proxy.address, timeout_s=0.4)
    packs.write(CHUNKS)
    proxy.plan("PUT", fault)
    with proxy.counting("PUT") as puts:
        places = packs.write(CHUNKS)
    time.sleep(0.8)  # for the one that was given up
    assert len({put.path for put in puts}) == 1
    assert len(puts) == (2 if fault.delay_s else 1)
    assert len(list(packs.names())) == 2
    assert read_back(packs, places) == data_of(CHUNKS)


@pytest.mark.parametrize(
    "fault",
    [Fault(cut=30), Fault(cut=0), Fault(short=30), Fault(short=0), Fault(flip=40), BUSY,
     LOST_REQUEST, LOST_ANSWER],
    ids=["cut", "cut at once", "short", "empty", "flipped", "busy", "no request", "no answer"],
)  # fmt: skip
def test_a_broken_answer_is_asked_for_again(proxy: FaultProxy, fault: Fault) -> None:
    packs = bucket(proxy.address)
    places = packs.write(CHUNKS)
    proxy.plan("GET", fault)
    assert read_back(packs, places) == data_of(CHUNKS)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(cut=0), ResourceError),
        (Fault(short=5), FormatError),
        (Fault(short=0), FormatError),
        (Fault(flip=20), FormatError),
        (BUSY, ResourceError),
        (LOST_ANSWER, ResourceError),
        (Fault(False, 403, "AccessDenied"), ResourceError),
    ],
)
def test_an_answer_that_stays_broken_is_an_error_and_never_zeros(
    proxy: FaultProxy, fault: Fault, error: type[Exception]
) -> None:
    packs = bucket(proxy.address, timeout_s=1.0)
    places = packs.write(CHUNKS)
    proxy.plan("GET", *[fault] * 50)
    with pytest.raises(error):
        list(packs.read(places.values()))
    proxy.plan("GET")
    assert read_back(packs, places) == data_of(CHUNKS)


def use_after_fork(packs: PackBucket, place: StoredChunk) -> int:
    try:
        list(packs.read([place]))
    except ResourceError as err:
        return 7 if "forked" in str(err) else 8
    return 9


def test_a_forked_child_is_told_instead_of_hanging(s3: Any) -> None:
    packs = bucket(s3.endpoint)
    place = next(iter(packs.write(CHUNKS).values()))
    child = os.fork()
    if child == 0:
        os._exit(use_after_fork(packs, place))
    deadline = time.monotonic() + 20
    done, status = os.waitpid(child, os.WNOHANG)
    while not done and time.monotonic() < deadline:
        time.sleep(0.05)
        done, status = os.waitpid(child, os.WNOHANG)
    if not done:
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert done
    assert os.waitstatus_to_exitcode(status) == 7


def write_in_child(endpoint: str, prefix: str, count: int) -> None:
    packs = bucket(endpoint, prefix)
    for turn in range(count):
        written = chunks(2, 1000, turn)
        assert read_back(packs, packs.write(written)) == data_of(written)


def test_two_processes_share_a_bucket(s3: Any) -> None:
    context = multiprocessing.get_context("forkserver")
    workers = [
        context.Process(target=write_in_child, args=(s3.endpoint, "shared", 10)) for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    packs = bucket(s3.endpoint, "shared")
    assert [packs.verify(name) for name, _ in packs.names()] == [2] * 20
