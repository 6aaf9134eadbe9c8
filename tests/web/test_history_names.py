"""Branches and tags over HTTP: edits on a branch stay there, names lead to versions."""

import pytest
from web_client import Api, V, expect_error


def test_a_branch_is_edited_apart(api: Api) -> None:
    made = api.post(f"{V}/branches", {"name": "try"}, 201)["branch"]
    assert made == made | {"name": "try", "parent": "main", "fork_version": 1, "version": 1}
    assert api.post(f"{V}/branches", {"name": "try"}, 201)["branch"] == made
    merged = api.post(f"{V}/merge", {"ids": ["1", "2"], "branch": "try"})
    assert merged["version"] == 2
    assert api.get(V)["version"] == 1
    assert api.labels()[10, 10, 50] == 2
    assert api.labels(version=2)[10, 10, 50] == 1
    assert [b["version"] for b in api.get(f"{V}/branches")["branches"]] == [1, 2]
    on_main = api.post(f"{V}/merge", {"ids": ["2", "3"]})
    assert on_main["version"] == 3
    assert api.labels()[10, 45, 12] == 2
    undone = api.post(f"{V}/undo", {"branch": "try"})
    assert undone["operation"]["undoes"] == 2
    assert (api.labels(version=undone["version"]) == api.labels(version=1)).all()
    listed = api.get(f"{V}/operations?branch=try")
    assert listed["version"] == 4
    assert [o["operation_id"] for o in listed["operations"]] == [4, 2, 1]
    assert [o["operation_id"] for o in api.get(f"{V}/operations")["operations"]] == [3, 1]


def test_the_same_request_on_another_branch_is_another_request(api: Api) -> None:
    api.post(f"{V}/branches", {"name": "try"}, 201)
    body = {"ids": ["1", "2"], "request_id": "r"}
    api.post(f"{V}/merge", body)
    again = api.client.post(f"{V}/merge", json=body | {"branch": "try"})
    expect_error(again, 409, "request-id-reused")


def test_a_deleted_branch_takes_no_edits_and_frees_its_name(api: Api) -> None:
    api.post(f"{V}/branches", {"name": "try"}, 201)
    api.post(f"{V}/merge", {"ids": ["1", "2"], "branch": "try"})
    assert api.client.delete(f"{V}/branches/try").status_code == 200
    sent = {"ids": ["2", "3"], "branch": "try"}
    expect_error(api.client.post(f"{V}/merge", json=sent), 404, "branch-not-found")
    assert api.labels(version=2)[10, 10, 50] == 1
    assert api.post(f"{V}/branches", {"name": "try", "version": 2}, 201)["branch"]["version"] == 2


def test_a_tag_names_a_version_for_ever(api: Api) -> None:
    tag = api.post(f"{V}/tags", {"name": "paper", "note": "figure 2"}, 201)["tag"]
    assert (tag["version"], tag["user"], tag["note"]) == (1, "ana", "figure 2")
    api.post(f"{V}/merge", {"ids": ["1", "2"]})
    assert api.post(f"{V}/tags", {"name": "paper", "version": 1}, 201)["tag"]["version"] == 1
    moved = api.client.post(f"{V}/tags", json={"name": "paper"})
    expect_error(moved, 409, "name-taken")
    assert [t["name"] for t in api.get(f"{V}/tags")["tags"]] == ["paper"]
    assert api.client.delete(f"{V}/tags/paper").status_code == 200
    expect_error(api.client.delete(f"{V}/tags/paper"), 404, "tag-not-found")


@pytest.mark.parametrize("name", ["12", "", "a/b", "-x", "x" * 65, "ä"])
def test_names_that_could_be_mistaken_are_refused(api: Api, name: str) -> None:
    for route in ("branches", "tags"):
        answer = api.client.post(f"{V}/{route}", json={"name": name})
        expect_error(answer, 400, "invalid-name" if name else "invalid-parameter")


def test_names_of_branches_and_tags_are_apart(api: Api) -> None:
    api.post(f"{V}/tags", {"name": "one"}, 201)
    expect_error(api.client.post(f"{V}/branches", json={"name": "one"}), 409, "name-taken")
    expect_error(api.client.post(f"{V}/tags", json={"name": "main"}), 409, "name-taken")
    expect_error(api.client.delete(f"{V}/branches/main"), 400, "invalid-parameter")
    wrong = {"name": "two", "version": 99}
    expect_error(api.client.post(f"{V}/branches", json=wrong), 404, "version-not-found")
