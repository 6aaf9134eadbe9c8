"""How image chunks are sent: kept for ever, in parts, and alike whether Flask saw the request."""

from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from web_client import expect_error
from werkzeug.test import TestResponse

from app import create_app
from app.config import Config
from app.services import Services

SIZE = 64 * 64 * 20


@pytest.fixture
def address(client: FlaskClient) -> str:
    scales = client.get("/image/cell/info").get_json()["scales"]
    return f"/image/cell/{scales[0]['key']}/0-64_0-64_0-20"


def headers_of(answer: TestResponse) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name != "X-Request-Id"}


def counted(client: FlaskClient) -> list[str]:
    lines = client.get("/metrics").get_data(as_text=True).splitlines()
    return [line for line in lines if 'route="/image/<name>/<instance>' in line]


def test_a_warm_chunk_is_sent_as_a_cold_one_was(
    client: FlaskClient, address: str, parts: Services
) -> None:
    cold = client.get(address)
    assert parts.images.kept_bytes == SIZE
    warm = client.get(address)
    assert (warm.status_code, warm.data) == (200, cold.data)
    assert headers_of(warm) == headers_of(cold)
    assert warm.headers["X-Request-Id"] != cold.headers["X-Request-Id"]
    assert warm.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert warm.headers["Accept-Ranges"] == "bytes"
    (line,) = counted(client)
    assert line.endswith('status="200"} 2')


def test_a_warm_chunk_is_answered_without_flask(app: Flask, address: str) -> None:
    client = app.test_client()
    client.get(address)
    app.before_request_funcs = {None: [lambda: ("Flask was here", 500)]}
    assert client.get(address).status_code == 200
    assert client.get(address + "?x=1").status_code == 200
    for other in ("HEAD", "POST"):
        assert client.open(address, method=other).status_code == 500
    assert client.get(address.replace("/0/", "/00/")).status_code == 500
    assert client.get(address.replace("0-64_0-64", "0-65_0-64")).status_code == 500


def test_a_chunk_of_another_data_directory_is_never_sent_from_memory(
    client: FlaskClient, address: str, parts: Services
) -> None:
    assert client.get(address).status_code == 200
    foreign = address.replace(parts.instance, "00000000")
    expect_error(client.get(foreign), 404, "route-not-found")


@pytest.mark.parametrize("warm", [False, True])
def test_a_tag_that_still_holds_needs_no_body(
    client: FlaskClient, address: str, warm: bool, config: Config
) -> None:
    first = client.get(address)
    tag = first.headers["ETag"]
    assert tag.startswith('"')
    asked = client if warm else create_app(config).test_client()
    unchanged = asked.get(address, headers={"If-None-Match": tag})
    assert (unchanged.status_code, unchanged.data) == (304, b"")
    assert unchanged.headers["ETag"] == tag
    assert unchanged.headers["Cache-Control"] == first.headers["Cache-Control"]
    changed = asked.get(address, headers={"If-None-Match": '"other"'})
    assert (changed.status_code, changed.data) == (200, first.data)


def test_head_is_get_without_the_body(client: FlaskClient, address: str) -> None:
    whole = client.get(address)
    head = client.head(address)
    assert (head.status_code, head.data) == (200, b"")
    assert headers_of(head) == headers_of(whole)
    assert int(head.headers["Content-Length"]) == SIZE


@pytest.mark.parametrize(
    ("asked", "begin", "end"),
    [("bytes=0-99", 0, 100), ("bytes=1000-", 1000, SIZE), ("bytes=-7", SIZE - 7, SIZE)],
)
def test_parts_of_a_chunk_are_sent(
    client: FlaskClient, address: str, asked: str, begin: int, end: int
) -> None:
    whole = client.get(address)
    part = client.get(address, headers={"Range": asked})
    assert part.status_code == 206
    assert part.data == whole.data[begin:end]
    assert part.headers["Content-Range"] == f"bytes {begin}-{end - 1}/{SIZE}"
    assert part.headers["ETag"] == whole.headers["ETag"]
    tag = {"Range": asked, "If-Range": whole.headers["ETag"]}
    assert client.get(address, headers=tag).status_code == 206
    # Whoever has parts of another content gets all of this one, not a part that does not fit.
    other = client.get(address, headers={"Range": asked, "If-Range": '"other"'})
    assert (other.status_code, other.data) == (200, whole.data)


def test_a_part_beyond_the_end_is_refused(client: FlaskClient, address: str) -> None:
    answer = client.get(address, headers={"Range": f"bytes={SIZE}-"})
    expect_error(answer, 416, "invalid-parameter")
    assert answer.headers["Content-Range"] == f"bytes */{SIZE}"


def test_a_cache_of_nothing_still_sends_chunks(config: Config, address: str) -> None:
    app = create_app(Config(data_dir=Path(config.data_dir), image_cache_mb=0))
    client = app.test_client()
    first, second = client.get(address), client.get(address)
    assert len(first.data) == SIZE
    assert second.data == first.data
    parts: Services = app.extensions["mitoglance"]
    assert parts.images.kept_bytes == 0


def test_hundreds_of_requests_leave_the_cache_within_its_bound(
    config: Config, client: FlaskClient
) -> None:
    app = create_app(Config(data_dir=config.data_dir, image_cache_mb=0))
    parts: Services = app.extensions["mitoglance"]
    parts.images._kept._capacity = 150_000
    asked = app.test_client()
    scales = client.get("/image/cell/info").get_json()["scales"]
    names = [
        f"{scale['key']}/{x}-{min(x + 64, w)}_{y}-{min(y + 64, h)}_0-{min(64, d)}"
        for scale in scales
        for w, h, d in [scale["size"]]
        for x in range(0, w, 64)
        for y in range(0, h, 64)
    ]
    for number in range(500):
        assert asked.get(f"/image/cell/{names[number * 7 % len(names)]}").status_code == 200
        assert parts.images.kept_bytes <= 150_000
    assert not parts.images._reads
