"""Edits over HTTP: each is one operation, done once; bad input changes nothing."""

from typing import Any

import pytest
from web_client import Api, V, expect_error

IN_1, IN_2, IN_3, OUTSIDE = [10, 10, 10], [10, 10, 50], [10, 45, 12], [0, 0, 0]
OTHER_END_OF_3 = [10, 45, 85]


def test_a_merge_is_one_operation(api: Api) -> None:
    answer = api.post(f"{V}/merge", {"ids": ["1", "2"]})
    assert (answer["operation_id"], answer["version"]) == (2, 2)
    assert answer["removed_roots"] == ["1", "2"]
    assert answer["added_roots"] == ["1"]
    assert answer["operation"]["user"] == "ana"
    assert answer["operation"]["merges"] == [["1", "2"]]
    assert api.labels()[10, 10, 50] == 1
    assert api.labels(version=1)[10, 10, 50] == 2


def test_points_and_whole_numbers_name_objects_too(api: Api) -> None:
    assert api.post(f"{V}/merge", {"points": [IN_1, IN_2]})["added_roots"] == ["1"]
    assert api.post(f"{V}/merge", {"ids": [1, 3]})["added_roots"] == ["1"]


def test_a_repeated_request_id_answers_with_the_first_result(api: Api) -> None:
    body = {"ids": ["1", "2"], "request_id": "r1"}
    first = api.post(f"{V}/merge", body)
    assert api.post(f"{V}/merge", body) == first
    assert api.get(V)["version"] == 2
    reused = api.client.post(f"{V}/merge", json={"ids": ["1", "3"], "request_id": "r1"})
    expect_error(reused, 409, "request-id-reused")
    assert api.get(V)["version"] == 2


def test_a_split_is_previewed_without_being_done(api: Api) -> None:
    before = api.everything()
    sides = {"sources": [IN_3], "sinks": [OTHER_END_OF_3]}
    preview = api.post(f"{V}/split/preview", sides)["preview"]
    assert preview["root"] == "3"
    assert preview["version"] == 1
    assert sum(preview["voxels"]) == 12 * 12 * 82
    assert preview["url"] == f"precomputed://http://localhost/previews/{preview['id']}"
    assert api.everything() == before
    split = api.post(f"{V}/split", sides)
    labels = api.labels()
    assert labels[tuple(IN_3)] != labels[tuple(OTHER_END_OF_3)]
    assert {str(labels[tuple(IN_3)]), str(labels[tuple(OTHER_END_OF_3)])} == set(
        split["added_roots"]
    )
    assert split["operation"]["splits"][0]["root"] == "3"
    assert split["operation"]["wrote_voxels"]


def test_groups_split_into_more_than_two(api: Api) -> None:
    groups = [[IN_3], [[10, 45, 48]], [OTHER_END_OF_3]]
    assert len(api.post(f"{V}/split", {"groups": groups})["added_roots"]) == 3


def test_undo_and_redo_are_the_callers_own(api: Api) -> None:
    before = api.labels()
    api.post(f"{V}/merge", {"ids": ["1", "2"]})
    other = Api(api.client, user="bo")
    expect_error(
        other.client.post(f"{V}/undo", json={}, headers={"X-Mitoglance-User": "bo"}),
        400,
        "nothing-to-undo",
    )
    undone = api.post(f"{V}/undo", {})
    assert undone["operation"]["undoes"] == 2
    assert (api.labels() == before).all()
    redone = api.post(f"{V}/redo", {})
    assert api.labels()[10, 10, 50] == 1
    other.post(f"{V}/undo", {"operation_id": redone["operation_id"]})
    assert (api.labels() == before).all()


def test_reverting_is_a_new_operation(api: Api) -> None:
    before = api.labels()
    api.post(f"{V}/merge", {"ids": ["1", "2"]})
    api.post(f"{V}/merge", {"ids": ["1", "3"]})
    answer = api.post(f"{V}/revert", {"version": 1})
    assert answer["version"] == 4
    assert (api.labels() == before).all()
    assert api.labels(version=3)[tuple(IN_3)] == 1


def test_an_edit_on_what_has_changed_since_names_who_changed_it(api: Api) -> None:
    Api(api.client, user="bo").post(f"{V}/merge", {"ids": ["1", "2"]})
    stale = api.client.post(f"{V}/merge", json={"ids": ["1", "3"], "base_version": 1})
    message = expect_error(stale, 409, "stale-version")
    assert "bo" in message
    assert "2" in message
    assert api.get(V)["version"] == 2
    api.post(f"{V}/merge", {"ids": ["1", "3"], "base_version": 2})


BAD_EDITS: list[tuple[str, dict[str, Any], int, str]] = [
    ("merge", {}, 400, "invalid-parameter"),
    ("merge", {"ids": ["1", "2"], "points": [IN_1, IN_2, IN_2]}, 400, "invalid-parameter"),
    ("merge", {"ids": ["1", "2"], "points": [IN_2, IN_1]}, 400, "invalid-parameter"),
    ("merge", {"ids": ["1", "2"], "points": [IN_1, OUTSIDE]}, 400, "invalid-parameter"),
    ("merge", {"ids": []}, 400, "invalid-parameter"),
    ("merge", {"ids": ["1"]}, 400, "merge-same-object"),
    ("merge", {"ids": ["1", "1"]}, 400, "merge-same-object"),
    ("merge", {"points": [IN_1, IN_1]}, 400, "merge-same-object"),
    ("merge", {"ids": ["0", "1"]}, 400, "background-not-an-object"),
    ("merge", {"points": [IN_1, OUTSIDE]}, 400, "background-not-an-object"),
    ("merge", {"points": [IN_1, [99, 0, 0]]}, 400, "roi-out-of-bounds"),
    ("merge", {"ids": ["1", "99"]}, 404, "object-not-found"),
    ("merge", {"ids": ["1", str(2**64)]}, 400, "invalid-id"),
    ("merge", {"ids": ["1", str(2**64 - 1)]}, 404, "object-not-found"),
    ("merge", {"ids": [1, 2**64]}, 400, "invalid-id"),
    ("merge", {"ids": [1, -2]}, 400, "invalid-id"),
    ("merge", {"ids": ["1", "-2"]}, 400, "invalid-id"),
    ("merge", {"ids": [1, 2.5]}, 400, "invalid-id"),
    ("merge", {"ids": [1, True]}, 400, "invalid-id"),
    ("merge", {"ids": [1, None]}, 400, "invalid-id"),
    ("merge", {"ids": ["1", "9" * 5000]}, 400, "invalid-id"),
    ("merge", {"ids": {"1": "2"}}, 400, "invalid-parameter"),
    ("merge", {"points": [[1, 2], [3, 4]]}, 400, "invalid-parameter"),
    ("merge", {"points": [[1, 2, 3.5], IN_1]}, 400, "invalid-parameter"),
    ("merge", {"points": [IN_1, [10**30, 0, 0]]}, 400, "invalid-parameter"),
    ("merge", {"ids": ["1", "2"], "request_id": ""}, 400, "invalid-parameter"),
    ("merge", {"ids": ["1", "2"], "request_id": 7}, 400, "invalid-parameter"),
    ("merge", {"ids": ["1", "2"], "base_version": "1"}, 400, "invalid-parameter"),
    ("merge", {"ids": ["1", "2"], "base_version": 99}, 404, "version-not-found"),
    ("merge", {"ids": ["1", "2"], "base_version": -1}, 404, "version-not-found"),
    ("merge", {"ids": ["1", "2"], "session": "nobody"}, 404, "session-not-found"),
    ("split", {}, 400, "invalid-parameter"),
    ("split", {"sources": [IN_3]}, 400, "invalid-parameter"),
    ("split", {"sources": [IN_3], "sinks": []}, 400, "invalid-parameter"),
    ("split", {"groups": [[IN_3]]}, 400, "seeds-on-one-side"),
    ("split", {"sources": [IN_3], "sinks": [IN_3]}, 400, "seeds-on-one-side"),
    ("split", {"sources": [IN_3], "sinks": [IN_1]}, 400, "seeds-outside-object"),
    ("split", {"sources": [OUTSIDE], "sinks": [IN_3]}, 400, "seeds-outside-object"),
    ("split", {"sources": [IN_3], "sinks": [[10, 45, 999]]}, 400, "roi-out-of-bounds"),
    (
        "split",
        {"sources": [IN_3], "sinks": [OTHER_END_OF_3], "groups": [[IN_3], [IN_3]]},
        400,
        "invalid-parameter",
    ),
    ("undo", {}, 400, "nothing-to-undo"),
    ("redo", {}, 400, "nothing-to-redo"),
    ("undo", {"operation_id": 99}, 404, "operation-not-found"),
    ("undo", {"operation_id": -1}, 404, "operation-not-found"),
    ("undo", {"operation_id": "1"}, 400, "invalid-parameter"),
    ("revert", {"version": 99}, 404, "version-not-found"),
    ("revert", {"version": -1}, 404, "version-not-found"),
    ("revert", {"version": None}, 400, "invalid-parameter"),
]


@pytest.mark.parametrize(("name", "body", "status", "kind"), BAD_EDITS)
def test_a_bad_edit_is_refused_and_changes_nothing(
    api: Api, name: str, body: dict[str, Any], status: int, kind: str
) -> None:
    before = api.everything()
    answer = api.client.post(f"{V}/{name}", json=body, headers={"X-Mitoglance-User": "ana"})
    expect_error(answer, status, kind)
    if name == "split":
        preview = api.client.post(f"{V}/split/preview", json=body)
        expect_error(preview, status, kind)
    assert api.everything() == before


def test_a_page_that_shows_a_pinned_version_takes_no_edits(api: Api) -> None:
    token = api.new_session()
    api.post(f"/api/v1/sessions/{token}/version", {"version": 1})
    before = api.everything()
    for name, body in (
        ("merge", {"ids": ["1", "2"]}),
        ("split", {"sources": [IN_3], "sinks": [OTHER_END_OF_3]}),
        ("split/preview", {"sources": [IN_3], "sinks": [OTHER_END_OF_3]}),
        ("undo", {}),
        ("redo", {}),
        ("revert", {"version": 0}),
        ("segment", {"roi": {"offset": [0, 0, 0], "shape": [1, 8, 8]}}),
    ):
        answer = api.client.post(f"{V}/{name}", json={**body, "session": token})
        assert "edit from here" in expect_error(answer, 403, "read-only")
    assert api.everything() == before
    api.post(f"/api/v1/sessions/{token}/version", {"version": None})
    api.post(f"{V}/merge", {"ids": ["1", "2"], "session": token})
