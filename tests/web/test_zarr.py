"""Labels as a zarr v3 group: its documents, its chunks, and all that is not there."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from flask.testing import FlaskClient
from web_client import SHAPE, Api, V, expect_error

from app import create_app
from app.config import Config
from segmentation_backend.errors import ErrorKind, NotFoundError
from segmentation_backend.labels import LabelView

IMMUTABLE = "public, max-age=31536000, immutable"
CHUNK = (64, 64, 64)
CORNER = "/zarr/cell/0/c/0/0/0"
PINNED = "/zarr/cell@1/0/c/0/0/0"
BACKGROUND = "/zarr/cell/0/c/0/1/0"


def document(client: FlaskClient, path: str) -> dict[str, Any]:
    answer = client.get(path)
    assert (answer.status_code, answer.mimetype) == (200, "application/json")
    assert answer.headers["Cache-Control"] == "no-cache"
    found: dict[str, Any] = answer.get_json()
    return found


def decoded(data: bytes) -> np.ndarray:
    """Return the ids (z, y, x) of a whole chunk."""
    raw = zstandard.ZstdDecompressor().decompress(data)
    return np.frombuffer(raw, "<u8").reshape(CHUNK)


def padded(labels: np.ndarray, begin: tuple[int, int, int]) -> np.ndarray:
    """Return the chunk that begins at a voxel, with 0 beyond the volume."""
    out = np.zeros(CHUNK, np.uint64)
    part = labels[tuple(slice(b, b + 64) for b in begin)]
    out[tuple(slice(n) for n in part.shape)] = part
    return out


def test_the_group_is_ome_ngff_with_z_y_x_in_nanometers(client: FlaskClient) -> None:
    group = document(client, "/zarr/cell@1/zarr.json")
    assert (group["zarr_format"], group["node_type"]) == (3, "group")
    ome = group["attributes"]["ome"]
    assert ome["version"] == "0.5"
    assert ome["image-label"]["colors"] == [{"label-value": 0, "rgba": [0, 0, 0, 0]}]
    (multiscale,) = ome["multiscales"]
    assert multiscale["name"] == "cell@1"
    assert multiscale["axes"] == [
        {"name": axis, "type": "space", "unit": "nanometer"} for axis in "zyx"
    ]
    assert multiscale["datasets"] == [
        {
            "path": "0",
            "coordinateTransformations": [
                {"type": "scale", "scale": [8.0, 8.0, 8.0]},
                {"type": "translation", "translation": [0.0, 0.0, 0.0]},
            ],
        },
        {
            "path": "1",
            "coordinateTransformations": [
                {"type": "scale", "scale": [16.0, 16.0, 16.0]},
                {"type": "translation", "translation": [4.0, 4.0, 4.0]},
            ],
        },
    ]


def test_the_group_holds_the_documents_of_its_arrays(client: FlaskClient) -> None:
    group = document(client, "/zarr/cell/zarr.json")
    inline = group["consolidated_metadata"]
    assert (inline["kind"], inline["must_understand"]) == ("inline", False)
    assert inline["metadata"] == {
        name: document(client, f"/zarr/cell/{name}/zarr.json") for name in ("0", "1")
    }


def test_an_array_holds_uint64_ids(client: FlaskClient) -> None:
    array = document(client, "/zarr/cell/0/zarr.json")
    assert (array["zarr_format"], array["node_type"]) == (3, "array")
    assert (array["shape"], array["data_type"], array["fill_value"]) == ([*SHAPE], "uint64", 0)
    assert array["chunk_grid"]["configuration"]["chunk_shape"] == [64, 64, 64]
    assert [codec["name"] for codec in array["codecs"]] == ["bytes", "zstd"]
    assert document(client, "/zarr/cell/1/zarr.json")["shape"] == [10, 40, 48]


def test_a_document_that_is_known_is_not_sent_again(client: FlaskClient) -> None:
    for path in ("/zarr/cell/zarr.json", "/zarr/cell@1/0/zarr.json", "/labels/cell/info"):
        tag = client.get(path).headers["ETag"]
        again = client.get(path, headers={"If-None-Match": tag})
        assert (again.status_code, again.data) == (304, b"")


def test_a_chunk_holds_root_ids_and_is_whole_at_the_border(api: Api) -> None:
    labels = api.labels()
    for z, y, x in np.ndindex(1, 2, 2):
        answer = api.client.get(f"/zarr/cell/0/c/{z}/{y}/{x}")
        assert (answer.status_code, answer.mimetype) == (200, "application/octet-stream")
        np.testing.assert_array_equal(
            decoded(answer.data), padded(labels, (64 * z, 64 * y, 64 * x))
        )
    api.post(f"{V}/merge", {"ids": ["1", "2"]})
    merged = decoded(api.client.get(CORNER).data)
    assert (merged[10, 10, 10], merged[10, 10, 50]) == (1, 1)


def test_background_has_bytes_and_a_tag_like_every_chunk(api: Api) -> None:
    for path in (BACKGROUND, "/zarr/cell@0/0/c/0/0/0", "/zarr/cell@0/1/c/0/0/0"):
        answer = api.client.get(path)
        assert answer.status_code == 200
        assert not decoded(answer.data).any()
        assert len(answer.data) < 300
        again = api.client.get(path, headers={"If-None-Match": answer.headers["ETag"]})
        assert again.status_code == 304


def test_a_live_tag_changes_if_and_only_if_the_chunk_does(api: Api) -> None:
    paths = [f"/zarr/cell/{level}/c/0/{y}/{x}" for level, y, x in
             [(0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1), (1, 0, 0)]]  # fmt: skip

    def state() -> list[tuple[str, bytes]]:
        answers = [api.client.get(path) for path in paths]
        assert {a.headers["Cache-Control"] for a in answers} == {"no-cache"}
        return [(a.headers["ETag"], a.data) for a in answers]

    before = state()
    edits = [
        ("merge", {"ids": ["1", "2"]}),
        ("split", {"sources": [[10, 45, 12]], "sinks": [[10, 45, 85]]}),
        ("undo", {}),
        ("undo", {}),
    ]
    changes = []
    for kind, body in edits:
        api.post(f"{V}/{kind}", body)
        after = state()
        for path, (old_tag, old), (new_tag, new) in zip(paths, before, after, strict=True):
            assert (old_tag == new_tag) == (old == new), (kind, path)
            answer = api.client.get(path, headers={"If-None-Match": old_tag})
            assert answer.status_code == (304 if old == new else 200)
        changes.append([old != new for (_, old), (_, new) in zip(before, after, strict=True)])
        before = after
    assert changes[0] == [True, False, False, False, True]
    assert any(changes[1])
    assert not any(change[2] for change in changes)


def test_a_pinned_version_is_kept_for_ever_and_never_changes(api: Api) -> None:
    first = api.client.get(PINNED)
    assert first.headers["Cache-Control"] == IMMUTABLE
    live = api.client.get(CORNER)
    assert (live.data, live.headers["ETag"]) == (first.data, first.headers["ETag"])
    api.post(f"{V}/merge", {"ids": ["1", "2"]})
    again = api.client.get(PINNED)
    assert (again.data, again.headers["ETag"]) == (first.data, first.headers["ETag"])
    assert api.client.get("/zarr/cell@2/0/c/0/0/0").data == api.client.get(CORNER).data
    known = api.client.get(PINNED, headers={"If-None-Match": first.headers["ETag"]})
    assert (known.status_code, known.headers["Cache-Control"]) == (304, IMMUTABLE)


def test_a_branch_moves_on_and_a_tag_stays_and_neither_is_kept_for_ever(api: Api) -> None:
    api.post(f"{V}/tags", {"name": "first.try", "version": 1}, status=201)
    api.post(f"{V}/branches", {"name": "trial", "version": 1}, status=201)
    before = api.client.get(PINNED).data
    api.post(f"{V}/merge", {"ids": ["1", "2"]})
    after = api.client.get(CORNER).data
    assert after != before
    for source, data in (("main", after), ("trial", before), ("first.try", before)):
        answer = api.client.get(f"/zarr/cell@{source}/0/c/0/0/0")
        assert (answer.data, answer.headers["Cache-Control"]) == (data, "no-cache")
        tag = answer.headers["ETag"]
        again = api.client.get(f"/zarr/cell@{source}/0/c/0/0/0", headers={"If-None-Match": tag})
        assert again.status_code == 304
        assert document(api.client, f"/zarr/cell@{source}/0/zarr.json")["shape"] == [*SHAPE]
        level = document(api.client, f"/labels/cell@{source}/info")["scales"][0]["key"]
        chunk = api.client.get(f"/labels/cell@{source}/{level}/0-96_0-80_0-20")
        assert (chunk.status_code, chunk.headers["Cache-Control"]) == (200, "no-cache")


def test_a_tag_made_weak_by_a_proxy_is_known(client: FlaskClient) -> None:
    tag = client.get(CORNER).headers["ETag"]
    for sent in (f"W/{tag}", f'"other", {tag}', "*"):
        assert client.get(CORNER, headers={"If-None-Match": sent}).status_code == 304
    assert client.get(CORNER, headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize("path", [CORNER, PINNED, "/zarr/cell/zarr.json", "/zarr/cell/0/zarr.json"])
def test_head_says_what_get_would_send(client: FlaskClient, path: str) -> None:
    sent, asked = client.get(path), client.head(path)
    assert (asked.status_code, asked.data) == (200, b"")
    for header in ("Content-Length", "Content-Type", "ETag", "Cache-Control"):
        assert asked.headers[header] == sent.headers[header]


def test_part_of_a_chunk_can_be_asked_for(client: FlaskClient) -> None:
    whole = client.get(CORNER)
    assert whole.headers["Accept-Ranges"] == "bytes"
    size = len(whole.data)
    for asked, part in (
        ("bytes=0-9", whole.data[:10]),
        ("bytes=5-", whole.data[5:]),
        ("bytes=-7", whole.data[-7:]),
        (f"bytes=3-{size + 99}", whole.data[3:]),
    ):
        answer = client.get(CORNER, headers={"Range": asked})
        assert (answer.status_code, answer.data) == (206, part)
        assert answer.headers["Content-Range"].endswith(f"/{size}")
        assert answer.headers["ETag"] == whole.headers["ETag"]
    tag = whole.headers["ETag"]
    known = client.get(CORNER, headers={"Range": "bytes=0-9", "If-None-Match": tag})
    assert known.status_code == 304
    other = client.get(CORNER, headers={"Range": "bytes=0-9", "If-Range": '"other"'})
    assert (other.status_code, other.data) == (200, whole.data)
    beyond = client.get(CORNER, headers={"Range": f"bytes={size}-"})
    expect_error(beyond, 416, "invalid-parameter")


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
@pytest.mark.parametrize("path", [CORNER, PINNED, "/zarr/cell/zarr.json"])
def test_nothing_can_be_written(client: FlaskClient, path: str, method: str) -> None:
    answer = getattr(client, method)(path, data=b"zeros")
    expect_error(answer, 405, "method-not-allowed")


@pytest.mark.parametrize(
    "key",
    [
        "0/c/1/0/0",
        "0/c/0/2/0",
        "0/c/0/0/2",
        "0/c/-1/0/0",
        "0/c/0/0/00",
        "0/c/0/0/+0",
        "0/c/0/0/0.0",
        "0/c/0/0/ 0",
        "0/c/0/0/%D9%A0",
        "0/c/0/0/99999999999999999999",
        "0/c/0/0/1e0",
        "0/c/0/0",
        "0/c/0/0/0/0",
        "0/c/0.0.0",
        "0/0/0/0",
        "2/c/0/0/0",
        "00/c/0/0/0",
        "-1/c/0/0/0",
        "%D9%A0/c/0/0/0",
        "99999999999999999999/zarr.json",
        "2/zarr.json",
        "labels/zarr.json",
        ".zattrs",
        ".zgroup",
        "0/.zarray",
        "0",
        "",
        "0/c/0/0/..%2f..%2f..%2fetc%2fpasswd",
        "..%2f..%2fetc/passwd",
        "0/c/../../../../etc/passwd",
        "%00/zarr.json",
        "0/c/0/0/%00",
    ],
)
@pytest.mark.parametrize("source", ["cell", "cell@1"])
def test_a_key_that_is_not_in_the_group_does_not_exist(
    client: FlaskClient, source: str, key: str
) -> None:
    expect_error(client.get(f"/zarr/{source}/{key}"), 404, "route-not-found")


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("other", "volume-not-found"),
        ("other@1", "volume-not-found"),
        ("other@name", "volume-not-found"),
        ("..", "volume-not-found"),
        ("%2e%2e@1", "volume-not-found"),
        ("cell@9", "version-not-found"),
        ("cell@99999999999999999999", "version-not-found"),
        ("cell@-1", "version-not-found"),
        ("cell@01", "version-not-found"),
        ("cell@%D9%A1", "version-not-found"),
        ("cell@", "version-not-found"),
        ("cell@1@1", "version-not-found"),
        ("cell@no-such-name", "version-not-found"),
        ("cell@..", "version-not-found"),
    ],
)
def test_unknown_volumes_and_versions_do_not_exist(
    client: FlaskClient, source: str, kind: str
) -> None:
    for key in ("zarr.json", "0/zarr.json", "0/c/0/0/0"):
        expect_error(client.get(f"/zarr/{source}/{key}"), 404, kind)
    expect_error(client.get(f"/labels/{source}/info"), 404, kind)


@pytest.mark.parametrize("damage", ["missing", "torn", "altered"])
def test_a_chunk_that_cannot_be_read_is_never_shown_as_empty(config: Config, damage: str) -> None:
    (pack,) = (config.data_dir / "packs" / "cell").rglob("*.pack")
    break_pack(pack, damage)
    client = create_app(config).test_client()
    kind = "source-unavailable" if damage == "missing" else "corrupt-chunk"
    level = client.get("/labels/cell/info").get_json()["scales"][0]["key"]
    name = "0-96_0-80_0-20"
    for path in (CORNER, PINNED, f"/labels/cell/{level}/{name}", f"/labels/cell@1/{level}/{name}"):
        answer = client.get(path)
        expect_error(answer, 503, kind)
        assert answer.headers["Cache-Control"] == "no-store"
        assert "ETag" not in answer.headers
        assert client.head(path).status_code == 503
    # Before anything was painted there is nothing to read.
    assert client.get("/zarr/cell@0/0/c/0/0/0").status_code == 200


def test_a_base_that_was_moved_away_is_waited_for(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def moved(*_: object) -> None:
        raise NotFoundError("There is nothing at /data/base.zarr.", ErrorKind.PATH_NOT_FOUND)

    for step in ("read", "etag"):
        monkeypatch.setattr(LabelView, step, moved)
        for path in ("/zarr/cell/1/c/0/0/0", "/zarr/cell@1/1/c/0/0/0"):
            expect_error(client.get(path), 503, "source-unavailable")


def break_pack(pack: Path, damage: str) -> None:
    content = bytearray(pack.read_bytes())
    if damage == "missing":
        pack.unlink()
    elif damage == "torn":
        pack.write_bytes(content[:20])
    else:
        content[60] ^= 1
        pack.write_bytes(content)
