"""Image chunks shared by threads: read once, kept within bounds, given up when nobody waits."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tensorstore as ts

from segmentation_backend.errors import ErrorKind, NotFoundError, ResourceError
from segmentation_backend.geometry import Roi
from segmentation_backend.sources.pending import PendingRead
from segmentation_backend.sources.volume import Volume, open_volume
from segmentation_backend.workspace.image_chunks import ImageChunks
from segmentation_backend.workspace.opening import Opening
from segmentation_backend.workspace.waiting import WaitingRoom

ROI = Roi((0, 0, 0), (4, 4, 4))


class LeftError(Exception):
    pass


def leave() -> None:
    raise LeftError


def stay() -> None:
    pass


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class Slow:
    """A volume whose reads are done when the test says so."""

    def __init__(self, volume: Volume) -> None:
        self.volume = volume
        self.promises: list[ts.Promise] = []
        self.futures: list[ts.Future] = []

    def begin_read(self, roi: Roi, level: int = 0) -> PendingRead:
        promise, future = ts.Promise.new()
        self.promises.append(promise)
        self.futures.append(future)
        return PendingRead(future, lambda done: done.result())

    def answer(self, number: int = 0) -> np.ndarray:
        voxels = np.full(ROI.shape, 7, np.uint16)
        self.promises[number].set_result(voxels)
        return voxels


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    voxels = np.random.default_rng(5).integers(0, 60000, (16, 16, 16)).astype(">u2")
    np.save(tmp_path / "em.npy", voxels)
    return open_volume(str(tmp_path / "em.npy"), voxel_size=(8.0, 8.0, 8.0))


@pytest.fixture
def slow(volume: Volume) -> Slow:
    return Slow(volume)


def opened(volume: object) -> Callable[[str], Future[Volume]]:
    future: Future[Volume] = Future()
    future.set_result(volume)  # type: ignore[arg-type]
    return lambda name: future


def test_chunks_are_little_endian_bytes_and_the_cache_stays_within_its_bound(
    volume: Volume,
) -> None:
    chunks = ImageChunks(opened(volume), capacity_bytes=1000)
    expected = volume.read(volume.bounds)
    for _ in range(2):
        for z in range(0, 16, 4):
            for x in range(0, 16, 4):
                roi = Roi((z, 0, x), (4, 4, 4))
                chunk = chunks.chunk("em", 0, roi)
                found = np.frombuffer(chunk.data, "<u2").reshape(roi.shape)
                np.testing.assert_array_equal(found, expected[roi.slices()])
                assert chunks.kept_bytes <= 1000
                assert chunks.kept("em", 0, roi) is chunk
    assert chunks.kept("em", 0, Roi((0, 0, 0), (4, 4, 4))) is None


def test_the_tag_is_that_of_the_content(volume: Volume) -> None:
    one, two = ImageChunks(opened(volume)), ImageChunks(opened(volume))
    tags = [one.chunk("em", 0, Roi((z, 0, 0), (4, 4, 4))).etag for z in (0, 4, 8)]
    assert len(set(tags)) == 3
    assert two.chunk("em", 0, Roi((4, 0, 0), (4, 4, 4))).etag == tags[1]


def test_readers_of_one_cold_chunk_do_the_work_once(slow: Slow) -> None:
    chunks = ImageChunks(opened(slow))
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(chunks.chunk, "em", 0, ROI) for _ in range(8)]
        until(lambda: len(slow.promises) == 1)
        until(lambda: chunks._reads[("em", 0, ROI)].waiters == 8)
        voxels = slow.answer()
        found = {id(one.result(20)) for one in asked}
    assert len(found) == 1
    assert len(slow.promises) == 1
    assert chunks.chunk("em", 0, ROI).data == voxels.tobytes()


def test_who_is_gone_at_once_costs_no_read(slow: Slow) -> None:
    chunks = ImageChunks(opened(slow))
    with pytest.raises(LeftError):
        chunks.chunk("em", 0, ROI, leave)
    assert slow.promises == []


def test_the_last_to_leave_cancels_the_read_and_the_next_begins_anew(slow: Slow) -> None:
    room = WaitingRoom(8, grace_s=0.01)
    chunks = ImageChunks(opened(slow), room=room)
    gone = [threading.Event(), threading.Event()]

    def leaver(number: int) -> Callable[[], None]:
        return lambda: leave() if gone[number].is_set() else None

    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(chunks.chunk, "em", 0, ROI, leaver(n)) for n in range(2)]
        until(lambda: room.taken == 2)
        gone[0].set()
        with pytest.raises(LeftError):
            asked[0].result(20)
        assert not slow.futures[0].done()
        gone[1].set()
        with pytest.raises(LeftError):
            asked[1].result(20)
    until(slow.futures[0].done)
    assert slow.futures[0].cancelled()
    assert room.taken == 0
    with ThreadPoolExecutor(1) as pool:
        again = pool.submit(chunks.chunk, "em", 0, ROI)
        until(lambda: len(slow.promises) == 2)
        slow.answer(1)
        assert len(again.result(20).data) == 128


def test_a_failed_read_fails_all_who_wait_and_is_tried_again(slow: Slow) -> None:
    chunks = ImageChunks(opened(slow))
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(chunks.chunk, "em", 0, ROI) for _ in range(2)]
        until(lambda: ("em", 0, ROI) in chunks._reads)
        until(lambda: chunks._reads[("em", 0, ROI)].waiters == 2 and bool(slow.promises))
        slow.promises[0].set_exception(ValueError("UNAVAILABLE: away"))
        for one in asked:
            with pytest.raises(ValueError, match="away"):
                one.result(20)
        again = pool.submit(chunks.chunk, "em", 0, ROI)
        until(lambda: len(slow.promises) == 2)
        slow.answer(1)
        assert again.result(20).etag


def test_slow_volumes_take_their_places_and_no_more() -> None:
    room = WaitingRoom(4, grace_s=0.01)
    gone = threading.Event()

    def never(seconds: float) -> bool:
        time.sleep(min(seconds, 0.01))
        return False

    def wait(volume: str) -> None:
        room.wait(volume, never, lambda: leave() if gone.is_set() else None)

    with ThreadPoolExecutor(4) as pool:
        stuck = [pool.submit(wait, "stuck") for _ in range(3)]
        until(lambda: room.taken == 3)
        with pytest.raises(ResourceError) as refused:
            wait("stuck")
        assert refused.value.kind == ErrorKind.SERVER_BUSY
        other = pool.submit(wait, "other")
        until(lambda: room.taken == 4)
        with pytest.raises(ResourceError):
            wait("third")
        # What needs no waiting is not refused.
        room.wait("stuck", lambda _: True, stay)
        gone.set()
        for one in (*stuck, other):
            with pytest.raises(LeftError):
                one.result(20)
    assert room.taken == 0


def test_nobody_waits_for_ever() -> None:
    room = WaitingRoom(1, grace_s=0.0, longest_s=0.0)
    with pytest.raises(ResourceError, match="did not answer") as late:
        room.wait("em", lambda _: False, stay)
    assert late.value.kind == ErrorKind.SOURCE_UNAVAILABLE
    assert room.taken == 0


def test_a_volume_that_opens_slowly_is_opened_once_and_keeps_no_other_waiting() -> None:
    go, calls = threading.Event(), []

    def open_slowly() -> int:
        calls.append(1)
        go.wait(20)
        return len(calls)

    slow, quick = Opening(open_slowly), Opening(lambda: 0)
    first, second = slow.begin(), slow.begin()
    assert quick.begin().result(20) == 0
    assert not first.done()
    go.set()
    assert first is second
    assert (first.result(20), slow.begin().result(20)) == (1, 1)


def test_an_opening_that_failed_is_tried_again() -> None:
    calls = []

    def fail_once() -> int:
        calls.append(1)
        if len(calls) == 1:
            raise NotFoundError("It is not there.", ErrorKind.PATH_NOT_FOUND)
        return len(calls)

    opening = Opening(fail_once)
    with pytest.raises(NotFoundError):
        opening.begin().result(20)
    until(lambda: opening.begin().exception(20) is None)
    assert opening.begin().result(20) == 2
