"""Every place that packs are kept in keeps the same promises; each is checked behind its back."""

from __future__ import annotations

import multiprocessing
import os
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from s3_faults import BUSY, LOST_ANSWER, LOST_REQUEST, Fault, FaultProxy

from segmentation_backend.errors import ErrorKind, FormatError, InvalidInputError, ResourceError
from segmentation_backend.labels import ChunkKey, InlineChunk, PackStore, StoredChunk, open_packs
from segmentation_backend.labels.pack_bucket import PackBucket
from segmentation_backend.labels.pack_folder import PackFolder
from segmentation_backend.sources.specs import CloudSettings

CHUNKS = {ChunkKey(0, 1, 2, 3): InlineChunk(b"some"), ChunkKey(1, 0, 1, 1): InlineChunk(b"bytes")}
BUCKET = "em-data"
"""The bucket of the S3 double."""

ABSENT = StoredChunk("ab" * 12, 8, 40)
MEGABYTE = 2**20


def chunks(count: int, size: int, seed: int = 0) -> dict[ChunkKey, InlineChunk]:
    rng = np.random.default_rng(seed)
    return {ChunkKey(0, 0, 0, k): InlineChunk(rng.bytes(size)) for k in range(count)}


def name_of(places: dict[ChunkKey, StoredChunk]) -> str:
    (name,) = {place.pack for place in places.values()}
    return name


def read_back(packs: PackStore, places: dict[ChunkKey, StoredChunk]) -> dict[ChunkKey, bytes]:
    found = dict(packs.read(places.values()))
    return {key: found[place] for key, place in places.items()}


def data_of(written: dict[ChunkKey, InlineChunk]) -> dict[ChunkKey, bytes]:
    return {key: chunk.data for key, chunk in written.items()}


class PackStoreContract:
    """What must hold wherever packs are kept; subclasses look at the place itself."""

    @pytest.fixture
    def packs(self) -> PackStore:
        raise NotImplementedError

    def sibling(self, packs: PackStore, name: str) -> PackStore:
        """Return the packs of another volume beside these."""
        raise NotImplementedError

    def raw(self, packs: PackStore) -> dict[str, bytes]:
        """Return what lies there, by path below the store."""
        raise NotImplementedError

    def replace(self, packs: PackStore, path: str, content: bytes | None) -> None:
        """Change or delete what lies there."""
        raise NotImplementedError

    def test_chunks_read_back_in_any_order(self, packs: PackStore) -> None:
        first, second = packs.write(CHUNKS), packs.write(chunks(5, 3000))
        wanted = [*reversed(first.values()), *second.values(), *first.values()]
        found = dict(packs.read(wanted))
        assert {key: found[place] for key, place in first.items()} == data_of(CHUNKS)
        assert {key: found[place] for key, place in second.items()} == data_of(chunks(5, 3000))
        assert list(packs.read([])) == []

    def test_one_write_is_one_file_under_the_name_that_its_places_say(
        self, packs: PackStore
    ) -> None:
        names = [name_of(packs.write(CHUNKS)) for _ in range(3)]
        assert set(self.raw(packs)) == {f"{name[:2]}/{name}.pack" for name in names}
        for path, content in self.raw(packs).items():
            name = path[3:-5]
            assert packs.content(name) == content
            assert packs.verify(name) == 2

    def test_ages_are_told(self, packs: PackStore, monkeypatch: pytest.MonkeyPatch) -> None:
        names = {name_of(packs.write(CHUNKS)) for _ in range(2)}
        found = dict(packs.names())
        assert set(found) == names
        assert all(-2 < age < 60 for age in found.values())
        later = time.time() + 7200
        monkeypatch.setattr(time, "time", lambda: later)
        assert all(7190 < age < 7260 for _, age in packs.names())

    def test_only_ones_own_packs_are_listed(self, packs: PackStore) -> None:
        assert list(packs.names()) == []
        self.sibling(packs, "2").write(CHUNKS)
        self.sibling(packs, "/deeper").write(CHUNKS)
        self.replace(packs, "ab/notes.txt", b"mine")
        self.replace(packs, "ab/no pack.pack", b"mine")
        assert list(packs.names()) == []

    def test_a_missing_pack_is_an_outage_and_never_empty(self, packs: PackStore) -> None:
        for call in (
            lambda: list(packs.read([ABSENT])),
            lambda: packs.content(ABSENT.pack),
            lambda: packs.verify(ABSENT.pack),
        ):
            with pytest.raises(ResourceError) as caught:
                call()
            assert caught.value.kind == ErrorKind.SOURCE_UNAVAILABLE
            assert ABSENT.pack in str(caught.value)

    @pytest.mark.parametrize("damage", ["flip", "cut", "cut in a record", "empty"])
    def test_a_damaged_chunk_is_an_error_not_zeros(self, packs: PackStore, damage: str) -> None:
        places = packs.write(CHUNKS)
        ((path, content),) = self.raw(packs).items()
        altered = bytearray(content)
        altered[-30] ^= 1
        changed = {
            "flip": bytes(altered),
            "cut": content[:-17],
            "cut in a record": content[:-25],
            "empty": b"",
        }
        self.replace(packs, path, changed[damage])
        name = name_of(places)
        if damage != "cut":  # of the footer alone: the chunks are whole
            with pytest.raises(FormatError) as caught:
                list(packs.read(places.values()))
            assert caught.value.kind == ErrorKind.CORRUPT_CHUNK
            assert name in str(caught.value)
        with pytest.raises(FormatError):
            packs.verify(name)
        assert packs.content(name) == changed[damage]

    def test_damage_in_one_pack_spares_the_others(self, packs: PackStore) -> None:
        places = packs.write(CHUNKS)
        ((path, content),) = self.raw(packs).items()
        others = packs.write(CHUNKS)
        self.replace(packs, path, content[:10])
        assert read_back(packs, others) == data_of(CHUNKS)
        with pytest.raises(FormatError):
            list(packs.read([*others.values(), *places.values()]))

    def test_a_removed_pack_is_gone_and_may_be_removed_again(self, packs: PackStore) -> None:
        places, others = packs.write(CHUNKS), packs.write(CHUNKS)
        name = name_of(places)
        packs.remove(name)
        packs.remove(name)
        assert [found for found, _ in packs.names()] == [name_of(others)]
        assert read_back(packs, others) == data_of(CHUNKS)
        with pytest.raises(ResourceError):
            list(packs.read(places.values()))

    def test_a_pack_can_be_copied_and_mended(self, packs: PackStore) -> None:
        places = packs.write(chunks(3, 500))
        name = name_of(places)
        ((path, content),) = self.raw(packs).items()
        copy = self.sibling(packs, "-copy")
        for _ in range(2):
            copy.put(name, packs.content(name))
            assert self.raw(copy) == {path: content}
        assert read_back(copy, places) == data_of(chunks(3, 500))
        self.replace(packs, path, content[:100])
        packs.put(name, copy.content(name))
        assert self.raw(packs) == {path: content}

    def test_nothing_but_a_whole_pack_is_put(self, packs: PackStore) -> None:
        name = name_of(packs.write(CHUNKS))
        content = packs.content(name)
        before = self.raw(packs)
        for wrong in (b"", content[:-1], content[:40], content[::-1]):
            with pytest.raises(FormatError):
                packs.put(name, wrong)
        for wrong_name in ("../../outside", "", "ab/cd", "notes", "ab12\n"):
            with pytest.raises(InvalidInputError) as caught:
                packs.put(wrong_name, content)
            assert caught.value.kind == ErrorKind.INVALID_NAME
        assert self.raw(packs) == before

    def test_eight_threads_write_and_read_at_once(self, packs: PackStore) -> None:
        def work(seed: int) -> list[dict[ChunkKey, StoredChunk]]:
            made = []
            for turn in range(5):
                written = chunks(3, 2000, seed * 100 + turn)
                made.append(packs.write(written))
                assert read_back(packs, made[-1]) == data_of(written)
            return made

        with ThreadPoolExecutor(8) as pool:
            made = [places for found in pool.map(work, range(8)) for places in found]
        assert {name for name, _ in packs.names()} == {name_of(places) for places in made}
        assert len(made) == 40

    def test_steps_are_told_in_order(self, packs: PackStore) -> None:
        steps: list[str] = []
        packs._hook = steps.append  # type: ignore[attr-defined]
        packs.write(CHUNKS)
        assert steps[0] == "pack-opened"
        assert steps[-1] == "pack-durable"

    def test_a_place_that_is_there_passes_the_check(self, packs: PackStore) -> None:
        packs.write(CHUNKS)
        packs.check()


class TestFolder(PackStoreContract):
    @pytest.fixture
    def packs(self, tmp_path: Path) -> PackStore:
        return open_packs(tmp_path / "store" / "cell")

    def sibling(self, packs: PackStore, name: str) -> PackStore:
        assert isinstance(packs, PackFolder)
        return open_packs(f"{packs.folder}{name}")

    def raw(self, packs: PackStore) -> dict[str, bytes]:
        assert isinstance(packs, PackFolder)
        files = (path for path in packs.folder.rglob("*") if path.is_file())
        return {str(path.relative_to(packs.folder)): path.read_bytes() for path in files}

    def replace(self, packs: PackStore, path: str, content: bytes | None) -> None:
        assert isinstance(packs, PackFolder)
        target = packs.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True) if content is None else target.write_bytes(content)

    def test_a_folder_that_is_gone_fails_the_check(self, tmp_path: Path) -> None:
        with pytest.raises(ResourceError, match="gone"):
            open_packs(tmp_path / "gone").check()


@pytest.fixture(scope="module")
def proxy(s3: Any) -> Iterator[FaultProxy]:
    found = FaultProxy(s3.endpoint)
    yield found
    found.stop()


_numbers = iter(range(10**6))


def bucket(
    endpoint: str, prefix: str | None = None, *, name: str = BUCKET, timeout_s: float = 5.0
) -> PackBucket:
    cloud = CloudSettings(endpoint, "test", "secret")
    prefix = f"packs/{next(_numbers)}/cell" if prefix is None else prefix
    return PackBucket(name, prefix, cloud, timeout_s=timeout_s)


class TestBucket(PackStoreContract):
    @pytest.fixture
    def packs(self, s3: Any) -> PackStore:
        self.s3 = s3
        return bucket(s3.endpoint)

    def prefix(self, packs: PackStore) -> str:
        assert isinstance(packs, PackBucket)
        return packs._prefix

    def sibling(self, packs: PackStore, name: str) -> PackStore:
        return bucket(self.s3.endpoint, self.prefix(packs) + name)

    def raw(self, packs: PackStore) -> dict[str, bytes]:
        prefix = f"{self.prefix(packs)}/"
        listed = self.s3.client.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
        return {
            item["Key"].removeprefix(prefix): self.s3.client.get_object(
                Bucket=BUCKET, Key=item["Key"]
            )["Body"].read()
            for item in listed
        }

    def replace(self, packs: PackStore, path: str, content: bytes | None) -> None:
        self.s3.put(f"{self.prefix(packs)}/{path}", content)

    def test_a_pack_of_many_megabytes_is_one_object(self, packs: PackStore) -> None:
        written = chunks(20, MEGABYTE)
        places = packs.write(written)
        ((_, content),) = self.raw(packs).items()
        assert packs.content(name_of(places)) == content
        assert packs.verify(name_of(places)) == 20
        assert read_back(packs, places) == data_of(written)
        packs.put(name_of(places), content)
        assert read_back(packs, places) == data_of(written)


def test_both_places_hold_the_same_files(s3: Any, tmp_path: Path) -> None:
    folder, remote = PackFolder(tmp_path), bucket(s3.endpoint, "same")
    places = folder.write(chunks(4, 900))
    name = name_of(places)
    s3.upload(tmp_path, "same")  # as any tool would copy it
    assert read_back(remote, places) == data_of(chunks(4, 900))
    assert remote.content(name) == folder.content(name)
    assert [found for found, _ in remote.names()] == [name]


# What is asked of the server


def test_an_operation_is_one_request_and_so_is_a_read_of_near_chunks(proxy: FaultProxy) -> None:
    packs = bucket(proxy.address)
    with proxy.counting("PUT") as puts:
        places = list(packs.write(chunks(8, 30_000)).values())
    assert [put.headers["if-none-match"] for put in puts] == ["*"]
    with proxy.counting("GET") as gets:
        list(packs.read(places))
    assert len(gets) == 1
    with proxy.counting("GET") as gets:
        list(packs.read([places[6], places[1], places[3]]))
    span = f"bytes={places[1].start}-{places[6].start + places[6].length - 1}"
    assert [get.headers["range"] for get in gets] == [span]


def test_chunks_far_apart_come_in_requests_of_their_own(proxy: FaultProxy) -> None:
    packs = bucket(proxy.address)
    written = chunks(12, MEGABYTE)
    places = list(packs.write(written).values())
    with proxy.counting("GET") as gets:
        found = dict(packs.read([places[0], places[1], places[9]]))
    assert len(gets) == 2
    assert list(written.values())[9].data == found[places[9]]
    with proxy.counting("GET") as gets:
        list(packs.read(places))
    assert len(gets) == 2  # of at most 8 MiB each


def test_a_listing_in_many_answers_is_whole(proxy: FaultProxy) -> None:
    packs = bucket(proxy.address)
    names = {name_of(packs.write(CHUNKS)) for _ in range(7)}
    proxy.page = 2
    with proxy.counting("GET") as gets:
        assert set(dict(packs.names())) == names
    proxy.page = None
    assert len(gets) == 4


def test_requests_are_signed_with_what_was_given_whatever_the_environment_says(
    proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "wrong",
        "AWS_SESSION_TOKEN": "wrong",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
        "AWS_REGION": "eu-north-1",
        "AWS_SKIP_SIGNATURE": "true",
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true",
    }.items():
        monkeypatch.setenv(name, value)
    lent = CloudSettings(proxy.address, "mykey", "hush", "eu-west-1", "lent")
    own = CloudSettings(proxy.address, "mykey", "hush")
    server = proxy.address.removeprefix("http://")
    for cloud, location, region, token in (
        (lent, f"s3://{BUCKET}/signed", "eu-west-1", "lent"),
        (own, f"s3://{BUCKET}/signed", "us-east-1", None),
        (CloudSettings("http://127.0.0.1:9", "mykey", "hush"), f"s3+http://{server}/{BUCKET}/signed",
         "us-east-1", None),
    ):  # fmt: skip
        with proxy.counting("PUT") as puts:
            open_packs(location, cloud).write(CHUNKS)
        (put,) = puts
        assert (
            f"Credential=mykey/{put.headers['x-amz-date'][:8]}/{region}/"
            in (put.headers["authorization"])
        )
        assert put.headers.get("x-amz-security-token") == token
        assert put.path.startswith(f"/{BUCKET}/signed/")
    for cloud in (CloudSettings(proxy.address), CloudSettings(proxy.address, "mykey"), None):
        with proxy.counting("PUT") as puts:
            open_packs(f"s3+http://{server}/{BUCKET}/anonymous", cloud).write(CHUNKS)
        assert "authorization" not in puts[0].headers


def test_secrets_are_not_shown(s3: Any) -> None:
    packs = bucket(s3.endpoint)
    for text in (repr(packs), repr(packs._connection), packs.place):
        assert "secret" not in text
    with pytest.raises(ResourceError) as caught:
        bucket(s3.endpoint, name="no-such-bucket").write(CHUNKS)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "location",
    ["gs://bucket/packs", "ftp://server/packs", "s3://", "s3:///packs", "s3+http://", "", " ",
     "s3+https://server", "file://server/packs", "https://server/bucket"],
)  # fmt: skip
def test_an_address_that_cannot_keep_packs_is_refused(location: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        open_packs(location)
    assert caught.value.kind == ErrorKind.INVALID_PARAMETER
    assert repr(location) in str(caught.value)
    assert ("HMAC" in str(caught.value)) == location.startswith("gs:")


def test_folders_may_be_said_in_three_ways(tmp_path: Path) -> None:
    for location in (tmp_path / "a b", f"{tmp_path}/a b", f"file://{tmp_path}/a%20b"):
        packs = open_packs(location)
        assert isinstance(packs, PackFolder)
        assert packs.folder == tmp_path / "a b"


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
