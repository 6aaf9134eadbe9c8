"""Images and labels that pages read themselves: described so that they lie where we read them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from landmarks import BOX, LABELS, LANDMARKS, SHAPE, SIZE, box_id
from static_web import StaticWeb, static_web

from segmentation_backend.geometry import Roi, ScaleLevel
from segmentation_backend.labels import LabelBase, describe_base
from segmentation_backend.sources.direct import (
    DirectLayer,
    KeyPlace,
    describe_direct,
    direct_layer,
    public_place,
)
from segmentation_backend.sources.direct_formats import LayerKind, NotDirectError
from segmentation_backend.sources.discovery import LevelSource
from segmentation_backend.sources.labels import open_labels
from segmentation_backend.sources.metadata import LevelPath
from segmentation_backend.sources.openness import check_openness
from segmentation_backend.sources.pyramids import StoredLevel
from segmentation_backend.sources.specs import CloudSettings, locate
from segmentation_backend.sources.volume import Volume, open_volume
from segmentation_backend.workspace.bases import BaseRecord, adopt_base, direct_base, open_base
from segmentation_backend.workspace.published import read_beside

PAGE = "http://em.example.org:8080"


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StaticWeb]:
    root = tmp_path_factory.mktemp("web")
    for name in LANDMARKS:
        LANDMARKS[name].write(root / name)
    for name, (_, _, write) in LABELS.items():
        write(root / name)
    with static_web(root) as double:
        yield double


def landmark(web: StaticWeb, name: str) -> DirectLayer | str:
    path = name if name != "ome-zipped" else "ome-zipped.zip"
    return direct_image(open_volume(f"{web.address}/{path}"))


def direct_image(volume: Volume) -> DirectLayer | str:
    return direct_layer(volume.levels, volume.stored, LayerKind.IMAGE)


READ_BY_PAGES = {
    "ome04": "zarr2",
    "ome05-shards": "zarr3",
    "ome-um-x-first": "zarr2",
    "ome-no-translation": "zarr2",
    "daisy": "zarr2",
    "n5-cosem": "n5",
    "n5-viewer": "n5",
    "n5-bigdataviewer": "n5",
    "n5-paintera": "n5",
    "precomputed": "precomputed",
    "precomputed-shards": "precomputed",
}


@pytest.mark.parametrize("name", READ_BY_PAGES)
def test_the_description_and_the_stored_chunks_are_the_image_as_we_read_it(
    web: StaticWeb, tmp_path: Path, name: str
) -> None:
    """Whatever the dialect: the first corner at 0 in every level, nm, our voxels."""
    image = landmark(web, name)
    assert isinstance(image, DirectLayer)
    assert image.format == READ_BY_PAGES[name]
    assert {level.is_sharded for level in image.levels} == {name.endswith("shards")}
    write_described(web, image, tmp_path)
    ours, described = open_volume(str(web.root / name)), open_volume(str(tmp_path))
    assert described.stored_levels == ours.stored_levels
    assert described.levels == ours.levels
    assert (0.0, 0.0, 0.0) in [tuple(np.round(corner, 9)) for corner in described.corners]
    for level_ in range(ours.stored_levels):
        bounds = ours.level_bounds(level_)
        np.testing.assert_array_equal(described.read(bounds, level_), ours.read(bounds, level_))


def beside(web: StaticWeb, name: str, caches: Path, **more: Any) -> LabelBase:
    """Return labels as they are shown beside the landmark's image."""
    image, cloud = open_volume(f"{web.address}/ome04"), CloudSettings()
    record = adopt_base(f"{web.address}/{name}", image, cloud, **more)
    return open_base(record, cloud, caches)


@pytest.mark.parametrize("name", LABELS)
def test_labels_that_pages_read_are_those_that_the_server_sends(
    web: StaticWeb, tmp_path: Path, name: str
) -> None:
    """Level by level: the same ids, at the same nanometres from the image's first corner."""
    base = beside(web, name, tmp_path / "caches")
    layer = direct_base(base)
    assert isinstance(layer, DirectLayer)
    assert layer.format == {"mito-zarr2": "zarr2", "mito-zarr3": "zarr3"}.get(name, name[5:])
    kinds = [document.get("type") for document in layer.documents.values()]
    assert kinds == (["segmentation"] if layer.format == "precomputed" else [None] * len(kinds))
    write_described(web, layer, tmp_path / "direct")
    described = open_labels(str(tmp_path / "direct"))
    assert described.levels == base.levels
    assert (0.0, 0.0, 0.0) in [tuple(np.round(corner, 9)) for corner in described.corners]
    for level in base.levels:
        whole = Roi((0, 0, 0), level.shape)
        ids = described.read(whole, level.level)
        np.testing.assert_array_equal(ids, read_beside(base, whole, level.level))
        inside = np.zeros_like(ids)
        inside[tuple(slice(a >> level.level, b >> level.level) for a, b in BOX)] = 1
        np.testing.assert_array_equal(ids, inside * box_id(LABELS[name][1]))


def test_labels_that_a_page_would_show_elsewhere_come_from_the_server(
    web: StaticWeb, tmp_path: Path
) -> None:
    turned = beside(web, "mito-n5", tmp_path, flipped=("y",))
    assert direct_base(turned) == "it is stored in reverse along an axis"
    url, offset = f"{web.address}/mito-zarr2", (2, 4, 4)
    record = BaseRecord(url, describe_base(open_labels(url).placed(offset)), offset)
    placed = open_base(record, CloudSettings(), tmp_path)
    assert direct_base(placed) == "it begins elsewhere than the image"
    near = open_labels(str(web.root / "mito-zarr3"))
    kept = direct_layer(near.levels, near.stored, LayerKind.LABELS)
    assert kept == "it is on the server's own disk"


def test_labels_with_a_gap_between_their_levels_are_read_up_to_it(
    web: StaticWeb, tmp_path: Path
) -> None:
    """Level 1 is computed here; level 2 directly would be the fourth part of what is needed."""
    folder = LABELS["mito-zarr2"][2](web.root / "gap")
    attributes = json.loads((folder / ".zattrs").read_text())
    del attributes["multiscales"][0]["datasets"][1]
    (folder / ".zattrs").write_text(json.dumps(attributes))
    base = beside(web, "gap", tmp_path)
    assert [planned.stored for planned in base.plan] == [0, None, 1]
    layer = direct_base(base)
    assert isinstance(layer, DirectLayer)
    assert [level.place.prefix[-3:] for level in layer.levels] == ["s0/"]


def test_large_labels_without_coarse_levels_come_from_the_server(tmp_path: Path) -> None:
    with static_web(tmp_path) as web:
        size = {"resolution": [8, 8, 8], "units": ["nm"] * 3, "offset": [0, 0, 0]}
        found, chunks = {}, {"few": (16, 64, 130), "many": (8, 8, 8)}
        for name, chunk in chunks.items():
            array = zarr.create_array(
                tmp_path / name, shape=(64, 64, 130), chunks=chunk, dtype="u1", zarr_format=2,
                attributes=size,
            )  # fmt: skip
            array[8:16, 8:16, 8:16] = 7
            image = open_volume(f"{web.address}/{name}")
            record = adopt_base(f"{web.address}/{name}", image, CloudSettings())
            found[name] = direct_base(open_base(record, CloudSettings(), tmp_path / "caches"))
    assert isinstance(found["few"], DirectLayer)
    assert len(found["few"].levels) == 1
    assert found["many"] == "its coarser levels are computed here"


def write_described(web: StaticWeb, layer: DirectLayer, target: Path) -> None:
    """Write what a page sees: our description, and the chunks as they are stored."""
    for path, document in layer.documents.items():
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (target / path).write_text(json.dumps(document))
    for number, level in enumerate(layer.levels):
        folder = web.root / level.place.prefix.removeprefix(f"{web.address}/")
        assert (web.root / level.mark.removeprefix(f"{web.address}/")).is_file()
        copy_chunks(folder, target / f"{'s' if layer.format == 'n5' else ''}{number}", level)


def copy_chunks(source: Path, target: Path, level: Any) -> None:
    for file in (f for f in source.rglob("*") if f.is_file() and "json" not in f.name):
        key = file.relative_to(source).as_posix()
        if named := re.fullmatch(r"(\d+)-(\d+)_(\d+)-(\d+)_(\d+)-(\d+)", key):
            x, y, z = level.offset
            a, b, c, d, e, f = (
                int(end) - by for end, by in zip(named.groups(), (x, x, y, y, z, z), strict=True)
            )
            key = f"{a}-{b}_{c}-{d}_{e}-{f}"
        if not key.startswith(".z"):
            (target / key).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target / key)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("ome-flipped", "it is stored in reverse along an axis"),
        ("n5-flipped", "it is stored in reverse along an axis"),
        ("ome-zipped", "it is in a zip file"),
    ],
)
def test_what_a_viewer_would_show_elsewhere_comes_from_the_server(
    web: StaticWeb, name: str, reason: str
) -> None:
    assert landmark(web, name) == reason


@pytest.mark.parametrize("name", ["tiff", "npy", "ome04"])
def test_what_is_on_the_servers_disk_comes_from_the_server(web: StaticWeb, name: str) -> None:
    path = next(web.root.glob(f"{name}*"))
    reason = direct_image(open_volume(str(path), voxel_size=SIZE))
    assert reason in ("it is a file that browsers cannot read", "it is on the server's own disk")


def test_a_turned_or_cut_image_comes_from_the_server(web: StaticWeb) -> None:
    url = f"{web.address}/n5-cosem"
    assert direct_image(open_volume(url, flipped=("y",))) == "it is stored in reverse along an axis"
    volume = open_volume(url)
    levels = list(volume.levels)
    levels[1] = replace(levels[1], shape=(12, 24, 31))
    assert direct_image(replace(volume, levels=tuple(levels))) == "a part of a level is left out"


AWS, KEYS = CloudSettings(), CloudSettings("http://minio:9000/", "key", "secret", "eu-west-1")


@pytest.mark.parametrize(
    ("url", "cloud", "address"),
    [
        ("s3://bucket/a b/em", AWS, "https://bucket.s3.amazonaws.com/a%20b/em/0/1/2"),
        ("s3://my.bucket/em", AWS, "https://s3.us-east-1.amazonaws.com/my.bucket/em/0/1/2"),
        ("s3://bucket/em", KEYS, "http://minio:9000/bucket/em/0/1/2"),
        ("s3+https://host/bucket/em", AWS, "https://host/bucket/em/0/1/2"),
        ("https://host:81/a%20b/em/", AWS, "https://host:81/a%20b/em/0/1/2"),
        (
            "gs://bucket/a/em",
            AWS,
            "https://storage.googleapis.com/storage/v1/b/bucket/o/a%2Fem%2F0%2F1%2F2?alt=media",
        ),
    ],
)
def test_where_anybody_finds_a_key(url: str, cloud: CloudSettings, address: str) -> None:
    place = public_place(locate(url, cloud))
    assert place.address("0/1/2") == address
    assert place.below("0").address("1/2") == address
    assert "secret" not in repr(place)


@pytest.mark.parametrize("url", ["https://host/em?token=1", "https://user:word@host/em"])
def test_an_address_with_a_key_in_it_is_not_given_to_pages(url: str) -> None:
    with pytest.raises(NotDirectError, match="not for everybody"):
        public_place(locate(url))


ZARRAY = {
    "zarr_format": 2, "shape": [64, 64, 64], "chunks": [32, 32, 32], "dtype": "|u1", "order": "C",
    "compressor": None, "fill_value": 0, "filters": None,
}  # fmt: skip


def described(
    change: Mapping[str, Any], levels: int = 1, kind: LayerKind = LayerKind.IMAGE
) -> DirectLayer:
    source = LevelSource(locate("https://host/em"), "zarr", LevelPath("s0", None, None), {})
    shape = tuple(reversed((change.get("shape") or ZARRAY["shape"])[::-1]))
    pyramid = [ScaleLevel(n, (8.0, 8.0, 8.0), shape) for n in range(levels)]
    return describe_direct(
        pyramid, [StoredLevel(source, False)], [{".zarray": {**ZARRAY, **change}}], kind
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"dtype": "<f8"}, "type"),
        ({"dtype": "<u8"}, "type"),
        ({"dtype": ">u2", "fill_value": "x"}, "fill value"),
        ({"fill_value": 0.5}, "fill value"),
        ({"filters": [{"id": "delta"}]}, "filters"),
        ({"compressor": {"id": "lzma"}}, "compression"),
        ({"compressor": {"id": "blosc", "cname": "snappy"}}, "compression"),
        ({"chunks": [64, 4096, 4096], "shape": [64, 8192, 8192]}, "too large"),
        ({"chunks": "all"}, "unusual"),
        ({"shape": [1, 64, 64, 64]}, "more axes"),
    ],
)
def test_what_viewers_do_not_decode_comes_from_the_server(
    change: dict[str, Any], reason: str
) -> None:
    with pytest.raises(NotDirectError, match=reason):
        described(change)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"dtype": "<i8"}, "type <i8 as ids"),
        ({"dtype": "|i1"}, "type |i1 as ids"),
        ({"dtype": "<f4"}, "type <f4 as ids"),
        ({"dtype": "<u8", "fill_value": 3}, "not background"),
        ({"dtype": "<u8", "chunks": [64, 256, 256], "shape": [64, 512, 512]}, "too large"),
    ],
)
def test_what_may_be_no_id_to_a_viewer_comes_from_the_server(
    change: dict[str, Any], reason: str
) -> None:
    assert described({"dtype": ">u8", "fill_value": None}, kind=LayerKind.LABELS).format == "zarr2"
    with pytest.raises(NotDirectError, match=re.escape(reason)):
        described(change, kind=LayerKind.LABELS)


def test_pictures_of_labels_come_from_the_server(web: StaticWeb) -> None:
    stored = open_labels(f"{web.address}/mito-precomputed").stored[:1]
    info = json.loads((web.root / "mito-precomputed/info").read_text())
    info["scales"][0]["encoding"] = "jpeg"
    levels = [ScaleLevel(0, SIZE, SHAPE)]
    assert describe_direct(levels, stored, [{"info": info}], LayerKind.IMAGE).axes
    with pytest.raises(NotDirectError, match="compression"):
        describe_direct(levels, stored, [{"info": info}], LayerKind.LABELS)


def test_a_large_image_without_coarse_levels_comes_from_the_server() -> None:
    assert described({}, levels=2).format == "zarr2"
    with pytest.raises(NotDirectError, match="coarser levels"):
        described({"shape": [512, 512, 512]}, levels=2)


@given(
    st.tuples(*[st.floats(0.01, 1e5)] * 3),
    st.lists(st.integers(1, 4), min_size=1, max_size=4),
)
def test_every_level_of_a_description_begins_at_zero(
    size: tuple[float, float, float], steps: list[int]
) -> None:
    """By the viewer's rule for OME-Zarr: a translation less half a voxel is a corner."""
    source = LevelSource(locate("https://host/em"), "zarr", LevelPath("s0", None, None), {})
    stored = [StoredLevel(source, False) for _ in steps]
    levels = [
        ScaleLevel(n, (size[0] * step, size[1], size[2] * step), (64, 64, 64))
        for n, step in enumerate(steps)
    ]
    documents = [{".zarray": ZARRAY}] * len(steps)
    image = describe_direct(levels, stored, documents, LayerKind.IMAGE)
    (multiscale,) = image.documents[".zattrs"]["multiscales"]
    for level, dataset in zip(levels, multiscale["datasets"], strict=True):
        scale, translation = dataset["coordinateTransformations"]
        assert tuple(scale["scale"]) == level.voxel_size
        corner = np.subtract(translation["translation"], np.multiply(scale["scale"], 0.5))
        assert not corner.any()


@pytest.fixture
def opened(web: StaticWeb) -> Iterator[DirectLayer]:
    image = landmark(web, "ome05-shards")
    assert isinstance(image, DirectLayer)
    yield image
    web.allow, web.missing, web.fault = "*", 404, None


def test_a_place_is_open_where_anybody_and_every_page_may_read(
    web: StaticWeb, opened: DirectLayer
) -> None:
    found = check_openness(opened, PAGE)
    assert (found.reason, found.missing) == (None, 404)
    web.allow, web.missing = PAGE, 403
    assert check_openness(opened, PAGE).missing == 403


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"allow": None}, "CORS"),
        ({"allow": "http://other.org"}, "CORS"),
        ({"fault": 403}, "answers 403 without a key"),
        ({"fault": 307}, "answers 307"),
        ({"fault": "drop"}, "does not answer"),
        ({"missing": 200}, "unusual"),
    ],
)
def test_a_place_that_is_not_open_is_said_to_be_closed(
    web: StaticWeb, opened: DirectLayer, change: dict[str, Any], reason: str
) -> None:
    for name, value in change.items():
        setattr(web, name, value)
    assert reason in str(check_openness(opened, PAGE).reason)


def test_an_encrypted_page_does_not_read_what_is_not(opened: DirectLayer) -> None:
    assert "encrypted" in str(check_openness(opened, "https://em.example.org").reason)


def test_the_image_of_a_pyramid_with_a_fill_value_keeps_it(web: StaticWeb) -> None:
    zarr.create_array(
        web.root / "filled", shape=(8, 8, 8), chunks=(4, 4, 4), dtype=">i2", fill_value=-7,
        zarr_format=2,
    )  # fmt: skip
    image = direct_image(open_volume(f"{web.address}/filled"))
    assert isinstance(image, DirectLayer)
    assert image.documents["0/.zarray"]["fill_value"] == -7
    assert image.levels[0].place == KeyPlace(f"{web.address}/filled/")
