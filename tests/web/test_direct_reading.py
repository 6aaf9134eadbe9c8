"""What pages read themselves: addresses in states, descriptions, where chunks are."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from landmarks import LABELS, LANDMARKS, dataset, write_catalogue
from static_web import StaticWeb, static_web
from web_client import Api, expect_error

from app import create_app
from app.config import Config
from app.services import Services
from segmentation_backend.errors import ErrorKind, ResourceError
from segmentation_backend.sources.direct import DirectLayer


@pytest.fixture
def web(tmp_path: Path) -> Iterator[StaticWeb]:
    for name in ("ome04", "precomputed", "ome-flipped"):
        LANDMARKS[name].write(tmp_path / "web" / name)
    with static_web(tmp_path / "web") as double:
        yield double


@pytest.fixture
def far(web: StaticWeb, parts: Services) -> StaticWeb:
    for name in ("ome04", "precomputed", "ome-flipped"):
        parts.workspace.register(name, f"{web.address}/{name}")
    return web


def shown(client: FlaskClient, name: str, more: str = "") -> tuple[str, dict[str, Any], str]:
    """Return a new page's token, its state, and where its image comes from."""
    token = client.get(f"/d/{name}").headers["Location"].strip("/").split("/")[-1]
    client.get(f"/v/{token}/")
    for labels in LABELS if name == "labelled" else ():
        # On a busy machine it may take longer than a page waits.
        assert client.get(f"/direct/beside/{name}/{labels}/where").status_code == 200
    messages = client.get(f"/events/{token}?c=tab&gc=&gs=&poll=1{more}").get_json()["messages"]
    state = messages[-1]["s"]
    (source,) = state["layers"][0]["source"]
    return token, state, source["url"]


def test_a_page_gets_the_direct_address_and_what_is_kept_is_ours(
    client: FlaskClient, api: Api, parts: Services, far: StaticWeb
) -> None:
    token, state, source = shown(client, "ome04")
    assert source == "zarr2://http://localhost/direct/image/ome04"
    assert parts.sessions.get(token).view_state.count("{origin}/image/ome04") == 1
    # The viewer writes addresses in its own way.
    matrix = [[0, 0, 2, 5], [0, 1, 0, 6], [1, 0, 0, 7]]
    names = {"z": [16e-9, "m"], "y": [8e-9, "m"], "x": [4e-9, "m"]}
    transform = {"matrix": matrix, "inputDimensions": names, "outputDimensions": {}}
    own = {"url": "http://localhost/direct/image/ome04/|zarr2:", "transform": transform}
    state["layers"][0]["source"] = [own]
    before = parts.sessions.get(token).generation
    sent = {"s": state, "g": 1, "pg": before, "c": "tab"}
    assert client.post(f"/state/{token}", data=json.dumps(sent)).status_code == 200
    kept = json.loads(parts.sessions.get(token).view_state)["layers"][0]["source"]
    # A transform that somebody made is of the axes as they come: z first there, x first here.
    assert kept[0]["url"] == "precomputed://{origin}/image/ome04"
    assert kept[0]["transform"]["matrix"] == [[2, 0, 0, 5], [0, 1, 0, 6], [0, 0, 1, 7]]
    assert list(kept[0]["transform"]["inputDimensions"]) == ["x", "y", "z"]
    messages = client.get(f"/events/{token}?c=other&gc=&gs=&poll=1").get_json()["messages"]
    assert messages[-1]["s"]["layers"][0]["source"] == [
        {**own, "url": "zarr2://http://localhost/direct/image/ome04"}
    ]
    share = api.post("/api/v1/shares", {"volume": "ome04", "view_state": state}, 201)
    read = api.get(f"/api/v1/shares/{share['share_id']}")["view_state"]
    assert read["layers"][0]["source"][0]["url"] == "precomputed://http://localhost/image/ome04"


def test_the_setting_a_wish_and_a_closed_place_lead_through_the_server(
    client: FlaskClient, config: Config, far: StaticWeb
) -> None:
    through = "precomputed://http://localhost/image/{}".format
    assert shown(client, "ome-flipped")[2] == through("ome-flipped")
    assert shown(client, "ome04", "&direct=no")[2] == through("ome04")
    never = create_app(replace(config, direct_reading="never")).test_client()
    assert shown(never, "ome04")[2] == through("ome04")
    where = never.get("/direct/image/ome04/where").get_json()
    assert where == {"levels": None, "reason": "the setting direct_reading is never"}
    # A page whose state was made elsewhere finds the description, and no chunk that is black.
    assert never.get("/direct/image/ome04/.zattrs").status_code == 200
    expect_error(never.get("/direct/image/ome04/0/0.0.0"), 503, "source-unavailable")
    far.allow = None
    assert shown(client, "precomputed")[2] == through("precomputed")


def test_where_chunks_are_and_who_leads_there(client: FlaskClient, far: StaticWeb) -> None:
    where = client.get("/direct/image/precomputed/where")
    assert where.headers["Cache-Control"] == "no-store"
    levels = where.get_json()["levels"]
    assert levels[1] == {
        "prefix": levels[1]["prefix"],
        "suffix": "",
        "is_quoted": False,
        "mark": f"{far.address}/precomputed/info",
        "offset": [5, 10, 10],
    }
    assert levels[1]["prefix"].startswith(f"{far.address}/precomputed/")
    # Another viewer is led to the chunk, whose name is that of the source.
    led = client.get("/direct/image/precomputed/1/0-8_8-16_0-8")
    assert led.status_code == 307
    assert led.headers["Location"] == f"{levels[1]['prefix']}5-13_18-26_10-18"
    path = led.headers["Location"].removeprefix(f"{far.address}/")
    assert (far.root / path).is_file()
    for key in ("9/0-8_8-16_0-8", "1/..%2Finfo", "nothing", "info2"):
        expect_error(client.get(f"/direct/image/precomputed/{key}"), 404, "route-not-found")
    expect_error(client.get("/direct/image/cell/info"), 404, "route-not-found")
    expect_error(client.get("/direct/image/nobody/where"), 404, "volume-not-found")
    expect_error(client.get("/direct/beside/precomputed/mito/where"), 404, "route-not-found")


@pytest.fixture
def labelled(far: StaticWeb, config: Config, parts: Services) -> StaticWeb:
    """An image with labels of four formats beside it."""
    for name, (_, _, write) in LABELS.items():
        write(far.root / name)
    write_catalogue(config.data_dir, [dataset("labelled", far.address)])
    info = parts.workspace.register_published("labelled")
    assert [labels.name for labels in info.published.beside] == list(LABELS)
    return far


def beside_sources(state: dict[str, Any]) -> dict[str, str]:
    """Return where the labels beside an image come from, by name."""
    layers = {layer["name"].split(" ")[0]: layer["source"] for layer in state["layers"]}
    return {name: layers[name][0]["url"] for name in LABELS}


def test_labels_beside_an_image_are_read_like_it(
    client: FlaskClient, parts: Services, labelled: StaticWeb
) -> None:
    token, state, _ = shown(client, "labelled")
    kinds = dict(zip(LABELS, ("zarr2", "zarr3", "n5", "precomputed"), strict=True))
    assert beside_sources(state) == {
        name: f"{kind}://http://localhost/direct/beside/labelled/{name}"
        for name, kind in kinds.items()
    }
    kept = parts.sessions.get(token).view_state
    assert all(f'"precomputed://{{origin}}/beside/labelled/{name}"' in kept for name in LABELS)
    assert "direct" not in kept
    # Back from the page: the address as the viewer writes it, a transform of the zarr's axes.
    matrix = [[0, 0, 2, 5], [0, 1, 0, 6], [1, 0, 0, 7]]
    url = "http://localhost/direct/beside/labelled/mito-zarr2/|zarr2:"
    state["layers"][1]["source"] = [{"url": url, "transform": {"matrix": matrix}}]
    sent = {"s": state, "g": 1, "pg": parts.sessions.get(token).generation, "c": "tab"}
    assert client.post(f"/state/{token}", data=json.dumps(sent)).status_code == 200
    stored = json.loads(parts.sessions.get(token).view_state)["layers"][1]["source"][0]
    assert stored["url"] == "precomputed://{origin}/beside/labelled/mito-zarr2"
    assert stored["transform"]["matrix"] == [[2, 0, 0, 5], [0, 1, 0, 6], [0, 0, 1, 7]]
    # The description, where the chunks are, and who leads there.
    direct = "/direct/beside/labelled"
    info = client.get(f"{direct}/mito-precomputed/info").get_json()
    assert (info["type"], info["data_type"]) == ("segmentation", "uint32")
    levels = client.get(f"{direct}/mito-precomputed/where").get_json()["levels"]
    assert (levels[0]["mark"], levels[0]["offset"]) == (
        f"{labelled.address}/mito-precomputed/info",
        [10, 20, 20],
    )
    led = client.get(f"{direct}/mito-n5/s1/1/1/0")
    assert (led.status_code, led.headers["Location"]) == (
        307,
        f"{labelled.address}/mito-n5/s1/1/1/0",
    )


def test_labels_that_may_not_be_read_directly_come_through_the_server(
    client: FlaskClient, config: Config, labelled: StaticWeb
) -> None:
    ours = {name: f"precomputed://http://localhost/beside/labelled/{name}" for name in LABELS}
    never = create_app(replace(config, direct_reading="never")).test_client()
    assert beside_sources(shown(never, "labelled")[1]) == ours
    expect_error(never.get("/direct/beside/labelled/mito-n5/s0/0/0/0"), 503, "source-unavailable")
    labelled.allow = None
    assert beside_sources(shown(client, "labelled")[1]) == ours
    labelled.allow = "*"
    # Others than those that were opened.
    for chunks in (labelled.root / "mito-n5/s2").glob("*/"):
        shutil.rmtree(chunks)
    again = create_app(config).test_client()
    found = beside_sources(shown(again, "labelled")[1])
    assert found.pop("mito-n5") == ours["mito-n5"]
    assert all("/direct/beside/" in url for url in found.values())
    assert beside_sources(shown(again, "labelled", "&direct=no")[1]) == ours
    reason = again.get("/direct/beside/labelled/mito-n5/where").get_json()["reason"]
    assert "are not what they were" in reason


def test_the_first_view_does_not_wait_for_labels_that_are_not_in_it(
    parts: Services, labelled: StaticWeb, monkeypatch: pytest.MonkeyPatch
) -> None:
    describe, go_on = parts.workspace.beside_direct, threading.Event()

    def slow(volume: str, layer: str) -> DirectLayer | str:
        go_on.wait(30)
        return describe(volume, layer)

    monkeypatch.setattr(parts.workspace, "beside_direct", slow)
    assert parts.direct.verdict("image/labelled", "http://localhost", within_s=30).is_open
    own = ["image/labelled", *(f"beside/labelled/{name}" for name in LABELS)]
    layers = [{"source": f"precomputed://{{origin}}/{one}", "visible": False} for one in own]
    del layers[0]["visible"]
    begun = time.monotonic()
    shown = json.loads(parts.direct.to_page(json.dumps({"layers": layers}), "http://localhost"))
    assert time.monotonic() - begun < 1
    sources = [layer["source"] for layer in shown["layers"]]
    assert sources == [
        "zarr2://{origin}/direct/image/labelled",
        *(one["source"] for one in layers[1:]),
    ]
    go_on.set()
    for name in own[1:]:
        assert parts.direct.verdict(name, "http://localhost", within_s=30).is_open
    shown = json.loads(parts.direct.to_page(json.dumps({"layers": layers}), "http://localhost"))
    assert all("/direct/beside/" in layer["source"] for layer in shown["layers"][1:])


def test_a_reason_shows_no_key(
    client: FlaskClient, parts: Services, labelled: StaticWeb, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(volume: str, layer: str) -> DirectLayer:
        raise ResourceError(
            "https://ana:hush@host/em?token=hush is away.", ErrorKind.SOURCE_UNAVAILABLE
        )

    monkeypatch.setattr(parts.workspace, "beside_direct", gone)
    where = client.get("/direct/beside/labelled/mito-n5/where").get_json()
    assert where["levels"] is None
    assert "is away" in where["reason"]
    assert "hush" not in where["reason"]


def test_a_place_is_asked_once_and_not_for_each_page(client: FlaskClient, far: StaticWeb) -> None:
    shown(client, "ome04")
    before = len(far.asked)
    for _ in range(3):
        shown(client, "ome04")
    assert len(far.asked) == before


def test_the_guard_is_beside_the_clients_files(client: FlaskClient) -> None:
    answer = client.get("/client/guard.js")
    assert (answer.status_code, answer.mimetype) == (200, "text/javascript")
    assert answer.headers["Cache-Control"] == "no-cache"
    assert b"importScripts" in answer.data
