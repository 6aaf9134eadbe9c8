"""The protocol of Neuroglancer's Python client: files, events, state, actions."""

import gzip
import json
import re
from typing import Any

import pytest
from flask.testing import FlaskClient
from web_client import Api, expect_error

from app.services import Services


def poll(client: FlaskClient, token: str, **known: str) -> list[dict[str, Any]]:
    query = "&".join(f"{k}={v}" for k, v in {"c": "tab", "gc": "", "gs": "", **known}.items())
    answer = client.get(f"/events/{token}?{query}&poll=1")
    assert answer.status_code == 200
    messages: list[dict[str, Any]] = answer.get_json()["messages"]
    return messages


def post_state(client: FlaskClient, token: str, state: object, **message: Any) -> Any:
    body = {"s": state, "g": 1, "pg": "", "c": "tab", **message}
    return client.post(f"/state/{token}", data=json.dumps(body), content_type="text/plain")


def test_a_new_tab_gets_the_configuration_and_the_state(api: Api) -> None:
    config, state = poll(api.client, api.new_session())
    assert (config["k"], state["k"]) == ("c", "s")
    assert config["s"]["inputEventBindings"]["viewer"]["keym"] == "mitoglance-merge"
    assert "actions" not in config["s"]
    em, labels = state["s"]["layers"]
    assert em["source"][0]["url"] == "precomputed://http://localhost/image/cell"
    assert labels["source"][0]["url"] == "precomputed://http://localhost/labels/cell"
    assert state["s"]["dimensions"]["x"] == [8e-9, "m"]
    assert state["s"]["position"] == [48.0, 40.0, 10.5]


def test_a_tab_gets_only_what_it_lacks(api: Api) -> None:
    token = api.new_session()
    config, state = poll(api.client, token)
    assert poll(api.client, token, gc=config["g"], gs=state["g"]) == []
    assert [m["k"] for m in poll(api.client, token, gc=config["g"])] == ["s"]
    # A page opened with a state in its address leaves `gs` out and keeps that state.
    answer = api.client.get(f"/events/{token}?c=tab&gc={config['g']}&poll=1")
    assert answer.get_json()["messages"] == []


def test_the_answer_may_be_server_sent_events(api: Api) -> None:
    token = api.new_session()
    answer = api.client.get(f"/events/{token}?c=tab&gc=&gs=")
    assert answer.mimetype == "text/event-stream"
    assert answer.headers["Cache-Control"] == "no-store"
    data = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
    assert data == poll(api.client, token)


def test_a_state_is_kept_and_told_to_others_but_not_to_its_author(api: Api) -> None:
    token = api.new_session()
    config, state = poll(api.client, token)
    moved = {**state["s"], "position": [1, 2, 3]}
    answer = post_state(api.client, token, moved, pg=state["g"], g=7)
    assert answer.get_json() == {"g": "tab/7"}
    assert poll(api.client, token, gc=config["g"], gs=state["g"]) == []
    (news,) = poll(api.client, token, gc=config["g"], gs=state["g"], c="other")
    assert (news["s"], news["g"]) == (moved, "tab/7")


def test_a_stale_state_is_refused_and_not_kept(api: Api) -> None:
    token = api.new_session()
    config, state = poll(api.client, token)
    post_state(api.client, token, {"position": [1]}, pg=state["g"])
    expect_error(post_state(api.client, token, {"x": 2}, pg=state["g"]), 412, "stale-version")
    expect_error(post_state(api.client, token, {"x": 2}, pg=None), 412, "stale-version")
    (news,) = poll(api.client, token, gc=config["g"], c="other")
    assert news["s"] == {"position": [1]}


def test_the_server_address_is_not_kept_with_the_state(api: Api, parts: Services) -> None:
    token = api.new_session()
    _, state = poll(api.client, token)
    post_state(api.client, token, state["s"], pg=state["g"])
    assert "localhost" not in parts.sessions.get(token).view_state
    elsewhere = api.client.get(
        f"/events/{token}?c=x&gc=&gs=&poll=1", base_url="https://em.example.org/"
    )
    assert "https://em.example.org/labels/cell" in elsewhere.text


@pytest.mark.parametrize("state", [[], None, "x", 3, True])
def test_a_view_state_that_is_no_object_is_refused_and_not_kept(api: Api, state: object) -> None:
    token = api.new_session()
    before = poll(api.client, token)
    answer = post_state(api.client, token, state, pg=before[1]["g"])
    expect_error(answer, 400, "invalid-view-state")
    assert poll(api.client, token) == before


@pytest.mark.parametrize(
    "message",
    [{"c": None}, {"c": "a/b"}, {"c": ""}, {"c": "x" * 65}, {"g": "1"}, {"g": -1}, {"g": None}],
)
def test_a_state_message_that_makes_no_sense_is_refused(
    api: Api, message: dict[str, object]
) -> None:
    token = api.new_session()
    before = poll(api.client, token)
    sent = {"pg": before[1]["g"], **message}
    expect_error(post_state(api.client, token, {}, **sent), 400, "invalid-parameter")
    assert poll(api.client, token) == before


def test_malformed_messages_are_refused(api: Api) -> None:
    token = api.new_session()
    for route in ("state", "action"):
        for body in (b"", b"[]", b"{"):
            expect_error(api.client.post(f"/{route}/{token}", data=body), 400, "invalid-json")
    huge = b'{"s": {"x": "' + b"x" * 3 * 2**20 + b'"}}'
    expect_error(api.client.post(f"/state/{token}", data=huge), 413, "invalid-parameter")


def test_an_unknown_session_is_not_found_by_any_route(client: FlaskClient) -> None:
    token = "0" * 32
    for path in (f"/v/{token}/", f"/v/{token}/index.html", f"/events/{token}"):
        expect_error(client.get(path), 404, "session-not-found")
    expect_error(client.get(f"/api/v1/sessions/{token}"), 404, "session-not-found")
    expect_error(post_state(client, token, {}), 404, "session-not-found")
    expect_error(client.post(f"/action/{token}", json={}), 404, "session-not-found")
    answer = client.post(f"/api/v1/sessions/{token}/version", json={"version": 1})
    expect_error(answer, 404, "session-not-found")


def test_the_server_has_no_actions(api: Api) -> None:
    token = api.new_session()
    answer = api.client.post(f"/action/{token}", data=json.dumps({"action": "x", "state": {}}))
    expect_error(answer, 404, "route-not-found")
    answer = api.client.post(f"/action/{token}", data=json.dumps({"action": 3}))
    expect_error(answer, 400, "invalid-parameter")


def test_two_sessions_do_not_interfere(api: Api) -> None:
    one, two = api.new_session(), api.new_session()
    before = poll(api.client, two)
    state = poll(api.client, one)[1]
    post_state(api.client, one, {"position": [1]}, pg=state["g"])
    api.post(f"/api/v1/sessions/{one}/version", {"version": 0})
    assert poll(api.client, two) == before


def test_every_file_of_the_page_is_served_and_kept_for_ever(api: Api) -> None:
    page = api.client.get(f"/v/{api.new_session()}/").text
    files = re.findall(r'(?:src|href)="(/client/[^"]+)"', page)
    assert len(files) == 6
    for path in files:
        answer = api.client.get(path)
        assert answer.status_code == 200
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert "Content-Encoding" not in answer.headers
        packed = api.client.get(path, headers={"Accept-Encoding": "gzip"})
        assert packed.headers["Content-Encoding"] == "gzip"
        assert packed.headers["Vary"] == "Accept-Encoding"
        assert len(packed.data) < len(answer.data) / 2
        assert gzip.decompress(packed.data) == answer.data


def test_workers_and_wasm_resolve_beside_the_scripts(api: Api, parts: Services) -> None:
    folder = parts.client._folder
    token = api.new_session()
    names = sorted(path.name for path in folder.iterdir() if path.suffix in (".js", ".wasm"))
    assert len(names) >= 14
    for name in names:
        answer = api.client.get(f"/client/{name}")
        expected = "application/wasm" if name.endswith(".wasm") else "text/javascript"
        assert (answer.status_code, answer.mimetype) == (200, expected)
        beside_the_page = api.client.get(f"/v/{token}/{name}")
        assert beside_the_page.data == answer.data


@pytest.mark.parametrize("name", ["..%2f..%2f__init__.py", "nothing.js", ".hidden", "%00", "a b"])
def test_nothing_but_the_clients_files_is_served(client: FlaskClient, name: str) -> None:
    expect_error(client.get(f"/client/{name}"), 404, "route-not-found")
