"""Volumes over HTTP: list, register, describe, cut out; what is asked wrongly is refused."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from flask.testing import FlaskClient
from web_client import SHAPE, Api, V, expect_error

from app import create_app
from app.config import Config


def test_volumes_are_listed_and_described(api: Api) -> None:
    (listed,) = api.get("/api/v1/volumes")["volumes"]
    described = api.get(V)
    assert {**listed, "ok": True} == described
    assert described["name"] == "cell"
    assert described["bounds"] == {"offset": [0, 0, 0], "shape": list(SHAPE)}
    assert described["levels"][0] == {
        "level": 0,
        "voxel_size": [8.0, 8.0, 8.0],
        "shape": list(SHAPE),
    }
    assert described["version"] == 1


def test_an_unknown_volume_is_not_found_by_any_route(client: FlaskClient) -> None:
    other = "/api/v1/volumes/other"
    for path in ("", "/objects", "/objects/1", "/operations", "/cutout?offset=0,0,0&shape=1,1,1"):
        expect_error(client.get(other + path), 404, "volume-not-found")
    for path, body in (
        ("merge", {"ids": ["1", "2"]}),
        ("split", {"groups": [[[0, 0, 0]], [[1, 1, 1]]]}),
        ("undo", {}),
        ("segment", {"roi": {"offset": [0, 0, 0], "shape": [1, 8, 8]}}),
    ):
        expect_error(client.post(f"{other}/{path}", json=body), 404, "volume-not-found")
    expect_error(client.get("/api/v1/events?volume=other&since=0"), 404, "volume-not-found")


def test_a_volume_is_registered_once(api: Api, tmp_path: Path) -> None:
    source = str(tmp_path / "new.npz")
    np.savez(source, em=np.zeros((4, 70, 9), np.uint16), other=np.zeros(3))
    body = {"name": "new", "image": source, "dataset": "em", "voxel_size": [40, 4, 4.5]}
    made = api.post("/api/v1/volumes", body, 201)
    assert made["voxel_size"] == [40.0, 4.0, 4.5]
    assert api.post("/api/v1/volumes", body, 201) == made
    assert [v["name"] for v in api.get("/api/v1/volumes")["volumes"]] == ["cell", "new"]
    taken = api.client.post("/api/v1/volumes", json={**body, "name": "cell"})
    expect_error(taken, 409, "name-taken")


def test_what_cannot_be_a_volume_is_refused(api: Api, tmp_path: Path) -> None:
    np.savez(tmp_path / "flat.npz", em=np.zeros((4, 4), np.uint8))
    np.savez(tmp_path / "complex.npz", em=np.zeros((4, 4, 4), np.complex64))
    (tmp_path / "text.npz").write_text("no archive")
    before = api.everything()
    for file, status, kind in (
        ("absent.npz", 404, "path-not-found"),
        ("absent.zarr", 404, "path-not-found"),
        ("flat.npz", 500, "unsupported-rank"),
        ("complex.npz", 500, "unsupported-dtype"),
        ("text.npz", 500, "unsupported-format"),
    ):
        body = {"name": "new", "image": str(tmp_path / file)}
        expect_error(api.client.post("/api/v1/volumes", json=body), status, kind)
    for name in ("../up", "a b", "", "x" * 65, "a@2"):
        body = {"name": name, "image": str(tmp_path / "flat.npz")}
        kind = "invalid-name" if name else "invalid-parameter"
        expect_error(api.client.post("/api/v1/volumes", json=body), 400, kind)
    for size in ([8, 8], [8, 8, 0], [8, 8, "8"], [8, 8, -1], 8, [True, 8, 8]):
        body = {"name": "new", "image": "x.npz", "voxel_size": size}
        expect_error(api.client.post("/api/v1/volumes", json=body), 400, "invalid-parameter")
    assert api.everything() == before


def test_a_server_may_take_no_volumes_over_the_network(config: Config) -> None:
    closed = create_app(replace(config, allow_registration=False)).test_client()
    answer = closed.post("/api/v1/volumes", json={"name": "new", "image": "x.npz"})
    expect_error(answer, 403, "read-only")


def test_objects_are_listed_largest_first_with_ids_as_text(api: Api) -> None:
    answer = api.get(f"{V}/objects")
    assert answer["version"] == 1
    assert [o["id"] for o in answer["objects"]] == ["3", "1", "2"] or [
        o["voxels"] for o in answer["objects"]
    ] == sorted((o["voxels"] for o in answer["objects"]), reverse=True)
    largest = answer["objects"][0]
    assert largest == {
        "id": "3",
        "bbox": {"offset": [4, 40, 8], "shape": [12, 12, 82]},
        "voxels": 12 * 12 * 82,
        "centroid": pytest.approx([9.5, 45.5, 48.5]),
        "supervoxels": 1,
        "probability": 0.9,
        "agreement": 0.6667,
        "volume_nm3": 12 * 12 * 82 * 512.0,
        "class": None,
    }
    assert api.get(f"{V}/objects?class=nucleus")["objects"] == []
    assert len(api.get(f"{V}/objects?limit=1")["objects"]) == 1
    near = api.get(f"{V}/objects?roi=0,0,0,20,30,35")["objects"]
    assert [o["id"] for o in near] == ["1"]
    assert api.get(f"{V}/objects?version=0")["objects"] == []
    assert api.get(f"{V}/objects/3")["object"] == largest
    by_id = f"{V}/objects?sort=probability&limit=2"
    assert [o["id"] for o in api.get(by_id)["objects"]] == ["3", "1"]
    assert [o["id"] for o in api.get(f"{by_id}&after=1")["objects"]] == ["2"]
    assert api.get(f"{V}/objects/1")["object"]["probability"] is None


@pytest.mark.parametrize(
    ("path", "status", "kind"),
    [
        ("objects?limit=0", 400, "invalid-parameter"),
        ("objects?limit=x", 400, "invalid-parameter"),
        ("objects?sort=colour", 400, "invalid-parameter"),
        ("objects?after=99", 404, "object-not-found"),
        ("objects?after=x", 400, "invalid-id"),
        ("objects?roi=0,0,0,1,1", 400, "invalid-parameter"),
        ("objects?roi=0,0,0,0,1,1", 400, "roi-empty"),
        ("objects?version=9", 404, "version-not-found"),
        ("objects?version=-1", 404, "version-not-found"),
        ("objects/99", 404, "object-not-found"),
        ("objects/0", 400, "background-not-an-object"),
        ("objects/-1", 400, "invalid-id"),
        ("objects/18446744073709551616", 400, "invalid-id"),
        ("objects/x", 400, "invalid-id"),
        ("operations?since=-1", 400, "invalid-parameter"),
        ("operations?limit=0", 400, "invalid-parameter"),
        ("cutout?offset=0,0,0&shape=0,1,1", 400, "roi-empty"),
        ("cutout?offset=0,0,0&shape=1,1", 400, "invalid-parameter"),
        ("cutout?offset=0,0,x&shape=1,1,1", 400, "invalid-parameter"),
        ("cutout?offset=0,0,0&shape=21,1,1", 400, "roi-out-of-bounds"),
        ("cutout?offset=-1,0,0&shape=1,1,1", 400, "roi-out-of-bounds"),
        ("cutout?offset=0,0,0&shape=1,1,99999999999999999999", 400, "invalid-parameter"),
        ("cutout?offset=0,0,0&shape=1,1,1&level=9", 400, "invalid-parameter"),
        ("cutout?offset=0,0,0&shape=1,1,1&level=-1", 400, "invalid-parameter"),
        ("cutout?offset=0,0,0&shape=1,1,1&layer=mesh", 400, "invalid-parameter"),
        ("cutout?offset=0,0,0&shape=1,1,1&version=2", 404, "version-not-found"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(
    client: FlaskClient, path: str, status: int, kind: str
) -> None:
    expect_error(client.get(f"{V}/{path}"), status, kind)


def test_a_cutout_is_the_voxels_themselves(api: Api, original: Path) -> None:
    labels = api.labels()
    assert labels.dtype == np.uint64
    assert labels[10, 10, 10] == 1
    assert not api.labels(version=0).any()
    answer = api.client.get(f"{V}/cutout?offset=2,3,4&shape=5,6,7&layer=image")
    assert answer.mimetype == "application/x-npy"
    with np.load(original.parent / "cell.npz") as file:
        expected = file["em"][2:7, 3:9, 4:11]
    np.testing.assert_array_equal(np.load(io.BytesIO(answer.data)), expected)


def test_operations_are_listed_with_their_author(api: Api) -> None:
    api.post(f"{V}/merge", {"ids": ["1", "2"]})
    newest = api.get(f"{V}/operations")["operations"]
    assert [(o["operation_id"], o["kind"], o["user"]) for o in newest] == [
        (2, "merge", "ana"),
        (1, "segment", "setup"),
    ]
    assert newest[0]["merges"] == [["1", "2"]]
    assert [o["operation_id"] for o in api.get(f"{V}/operations?since=1")["operations"]] == [2]
    assert [o["operation_id"] for o in api.get(f"{V}/operations?user=setup")["operations"]] == [1]
    assert api.get(f"{V}/operations?limit=1")["operations"] == newest[:1]


def test_events_tell_a_page_what_it_missed(api: Api) -> None:
    api.post(f"{V}/merge", {"ids": ["1", "2"]})
    api.post(f"{V}/undo", {})
    answer = api.get("/api/v1/events?volume=cell&since=1")
    assert (answer["version"], answer["reset"]) == (3, False)
    assert [o["kind"] for o in answer["operations"]] == ["merge", "undo"]
    since_nothing = api.get("/api/v1/events?volume=cell&since=0")["operations"]
    assert [o["operation_id"] for o in since_nothing] == [1, 2, 3]
    assert api.get("/api/v1/events?volume=cell&since=3")["operations"] == []
    ahead = api.get("/api/v1/events?volume=cell&since=7")
    assert (ahead["reset"], ahead["operations"]) == (True, [])
    for wrong in ("volume=cell", "since=0", "volume=cell&since=-1", "volume=cell&since=x"):
        expect_error(api.client.get(f"/api/v1/events?{wrong}"), 400, "invalid-parameter")
