"""What may be opened over HTTP where others reach the server; its administrator opens all."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr
from landmarks import write_catalogue
from web_client import Api, expect_error

from app import create_app
from app.config import Config, load_config
from segmentation_backend.errors import (
    ErrorKind,
    InvalidInputError,
    ReadOnlyError,
    SegmentationError,
)
from segmentation_backend.geometry import Roi
from segmentation_backend.sources.volume import open_volume
from segmentation_backend.workspace import Workspace

VOLUMES = "/api/v1/volumes"


def cube(path: Path, dtype: str = "u1") -> Path:
    array = zarr.create_array(path, shape=(8, 8, 8), chunks=(8, 8, 8), dtype=dtype, zarr_format=2)
    array[...] = np.arange(512).reshape(8, 8, 8) % 200
    array.attrs["pixelResolution"] = {"dimensions": [8, 8, 8], "unit": "nm"}
    return path


@pytest.fixture
def allowed(tmp_path: Path) -> Path:
    cube(tmp_path / "allowed" / "em.zarr")
    cube(tmp_path / "allowed" / "labels.zarr", "u4")
    return tmp_path / "allowed"


@pytest.fixture
def shared(tmp_path: Path, allowed: Path) -> Iterator[Api]:
    """A server for many people that lets them open one folder."""
    listed = Config(data_dir=tmp_path / "many", host="0.0.0.0", sources=f"public, {allowed}")
    app = create_app(listed)
    yield Api(app.test_client())
    app.extensions["mitoglance"].workspace.close()


@pytest.mark.parametrize(
    ("host", "proxies", "expected"),
    [
        ("127.0.0.1", 0, "any"), ("localhost", 0, "any"), ("::1", 0, "any"),
        ("0.0.0.0", 0, "public"), ("::", 0, "public"), ("", 0, "public"), ("127.0.0.2", 0, "any"),
        ("192.168.1.7", 0, "public"), ("em.our.org", 0, "public"), ("127.0.0.1", 1, "public"),
    ],
)  # fmt: skip
def test_without_a_setting_only_a_user_alone_may_open_everything(
    host: str, proxies: int, expected: str
) -> None:
    config = Config(host=host, trusted_proxies=proxies)
    assert config.open_over_network == expected
    assert replace(config, sources="/srv/em").open_over_network == "/srv/em"


def test_a_setting_that_means_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="MITOGLANCE_SOURCES: sources has 'em'"):
        load_config(environment={"MITOGLANCE_SOURCES": "public, em"})


def test_what_is_not_listed_is_refused_and_changes_nothing(
    shared: Api, allowed: Path, tmp_path: Path
) -> None:
    cube(tmp_path / "theirs.zarr")
    np.savez(tmp_path / "theirs.npz", em=np.zeros((8, 8, 8), np.uint8))
    image = str(allowed / "em.zarr")
    for body in (
        {"image": str(tmp_path / "theirs.zarr")},
        {"image": str(tmp_path / "theirs.npz"), "dataset": "em"},
        {"image": str(tmp_path / "nothing.npz")},
        {"image": "http://127.0.0.1:1/em.zarr"},
        {"image": "https://[::ffff:169.254.169.254]/latest"},
        {"image": "s3+https://0x7f.1/bucket/em.zarr"},
        {"image": image, "labels": str(tmp_path / "theirs.zarr")},
        {"image": image, "labels": "precomputed://https://10.0.0.1/labels"},
    ):
        answer = shared.client.post(VOLUMES, json={"name": "new", **body})
        assert "setting `sources`" in expect_error(answer, 403, "source-refused")
    assert shared.get(VOLUMES)["volumes"] == []
    assert not any((tmp_path / "many" / "images").iterdir())


def test_what_a_catalogue_names_is_refused_alike(tmp_path: Path, allowed: Path) -> None:
    layers = {"em": cube(tmp_path / "em.zarr"), "good": allowed / "em.zarr"}
    em = [{"name": n, "url": str(path), "format": "zarr"} for n, path in layers.items()]
    labels = [{"name": "mito_seg", "url": "https://127.0.0.1/l", "format": "zarr"}]
    document = {
        "format": "mitoglance-catalogue/1",
        "datasets": [{"name": "cell", "em": em, "labels": labels}],
    }
    (tmp_path / "own.json").write_text(json.dumps(document))
    app = create_app(
        Config(
            data_dir=tmp_path / "data",
            catalogue=tmp_path / "own.json",
            host="0.0.0.0",
            sources=str(allowed),
        )
    )
    client = app.test_client()
    for body in ({}, {"em": "good"}, {"em": "good", "labels": "mito_seg"}):
        answer = client.post(VOLUMES, json={"catalogue": "cell", **body})
        expect_error(answer, 403, "source-refused")
    answer = client.post(VOLUMES, json={"catalogue": "cell", "em": "good", "labels": "none"})
    assert answer.status_code == 201
    assert "mito_seg are not shown" in answer.get_json()["published"]["notes"][0]
    app.extensions["mitoglance"].workspace.close()


def test_the_rule_stays_with_a_volume_and_is_asked_again_when_it_is_opened(
    shared: Api, allowed: Path, tmp_path: Path
) -> None:
    body = {"name": "cell", "image": f"{allowed}/em.zarr", "labels": f"{allowed}/labels.zarr"}
    shared.post(VOLUMES, body, 201)
    whole = Roi((0, 0, 0), (8, 8, 8))
    again = Workspace(tmp_path / "many")
    assert again.image("cell").read(whole).max() == 199
    assert again.cutout("cell", whole).max() > 0
    again.close()
    # The same names lead elsewhere now: nothing of it is read, by no process.
    for name in ("em.zarr", "labels.zarr"):
        (allowed / name).rename(tmp_path / name)
        (allowed / name).symlink_to(tmp_path / name)
    later = Workspace(tmp_path / "many")
    with pytest.raises(ReadOnlyError) as error:
        later.image("cell")
    assert error.value.kind is ErrorKind.SOURCE_REFUSED
    with pytest.raises(ReadOnlyError):
        later.cutout("cell", whole)
    # Whoever asks for it over HTTP is told so, whichever way they ask.
    app = create_app(Config(data_dir=tmp_path / "many", host="0.0.0.0", sources=str(allowed)))
    client, cell = app.test_client(), f"{VOLUMES}/cell"
    scale = client.get("/labels/cell/info").get_json()["scales"][0]["key"]
    for status, answer in (
        # Viewers take 403 for a chunk in which nothing is.
        (503, client.get(f"/labels/cell/{scale}/0-8_0-8_0-8")),
        (503, client.get(f"/image/cell/{scale}/0-8_0-8_0-8")),
        (503, client.get("/zarr/cell/0/c/0/0/0")),
        (403, client.get(f"{cell}/cutout?offset=0,0,0&shape=8,8,8")),
        (403, client.get(f"{cell}/objects/3")),
        (403, client.get(f"{cell}/blame?point=1,1,1")),
        (403, client.post(f"{cell}/merge", json={"points": [[1, 1, 1], [2, 2, 2]]})),
    ):
        assert "labels.zarr may not" in expect_error(answer, status, "source-refused") or (
            "em.zarr may not" in answer.get_json()["error"]["message"]
        )
    app.extensions["mitoglance"].workspace.close()
    # Whoever runs the server opens what they like.
    assert later.register("mine", str(tmp_path / "em.zarr")).sources is None
    assert later.image("mine").read(whole).max() == 199
    later.close()


def test_labels_beside_an_image_that_cannot_be_read_are_an_error_and_never_empty(
    shared: Api, allowed: Path, tmp_path: Path
) -> None:
    kinds = {
        "mito-changed": "base-changed",
        "mito-refused": "source-refused",
        "mito-damaged": "corrupt-chunk",
        "mito-gone": "source-unavailable",
    }
    layers = [
        {"name": name, "url": str(cube(allowed / name, "u4")), "format": "zarr"} for name in kinds
    ]
    em = {"name": "em", "url": str(allowed / "em.zarr"), "format": "zarr"}
    write_catalogue(tmp_path / "many", [{"name": "cell", "em": [em], "labels": layers}])
    assert shared.post(VOLUMES, {"catalogue": "cell"}, 201)["published"]["notes"] == []
    zarr.open_array(allowed / "mito-changed", mode="r+")[...] = 7
    chunk = allowed / "mito-damaged" / "0.0.0"
    data = chunk.read_bytes()
    chunk.write_bytes(data[:20])
    for name in ("mito-refused", "mito-gone"):
        (allowed / name).rename(tmp_path / name)
    (allowed / "mito-refused").symlink_to(tmp_path / "mito-refused")
    where = {}
    for name, kind in kinds.items():
        info = shared.client.get(f"/beside/cell/{name}/info").get_json()
        where[name] = f"/beside/cell/{name}/{info['scales'][0]['key']}/0-8_0-8_0-8"
        for _ in range(2):
            answer = shared.client.get(where[name])
            assert name in expect_error(answer, 503, kind) or kind == "base-changed"
            assert "Mitoglance-Empty" not in answer.headers
        # Nor is a page sent there to read them itself.
        place = shared.client.get(f"/direct/beside/cell/{name}/where").get_json()
        assert (place["levels"], bool(place["reason"])) == (None, True)
    chunk.write_bytes(data)
    assert shared.client.get(where["mito-damaged"]).status_code == 200


def test_a_listed_file_is_imported_and_stays_readable(
    shared: Api, allowed: Path, tmp_path: Path
) -> None:
    np.savez(allowed / "cell.npz", em=np.full((8, 8, 8), 7, np.uint8))
    body = {"name": "cell", "image": f"{allowed}/cell.npz", "dataset": "em"}
    shared.post(VOLUMES, {**body, "voxel_size": [8, 8, 8]}, 201)
    again = Workspace(tmp_path / "many")
    assert again.image("cell").read(Roi((0, 0, 0), (8, 8, 8))).max() == 7
    again.close()


def test_a_server_cannot_send_us_on_to_another_address() -> None:
    asked: list[str] = []

    class Redirecting(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(302)
            self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/inside")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Redirecting)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with pytest.raises(SegmentationError):
        open_volume(f"zarr2://http://127.0.0.1:{server.server_port}/em.zarr")
    server.shutdown()
    server.server_close()
    assert asked
    assert "/inside" not in asked
