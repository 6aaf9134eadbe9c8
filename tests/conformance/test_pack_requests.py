"""What is asked of a bucket that packs are kept in, with which rights, and of which addresses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packs import BUCKET, CHUNKS, MEGABYTE, bucket, chunks, name_of
from s3_faults import FaultProxy

from segmentation_backend.errors import ErrorKind, InvalidInputError, ResourceError
from segmentation_backend.labels import open_packs
from segmentation_backend.labels.pack_folder import PackFolder
from segmentation_backend.sources.specs import CloudSettings


@pytest.fixture(scope="module")
def proxy(s3: Any) -> Iterator[FaultProxy]:
    found = FaultProxy(s3.endpoint)
    yield found
    found.stop()


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
