"""Images that pages read themselves: addresses in states, descriptions, where chunks are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from landmarks import LANDMARKS
from static_web import StaticWeb, static_web
from web_client import Api, expect_error

from app import create_app
from app.config import Config
from app.services import Services


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
    messages = client.get(f"/events/{token}?c=tab&gc=&gs=&poll=1{more}").get_json()["messages"]
    state = messages[-1]["s"]
    (source,) = state["layers"][0]["source"]
    return token, state, source["url"]


def test_a_page_gets_the_direct_address_and_what_is_kept_is_ours(
    client: FlaskClient, api: Api, parts: Services, far: StaticWeb
) -> None:
    token, state, source = shown(client, "ome04")
    assert source == "zarr2://http://localhost/direct/ome04"
    assert parts.sessions.get(token).view_state.count("{origin}/image/ome04") == 1
    # The viewer writes addresses in its own way.
    matrix = [[0, 0, 2, 5], [0, 1, 0, 6], [1, 0, 0, 7]]
    names = {"z": [16e-9, "m"], "y": [8e-9, "m"], "x": [4e-9, "m"]}
    transform = {"matrix": matrix, "inputDimensions": names, "outputDimensions": {}}
    own = {"url": "http://localhost/direct/ome04/|zarr2:", "transform": transform}
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
        {**own, "url": "zarr2://http://localhost/direct/ome04"}
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
    where = never.get("/direct/ome04/where").get_json()
    assert where == {"levels": None, "reason": "the setting direct_reading is never"}
    # A page whose state was made elsewhere finds the description, and no chunk that is black.
    assert never.get("/direct/ome04/.zattrs").status_code == 200
    expect_error(never.get("/direct/ome04/0/0.0.0"), 503, "source-unavailable")
    far.allow = None
    assert shown(client, "precomputed")[2] == through("precomputed")


def test_where_chunks_are_and_who_leads_there(client: FlaskClient, far: StaticWeb) -> None:
    where = client.get("/direct/precomputed/where")
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
    led = client.get("/direct/precomputed/1/0-8_8-16_0-8")
    assert led.status_code == 307
    assert led.headers["Location"] == f"{levels[1]['prefix']}5-13_18-26_10-18"
    path = led.headers["Location"].removeprefix(f"{far.address}/")
    assert (far.root / path).is_file()
    for key in ("9/0-8_8-16_0-8", "1/..%2Finfo", "nothing", "info2"):
        expect_error(client.get(f"/direct/precomputed/{key}"), 404, "route-not-found")
    expect_error(client.get("/direct/cell/info"), 404, "route-not-found")
    expect_error(client.get("/direct/nobody/where"), 404, "volume-not-found")


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
