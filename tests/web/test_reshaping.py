"""Edits that paint, remove and reshape, over HTTP; bad input does nothing."""

import base64
import zlib
from typing import Any

import numpy as np
import pytest
from web_client import Api, V, expect_error

from segmentation_backend.workspace import encode_mask

IN_1, IN_2, IN_3, OUTSIDE = (10, 10, 10), (10, 10, 50), (10, 45, 12), (0, 0, 0)


def test_deleted_objects_are_gone_until_undone(api: Api) -> None:
    before = api.labels()
    answer = api.post(f"{V}/delete", {"ids": ["1", "2"]})
    assert answer["removed_roots"] == ["1", "2"]
    assert answer["added_roots"] == []
    assert answer["operation"]["provenance"] == {"ids": ["1", "2"]}
    assert set(np.unique(api.labels())) == {0, 3}
    api.post(f"{V}/undo", {})
    assert (api.labels() == before).all()


def test_a_stroke_paints_erases_and_makes_new_objects(api: Api) -> None:
    api.post(f"{V}/paint", {"target": "1", "points": [[0, 0, 0], [0, 0, 6]], "radius": 1.5})
    labels = api.labels()
    assert (labels[0, 0, :7] == 1).all()
    new = api.post(f"{V}/paint", {"target": "new", "points": [[0, 60, 0]], "plane": "xy"})
    assert new["operation"]["kind"] == "paint"
    (made,) = new["added_roots"]
    assert api.labels()[0, 60, 0] == int(made)
    stroke = {"target": "erase", "points": [[0, 60, 0], [0, 0, 3]], "radius": 100, "unit": "nm"}
    erased = api.post(f"{V}/paint", stroke | {"over_ids": [made]})
    assert erased["operation"]["kind"] == "erase"
    assert made not in {str(i) for i in np.unique(api.labels())}
    assert (api.labels()[0, 0, :7] == 1).all()


def test_a_mask_paints_its_voxels_and_spares_others(api: Api) -> None:
    mask = np.zeros((2, 12, 60), dtype=bool)
    mask[0, 10, ::2] = True
    roi = {"offset": [10, 0, 0], "shape": [2, 12, 60]}
    before = api.labels()
    body = {"target": "3", "roi": roi, "mask": encode_mask(mask), "over": "background"}
    api.post(f"{V}/paint", body)
    expected = before.copy()
    inside = expected[10:12, :12, :60]
    inside[mask & (inside == 0)] = 3
    assert (api.labels() == expected).all()


def test_shapes_change_and_small_objects_go(api: Api) -> None:
    count = int((api.labels() == 1).sum())
    api.post(f"{V}/morph", {"id": "1", "operation": "dilate", "radius": 1})
    assert (api.labels() == 1).sum() > count
    api.post(f"{V}/morph", {"id": "1", "operation": "erode", "radius": 2})
    assert 0 < (api.labels() == 1).sum() < count
    sizes = {i: int((api.labels() == i).sum()) for i in (1, 2, 3)}
    answer = api.post(f"{V}/filter", {"min_voxels": sizes[1] + 1})
    assert "1" in answer["removed_roots"]
    assert 1 not in np.unique(api.labels())
    assert 3 in np.unique(api.labels())


def test_parts_of_a_merged_object_are_cleaved_and_separated(api: Api) -> None:
    api.post(f"{V}/merge", {"ids": ["1", "2", "3"]})
    cleaved = api.post(f"{V}/cleave", {"supervoxels": ["2"]})
    assert sorted(cleaved["added_roots"]) == ["1", "2"]
    assert not cleaved["operation"]["wrote_voxels"]
    parted = api.post(f"{V}/relabel", {"id": "1", "connectivity": 6})
    assert sorted(parted["added_roots"]) == ["1", "3"]
    labels = api.labels()
    assert [int(labels[p]) for p in (IN_1, IN_2, IN_3)] == [1, 2, 3]


ROI = {"offset": [0, 0, 0], "shape": [2, 2, 2]}
BAD: list[tuple[str, dict[str, Any], int, str]] = [
    ("delete", {"ids": ["99"]}, 404, "object-not-found"),
    ("delete", {"ids": []}, 400, "invalid-parameter"),
    ("delete", {"ids": ["1", "0"]}, 400, "background-not-an-object"),
    ("paint", {"target": "1"}, 400, "invalid-parameter"),
    ("paint", {"target": "one", "points": [[0, 0, 0]]}, 400, "invalid-id"),
    ("paint", {"target": "99", "points": [[0, 0, 0]]}, 404, "object-not-found"),
    ("paint", {"target": "1", "points": [[0, 0, 0]], "radius": -1}, 400, "invalid-parameter"),
    ("paint", {"target": "1", "points": [[0, 0, 0]], "radius": "x"}, 400, "invalid-parameter"),
    ("paint", {"target": "1", "points": [[0, 0, 0]], "plane": "xw"}, 400, "invalid-parameter"),
    ("paint", {"target": "1", "points": [[0, 0, 0]], "unit": "mm"}, 400, "invalid-parameter"),
    ("paint", {"target": "1", "points": [[0, 0, 0]], "over": "x"}, 400, "invalid-parameter"),
    ("paint", {"target": "erase", "points": [[0, 0, 0]]}, 400, "nothing-to-change"),
    ("paint", {"target": "1", "points": [[9999, 0, 0]]}, 400, "roi-out-of-bounds"),
    ("paint", {"target": "1", "roi": ROI}, 400, "invalid-parameter"),
    ("paint", {"target": "1", "roi": ROI, "mask": "!"}, 400, "invalid-parameter"),
    ("paint", {"target": "1", "roi": ROI, "mask": "AAAA"}, 400, "invalid-parameter"),
    ("morph", {"id": "1", "operation": "melt"}, 400, "invalid-parameter"),
    ("morph", {"id": "1", "operation": "erode", "radius": 200}, 400, "invalid-parameter"),
    ("morph", {"id": "77", "operation": "erode"}, 404, "object-not-found"),
    ("relabel", {"id": "1"}, 400, "nothing-to-change"),
    ("relabel", {"id": "1", "connectivity": 7}, 400, "invalid-parameter"),
    ("filter", {}, 400, "invalid-parameter"),
    ("filter", {"min_voxels": 1}, 400, "nothing-to-change"),
    ("cleave", {"supervoxels": ["1"]}, 400, "seeds-on-one-side"),
    ("cleave", {"supervoxels": ["1", "2"]}, 400, "seeds-outside-object"),
]


@pytest.mark.parametrize(("route", "body", "status", "kind"), BAD)
def test_what_cannot_be_right_changes_nothing(
    api: Api, route: str, body: dict[str, Any], status: int, kind: str
) -> None:
    before = api.everything()
    expect_error(api.client.post(f"{V}/{route}", json=body), status, kind)
    assert api.everything() == before


def test_a_mask_that_would_fill_the_memory_is_refused(api: Api) -> None:
    bomb = base64.b64encode(zlib.compress(b"\xff" * 10**7)).decode()
    body = {"target": "1", "roi": ROI, "mask": bomb}
    expect_error(api.client.post(f"{V}/paint", json=body), 400, "invalid-parameter")
    huge = {"offset": [0, 0, 0], "shape": [2**17, 2**17, 2**17]}
    body = {"target": "1", "roi": huge, "mask": bomb}
    expect_error(api.client.post(f"{V}/paint", json=body), 400, "roi-too-large")


def test_every_edit_is_done_once_however_often_it_is_sent(api: Api) -> None:
    bodies: list[tuple[str, dict[str, Any]]] = [
        ("paint", {"target": "new", "points": [[0, 0, 0]]}),
        ("morph", {"id": "1", "operation": "dilate"}),
        ("delete", {"ids": ["2"]}),
        ("filter", {"min_voxels": 200}),
    ]
    for number, (route, body) in enumerate(bodies):
        sent = body | {"request_id": f"r{number}"}
        first = api.post(f"{V}/{route}", sent)
        assert api.post(f"{V}/{route}", sent) == first
    assert api.get(V)["version"] == 1 + len(bodies)
