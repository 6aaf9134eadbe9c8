"""Over HTTP: what differs, where objects came from, who did it, and merging branches."""

from typing import Any

import pytest
from web_client import Api, V, expect_error

IN_1, IN_2, IN_3 = [10, 10, 10], [10, 10, 50], [10, 45, 12]
OTHER_END_OF_3 = [10, 45, 85]


def test_the_difference_of_two_versions_lists_objects(api: Api) -> None:
    api.post(f"{V}/merge", {"ids": ["1", "2"]})
    api.post(f"{V}/delete", {"ids": ["3"]})
    found = api.get(f"{V}/diff?from=1&to=3")["objects"]
    kinds = {change["id"]: change["kind"] for change in found}
    assert set(kinds) == {"1", "2", "3"}
    by_id = {change["id"]: change for change in found}
    assert by_id["3"]["after"] is None
    assert by_id["2"]["became"] == ["1"]
    assert by_id["1"]["after"]["voxels"] == sum(by_id[i]["before"]["voxels"] for i in ("1", "2"))
    assert api.get(f"{V}/diff?from=3&to=3")["objects"] == []
    backwards = {c["id"]: c for c in api.get(f"{V}/diff?from=3&to=1")["objects"]}
    assert backwards["3"]["before"] is None


def test_an_object_is_followed_both_ways(api: Api) -> None:
    api.post(f"{V}/merge", {"ids": ["1", "2"]})
    split = api.post(f"{V}/split", {"sources": [IN_3], "sinks": [OTHER_END_OF_3]})
    forth = api.get(f"{V}/objects/2/lineage?version=1")
    assert forth["latest"] == ["1"]
    assert [step["operation_id"] for step in forth["operations"]][-1] == 2
    assert forth["operations"][-1]["user"] == "ana"
    parts = api.get(f"{V}/objects/3/lineage?version=1")
    assert sorted(parts["latest"]) == sorted(split["added_roots"])
    past = api.get(f"{V}/objects/1/lineage")
    assert {node["id"] for node in past["nodes"]} >= {"1", "2"}


def test_a_voxel_says_who_wrote_it(api: Api) -> None:
    painted = api.post(f"{V}/paint", {"target": "1", "points": [[0, 0, 0]]})
    api.post(f"{V}/merge", {"ids": ["1", "2"]})
    found = api.get(f"{V}/blame?point=0,0,0")
    assert found["voxel"]["operation_id"] == painted["operation_id"]
    assert found["object"]["kind"] == "merge"
    assert found["root"] == "1"
    expect_error(api.client.get(f"{V}/blame?point=0,0,99999"), 400, "roi-out-of-bounds")


def test_a_time_leads_to_a_version(api: Api) -> None:
    made = api.post(f"{V}/merge", {"ids": ["1", "2"]})["operation"]["time"]
    at = made.replace("+", "%2B")
    assert api.get(f"{V}/at?time={at}")["version"] == 2
    assert api.get(f"{V}/at?time=2020-01-01T00:00:00Z")["version"] == 0
    for wrong in ("yesterday", "2026-01-01T00:00:00"):
        expect_error(api.client.get(f"{V}/at?time={wrong}"), 400, "invalid-parameter")


def branched(api: Api) -> None:
    api.post(f"{V}/branches", {"name": "try"}, 201)
    api.post(f"{V}/merge", {"ids": ["1", "2"], "branch": "try"})
    api.post(f"{V}/delete", {"ids": ["3"], "branch": "try"})


def test_what_only_a_branch_changed_merges_by_itself(api: Api) -> None:
    branched(api)
    plan = api.post(f"{V}/branches/try/merge", {"dry_run": True})
    assert (plan["operation"], plan["conflicts"], plan["applied"]) == (None, [], [2, 3])
    assert api.get(V)["version"] == 1
    body = {"request_id": "r"}
    merged = api.post(f"{V}/branches/try/merge", body)
    assert api.post(f"{V}/branches/try/merge", body) == merged
    assert merged["operation"]["kind"] == "merge-branch"
    labels = api.labels()
    assert [int(labels[tuple(p)]) for p in (IN_1, IN_2, IN_3)] == [1, 1, 0]
    again = api.client.post(f"{V}/branches/try/merge", json={})
    expect_error(again, 400, "nothing-to-change")
    api.post(f"{V}/undo", {"operation_id": merged["operation"]["operation_id"]})
    assert (api.labels() == api.labels(version=1)).all()


@pytest.mark.parametrize(("choice", "root"), [("ours", 3), ("theirs", 0), ("skip", 3)])
def test_conflicts_are_listed_and_decided(api: Api, choice: str, root: int) -> None:
    branched(api)
    api.post(f"{V}/morph", {"id": "3", "operation": "erode"})
    (conflict,) = api.post(f"{V}/branches/try/merge", {"dry_run": True})["conflicts"]
    assert conflict["id"] == "3"
    assert conflict["ours"]["users"] == ["ana"]
    assert [o["kind"] for o in conflict["theirs"]["operations"]] == ["delete"]
    listed = api.post(f"{V}/branches/try/merge", {})
    assert [c["id"] for c in listed["conflicts"]] == ["3"]
    labels = api.labels()
    assert [int(labels[tuple(p)]) for p in (IN_1, IN_2, IN_3)] == [1, 1, 3]
    decided = api.post(f"{V}/branches/try/merge", {"choices": {"3": choice}})
    assert int(api.labels()[tuple(IN_3)]) == root
    left = [c["id"] for c in decided["conflicts"]]
    assert left == (["3"] if choice == "skip" else [])


BAD: list[tuple[dict[str, Any], int, str]] = [
    ({"choices": {"3": "both"}}, 400, "invalid-parameter"),
    ({"choices": {"9": "ours"}}, 400, "invalid-parameter"),
    ({"choices": {"x": "ours"}}, 400, "invalid-id"),
    ({"choices": {"3": 1}}, 400, "invalid-parameter"),
    ({"into": "nowhere"}, 404, "branch-not-found"),
    ({"dry_run": "yes"}, 400, "invalid-parameter"),
]


@pytest.mark.parametrize(("body", "status", "kind"), BAD)
def test_a_merge_that_cannot_be_changes_nothing(
    api: Api, body: dict[str, Any], status: int, kind: str
) -> None:
    branched(api)
    before = api.everything()
    expect_error(api.client.post(f"{V}/branches/try/merge", json=body), status, kind)
    expect_error(api.client.post(f"{V}/branches/other/merge", json={}), 404, "branch-not-found")
    assert api.everything() == before
