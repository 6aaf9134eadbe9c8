"""What a new page is told of its layers before it asks: just what the routes would answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask.testing import FlaskClient
from landmarks import LABELS, LANDMARKS, dataset, write_catalogue
from static_web import static_web
from web_client import Api

from app.config import Config
from app.services import Services


def token_of(client: FlaskClient, name: str) -> str:
    token = client.get(f"/d/{name}").headers["Location"].strip("/").split("/")[-1]
    client.get(f"/v/{token}/")
    return token


def news(client: FlaskClient, token: str, more: str = "gc=&gs=") -> dict[str, Any]:
    answer: dict[str, Any] = client.get(f"/events/{token}?poll=1&{more}").get_json()
    return answer


def test_descriptions_are_those_of_the_routes(client: FlaskClient, cell: str) -> None:
    told = news(client, token_of(client, cell))
    assert set(told["documents"]) == {f"image/{cell}/info", f"labels/{cell}/info"}
    assert told["places"] == {}
    for path, document in told["documents"].items():
        assert client.get(f"/{path}").get_json() == document


def test_a_version_has_its_own_description_and_one_that_is_gone_has_none(
    client: FlaskClient, api: Api, cell: str, parts: Services
) -> None:
    token = token_of(client, cell)
    api.post(f"/api/v1/sessions/{token}/version", {"version": 0})
    told = news(client, token)["documents"]
    assert client.get(f"/labels/{cell}@0/info").get_json() == told[f"labels/{cell}@0/info"]
    state = json.loads(parts.sessions.get(token).view_state)
    for layer in state["layers"]:
        for source in layer["source"]:
            source["url"] = source["url"].replace(f"{cell}@0", f"{cell}@99")
    text = json.dumps(state)
    before = parts.sessions.get(token).generation
    assert parts.sessions.save_state(token, text, before=before, generation="tab/1")
    assert set(news(client, token)["documents"]) == {f"image/{cell}/info"}


def test_only_a_page_that_knows_nothing_yet_is_told(client: FlaskClient, cell: str) -> None:
    token = token_of(client, cell)
    first = news(client, token)
    generation = first["messages"][-1]["g"]
    # Known already, changed since, kept in the page's own address: it has asked, or will.
    for more in (f"gc=&gs={generation}", "gc=&gs=older", "gc="):
        assert set(news(client, token, more)) == {"messages"}
    assert "documents" not in client.get(f"/events/{token}?gc=&gs=").get_data(as_text=True)


def test_what_pages_read_themselves_comes_with_its_places(
    client: FlaskClient, config: Config, parts: Services, tmp_path: Any
) -> None:
    with static_web(tmp_path / "web") as web:
        LANDMARKS["ome04"].write(web.root / "ome04")
        for name, (_, _, write) in LABELS.items():
            write(web.root / name)
        write_catalogue(config.data_dir, [dataset("ome04", web.address)])
        parts.workspace.register_published("ome04")
        owns = ["image/ome04", *(f"beside/ome04/{name}" for name in LABELS)]
        places = {own: client.get(f"/direct/{own}/where").get_json() for own in owns}
        token = token_of(client, "ome04")
        told = news(client, token)
        assert told["places"] == places
        direct = {path for path in told["documents"] if path.startswith("direct/")}
        assert {"/".join(path.split("/")[:3]) for path in direct} >= {"direct/image/ome04"}
        for path in direct:
            answer = client.get(f"/{path}")
            found = answer.get_json() if answer.status_code == 200 else None
            assert found == told["documents"][path]
        missing = {path for path in direct if told["documents"][path] is None}
        assert missing >= {"direct/image/ome04/.zarray", "direct/beside/attributes.json"}
        ours = news(client, token, "gc=&gs=&direct=no")
        assert ours["places"] == {}
        assert set(ours["documents"]) == {f"{own}/info" for own in (*owns, "labels/ome04")}


@pytest.fixture
def cell(api: Api, tmp_path: Any) -> str:
    LANDMARKS["ome04"].write(tmp_path / "here")
    body = {"name": "here", "image": str(tmp_path / "here")}
    return str(api.post("/api/v1/volumes", body, 201)["name"])
