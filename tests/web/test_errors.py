"""One error shape for everything that goes wrong, and nothing changes."""

import json

import pytest
from flask import Flask
from flask.testing import FlaskClient
from web_client import Api, V, expect_error

from app.errors import STATUS, status_of
from segmentation_backend.errors import ErrorKind, SegmentationError


def all_subclasses(kind: type[SegmentationError]) -> list[type[SegmentationError]]:
    return [s for c in kind.__subclasses__() for s in (c, *all_subclasses(c))]


def test_every_class_of_error_has_a_status() -> None:
    found = all_subclasses(SegmentationError)
    assert len(found) >= 6
    statuses = {c: status_of(c("message", ErrorKind.INTERNAL)) for c in found}
    assert {statuses[c] for c in STATUS} == {404, 400, 409, 403, 503, 500}
    assert all(any(c in STATUS for c in kind.__mro__) for kind in found)


@pytest.mark.parametrize("path", ["/nothing", "/api/v1/nothing", "/static/nothing.js"])
def test_an_unknown_address_is_not_found(client: FlaskClient, path: str) -> None:
    assert path in expect_error(client.get(path), 404, "route-not-found")


def test_a_wrong_method_is_refused(client: FlaskClient) -> None:
    expect_error(client.put(V), 405, "method-not-allowed")
    expect_error(client.get(f"{V}/merge"), 405, "method-not-allowed")


def test_a_browser_gets_a_page_and_a_script_gets_json(client: FlaskClient) -> None:
    page = client.get("/d/nothing", headers={"Accept": "text/html,*/*;q=0.8"})
    assert (page.status_code, page.mimetype) == (404, "text/html")
    assert "There is no volume" in page.text
    assert "Content-Security-Policy" in page.headers
    expect_error(client.get("/d/nothing"), 404, "volume-not-found")
    asked = client.get("/api/v1/volumes/nothing", headers={"Accept": "text/html"})
    expect_error(asked, 404, "volume-not-found")


def test_a_message_in_a_page_cannot_carry_markup(client: FlaskClient) -> None:
    page = client.get("/s/<script>alert(1)</script>", headers={"Accept": "text/html"})
    assert page.status_code == 404
    page = client.get("/s/%3Cimg%20src=x%3E", headers={"Accept": "text/html"})
    assert "<img" not in page.text
    assert "&lt;img" in page.text


BAD_BODIES = [
    b"",
    b"{",
    b"[]",
    b"null",
    b'"text"',
    b'{"ids": [NaN]}',
    b'\xff{"ids": []}',
    b'{"request_id": "\\ud800"}',
    b"[" * 100_000,
]


@pytest.mark.parametrize("body", BAD_BODIES, ids=range(len(BAD_BODIES)))
@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/volumes",
        "/api/v1/shares",
        *(f"{V}/{name}" for name in ("merge", "split", "split/preview", "undo", "redo", "revert")),
        f"{V}/segment",
        f"{V}/region",
        "/api/v1/sessions/x/version",
    ],
)
def test_malformed_json_is_refused_everywhere(client: FlaskClient, path: str, body: bytes) -> None:
    answer = client.post(path, data=body, content_type="application/json")
    expect_error(answer, 400, "invalid-json")


def test_malformed_json_changes_nothing(api: Api) -> None:
    before = api.everything()
    for body in BAD_BODIES:
        for name in ("merge", "split", "undo", "revert", "segment"):
            api.client.post(f"{V}/{name}", data=body, content_type="application/json")
    assert api.everything() == before


def test_a_foreign_page_cannot_post_without_asking(client: FlaskClient) -> None:
    body = json.dumps({"ids": ["1", "2"]})
    for kind in ("text/plain", "application/x-www-form-urlencoded", None):
        answer = client.post(f"{V}/merge", data=body, content_type=kind)
        assert "application/json" in expect_error(answer, 400, "invalid-json")
    assert client.get(V).get_json()["version"] == 1


def test_too_large_a_body_is_refused(client: FlaskClient) -> None:
    answer = client.post(f"{V}/merge", data=b" " * (3 * 2**20), content_type="application/json")
    expect_error(answer, 413, "invalid-parameter")


def test_unknown_and_missing_fields_are_named(client: FlaskClient) -> None:
    answer = client.post(f"{V}/merge", json={"ids": ["1", "2"], "requestid": "r"})
    message = expect_error(answer, 400, "invalid-parameter")
    assert "requestid" in message
    assert "request_id" in message
    answer = client.post(f"{V}/revert", json={})
    assert "version" in expect_error(answer, 400, "invalid-parameter")
    answer = client.get(f"{V}/cutout?offset=0,0,0")
    assert "shape" in expect_error(answer, 400, "invalid-parameter")
    assert "lmit" in expect_error(client.get(f"{V}/objects?lmit=3"), 400, "invalid-parameter")


@pytest.mark.parametrize("name", ["", "x" * 65, "a\nb", "%0A", "%00"])
def test_an_impossible_user_name_is_refused(client: FlaskClient, name: str) -> None:
    from urllib.parse import quote

    sent = name if name.startswith("%") else quote(name)
    answer = client.post(f"{V}/merge", json={"ids": [1, 2]}, headers={"X-Mitoglance-User": sent})
    if name:
        expect_error(answer, 400, "invalid-name")
        assert client.get(V).get_json()["version"] == 1
    else:
        assert answer.get_json()["operation"]["user"] == "anonymous"


def test_what_nobody_foresaw_leaves_no_traceback(
    app: Flask, client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> str:
        raise ZeroDivisionError("secret detail")

    app.add_url_rule("/fail", view_func=fail)
    message = expect_error(client.get("/fail"), 500, "internal")
    assert "secret" not in message
    assert "secret detail" in caplog.text
    assert "Traceback" in caplog.text


def test_a_failing_disk_or_network_asks_to_come_back(app: Flask, client: FlaskClient) -> None:
    from segmentation_backend.errors import ResourceError

    def fail() -> str:
        raise ResourceError("The disk is away.", ErrorKind.SOURCE_UNAVAILABLE)

    app.add_url_rule("/fail", view_func=fail)
    answer = client.get("/fail")
    expect_error(answer, 503, "source-unavailable")
    assert answer.headers["Retry-After"] == "1"


def test_every_answer_carries_its_request_id_and_is_protected(client: FlaskClient) -> None:
    seen = set()
    for path in ("/", "/healthz", V, "/nothing"):
        answer = client.get(path)
        seen.add(answer.headers["X-Request-Id"])
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "same-origin"
    assert len(seen) == 4
