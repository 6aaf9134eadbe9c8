"""Opening published datasets by name: image, contrast and labels as their authors have them."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import compressed_segmentation
import numpy as np
import pytest
from flask.testing import FlaskClient
from openorganelle_bucket import ONE, ONE_NM, OTHER, OTHER_NM, OpenOrganelle, openorganelle
from web_client import Api, expect_error

from app import create_app
from app.config import Config
from segmentation_backend.geometry import Roi
from segmentation_backend.sources.specs import CloudSettings
from segmentation_backend.workspace import Workspace

VOLUMES = "/api/v1/volumes"


@pytest.fixture(scope="module")
def bucket() -> Iterator[OpenOrganelle]:
    with openorganelle() as running:
        yield running


@pytest.fixture
def client(bucket: OpenOrganelle, tmp_path: Path) -> Iterator[FlaskClient]:
    app = create_app(Config(data_dir=tmp_path / "data", cloud=CloudSettings(bucket.endpoint)))
    yield app.test_client()
    app.extensions["mitoglance"].workspace.close()


@pytest.fixture
def api(client: FlaskClient) -> Api:
    return Api(client)


def opened(api: Api, dataset: str, **more: object) -> dict[str, Any]:
    document: dict[str, Any] = api.post(VOLUMES, {"catalogue": dataset, **more}, 201)
    return document


def label_at(api: Api, volume: str, place_nm: tuple[float, ...], edge: float) -> int:
    offset = ",".join(str(int(c // edge)) for c in place_nm)
    answer = api.client.get(f"{VOLUMES}/{volume}/cutout?offset={offset}&shape=1,1,1")
    return int(np.load(io.BytesIO(answer.data))[0, 0, 0])


def first_state(api: Api, address: str) -> dict[str, Any]:
    token = api.client.get(address).headers["Location"].strip("/").split("/")[-1]
    events = f"/events/{token}?c=t&gc=&gs=&poll=1"
    messages = api.client.get(events).get_json()["messages"]
    (state,) = [m["s"] for m in messages if m["k"] == "s"]
    return dict(state)


def test_the_kidney_opens_over_its_published_mitochondria(api: Api) -> None:
    volume = opened(api, "jrc_mus-kidney")
    assert volume["name"] == "jrc_mus-kidney"
    assert volume["contrast"] == {
        "low": 105, "high": 182, "inverted": False, "source": "catalogue"
    }  # fmt: skip
    assert volume["levels"][0]["voxel_size"] == [8, 8, 8]
    assert volume["label_levels"][0] == {
        "level": 0, "voxel_size": [16, 16, 16], "shape": [48, 64, 80]
    }  # fmt: skip
    assert volume["labels"]["source"].endswith("jrc_mus-kidney.n5/labels/empanada-mito_seg")
    published = volume["published"]
    assert (published["dataset"], published["labels"]) == ("jrc_mus-kidney", "empanada-mito_seg")
    assert published["doi"] == ["10.25378/janelia.16913035", "10.6084/m9.figshare.20749729"]
    assert (published["licence"], published["notes"]) == ("CC BY 4.0", [])
    # Image at 8 nm and labels at 16 nm meet at the same nanometres.
    assert label_at(api, "jrc_mus-kidney", ONE_NM, 16) == ONE
    assert label_at(api, "jrc_mus-kidney", OTHER_NM, 16) == OTHER
    assert opened(api, "JRC_MUS-KIDNEY") == volume
    assert len(api.get(VOLUMES)["volumes"]) == 1


def test_published_mitochondria_are_proofread_in_place(api: Api) -> None:
    opened(api, "jrc_mus-kidney")
    points = [[int(c // 16) for c in place] for place in (ONE_NM, OTHER_NM)]
    ids = [str(ONE), str(OTHER)]
    api.post(f"{VOLUMES}/jrc_mus-kidney/merge", {"ids": ids, "points": points})
    assert label_at(api, "jrc_mus-kidney", OTHER_NM, 16) == ONE
    api.post(f"{VOLUMES}/jrc_mus-kidney/undo", {})
    assert label_at(api, "jrc_mus-kidney", OTHER_NM, 16) == OTHER


def test_an_inverted_image_is_shown_and_segmented_turned_round(api: Api) -> None:
    volume = opened(api, "jrc_hela-2")
    assert volume["contrast"] == {
        "low": 24444, "high": 34078, "inverted": True, "source": "catalogue"
    }  # fmt: skip
    assert volume["dtype"] == "uint16"
    state = first_state(api, "/d/jrc_hela-2")
    (image,) = [layer for layer in state["layers"] if layer["name"] == "em"]
    assert image["shaderControls"]["contrast"]["range"] == [24444, 34078]
    assert image["shaderControls"]["invert"] is True
    workspace = api.client.application.extensions["mitoglance"].workspace
    plan = workspace.plan_segmentation("jrc_hela-2", Roi((0, 0, 0), (1, 64, 64)))
    assert plan.grey_range == (34078, 24444)
    opened(api, "jrc_mus-kidney")
    plan = workspace.plan_segmentation("jrc_mus-kidney", Roi((0, 0, 0), (1, 64, 64)))
    assert plan.grey_range is None


def test_other_published_labels_are_shown_beside_and_never_edited(
    api: Api, bucket: OpenOrganelle
) -> None:
    volume = opened(api, "jrc_hela-2")
    assert volume["published"]["labels"] == "mito_seg"
    assert volume["published"]["beside"] == ["mito-mem_seg"]
    # The file says another number of voxels than the real one, which the catalogue knows.
    assert "(6368, 1600, 12000)" in volume["published"]["notes"][0]
    state = first_state(api, "/d/jrc_hela-2")
    layers = {layer["name"]: layer for layer in state["layers"]}
    assert list(layers) == ["em", "mito-mem_seg (published)", "mitochondria"]
    assert layers["mito-mem_seg (published)"]["visible"] is False
    where = "/beside/jrc_hela-2/mito-mem_seg"
    info = api.client.get(f"{where}/info").get_json()
    scale = info["scales"][0]
    assert (scale["size"], scale["resolution"]) == ([160, 128, 96], [4, 4, 5.24])
    chunk = api.client.get(f"{where}/{scale['key']}/0-128_0-128_0-64")
    assert "immutable" in chunk.headers["Cache-Control"]
    ids = compressed_segmentation.decompress(
        chunk.data, (128, 128, 64, 1), np.uint64, block_size=(8, 8, 8), order="F"
    )[..., 0].T
    z, y, x = (int(c // 8) for c in ONE_NM)
    assert (ids[z, y, x], ids[0, 0, 0]) == (1, 0)
    expect_error(api.client.get("/beside/jrc_hela-2/mito_seg/info"), 404, "route-not-found")
    expect_error(api.client.get("/beside/other/mito_seg/info"), 404, "volume-not-found")
    held = bucket.remove("jrc_hela-2/jrc_hela-2.n5/labels/mito-mem_seg")
    try:
        gone = api.client.get(f"{where}/{scale['key']}/0-128_0-128_64-96")
        expect_error(gone, 503, "source-unavailable")
    finally:
        bucket.put_back(held)


def test_an_image_stored_upside_down_is_shown_the_right_way_round_under_its_labels(
    api: Api,
) -> None:
    turned = opened(api, "jrc_hela-1")
    assert turned["published"]["labels"] == "mito_seg"
    assert turned["label_levels"][0]["voxel_size"] == [4, 4, 4]
    shape = tuple(turned["bounds"]["shape"])
    workspace = api.client.application.extensions["mitoglance"].workspace
    labels = workspace.cutout("jrc_hela-1", Roi((0, 0, 0), shape))
    # Dark where there are mitochondria, at both levels, and still so after a restart.
    again = Workspace(workspace.data_dir, cloud=workspace._cloud)
    assert again.volume("jrc_hela-1") == workspace.volume("jrc_hela-1")
    for level, by in ((0, 2), (1, 4)):
        sides = tuple(side // by for side in shape)
        grey = again.cutout("jrc_hela-1", Roi((0, 0, 0), sides), level, layer="image")
        inside = labels[::by, ::by, ::by] > 0
        assert grey[inside].mean() < 135 < 145 < grey[~inside].mean()
    again.close()
    # What was registered by its address alone is shown as it is stored.
    body = {"name": "stored", "image": turned["image"]}
    plain = api.post(VOLUMES, body, 201)
    assert plain["bounds"]["shape"] == [side // 2 for side in shape]
    whole = Roi((0, 0, 0), tuple(plain["bounds"]["shape"]))
    right, stored = (
        workspace.cutout(name, whole, layer="image") for name in ("jrc_hela-1", "stored")
    )
    np.testing.assert_array_equal(right, stored[:, ::-1])
    assert not np.array_equal(right, stored)


def test_labels_that_lie_elsewhere_are_left_out_with_the_reason(api: Api) -> None:
    published = opened(api, "jrc_mus-liver")["published"]
    assert (published["labels"], published["beside"]) == ("mito_seg", [])
    notes = " ".join(published["notes"])
    assert "mito_bag_seg are not shown: " in notes
    assert re.search(r"begin \(157\d\d, 309\d\d, 309\d\d\) nm", notes)
    assert "mito-mem_seg are not shown: " in notes  # no such array in the double


def test_one_may_choose_image_and_labels(api: Api) -> None:
    bare = opened(api, "jrc_mus-kidney", name="bare", labels="none", em="fibsem-uint8-zarr")
    assert bare["labels"] is None
    assert bare["image"].endswith("jrc_mus-kidney.zarr/recon-1/em/fibsem-uint8")
    assert bare["published"]["beside"] == ["empanada-mito_seg"]
    layers = {layer["name"]: layer for layer in first_state(api, "/d/bare")["layers"]}
    # No labels to proofread: the published ones are seen at once.
    assert layers["empanada-mito_seg (published)"].get("visible", True)
    chosen = opened(api, "jrc_hela-2", name="membranes", labels="mito-mem_seg")
    assert chosen["labels"]["source"].endswith("labels/mito-mem_seg")
    assert chosen["published"]["beside"] == ["mito_seg"]
    own = opened(api, "jrc_mus-kidney", name="own", labels=bare_labels(chosen, "jrc_mus-kidney"))
    assert own["published"]["labels"].startswith("s3://")


def bare_labels(volume: dict[str, Any], dataset: str) -> str:
    source: str = volume["labels"]["source"]
    return source.replace("jrc_hela-2", dataset).replace("mito-mem_seg", "empanada-mito_seg")


def test_a_choice_that_cannot_be_met_registers_nothing(api: Api, bucket: OpenOrganelle) -> None:
    for body, status, kind, named in (
        ({"catalogue": "jrc_mus-kidny"}, 404, "dataset-not-found", "jrc_mus-kidney"),
        ({"catalogue": "jrc_mus-kidney", "em": "x"}, 404, "dataset-not-found", "fibsem-uint8"),
        ({"catalogue": "jrc_mus-kidney", "labels": "x"}, 404, "dataset-not-found", "empanada"),
        ({"catalogue": "jrc_mus-kidney", "image": "x"}, 400, "invalid-parameter", "image"),
        ({"catalogue": "jrc_mus-kidney", "voxel_size": [8] * 3}, 400, "invalid-parameter", "voxel"),
        ({"name": "x", "image": "x.zarr", "em": "x"}, 400, "invalid-parameter", "em"),
        ({"catalogue": "jrc_mus-kidney", "name": "../up"}, 400, "invalid-name", "up"),
        ({"image": "x.zarr"}, 400, "invalid-parameter", "name"),
        ({}, 400, "invalid-parameter", "catalogue"),
        ({"catalogue": "jrc_hela-3"}, 404, "path-not-found", "jrc_hela-3"),
    ):
        answer = api.client.post(VOLUMES, json=body)
        expect_error(answer, status, kind)
        assert named in answer.get_json()["error"]["message"]
    held = bucket.remove("jrc_mus-kidney/jrc_mus-kidney.n5/labels")
    try:
        asked = {"catalogue": "jrc_mus-kidney", "labels": "empanada-mito_seg"}
        expect_error(api.client.post(VOLUMES, json=asked), 404, "path-not-found")
        assert api.get(VOLUMES)["volumes"] == []
        # Nobody asked for them: the image opens, and it is said that they are not there.
        without = opened(api, "jrc_mus-kidney")
        assert without["labels"] is None
        assert "empanada-mito_seg are left out" in without["published"]["notes"][0]
    finally:
        bucket.put_back(held)


def test_a_name_that_is_taken_by_other_data_is_not_used_again(api: Api, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", em=np.zeros((4, 8, 8), np.uint8))
    api.post(VOLUMES, {"name": "jrc_hela-2", "image": str(tmp_path / "x.npz")}, 201)
    taken = api.client.post(VOLUMES, json={"catalogue": "jrc_hela-2"})
    expect_error(taken, 409, "name-taken")
    opened(api, "jrc_mus-kidney")
    other = {"catalogue": "jrc_mus-kidney", "labels": "none"}
    expect_error(api.client.post(VOLUMES, json=other), 409, "name-taken")


def test_the_blogs_view_is_one_address(api: Api) -> None:
    opened(api, "jrc_mus-kidney")
    state = first_state(api, "/d/jrc_mus-kidney?view=empanada-blog")
    # 67200, 28800, 6400 nm (x, y, z), in voxels of 16 nm.
    assert state["position"] == [4200, 1800, 400]
    assert state["crossSectionScale"] == 1
    assert state["projectionScale"] == 750
    plain = first_state(api, "/d/jrc_mus-kidney")
    assert plain["position"] == [4200, 1800, 400]  # the place last looked at
    expect_error(api.client.get("/d/jrc_mus-kidney?view=nowhere"), 404, "dataset-not-found")


def test_the_catalogue_is_listed_searched_and_documented(api: Api, tmp_path: Path) -> None:
    whole = api.get("/api/v1/catalogue")
    assert (whole["total"], len(whole["datasets"])) == (46, 46)
    assert (whole["as_of"], whole["refreshed"], whole["problems"]) == ("2026-11-22", False, [])
    found = api.get("/api/v1/catalogue?search=mouse%20liver&limit=2")
    assert (found["total"], len(found["datasets"])) == (4, 2)
    assert found["datasets"][0]["name"] == "jrc_mus-liver"
    one = api.get("/api/v1/catalogue/jrc_mus-kidney")["dataset"]
    assert one["em"][0]["shown"] == {"low": 105, "high": 182, "inverted": False}
    expect_error(api.client.get("/api/v1/catalogue/nothing"), 404, "dataset-not-found")
    expect_error(api.client.get("/api/v1/catalogue?limit=0"), 400, "invalid-parameter")
    paths = api.client.get("/api/v1/openapi.json").get_json()["paths"]
    assert {p["name"] for p in paths["/api/v1/catalogue"]["get"]["parameters"]} == {
        "search", "limit"
    }  # fmt: skip
    (tmp_path / "data/catalogue").mkdir()
    (tmp_path / "data/catalogue/own.json").write_text(json.dumps({"format": "x"}))
    assert "own.json" in api.get("/api/v1/catalogue")["problems"][0]
    assert re.search("own.json", api.client.get("/").text)
