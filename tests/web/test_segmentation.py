"""Segmentation over HTTP: from the view to the job to the operation, and what is refused."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import compressed_segmentation
import numpy as np
import pytest
from web_client import SHAPE, Api, V, expect_error

from app.config import Config
from app.dispatcher import Dispatcher
from app.job_waits import JobWaits
from app.services import Services
from segmentation_backend.geometry import Roi
from segmentation_backend.workspace import Workspace
from segmentation_backend.workspace.heat_maps import map_in
from segmentation_backend.workspace.stacks import KeptStacks

SLICE = {"offset": [10, 0, 0], "shape": [1, 64, 64]}
PANEL = {"centre": [10.5, 40, 48], "right": [0, 0, 1], "down": [0, 1, 0], "width": 40, "height": 20}
VIEW = {"panels": [PANEL], "active": 0}


def test_a_job_goes_from_the_queue_to_an_operation(api: Api, dispatcher: Dispatcher) -> None:
    accepted = api.post(f"{V}/segment", {"roi": SLICE, "mode": "slice"}, 202)
    job_id = accepted["job_id"]
    assert accepted["job"]["state"] == "queued"
    dispatcher.step()
    job = api.get(f"/api/v1/jobs/{job_id}")["job"]
    assert (job["state"], job["progress"], job["error"]) == ("done", 1.0, None)
    assert job["operation_id"] == 2
    (operation,) = api.get(f"{V}/operations?since=1")["operations"]
    assert (operation["kind"], operation["user"]) == ("segment", "ana")
    assert operation["request_id"] == f"job:{job_id}"
    assert operation["provenance"]["model"] == "mitoglance_small"
    assert operation["provenance"]["roi"] == SLICE
    finished = api.client.delete(f"/api/v1/jobs/{job_id}")
    expect_error(finished, 409, "job-finished")


def test_a_named_class_engine_and_preset_stand_in_the_provenance(
    api: Api, dispatcher: Dispatcher
) -> None:
    named = {"class": "mitochondrion", "engine": "eager"}
    for more in (named, {"class": "1", "preset": "empanada-exact"}):
        api.post(f"{V}/segment", {"roi": SLICE, **more}, 202)
        dispatcher.step()
        provenance = api.get(f"{V}/operations?since=1")["operations"][-1]["provenance"]
        assert (provenance["class_id"], provenance["class_name"]) == (1, "mitochondrion")
        assert provenance["engine_used"] == "eager"
        assert provenance["preset"] == more.get("preset")
    assert api.get(f"{V}/classes")["classes"] == ["mitochondrion"]
    assert api.get(f"{V}/classes?version=1") == {"ok": True, "version": 1, "classes": []}


def test_a_second_attempt_after_the_commit_commits_nothing(
    api: Api, dispatcher: Dispatcher, parts: Services
) -> None:
    job_id = api.post(f"{V}/segment", {"roi": SLICE}, 202)["job_id"]
    dispatcher.step()
    with parts.workspace.engine.begin() as connection:
        connection.exec_driver_sql("update web_jobs set state = 'queued', operation_id = null")
    dispatcher.step()
    dispatcher.step()
    job = api.get(f"/api/v1/jobs/{job_id}")["job"]
    assert (job["state"], job["operation_id"]) == ("done", 2)
    assert api.get(V)["version"] == 2


def test_a_dry_run_says_what_would_change_and_changes_nothing(
    api: Api, dispatcher: Dispatcher
) -> None:
    before = api.labels()
    body = {"roi": SLICE, "dry_run": True, "existing": "replace-all"}
    job_id = api.post(f"{V}/segment", body, 202)["job_id"]
    dispatcher.step()
    job = api.get(f"/api/v1/jobs/{job_id}")["job"]
    assert (job["state"], job["operation_id"]) == ("done", None)
    assert set(job["result"]) == {"added", "removed", "trimmed", "joined", "kept"}
    assert job["message"].endswith("Nothing was changed.")
    assert api.get(V)["version"] == 1
    assert (api.labels() == before).all()
    done_id = api.post(f"{V}/segment", {**body, "dry_run": False}, 202)["job_id"]
    dispatcher.step()
    assert api.get(f"/api/v1/jobs/{done_id}")["job"]["result"] is None
    (operation,) = api.get(f"{V}/operations?since=1")["operations"]
    assert len(operation["added_roots"]) >= job["result"]["added"]


def test_blocks_of_a_running_job_can_be_looked_at(
    api: Api, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    roi = {"offset": [9, 0, 0], "shape": [3, *SHAPE[1:]]}
    # Sections one by one: as many blocks as there are sections.
    body = {"roi": roi, "mode": "slice", "plane": "xz"}
    expect_error(api.client.post(f"{V}/segment", json=body), 400, "invalid-parameter")
    job_id = api.post(f"{V}/segment", {"roi": roi, "mode": "stack"}, 202)["job_id"]
    seen: list[Any] = []
    segment = Workspace.segment

    def looked_at(self: Any, plan: Any, edit: Any, progress: Any, show: Any) -> Any:
        info = api.client.get(f"/found/{job_id}/0/info").get_json()
        (scale,) = info["scales"]
        assert scale["voxel_offset"] == [0, 0, 9]
        chunk = f"/found/{job_id}/1/{scale['key']}/0-64_0-64_9-12"
        expect_error(api.client.get(chunk), 404, "job-not-found")
        labels = np.zeros((3, 64, 64), np.uint32)
        labels[1, 5:9, 5:9] = 3
        show.add(labels, Roi((9, 0, 0), labels.shape), (8.0, 8.0, 8.0))
        seen.append(api.client.get(chunk))
        progress(0.5, "Block 1 of 2")
        seen.append(api.get(f"/api/v1/jobs/{job_id}")["job"])
        return segment(self, plan, edit, progress, show)

    monkeypatch.setattr(Workspace, "segment", looked_at)
    dispatcher.step()
    answer, job = seen
    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-cache")
    assert len(answer.data) > 100
    assert (job["result"], job["message"]) == (
        {"blocks": 1, "maps": 0, "stacks": 0},
        "Block 1 of 2",
    )
    assert api.get(f"/api/v1/jobs/{job_id}")["job"]["result"] is None
    expect_error(api.client.get(f"/found/{job_id}/1/x/0/0-64_0-64_9-12"), 404, "route-not-found")


def test_what_follows_a_view_fills_only_what_is_empty_and_is_silent_when_it_adds_nothing(
    api: Api, dispatcher: Dispatcher
) -> None:
    before = api.labels()
    body = {"view": VIEW, "purpose": "follow", "session": api.new_session()}
    job_ids = []
    for _ in range(2):
        job_ids.append(api.post(f"{V}/segment", body, 202)["job_id"])
        dispatcher.step()
    first, second = (api.get(f"/api/v1/jobs/{job_id}")["job"] for job_id in job_ids)
    assert (first["kind"], first["state"], first["operation_id"]) == ("follow", "done", 2)
    assert (second["state"], second["operation_id"]) == ("done", None)
    assert "there already" in second["message"]
    (operation,) = api.get(f"{V}/operations?since=1")["operations"]
    assert operation["provenance"]["existing"] == "fill-empty"
    assert operation["provenance"]["purpose"] == "follow"
    assert "page" not in operation["provenance"]
    after = api.labels()
    assert (after[before > 0] == before[before > 0]).all()
    assert (after != before).any()


def test_warming_writes_no_label_and_makes_way_for_whoever_waits(
    api: Api, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch, config: Config
) -> None:
    before = api.labels()
    body = {"view": VIEW, "purpose": "warm", "session": api.new_session()}
    monkeypatch.setattr("app.worker.REPORT_EVERY_S", 0)
    job_id = api.post(f"{V}/segment", body, 202)["job_id"]
    dispatcher.step()
    job = api.get(f"/api/v1/jobs/{job_id}")["job"]
    assert (job["state"], job["operation_id"]) == ("done", None)
    assert list((config.data_dir / "caches" / "blocks").rglob("*.block"))
    assert (api.get(V)["version"], (api.labels() == before).all()) == (1, True)
    warm = Workspace.warm

    def somebody_comes(self: Any, plan: Any, progress: Any) -> None:
        api.post(f"{V}/segment", {"roi": SLICE}, 202)
        warm(self, plan, progress)

    monkeypatch.setattr(Workspace, "warm", somebody_comes)
    job_id = api.post(f"{V}/segment", body, 202)["job_id"]
    dispatcher.step()
    assert api.get(f"/api/v1/jobs/{job_id}")["job"]["state"] == "cancelled"


def test_maps_that_were_asked_for_are_image_layers(
    api: Api, dispatcher: Dispatcher, parts: Services
) -> None:
    roi = {"offset": [10, 5, 0], "shape": [1, 60, 64]}
    job_id = api.post(f"{V}/segment", {"roi": roi, "maps": True}, 202)["job_id"]
    (scale,) = api.client.get(f"/maps/{job_id}/probability/0/info").get_json()["scales"]
    assert (scale["voxel_offset"], scale["size"]) == ([0, 5, 10], [64, 60, 1])
    name = f"{scale['key']}/0-64_5-65_10-11"
    early = api.client.get(f"/maps/{job_id}/probability/0/{name}")
    assert early.data == bytes(60 * 64)  # nothing is known yet, which is no probability of 0
    dispatcher.step()
    assert api.get(f"/api/v1/jobs/{job_id}")["job"]["result"] == {
        "blocks": 0,
        "maps": 1,
        "stacks": 0,
    }
    answer = api.client.get(f"/maps/{job_id}/probability/1/{name}")
    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-cache")
    values = np.frombuffer(answer.data, np.uint8)
    assert values.min() >= 1
    expected = map_in(parts.workspace.data_dir, job_id, "probability", Roi.from_json(roi))
    assert answer.data == expected.tobytes()
    again = {"If-None-Match": answer.headers["ETag"]}
    kept = api.client.get(f"/maps/{job_id}/probability/1/{name}", headers=again)
    assert kept.status_code == 304
    expect_error(api.client.get(f"/maps/{job_id}/labels/1/{name}"), 404, "route-not-found")
    other = api.post(f"{V}/segment", {"roi": roi}, 202)["job_id"]
    expect_error(api.client.get(f"/maps/{other}/centres/1/info"), 404, "job-not-found")
    dispatcher.step()
    assert api.get(f"/api/v1/jobs/{other}")["job"]["result"] is None
    body = {"roi": roi, "maps": "yes"}
    expect_error(api.client.post(f"{V}/segment", json=body), 400, "invalid-parameter")


def test_stacks_that_were_asked_for_are_label_layers(api: Api, parts: Services) -> None:
    roi = {"offset": [0, 5, 0], "shape": [20, 60, 64]}
    body = {"roi": roi, "mode": "orthoplane", "stacks": True}
    job = api.post(f"{V}/segment", body, 202)["job"]
    place = f"/maps/{job['job_id']}/stack-xz/3"
    # Asked for before they are there, and as another plane: said, not shown as empty.
    expect_error(api.client.get(f"{place}/info"), 404, "job-not-found")
    expect_error(api.client.get(place.replace("xz", "zx") + "/info"), 404, "job-not-found")
    labels = np.zeros((20, 60, 64), np.uint32)
    labels[3:9, 10:20, 30:40] = 7
    KeptStacks(parts.workspace.data_dir, job["job_id"]).add("xz", labels)
    document = api.client.get(f"{place}/info").get_json()
    (scale,) = document["scales"]
    assert (document["type"], document["data_type"]) == ("segmentation", "uint64")
    assert (scale["voxel_offset"], scale["size"]) == ([0, 5, 0], [64, 60, 20])
    answer = api.client.get(f"{place}/{scale['key']}/0-64_5-65_0-20")
    assert answer.status_code == 200
    found = compressed_segmentation.decompress(
        answer.data, (64, 60, 20, 1), dtype=np.uint64, block_size=(8, 8, 8), order="F"
    )
    np.testing.assert_array_equal(np.asarray(found)[..., 0].T, labels)
    plain = api.post(f"{V}/segment", {"roi": SLICE}, 202)["job_id"]
    expect_error(api.client.get(f"/maps/{plain}/stack-xy/3/info"), 404, "job-not-found")
    expect_error(
        api.client.post(f"{V}/segment", json=body | {"stacks": 3}), 400, "invalid-parameter"
    )


def test_a_repeated_request_id_is_the_same_job(api: Api) -> None:
    body = {"roi": SLICE, "request_id": "r1"}
    first = api.post(f"{V}/segment", body, 202)
    assert api.post(f"{V}/segment", body, 202)["job_id"] == first["job_id"]
    assert len(api.get("/api/v1/jobs?volume=cell")["jobs"]) == 1
    assert api.get("/api/v1/jobs?volume=other")["jobs"] == []
    assert len(api.get("/api/v1/jobs?volume=")["jobs"]) == 1
    other = api.client.post(f"{V}/segment", json={**body, "mode": "stack"})
    expect_error(other, 409, "request-id-reused")


def test_a_queued_job_can_be_cancelled(api: Api, dispatcher: Dispatcher) -> None:
    job_id = api.post(f"{V}/segment", {"roi": SLICE}, 202)["job_id"]
    answer = api.client.delete(f"/api/v1/jobs/{job_id}")
    assert answer.get_json()["job"]["state"] == "cancelled"
    dispatcher.step()
    assert api.get(f"/api/v1/jobs/{job_id}")["job"]["state"] == "cancelled"
    assert api.get(V)["version"] == 1


def test_a_running_job_is_cancelled_between_blocks_and_changes_nothing(
    api: Api, dispatcher: Dispatcher, parts: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = api.post(f"{V}/segment", {"roi": SLICE}, 202)["job_id"]
    before = api.labels()
    segment = Workspace.segment

    def cancelled_meanwhile(*arguments: Any) -> Any:
        parts.jobs.cancel(job_id)
        return segment(*arguments)

    monkeypatch.setattr(Workspace, "segment", cancelled_meanwhile)
    dispatcher.step()
    assert api.get(f"/api/v1/jobs/{job_id}")["job"]["state"] == "cancelled"
    assert api.get(V)["version"] == 1
    assert (api.labels() == before).all()


def test_a_job_that_cannot_be_done_says_why(
    api: Api, dispatcher: Dispatcher, parts: Services
) -> None:
    broken = parts.workspace.models_dir / "broken.pt"
    broken.write_bytes(b"no weights")
    job_id = api.post(f"{V}/segment", {"roi": SLICE, "model": "broken"}, 202)["job_id"]
    dispatcher.step()
    job = api.get(f"/api/v1/jobs/{job_id}")["job"]
    assert job["state"] == "failed"
    assert job["error"]["kind"] == "weights-unreadable"
    assert "broken" in job["error"]["message"]
    assert api.get(V)["version"] == 1


def test_a_job_that_fails_unforeseen_leaves_its_traceback_in_the_log(
    api: Api,
    dispatcher: Dispatcher,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(Workspace, "segment", fail)
    job_id = api.post(f"{V}/segment", {"roi": SLICE}, 202)["job_id"]
    dispatcher.step()
    job = api.get(f"/api/v1/jobs/{job_id}")["job"]
    assert (job["state"], job["error"]["kind"]) == ("failed", "internal")
    assert "secret" not in json.dumps(job)
    assert "secret detail" in caplog.text


def test_a_view_is_a_region(api: Api) -> None:
    region = api.post(f"{V}/region", {"mode": "slice", "view": VIEW})["region"]
    assert region["roi"] == {"offset": [10, 30, 28], "shape": [1, 20, 40]}
    assert (region["plane"], region["mode"], region["voxels"]) == ("xy", "slice", 800)
    assert region["fits"]
    box = api.post(f"{V}/region", {"mode": "box", "view": VIEW})["region"]
    assert box["roi"] == {"offset": [0, 30, 28], "shape": [20, 20, 40]}
    assert box["mode"] == "stack"
    job = api.post(f"{V}/segment", {"mode": "box", "view": VIEW}, 202)
    assert job["region"]["roi"] == box["roi"]


BOX = {"box": {"offset": [4, 10, 10], "shape": [8, 30, 50]}}
FLAT = {"box": {"offset": [4, 10, 10], "shape": [1, 30, 50]}}
WEDGE = {"polygon": [[12.5, 20, 20], [12.5, 60, 20], [12.5, 20, 70.5]]}
UPRIGHT = {"polygon": [[2, 33.5, 20], [2, 33.5, 60], [15, 33.5, 20]]}


@pytest.mark.parametrize(
    ("mode", "within", "sections", "plane", "offset", "shape"),
    [
        # The section in view of what was drawn; a box in 3D as it is.
        ("slice", BOX, None, "xy", [10, 10, 10], [1, 30, 50]),
        ("box", BOX, None, "xy", [4, 10, 10], [8, 30, 50]),
        ("orthoplane", BOX, None, "xy", [4, 10, 10], [8, 30, 50]),
        ("slice", BOX, "2, 15", "xy", [2, 10, 10], [14, 30, 50]),
        ("box", BOX, "6-8", "xy", [6, 10, 10], [3, 30, 50]),
        # What is flat has the depth of the view.
        ("slice", FLAT, None, "xy", [10, 10, 10], [1, 30, 50]),
        ("box", FLAT, None, "xy", [0, 10, 10], [20, 30, 50]),
        ("slice", WEDGE, None, "xy", [10, 20, 20], [1, 40, 51]),
        ("box", WEDGE, None, "xy", [0, 20, 20], [20, 40, 51]),
        ("box", WEDGE, "12-14", "xy", [12, 20, 20], [3, 40, 51]),
        # Drawn on another plane than the one in view: where it was drawn.
        ("slice", UPRIGHT, None, "xz", [2, 33, 20], [13, 1, 40]),
        ("slice", UPRIGHT, "30, 40", "xz", [2, 30, 20], [13, 11, 40]),
        ("slice", None, "3, 5-6", "xy", [3, 30, 28], [4, 20, 40]),
        ("box", None, "3-6", "xy", [3, 30, 28], [4, 20, 40]),
    ],
)
def test_what_is_drawn_or_listed_is_a_region(
    api: Api,
    mode: str,
    within: Any,
    sections: str | None,
    plane: str,
    offset: list[int],
    shape: list[int],
) -> None:
    body = {"mode": mode, "view": VIEW, "within": within, "sections": sections}
    body = {name: value for name, value in body.items() if value is not None}
    region = api.post(f"{V}/region", body)["region"]
    assert (region["plane"], region["roi"]) == (plane, {"offset": offset, "shape": shape})
    count = {"2, 15": 2, "30, 40": 2, "3, 5-6": 3}.get(sections or "")
    assert region["sections"] == count
    across = {"xy": 0, "xz": 1}[plane]
    if count is not None:
        assert region["voxels"] == np.prod(shape) // shape[across] * count
        assert region["message"].startswith(f"{count} sections")


def test_a_polygon_and_a_list_of_sections_are_one_job(api: Api, dispatcher: Dispatcher) -> None:
    before = api.labels()
    roi = {"offset": [0, 0, 0], "shape": list(SHAPE)}
    body = {"roi": roi, "mode": "slice", "within": WEDGE, "sections": "3, 12-13"}
    api.post(f"{V}/segment", {**body, "existing": "replace-all"}, 202)
    dispatcher.step()
    (operation,) = api.get(f"{V}/operations?since=1")["operations"]
    assert operation["provenance"]["sections"] == [3, 12, 13]
    assert operation["provenance"]["polygon"] == [[20, 20], [60, 20], [20, 70.5]]
    changed = np.argwhere(api.labels() != before)
    assert len(changed)
    assert set(changed[:, 0]) <= {3, 12, 13}
    _, y, x = changed.T
    assert ((x - 19.5) / 50.5 + (y - 19.5) / 40 <= 1).all()


def test_a_region_over_the_budget_is_refused_with_its_size(api: Api, parts: Services) -> None:
    parts.workspace.max_voxels = 1000
    whole = {"offset": [0, 0, 0], "shape": list(SHAPE)}
    message = expect_error(
        api.client.post(f"{V}/segment", json={"roi": whole, "mode": "stack"}), 400, "roi-too-large"
    )
    assert "20" in message
    assert "limit" in message
    wide = {**PANEL, "width": 96, "height": 80}
    view = {"panels": [wide], "active": 0}
    region = api.post(f"{V}/region", {"mode": "box", "view": view})["region"]
    assert (region["fits"], region["limit"]) == (False, 1000)
    assert "limit" in region["message"]
    assert api.get("/api/v1/jobs")["jobs"] == []


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ({}, 400, "invalid-parameter"),
        ({"roi": SLICE, "view": VIEW}, 400, "invalid-parameter"),
        ({"roi": [0, 0, 0]}, 400, "invalid-parameter"),
        ({"roi": {"offset": [0, 0, 0]}}, 400, "invalid-parameter"),
        ({"roi": {"offset": [0, 0, 0], "shape": [0, 4, 4]}}, 400, "roi-empty"),
        ({"roi": {"offset": [0, 0, 0], "shape": [1, -4, 4]}}, 400, "roi-empty"),
        ({"roi": {"offset": [99, 0, 0], "shape": [1, 4, 4]}}, 400, "roi-out-of-bounds"),
        (
            {"roi": {"offset": [0, 0, 0], "shape": [2, 4, 4]}, "mode": "slice"},
            400,
            "invalid-parameter",
        ),
        ({"roi": SLICE, "mode": "cube"}, 400, "invalid-parameter"),
        ({"roi": SLICE, "plane": "zz"}, 400, "invalid-parameter"),
        ({"roi": SLICE, "level": 9}, 400, "invalid-parameter"),
        ({"roi": SLICE, "level": -1}, 400, "invalid-parameter"),
        ({"roi": SLICE, "level": "0"}, 400, "invalid-parameter"),
        ({"roi": SLICE, "model": "nothing"}, 404, "model-not-found"),
        ({"roi": SLICE, "model": "/etc/passwd"}, 400, "invalid-parameter"),
        ({"roi": SLICE, "existing": "burn"}, 400, "invalid-parameter"),
        ({"roi": SLICE, "engine": "warp"}, 400, "invalid-parameter"),
        ({"roi": SLICE, "engine": "quantized"}, 400, "invalid-parameter"),
        ({"roi": SLICE, "class": "nucleus"}, 400, "invalid-parameter"),
        ({"roi": SLICE, "preset": "exact"}, 400, "invalid-parameter"),
        ({"roi": SLICE, "preset": "empanada-exact", "engine": "int8"}, 400, "invalid-parameter"),
        ({"roi": SLICE, "voxel_size_nm": 0}, 400, "invalid-parameter"),
        ({"roi": SLICE, "voxel_size_nm": "8"}, 400, "invalid-parameter"),
        ({"roi": SLICE, "grey_range": {"low": 5}}, 400, "invalid-parameter"),
        ({"roi": SLICE, "grey_range": {"low": 5, "high": 5}}, 400, "invalid-parameter"),
        ({"roi": SLICE, "grey_range": {"low": 5, "high": True}}, 400, "invalid-parameter"),
        ({"roi": SLICE, "parameters": {"pixel_vote_thr": 4}}, 400, "invalid-parameter"),
        ({"roi": SLICE, "centre": [1, 2]}, 400, "invalid-parameter"),
        ({"roi": SLICE, "dry_run": "yes"}, 400, "invalid-parameter"),
        ({"roi": SLICE, "parameters": {"colour": 1}}, 400, "invalid-parameter"),
        ({"roi": SLICE, "parameters": []}, 400, "invalid-parameter"),
        ({"view": VIEW, "purpose": "sleep"}, 400, "invalid-parameter"),
        ({"view": VIEW, "purpose": "follow"}, 400, "invalid-parameter"),
        ({"view": VIEW, "purpose": "warm", "session": "x"}, 404, "session-not-found"),
        ({"view": VIEW, "within": {}}, 400, "invalid-parameter"),
        ({"view": VIEW, "within": {**BOX, **WEDGE}}, 400, "invalid-parameter"),
        ({"view": VIEW, "within": {"polygon": 3}}, 400, "invalid-parameter"),
        ({"view": VIEW, "within": {"polygon": [[1, 2, 3], [1, 5, 5]]}}, 400, "invalid-parameter"),
        (
            {"view": VIEW, "within": {"polygon": [[1, 2, 3], [1, 5, 5], [2, 9, 4]]}},
            400,
            "invalid-parameter",
        ),
        ({"view": VIEW, "within": {"polygon": [[1, 2, 3]] * 3}}, 400, "invalid-parameter"),
        (
            {"view": VIEW, "within": {"polygon": [[1, 2, 3], [1, 5, 5], [1, 9, None]]}},
            400,
            "invalid-parameter",
        ),
        (
            {"view": VIEW, "within": {"polygon": [[1, 2.6, 3], [1, 3.4, 3], [1, 3, 3.4]]}},
            400,
            "roi-empty",
        ),
        (
            {"view": VIEW, "within": {"polygon": [[1, 200, 3], [1, 210, 3], [1, 210, 9]]}},
            400,
            "roi-out-of-bounds",
        ),
        (
            {"view": VIEW, "within": {"box": {"offset": [11, 0, 0], "shape": [5, 9, 9]}}},
            400,
            "roi-out-of-bounds",
        ),
        ({"roi": SLICE, "plane": "xz", "within": WEDGE}, 400, "invalid-parameter"),
        (
            {"roi": SLICE, "within": BOX, "mode": "stack", "sections": "2, 4"},
            400,
            "invalid-parameter",
        ),
        ({"roi": SLICE, "sections": "20"}, 400, "roi-out-of-bounds"),
        ({"roi": SLICE, "sections": "4-"}, 400, "invalid-parameter"),
        ({"roi": SLICE, "sections": 4}, 400, "invalid-parameter"),
        ({"view": VIEW, "mode": "stack"}, 400, "invalid-parameter"),
        ({"view": {"panels": []}, "mode": "box"}, 400, "invalid-parameter"),
        (
            {"view": {"panels": [{**PANEL, "centre": [500, 0, 0]}]}, "mode": "slice"},
            400,
            "roi-out-of-bounds",
        ),
    ],
)
def test_a_bad_request_is_refused_and_starts_nothing(
    api: Api, body: dict[str, Any], status: int, kind: str
) -> None:
    before = api.everything()
    expect_error(api.client.post(f"{V}/segment", json=body), status, kind)
    assert api.everything() == before


def test_an_unknown_job_is_not_found(api: Api) -> None:
    expect_error(api.client.get("/api/v1/jobs/nothing"), 404, "job-not-found")
    expect_error(api.client.delete("/api/v1/jobs/nothing"), 404, "job-not-found")
    expect_error(api.client.get("/api/v1/jobs?limit=0"), 400, "invalid-parameter")


def test_an_answer_waits_for_the_end_of_a_job_and_brings_the_news(
    api: Api, dispatcher: Dispatcher
) -> None:
    job_id = api.post(f"{V}/segment", {"roi": SLICE}, 202)["job_id"]
    unfinished = api.get(f"/api/v1/jobs/{job_id}?wait_ms=20&since=1")
    assert (unfinished["job"]["state"], unfinished["news"]) == ("queued", None)
    later = threading.Timer(0.05, dispatcher.step)
    later.start()
    finished = unfinished
    while finished["job"]["state"] != "done":
        finished = api.get(f"/api/v1/jobs/{job_id}?wait_ms=1000&since=1")
    later.join()
    events = api.get("/api/v1/events?volume=cell&since=1")
    assert finished["news"] == {name: events[name] for name in ("version", "operations", "reset")}
    assert [o["kind"] for o in finished["news"]["operations"]] == ["segment"]
    too_long = api.client.get(f"/api/v1/jobs/{job_id}?wait_ms=1001")
    expect_error(too_long, 400, "invalid-parameter")


def test_a_quarter_of_the_threads_may_wait_and_the_others_are_answered(
    api: Api, parts: Services
) -> None:
    job_id = api.post(f"{V}/segment", {"roi": SLICE}, 202)["job_id"]
    waits = JobWaits(parts.jobs, threads=8)
    begun = time.monotonic()
    with ThreadPoolExecutor(5) as pool:
        waiting = [pool.submit(waits.ended, job_id, 0.5) for _ in range(5)]
        at_once = [f for f in as_completed(waiting) if time.monotonic() - begun < 0.4]
    assert len(at_once) == 3
    # All seats are free again, and a server with few threads has none.
    assert waits._seats._value == 2
    assert JobWaits(parts.jobs, threads=3).ended(job_id, 60).state == "queued"
