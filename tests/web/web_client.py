"""What web tests say over and over: post JSON, expect an error, look whether anything changed."""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from flask.testing import FlaskClient

SHAPE = (20, 80, 96)
V = "/api/v1/volumes/cell"


@dataclass
class Api:
    client: FlaskClient
    user: str = "ana"

    def post(self, path: str, body: object, status: int = 200) -> dict[str, Any]:
        answer = self.client.post(path, json=body, headers={"X-Mitoglance-User": self.user})
        assert answer.status_code == status, answer.get_data(as_text=True)
        document: dict[str, Any] = answer.get_json()
        assert document["ok"] is (status < 400)
        return document

    def get(self, path: str, status: int = 200) -> dict[str, Any]:
        answer = self.client.get(path, headers={"X-Mitoglance-User": self.user})
        assert answer.status_code == status, answer.get_data(as_text=True)
        document: dict[str, Any] = answer.get_json()
        assert document["ok"] is (status < 400)
        return document

    def new_session(self) -> str:
        """Open the volume as a browser without cookies, and return the session's token."""
        answer = self.client.application.test_client().get("/d/cell")
        assert answer.status_code == 302
        return str(answer.headers["Location"].strip("/").split("/")[-1])

    def labels(self, version: int | None = None) -> np.ndarray:
        z, y, x = SHAPE
        at = "" if version is None else f"&version={version}"
        answer = self.client.get(f"{V}/cutout?offset=0,0,0&shape={z},{y},{x}{at}")
        assert answer.status_code == 200
        array: np.ndarray = np.load(io.BytesIO(answer.data))
        return array

    def everything(self) -> tuple[Any, ...]:
        """Return all that bad input must leave alone."""
        return (
            self.get(V)["version"],
            self.labels().tobytes(),
            self.get("/api/v1/jobs")["jobs"],
            self.get("/api/v1/volumes")["volumes"],
        )


def expect_error(answer: Any, status: int, kind: str) -> str:
    """Check the one error shape and return its message."""
    assert answer.status_code == status, answer.get_data(as_text=True)
    document = answer.get_json()
    assert set(document) == {"ok", "error"}
    assert document["ok"] is False
    error = document["error"]
    assert set(error) == {"kind", "message", "status", "request_id"}
    assert (error["status"], error["kind"]) == (status, kind), error
    assert error["request_id"] == answer.headers["X-Request-Id"]
    assert "Traceback" not in error["message"]
    return str(error["message"])
