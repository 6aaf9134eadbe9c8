"""A volume over published labels, through the interface that scripts and the page use."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zarr
from flask.testing import FlaskClient
from web_client import Api, expect_error

from app import create_app
from app.cli import main
from app.config import Config

SHAPE = (40, 80, 96)
V = "/api/v1/volumes/cell"
IN_3, IN_4, IN_5 = [5, 10, 10], [5, 10, 60], [30, 70, 90]


def write(folder: Path) -> None:
    labels = np.zeros(SHAPE, np.uint64)
    labels[2:10, 5:30, 5:40], labels[2:10, 5:30, 40:80], labels[25:35, 60:75, 80:95] = 3, 4, 5
    for name, voxels in (("em", np.full(SHAPE, 90, np.uint8)), ("labels", labels)):
        array = zarr.create_array(
            folder / f"{name}.zarr", shape=SHAPE, chunks=(32, 32, 32), dtype=voxels.dtype
        )
        array[...] = voxels


@pytest.fixture
def client(tmp_path: Path) -> Iterator[FlaskClient]:
    write(tmp_path)
    app = create_app(Config(data_dir=tmp_path / "data"))
    yield app.test_client()
    app.extensions["mitoglance"].workspace.close()


@pytest.fixture
def api(client: FlaskClient, tmp_path: Path) -> Api:
    api = Api(client)
    sources = {"image": str(tmp_path / "em.zarr"), "labels": str(tmp_path / "labels.zarr")}
    registered = api.post("/api/v1/volumes", {"name": "cell", **sources}, 201)
    expected = {"source": sources["labels"], "dtype": "uint64", "counted": 0}
    assert registered["labels"] == expected
    return api


def cutout(api: Api, version: int | None = None) -> np.ndarray:
    at = "" if version is None else f"&version={version}"
    z, y, x = SHAPE
    answer = api.client.get(f"{V}/cutout?offset=0,0,0&shape={z},{y},{x}{at}")
    assert answer.status_code == 200
    array: np.ndarray = np.load(io.BytesIO(answer.data))
    return array


def test_published_labels_are_seen_and_edited(api: Api) -> None:
    assert set(np.unique(cutout(api)).tolist()) == {0, 3, 4, 5}
    merged = api.post(f"{V}/merge", {"ids": ["3", "4"], "points": [IN_3, IN_4]})
    assert (merged["removed_roots"], merged["added_roots"]) == (["3", "4"], ["3"])
    assert cutout(api)[tuple(IN_4)] == 3
    assert cutout(api, 0)[tuple(IN_4)] == 4
    split = api.post(f"{V}/split", {"sources": [IN_3], "sinks": [[5, 10, 20]]})
    assert str(2**62) in split["added_roots"]
    api.post(f"{V}/revert", {"version": 0})
    assert set(np.unique(cutout(api)).tolist()) == {0, 3, 4, 5}


def test_labels_are_served_to_the_viewer_with_levels_of_their_own(api: Api) -> None:
    info = api.client.get("/labels/cell/info").get_json()
    assert info["scales"][0]["size"] == list(SHAPE[::-1])
    key = info["scales"][0]["key"]
    chunk = api.client.get(f"/labels/cell/{key}/0-96_0-80_0-40")
    assert chunk.status_code == 200
    again = api.client.get(
        f"/labels/cell/{key}/0-96_0-80_0-40", headers={"If-None-Match": chunk.headers["ETag"]}
    )
    assert again.status_code == 304
    assert api.client.get("/d/cell").status_code == 302


def test_a_list_of_objects_says_whether_it_is_complete(api: Api, tmp_path: Path) -> None:
    before = api.get(f"{V}/objects")
    assert (before["complete"], before["objects"]) == (False, [])
    near = api.get(f"{V}/objects?roi=0,0,0,20,40,50")
    assert {o["id"] for o in near["objects"]} == {"3", "4"}
    assert main(["index", "cell", "--data-dir", str(tmp_path / "data")]) == 0
    after = api.get(f"{V}/objects")
    assert after["complete"] is True
    assert {o["id"]: o["voxels"] for o in after["objects"]} == {"3": 7000, "4": 8000, "5": 2250}
    assert api.get(V)["labels"]["counted"] == 1


def test_an_object_is_found_by_its_id(api: Api) -> None:
    assert api.get(f"{V}/objects/5")["object"]["voxels"] == 2250
    message = expect_error(api.client.get(f"{V}/objects/6"), 404, "object-not-found")
    assert "6" in message


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ({"labels": "nowhere.zarr"}, 404, "path-not-found"),
        ({"labels": "em.npz"}, 400, "invalid-parameter"),
        ({"labels": 3}, 400, "invalid-parameter"),
        ({"labels": "gopher://x/y"}, 400, "invalid-parameter"),
    ],
)
def test_labels_that_cannot_be_used_register_nothing(
    client: FlaskClient, tmp_path: Path, body: dict[str, object], status: int, kind: str
) -> None:
    image = str(tmp_path / "em.zarr")
    answer = client.post("/api/v1/volumes", json={"name": "cell", "image": image, **body})
    expect_error(answer, status, kind)
    assert client.get("/api/v1/volumes").get_json()["volumes"] == []


def test_other_labels_need_another_name(api: Api, tmp_path: Path) -> None:
    image = str(tmp_path / "em.zarr")
    answer = api.client.post("/api/v1/volumes", json={"name": "cell", "image": image})
    expect_error(answer, 409, "name-taken")


def test_labels_that_changed_are_refused(api: Api, tmp_path: Path) -> None:
    array = zarr.open_array(tmp_path / "labels.zarr", mode="r+")
    array[...] = 7
    answer = api.client.get(f"{V}/cutout?offset=0,0,0&shape=2,2,2")
    message = expect_error(answer, 500, "base-changed")
    assert "another name" in message


def test_an_object_that_nobody_counted_is_described_where_it_was_seen(api: Api) -> None:
    found = api.get(f"{V}/objects/4?point=5,10,60")["object"]
    assert (found["id"], found["voxels"]) == ("4", 8000)
    assert api.post(f"{V}/delete", {"ids": ["4"]})["removed_roots"] == ["4"]


def test_over_published_labels_every_chunk_has_to_be_asked_for(api: Api) -> None:
    scale = api.client.get("/labels/cell/info").get_json()["scales"][0]["key"]
    answer = api.client.get(f"/labels/cell/{scale.split('/')[0]}/occupied")
    assert answer.get_json() == {"version": 0, "levels": None}
