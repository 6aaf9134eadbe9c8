"""What the viewer draws: image, labels and previews as chunks, and how browsers keep them."""

import shutil
from pathlib import Path
from typing import Any

import compressed_segmentation
import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient
from web_client import SHAPE, Api, V, expect_error

from app import create_app
from app.config import Config
from app.services import Services
from segmentation_backend.errors import ErrorKind, ResourceError
from segmentation_backend.geometry import Roi
from segmentation_backend.labels import LabelRepository, LabelView
from segmentation_backend.sources.volume import Volume
from segmentation_backend.workspace.encoding import LabelChunks

IMMUTABLE = "public, max-age=31536000, immutable"
CORNER = "0-96_0-80_0-20"
"""x, y, z of the one label chunk of the 20 x 80 x 96 volume."""
IMAGE_CORNER = "0-64_0-64_0-20"


def scale(client: FlaskClient, source: str, level: int = 0) -> dict[str, Any]:
    answer = client.get(f"{source}/info")
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-cache"
    found: dict[str, Any] = answer.get_json()["scales"][level]
    return found


def address(client: FlaskClient, source: str, chunk: str = CORNER, level: int = 0) -> str:
    return f"{source}/{scale(client, source, level)['key']}/{chunk}"


def decoded(data: bytes, shape: tuple[int, int, int]) -> np.ndarray:
    """Return ids (z, y, x) from Neuroglancer's form, whose axes are x, y, z, channel."""
    assert data[:4] == b"\x01\x00\x00\x00", data[:200]  # one channel: else it crashes the decoder
    ids = compressed_segmentation.decompress(
        data, (*shape[::-1], 1), dtype=np.uint64, block_size=(8, 8, 8), order="F"
    )
    return np.asarray(ids)[..., 0].T


def test_the_image_is_described_in_x_y_z(client: FlaskClient) -> None:
    document = client.get("/image/cell/info").get_json()
    assert document["@type"] == "neuroglancer_multiscale_volume"
    assert (document["type"], document["data_type"], document["num_channels"]) == (
        "image",
        "uint8",
        1,
    )
    finest = document["scales"][0]
    assert finest["size"] == [96, 80, 20]
    assert finest["resolution"] == [8.0, 8.0, 8.0]
    assert finest["encoding"] == "raw"
    assert [s["size"] for s in document["scales"]][1] == [48, 40, 10]


def test_an_image_chunk_is_the_voxels_and_is_kept_for_ever(
    client: FlaskClient, original: Path
) -> None:
    with np.load(original.parent / "cell.npz") as file:
        image = file["em"]
    answer = client.get(address(client, "/image/cell", "64-96_64-80_0-20"))
    assert answer.headers["Cache-Control"] == IMMUTABLE
    assert "Content-Encoding" not in answer.headers
    voxels = np.frombuffer(answer.data, np.uint8).reshape(20, 16, 32)
    np.testing.assert_array_equal(voxels, image[:, 64:, 64:])
    coarse = client.get(address(client, "/image/cell", "0-48_0-40_0-10", level=1))
    assert len(coarse.data) == 48 * 40 * 10


def test_the_labels_are_described_as_compressed_segmentation(client: FlaskClient) -> None:
    document = client.get("/labels/cell/info").get_json()
    assert (document["type"], document["data_type"]) == ("segmentation", "uint64")
    assert document["scales"][0]["encoding"] == "compressed_segmentation"
    assert document["scales"][0]["compressed_segmentation_block_size"] == [8, 8, 8]


def test_a_label_chunk_holds_root_ids(api: Api) -> None:
    live = address(api.client, "/labels/cell")
    np.testing.assert_array_equal(decoded(api.client.get(live).data, (20, 80, 96)), api.labels())
    api.post(f"{V}/merge", {"ids": ["1", "2"]})
    merged = decoded(api.client.get(live).data, (20, 80, 96))
    assert (merged[10, 10, 10], merged[10, 10, 50]) == (1, 1)
    np.testing.assert_array_equal(merged, api.labels())


def test_pages_are_told_which_chunks_hold_nothing(api: Api) -> None:
    """Beside each empty chunk itself, and of all of them at once."""

    def occupied(source: str) -> Any:
        stem = address(api.client, source).rsplit("/", 2)[0]
        answer = api.client.get(f"{stem}/occupied")
        assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store")
        return answer.get_json()

    everywhere = {"version": 1, "levels": [["0_0_0"]] * len(occupied("/labels/cell")["levels"])}
    assert occupied("/labels/cell") == everywhere
    nowhere = [[] for _ in everywhere["levels"]]
    assert occupied("/labels/cell@0") == {"version": 0, "levels": nowhere}
    api.post(f"{V}/revert", {"version": 0})
    assert occupied("/labels/cell")["version"] == 2
    for source, is_empty in (("cell", True), ("cell@0", True), ("cell@1", False)):
        chunk = api.client.get(address(api.client, f"/labels/{source}"))
        assert ("Mitoglance-Empty" in chunk.headers) is is_empty
        assert decoded(chunk.data, (20, 80, 96)).any() != is_empty
    expect_error(api.client.get("/labels/cell@7/nowhere/occupied"), 404, "route-not-found")


def test_a_live_chunk_is_asked_for_again_and_mostly_unchanged(api: Api) -> None:
    live = address(api.client, "/labels/cell")
    first = api.client.get(live)
    assert first.headers["Cache-Control"] == "no-cache"
    headers = {"If-None-Match": first.headers["ETag"]}
    unchanged = api.client.get(live, headers=headers)
    assert (unchanged.status_code, unchanged.data) == (304, b"")
    assert unchanged.headers["ETag"] == first.headers["ETag"]
    api.post(f"{V}/merge", {"ids": ["1", "2"]})
    assert api.client.get(live, headers=headers).status_code == 200
    api.post(f"{V}/undo", {})
    assert api.client.get(live).data == first.data


def test_a_pinned_version_is_kept_for_ever_and_never_changes(api: Api) -> None:
    pinned = address(api.client, "/labels/cell@1")
    first = api.client.get(pinned)
    assert first.headers["Cache-Control"] == IMMUTABLE
    api.post(f"{V}/merge", {"ids": ["1", "2"]})
    assert api.client.get(pinned).data == first.data
    now = api.client.get(address(api.client, "/labels/cell@2")).data
    assert now != first.data
    empty = api.client.get(address(api.client, "/labels/cell@0"))
    assert not decoded(empty.data, (20, 80, 96)).any()


def test_viewers_of_the_same_labels_share_the_work(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[int] = []
    read = LabelView.read

    def counting(view: LabelView, roi: Roi, level: int = 0) -> Any:
        reads.append(view.version)
        return read(view, roi, level)

    monkeypatch.setattr(LabelView, "read", counting)
    live, pinned = address(api.client, "/labels/cell"), address(api.client, "/labels/cell@1")
    first = api.client.get(live)
    for path in (live, pinned, live):
        assert api.client.get(path).data == first.data
    assert reads == [1]
    api.post(f"{V}/merge", {"ids": ["1", "2"]})
    api.client.get(live)
    api.post(f"{V}/undo", {})
    # What was undone has the content, and so the tag, of the version before it.
    assert api.client.get(live).data == first.data
    assert reads == [1, 2]


def test_a_pinned_chunk_asked_for_again_costs_no_look_at_the_database(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = address(client, "/labels/cell@1")
    first = client.get(pinned)

    def fail(*_: object) -> None:
        raise AssertionError("the database was asked")

    monkeypatch.setattr(LabelRepository, "head", property(fail))
    monkeypatch.setattr(LabelRepository, "at", fail)
    assert client.get(pinned).data == first.data
    headers = {"If-None-Match": first.headers["ETag"]}
    assert client.get(pinned, headers=headers).status_code == 304


def test_the_bytes_are_those_of_the_tag_whatever_happens_between(api: Api, parts: Services) -> None:
    roi = Roi((0, 0, 0), SHAPE)
    before = parts.workspace.label_chunk("cell", None, 0, roi)
    labels = api.labels()
    api.post(f"{V}/merge", {"ids": ["1", "2"]})
    np.testing.assert_array_equal(decoded(before.data(), SHAPE), labels)
    after = parts.workspace.label_chunk("cell", None, 0, roi)
    assert after.etag != before.etag
    np.testing.assert_array_equal(decoded(after.data(), SHAPE), api.labels())


def test_what_is_remembered_of_chunks_is_bounded(parts: Services) -> None:
    workspace = parts.workspace
    repository = LabelRepository(
        workspace.engine,
        workspace.data_dir / "packs" / "cell",
        "cell",
        workspace.volume("cell").label_levels,
    )
    places = [Roi((0, y, x), (20, 16, 16)) for y in range(0, 80, 16) for x in range(0, 96, 16)]
    expected = [repository.at().read(place) for place in places]
    chunks = LabelChunks(capacity_bytes=2000)
    for _ in range(2):
        for place, labels in zip(places, expected, strict=True):
            data = chunks.chunk(repository, None, 0, place).data()
            np.testing.assert_array_equal(decoded(data, place.shape), labels)
    assert chunks.kept_bytes <= 2000


def test_a_preview_shows_the_parts_where_the_object_is(api: Api) -> None:
    sides = {"sources": [[10, 45, 12]], "sinks": [[10, 45, 85]]}
    preview = api.post(f"{V}/split/preview", sides)["preview"]
    source = f"/previews/{preview['id']}"
    described = scale(api.client, source)
    offset, shape = preview["roi"]["offset"], preview["roi"]["shape"]
    assert described["voxel_offset"] == offset[::-1]
    assert described["size"] == shape[::-1]
    ranges = [f"{o}-{o + min(64, s)}" for o, s in zip(offset[::-1], shape[::-1], strict=True)]
    answer = api.client.get(address(api.client, source, "_".join(ranges)))
    assert answer.status_code == 200
    part = decoded(answer.data, (shape[0], shape[1], min(64, shape[2])))
    assert part[10 - offset[0], 45 - offset[1], 12 - offset[2]] == 1
    expect_error(api.client.get("/previews/nothing/info"), 404, "object-not-found")
    expect_error(api.client.get(f"/previews/{'0' * 32}/info"), 404, "object-not-found")


@pytest.mark.parametrize(
    "chunk",
    [
        "0-96_0-80_20-40",
        "96-160_0-64_0-20",
        "0-64_0-64_64-128",
        "0-64_0-64_0-64",
        "1-65_0-64_0-20",
        "0-32_0-64_0-20",
        "0-64_0-64",
        "x",
        "-64-0_0-64_0-20",
        "0-64_0-64_0-20_0-1",
        "0-64_0-64_0-99999999999999999999",
        "00-96_0-80_0-20",
        "٠-96_0-80_0-20",
    ],
)
@pytest.mark.parametrize("source", ["/image/cell", "/labels/cell", "/labels/cell@1"])
def test_a_chunk_outside_or_off_the_grid_does_not_exist(
    client: FlaskClient, source: str, chunk: str
) -> None:
    expect_error(client.get(address(client, source, chunk)), 404, "route-not-found")


def test_unknown_volumes_versions_and_levels_do_not_exist(client: FlaskClient) -> None:
    for path, kind in (
        ("/image/other/info", "volume-not-found"),
        ("/labels/other/info", "volume-not-found"),
        ("/labels/other@1/info", "volume-not-found"),
        ("/labels/cell@9/info", "version-not-found"),
        ("/labels/cell@-1/info", "version-not-found"),
        ("/labels/cell@x/info", "version-not-found"),
        ("/labels/cell@x.y/info", "version-not-found"),
        ("/labels/cell@/info", "version-not-found"),
        (address(client, "/labels/cell").replace("/0/", "/9/"), "route-not-found"),
        (address(client, "/image/cell").replace("/0/", "/9/"), "route-not-found"),
        (address(client, "/labels/cell").replace("cell", "cell@9"), "version-not-found"),
    ):
        expect_error(client.get(path), 404, kind)


def test_another_data_directory_has_other_addresses(
    client: FlaskClient, tmp_path: Path, parts: Services
) -> None:
    other = create_app(Config(data_dir=tmp_path / "other"))
    assert other.extensions["mitoglance"].instance != parts.instance
    foreign = address(client, "/image/cell").replace(parts.instance, "00000000")
    expect_error(client.get(foreign), 404, "route-not-found")


def test_a_chunk_that_cannot_be_read_is_never_shown_as_empty(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ResourceError("The network is away.", ErrorKind.SOURCE_UNAVAILABLE)

    wanted = address(client, "/image/cell", IMAGE_CORNER)
    monkeypatch.setattr(Volume, "begin_read", fail)
    expect_error(client.get(wanted), 503, "source-unavailable")


def test_a_volume_whose_image_was_moved_away_keeps_its_labels(
    config: Config, tmp_path: Path
) -> None:
    source = tmp_path / "moved.zarr"
    first = create_app(config).test_client()
    shutil.copytree(next((config.data_dir / "images").glob("*.zarr")), source)
    body = {"name": "moved", "image": str(source)}
    assert first.post("/api/v1/volumes", json=body).status_code == 201
    wanted = address(first, "/image/moved", IMAGE_CORNER)
    shutil.rmtree(source)
    later = create_app(config).test_client()
    for path in ("/", "/api/v1/volumes", "/metrics", "/d/moved", "/labels/moved/info"):
        assert later.get(path).status_code < 400
    expect_error(later.get(wanted), 503, "source-unavailable")


def test_two_applications_on_one_data_directory_agree(app: Flask, config: Config) -> None:
    one, two = Api(app.test_client()), Api(create_app(config).test_client())
    live = address(two.client, "/labels/cell")
    before = two.client.get(live)
    one.post(f"{V}/merge", {"ids": ["1", "2"]})
    assert two.get(V)["version"] == 2
    assert two.labels()[10, 10, 50] == 1
    after = two.client.get(live, headers={"If-None-Match": before.headers["ETag"]})
    assert after.status_code == 200
    assert decoded(after.data, (20, 80, 96))[10, 10, 50] == 1
    two.post(f"{V}/undo", {})
    assert one.labels()[10, 10, 50] == 2
    token = one.new_session()
    assert two.get(f"/api/v1/sessions/{token}")["session"]["volume"] == "cell"
    body = {"ids": ["1", "3"], "request_id": "once"}
    assert one.post(f"{V}/merge", body) == two.post(f"{V}/merge", body)
    assert one.labels().shape == SHAPE
