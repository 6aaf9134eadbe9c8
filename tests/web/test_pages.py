"""The pages: what leads where, what a page knows, sharing, time travel."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from web_client import Api, V, expect_error

from app import create_app
from app.config import Config
from app.neuroglancer import IMMUTABLE
from app.own_files import OwnFiles, static_folder

SHARES = "/api/v1/shares"


def boot(client: FlaskClient, address: str) -> dict[str, Any]:
    page = client.get(address, headers={"Accept": "text/html"})
    assert (page.status_code, page.mimetype) == (200, "text/html")
    found = re.search(r'<script type="application/json" id="boot">(.*?)</script>', page.text, re.S)
    assert found is not None
    document: dict[str, Any] = json.loads(found.group(1))
    return document


def test_the_start_page_shows_the_volumes(client: FlaskClient) -> None:
    page = client.get("/").text
    assert 'href="/d/cell"' in page
    assert "20 × 80 × 96 voxels" in page
    assert "<span>8 nm · uint8 · version 1</span>" in page
    assert "mitoglance open" in page


def test_the_start_page_shows_the_catalogue_with_pictures_of_its_bucket_only(
    client: FlaskClient, config: Config
) -> None:
    start = client.get("/")
    bucket = "https://janelia-cosem-datasets.s3.amazonaws.com"
    assert f"img-src 'self' data: blob: {bucket}" in start.headers["Content-Security-Policy"]
    assert f'src="{bucket}/jrc_mus-kidney/thumbnail.jpg"' in start.text
    assert start.text.count('data-view="empanada-blog"') == 1
    viewer = client.get(client.get("/d/cell").headers["Location"])
    assert bucket not in viewer.headers["Content-Security-Policy"]
    closed = create_app(replace(config, allow_registration=False)).test_client().get("/").text
    assert "jrc_mus-kidney" in closed
    assert "data-dataset" not in closed
    # A list that is not of today is no warning; why is there for those who ask.
    assert "stale" not in start.text
    (config.data_dir / "catalogue").mkdir(exist_ok=True)
    (config.data_dir / "catalogue" / "failure.txt").write_text("2026-11-23. No answer.")
    stale = client.get("/").text
    assert "a newer one could not be had. All of it can be opened.</summary>" in stale
    assert "<p>The live catalogue could not be reached on 2026-11-23. No answer.</p>" in stale


def state_of(browser: FlaskClient, location: str) -> dict[str, Any]:
    token = location.strip("/").split("/")[-1]
    messages = browser.get(f"/events/{token}?c=t&gc=&gs=&poll=1").get_json()["messages"]
    (state,) = [m for m in messages if m["k"] == "s"]
    return dict(state)


def move(browser: FlaskClient, location: str, position: list[float]) -> None:
    token = location.strip("/").split("/")[-1]
    state = state_of(browser, location)
    moved = {**state["s"], "position": position}
    body = {"s": moved, "g": 1, "pg": state["g"], "c": "t"}
    assert browser.post(f"/state/{token}", data=json.dumps(body)).status_code == 200


def test_a_volume_leads_to_a_page_of_its_own_at_the_place_last_looked_at(app: Flask) -> None:
    browser = app.test_client()
    first = browser.get("/d/cell")
    assert first.status_code == 302
    move(browser, first.headers["Location"], [3, 4, 5])
    again = browser.get("/d/cell")
    assert again.headers["Location"] != first.headers["Location"]
    assert state_of(browser, again.headers["Location"])["s"]["position"] == [3, 4, 5]
    stranger = app.test_client()
    elsewhere = stranger.get("/d/cell").headers["Location"]
    assert state_of(stranger, elsewhere)["s"]["position"] != [3, 4, 5]
    cookie = first.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie


def test_two_tabs_of_one_user_do_not_move_each_other(app: Flask) -> None:
    browser = app.test_client()
    one, two = (browser.get("/d/cell").headers["Location"] for _ in range(2))
    move(browser, one, [7, 7, 7])
    assert state_of(browser, two)["s"]["position"] != [7, 7, 7]


def test_a_page_left_at_an_old_version_is_come_back_to_at_the_newest(app: Flask) -> None:
    browser = app.test_client()
    location = browser.get("/d/cell").headers["Location"]
    token = location.strip("/").split("/")[-1]
    Api(browser).post(f"/api/v1/sessions/{token}/version", {"version": 0})
    again = browser.get("/d/cell").headers["Location"]
    assert not boot(browser, again)["read_only"]
    sources = json.dumps(state_of(browser, again)["s"]["layers"])
    assert "@0" not in sources


def test_a_page_knows_all_it_needs(client: FlaskClient) -> None:
    location = client.get("/d/cell").headers["Location"]
    known = boot(client, location)
    assert known["id"] == location.strip("/").split("/")[-1]
    assert (known["volume"], known["version"], known["pinned_version"]) == ("cell", 1, None)
    assert (known["read_only"], known["share_id"], known["user"]) == (False, None, "anonymous")
    assert known["models"][0]["is_default"]
    assert known["models"][0]["classes"] == ["mitochondrion"]
    assert known["parameters"][0]["name"] == "confidence_thr"
    assert known["limits"]["voxel_size_nm"] == [0.1, 10000]
    assert {"merge", "segment-slice", "help"} <= {b["action"] for b in known["keymap"]}
    assert client.get(f"/api/v1/sessions/{known['id']}").get_json()["session"] == known


def test_a_page_runs_no_script_but_ours(client: FlaskClient) -> None:
    page = client.get(client.get("/d/cell").headers["Location"])
    policy = page.headers["Content-Security-Policy"]
    assert "script-src 'self' 'unsafe-eval' 'wasm-unsafe-eval';" in policy
    assert "worker-src 'self' blob:" in policy
    assert page.headers["Cache-Control"] == "no-store"
    for tag in re.findall(r"<script[^>]*>", page.text):
        assert 'src="/' in tag or 'type="application/json"' in tag
    order = re.findall(r'src="([^"]+)"', page.text)
    assert re.fullmatch("/own/[0-9a-f]{12}/js/shim.js", order[0])
    assert order[-1] == order[0].replace("shim", "main")


def test_names_cannot_break_out_of_the_page(client: FlaskClient) -> None:
    location = client.get("/d/cell").headers["Location"]
    client.set_cookie("mitoglance_user", "%3C%2Fscript%3E%3Cb%3E")
    assert boot(client, location)["user"] == "</script><b>"


def test_our_own_files_are_asked_for_again_and_rarely_sent_again(client: FlaskClient) -> None:
    answer = client.get("/static/app.css")
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-cache"
    again = client.get("/static/app.css", headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304


def test_our_own_files_are_kept_for_ever_under_the_name_of_what_they_all_are(
    client: FlaskClient, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = client.get(client.get("/d/cell").headers["Location"]).text
    addresses = re.findall(r'(?:src|href)="(/own/[^"]+)"', page)
    assert len(addresses) == 4
    for address in addresses:
        answer = client.get(address)
        assert (answer.status_code, answer.headers["Cache-Control"]) == (200, IMMUTABLE)
        assert answer.data == client.get(f"/static/{address.split('/', 3)[3]}").data
    other = client.get("/own/000000000000/app.css")
    assert (other.status_code, other.headers["Cache-Control"]) == (200, "no-cache")
    for outside in ("/own/000000000000/../boot.py", "/own/000000000000/%2e%2e/boot.py", "/own/x/"):
        assert client.get(outside).status_code == 404
    # A file changes: so does the address of all, and the old one is asked for again.
    folder = shutil.copytree(static_folder(), tmp_path / "static")
    files = OwnFiles(Flask("own", static_folder=str(folder)))
    before = files.state()
    (folder / "js" / "main.js").write_text("changed")
    assert files.state() == before
    monkeypatch.setattr("app.own_files._LOOKED_AT_S", 0)
    assert files.state() != before


def share(api: Api, **more: object) -> dict[str, Any]:
    token = api.new_session()
    state = api.get(f"/api/v1/sessions/{token}")["view_state"]
    state["position"] = [11, 12, 13]
    return api.post(SHARES, {"volume": "cell", "view_state": state, **more}, 201)


def test_a_share_shows_what_was_seen_after_later_edits(api: Api, app: Flask) -> None:
    made = share(api)
    assert made["url"] == f"http://localhost/s/{made['share_id']}"
    assert made["version"] == 1
    api.post(f"{V}/merge", {"ids": ["1", "2"]})
    stranger = app.test_client()
    opened = stranger.get(f"/s/{made['share_id']}")
    assert opened.status_code == 302
    known = boot(stranger, opened.headers["Location"])
    assert (known["version"], known["pinned_version"], known["read_only"]) == (1, 1, True)
    assert known["share_id"] == made["share_id"]
    state = stranger.get(f"/api/v1/sessions/{known['id']}").get_json()["view_state"]
    assert state["position"] == [11, 12, 13]
    urls = json.dumps(state["layers"])
    assert "http://localhost/labels/cell@1" in urls
    assert stranger.get(f"{SHARES}/{made['share_id']}").get_json()["view_state"] == state


def test_edit_from_here_follows_the_newest_version(api: Api, app: Flask) -> None:
    made = share(api, version=0)
    stranger = Api(app.test_client())
    opened = stranger.client.get(f"/s/{made['share_id']}").headers["Location"]
    token = opened.strip("/").split("/")[-1]
    answer = stranger.post(f"/api/v1/sessions/{token}/version", {"version": None})
    assert answer["session"]["read_only"] is False
    assert answer["session"]["version"] == 1
    assert "labels/cell@" not in json.dumps(answer["view_state"])
    again = stranger.get(f"{SHARES}/{made['share_id']}")
    assert again["version"] == 0
    assert "labels/cell@0" in json.dumps(again["view_state"])


def test_a_page_can_look_at_any_version(api: Api) -> None:
    token = api.new_session()
    answer = api.post(f"/api/v1/sessions/{token}/version", {"version": 0})
    assert answer["session"]["version"] == 0
    assert answer["session"]["read_only"] is True
    before = api.get(f"/api/v1/sessions/{token}")
    for version, kind, status in ((9, "version-not-found", 404), (-1, "version-not-found", 404)):
        wrong = api.client.post(f"/api/v1/sessions/{token}/version", json={"version": version})
        expect_error(wrong, status, kind)
    wrong = api.client.post(f"/api/v1/sessions/{token}/version", json={"version": "1"})
    expect_error(wrong, 400, "invalid-parameter")
    assert api.get(f"/api/v1/sessions/{token}") == before


def test_what_cannot_be_shared_is_refused(api: Api) -> None:
    for body, status, kind in (
        ({"volume": "cell"}, 400, "invalid-parameter"),
        ({"volume": "cell", "view_state": []}, 400, "invalid-view-state"),
        ({"volume": "cell", "view_state": "x"}, 400, "invalid-view-state"),
        ({"volume": "other", "view_state": {}}, 404, "volume-not-found"),
        ({"volume": "cell", "view_state": {}, "version": 9}, 404, "version-not-found"),
        ({"volume": "cell", "view_state": {}, "version": "1"}, 400, "invalid-parameter"),
    ):
        expect_error(api.client.post(SHARES, json=body), status, kind)
    expect_error(api.client.get(f"{SHARES}/nothing"), 404, "share-not-found")
    expect_error(api.client.get("/s/nothing"), 404, "share-not-found")


def test_a_page_address_without_its_slash_leads_to_the_one_with(client: FlaskClient) -> None:
    location = client.get("/d/cell").headers["Location"]
    answer = client.get(location.rstrip("/"))
    assert answer.status_code == 308
    assert answer.headers["Location"].endswith(location)
