"""A private bucket is shown through the server; its keys never leave it."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore as ts
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app import create_app
from app.config import Config
from segmentation_backend.sources.specs import CloudSettings

KEY, SECRET, TOKEN = "AKIASENTINELKEY00", "sentinel/secret+key", "sentinel-session-token"
VOXELS = np.random.default_rng(7).integers(0, 255, (32, 64, 128), np.uint8)
SIGNED = re.compile(r"X-Amz-|AWSAccessKeyId|Signature=|AWS4-HMAC", re.IGNORECASE)


class Looking:
    """A client that looks at all of every answer."""

    def __init__(self, client: FlaskClient) -> None:
        self._client = client
        self.seen = 0

    def ask(self, path: str, status: int, method: str = "GET", **options: Any) -> TestResponse:
        answer = self._client.open(path, method=method, **options)
        assert answer.status_code == status, (path, answer.data[:500])
        text = f"{answer.headers}\n" + answer.data.decode("latin-1")
        for secret in (KEY, SECRET, TOKEN):
            assert secret not in text, path
        assert not SIGNED.search(text), path
        self.seen += 1
        return answer


@pytest.fixture
def looking(s3: Any, tmp_path: Path) -> Looking:
    spec = {
        "driver": "zarr",
        "kvstore": {"driver": "file", "path": f"{tmp_path}/em.zarr/"},
        "metadata": {"shape": VOXELS.shape, "chunks": [32, 64, 64], "dtype": "|u1"},
    }
    ts.open(spec, create=True).result().write(VOXELS).result()
    s3.upload(tmp_path / "em.zarr", "private/em.zarr", public=False)
    cloud = CloudSettings(s3.endpoint, KEY, SECRET, "us-east-1", TOKEN)
    config = Config(data_dir=tmp_path / "data", cloud=cloud, sources="any")
    return Looking(create_app(config).test_client())


def test_keys_of_a_private_bucket_stay_on_the_server(
    looking: Looking, s3: Any, caplog: pytest.LogCaptureFixture
) -> None:
    body = {"name": "em", "image": s3.url("private/em.zarr"), "voxel_size": [8, 8, 8]}
    looking.ask("/api/v1/volumes", 201, "POST", json=body)
    missing = {"name": "no", "image": s3.url("private/nothing.zarr")}
    assert looking.ask("/api/v1/volumes", 404, "POST", json=missing).is_json
    page = looking.ask("/d/em", 302)
    session = page.headers["Location"]
    token = session.strip("/").split("/")[-1]
    for path in (
        *("/", session, f"/events/{token}?poll=1", f"/api/v1/sessions/{token}", "/metrics"),
        *("/api/v1/volumes", "/api/v1/volumes/em", "/api/v1/openapi.json", "/labels/em/info"),
    ):
        looking.ask(path, 200)

    key = looking.ask("/image/em/info", 200).get_json()["scales"][0]["key"]
    address = f"/image/em/{key}/0-64_0-64_0-32"
    for _ in range(2):
        assert looking.ask(address, 200).data == VOXELS[:, :, :64].tobytes()
    looking.ask(address, 206, headers={"Range": "bytes=0-9"})
    looking.ask(address, 416, headers={"Range": "bytes=999999999-"})

    # What goes wrong says where, and with which words S3 refused, but not with which key.
    s3.put("private/em.zarr/0.0.1", b"no chunk")
    broken = looking.ask(f"/image/em/{key}/64-128_0-64_0-32", 503)
    assert "s3://em-data/private/em.zarr" in broken.get_json()["error"]["message"]
    looking.ask("/api/v1/volumes/em/cutout?offset=0,0,64&shape=4,4,4&layer=image", 503)
    assert looking.seen >= 18
    for secret in (KEY, SECRET, TOKEN):
        assert secret not in caplog.text


def test_keys_in_an_address_are_shown_to_nobody(s3: Any, tmp_path: Path, web: Any) -> None:
    spec = {
        "driver": "zarr",
        "kvstore": {"driver": "file", "path": f"{web.root}/em.zarr/"},
        "metadata": {"shape": VOXELS.shape, "chunks": [32, 64, 64], "dtype": "|u1"},
    }
    ts.open(spec, create=True).result().write(VOXELS).result()
    looking = Looking(create_app(Config(data_dir=tmp_path / "data", sources="any")).test_client())
    server = web.address.partition("://")[2]
    address = f"http://{KEY}:{TOKEN}@{server}/em.zarr"
    body = {"name": "em", "image": address, "voxel_size": [8, 8, 8]}
    made = looking.ask("/api/v1/volumes", 201, "POST", json=body).get_json()
    assert made["image"] == f"http://…@{server}/em.zarr"
    looking.ask("/api/v1/volumes", 409, "POST", json={**body, "image": address + "2"})
    page = looking.ask("/d/em", 302)
    token = page.headers["Location"].strip("/").split("/")[-1]
    looking.ask(f"/events/{token}?poll=1", 200)
    key = looking.ask("/image/em/info", 200).get_json()["scales"][0]["key"]
    with web.failing("/0.0.0"):
        looking.ask(f"/image/em/{key}/0-64_0-64_0-32", 503)


def test_a_bucket_that_refuses_is_told_without_its_keys(s3: Any, tmp_path: Path) -> None:
    s3.put("locked/em.zarr/.zarray", b"{}", public=False)
    for endpoint, keys in ((s3.endpoint, (None, None)), ("http://127.0.0.1:1", (KEY, SECRET))):
        cloud = CloudSettings(endpoint, *keys, "us-east-1")
        app = create_app(Config(data_dir=tmp_path / "data", cloud=cloud, sources="any"))
        looking = Looking(app.test_client())
        body = {"name": "em", "image": s3.url("locked/em.zarr")}
        looking.ask("/api/v1/volumes", 503, "POST", json=body)
