"""Liveness, readiness, counters, and the interface's own description."""

import re
import shutil

from flask import Flask
from flask.testing import FlaskClient
from web_client import Api, V

from app.config import Config
from app.dispatcher import Dispatcher
from app.fields import KINDS
from app.requests import Endpoint


def test_a_process_that_answers_is_alive(client: FlaskClient) -> None:
    assert client.get("/healthz").get_json() == {"ok": True}


def test_a_server_is_ready_when_database_packs_and_dispatcher_are_there(
    client: FlaskClient, dispatcher: Dispatcher, config: Config
) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.get_json()["checks"] == {"database": True, "packs": True, "workers": False}
    dispatcher.beat()
    assert client.get("/readyz").get_json()["ok"] is True
    shutil.rmtree(config.data_dir / "packs")
    answer = client.get("/readyz")
    assert (answer.status_code, answer.get_json()["checks"]["packs"]) == (503, False)


def test_counters_are_in_prometheus_form(api: Api) -> None:
    api.get(V)
    api.post(f"{V}/segment", {"roi": {"offset": [0, 0, 0], "shape": [1, 8, 8]}}, 202)
    text = api.client.get("/metrics").text
    assert 'mitoglance_volume_version{volume="cell"} 1\n' in text
    assert 'mitoglance_jobs{state="queued"} 1\n' in text
    route = 'method="GET",route="/api/v1/volumes/<name>",status="200"'
    assert f"mitoglance_requests_total{{{route}}} 1\n" in text
    for line in text.splitlines():
        assert re.fullmatch(r'# (HELP|TYPE) \w+ .+|\w+(\{(\w+="[^"]*",?)+\})? [0-9.e+-]+', line)


def test_every_route_is_in_the_openapi_document(app: Flask, client: FlaskClient) -> None:
    document = client.get("/api/v1/openapi.json").get_json()
    rules = [rule for rule in app.url_map.iter_rules() if rule.rule.startswith("/api/v1")]
    assert len(rules) >= 22
    for rule in rules:
        path = re.sub(r"<(?:[^:>]+:)?([^>]+)>", r"{\1}", rule.rule)
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            operation = document["paths"][path][method.lower()]
            assert operation["summary"].endswith((".", ":", ";")) or operation["summary"]
            named = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
            assert named == set(rule.arguments)
    operations = [o for path in document["paths"].values() for o in path.values()]
    ids = [operation["operationId"] for operation in operations]
    assert (
        len(ids)
        == len(set(ids))
        == sum(len((rule.methods or set()) - {"HEAD", "OPTIONS"}) for rule in rules)
    )


def test_the_openapi_document_names_every_field_of_every_body(
    app: Flask, client: FlaskClient
) -> None:
    document = client.get("/api/v1/openapi.json").get_json()
    merge = document["paths"]["/api/v1/volumes/{name}/merge"]["post"]
    body = merge["requestBody"]["content"]["application/json"]["schema"]
    common = {"request_id", "base_version", "branch", "session"}
    assert {"ids", "points"} | common == set(body["properties"])
    assert body["additionalProperties"] is False
    posts = [view for view in app.view_functions.values() if isinstance(view, Endpoint)]
    fields = [field for view in posts for field in (*(view.body or ()), *(view.query or ()))]
    assert all(field.kind in KINDS and field.help for field in fields)
    # Whatever takes a body takes it through declared fields.
    for rule in app.url_map.iter_rules():
        if rule.rule.startswith("/api/v1") and "POST" in (rule.methods or set()):
            view = app.view_functions[rule.endpoint]
            assert isinstance(view, Endpoint)
            assert view.body is not None
