"""Labels of every format and place, edited where they are; the truth is written by others."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore as ts
import zarr
from s3_faults import BUSY, LOST_ANSWER, Fault, FaultProxy

from segmentation_backend.errors import ErrorKind, FormatError, ResourceError, SegmentationError
from segmentation_backend.geometry import Coordinate, Roi
from segmentation_backend.labels.kernels import mode_pool
from segmentation_backend.sources import stores
from segmentation_backend.sources.specs import CloudSettings
from segmentation_backend.workspace import EditContext, Workspace

SHAPE = (70, 130, 150)
CHUNK = (32, 64, 64)
BAR, LEFT, RIGHT, FAR = 3, 8, 9, 2**31 + 5
IN_BAR, IN_LEFT, IN_RIGHT, IN_FAR = (5, 10, 10), (30, 30, 30), (30, 30, 80), (60, 120, 140)
ANA = EditContext("ana")


def truth() -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint32)
    labels[2:12, 5:20, 3:148] = BAR
    labels[20:50, 20:60, 10:70] = LEFT
    labels[20:50, 20:60, 70:100] = RIGHT
    labels[55:68, 110:128, 130:149] = FAR
    return labels


def coarse() -> np.ndarray:
    return mode_pool(truth().astype(np.uint64), 2, 2, 2).astype(np.uint32)


def ngff(version: str) -> dict[str, Any]:
    axes = [{"name": name, "type": "space", "unit": "nanometer"} for name in "zyx"]
    datasets = [
        {
            "path": f"s{k}",
            "coordinateTransformations": [
                {"type": "scale", "scale": [16.0 * 2**k] * 3},
                {"type": "translation", "translation": [8.0 * 2**k] * 3},
            ],
        }
        for k in range(2)
    ]
    return {"version": version, "name": "mito", "axes": axes, "datasets": datasets}


def write_zarr(folder: Path, zarr_format: int, **more: Any) -> None:
    multiscales = [ngff("0.4" if zarr_format == 2 else "0.5")]
    attributes = {"multiscales": multiscales}
    if zarr_format == 3:
        attributes = {"ome": {"version": "0.5", **attributes}}  # type: ignore[dict-item]
    group = zarr.create_group(folder, zarr_format=zarr_format, attributes=attributes)
    for name, labels in (("s0", truth()), ("s1", coarse())):
        stored = group.create_array(
            name, shape=labels.shape, dtype=labels.dtype, **{"chunks": CHUNK, **more}
        )
        stored[...] = labels


def write_n5(folder: Path) -> None:
    for name, labels in (("s0", truth()), ("s1", coarse())):
        spec = {
            "driver": "n5",
            "kvstore": {"driver": "file", "path": f"{folder}/{name}/"},
            "metadata": {
                "dimensions": list(labels.shape[::-1]),
                "blockSize": list(CHUNK[::-1]),
                "dataType": "uint32",
                "compression": {"type": "gzip"},
            },
        }
        ts.open(spec, create=True).result().write(labels.T).result()
    attributes = {
        "axes": ["x", "y", "z"],
        "units": ["nm", "nm", "nm"],
        "pixelResolution": {"dimensions": [16.0, 16.0, 16.0], "unit": "nm"},
        "scales": [[1, 1, 1], [2, 2, 2]],
    }
    (folder / "attributes.json").write_text(json.dumps(attributes))


def write_precomputed(folder: Path) -> None:
    for k, labels in enumerate((truth(), coarse())):
        spec = {
            "driver": "neuroglancer_precomputed",
            "kvstore": {"driver": "file", "path": f"{folder}/"},
            "multiscale_metadata": {
                "type": "segmentation",
                "data_type": "uint32",
                "num_channels": 1,
            },
            "scale_metadata": {
                "size": list(labels.shape[::-1]),
                "resolution": [16 * 2**k] * 3,
                "encoding": "compressed_segmentation",
                "compressed_segmentation_block_size": [8, 8, 8],
                "chunk_size": list(CHUNK[::-1]),
            },
        }
        ts.open(spec, create=True).result()[..., 0].write(labels.T).result()


@dataclass(frozen=True)
class Format:
    write: Callable[[Path], None]
    first_chunk: str
    """The file with voxel (0, 0, 0)."""


FORMATS = {
    "zarr2": Format(lambda folder: write_zarr(folder, 2), "s0/0.0.0"),
    "zarr3": Format(lambda folder: write_zarr(folder, 3), "s0/c/0/0/0"),
    "zarr3-shards": Format(
        lambda folder: write_zarr(folder, 3, chunks=(16, 32, 32), shards=CHUNK), "s0/c/0/0/0"
    ),
    "n5": Format(write_n5, "s0/0/0/0"),
    "precomputed": Format(write_precomputed, "16_16_16/0-64_0-64_0-32"),
}

PLACES = [
    *((name, "local") for name in FORMATS),
    ("zarr2", "s3"),
    ("zarr3-shards", "s3"),
    ("n5", "s3"),
    ("zarr3", "http"),
    ("precomputed", "http"),
]


@dataclass
class Published:
    """Labels somewhere, and a workspace with a volume over them."""

    workspace: Workspace
    address: str
    folder: Path | None
    """The files, where they can be looked at."""
    replace: Callable[[str, bytes | None], None]
    """Write one of the files anew, or remove it."""

    def register(self) -> None:
        image = str(self.workspace.data_dir.parent / "em.zarr")
        self.workspace.register("cell", image, labels=self.address)

    def labels(self, version: int | None = None) -> np.ndarray:
        view = self.workspace.at("cell", version)
        return view.read(view.bounds)

    def root(self, point: Coordinate) -> int:
        return int(self.workspace.at("cell").root_at(point))

    def reopen(self, cloud: CloudSettings) -> None:
        self.workspace.close()
        self.workspace = Workspace(self.workspace.data_dir, cloud=cloud)


def write_image(folder: Path) -> None:
    """Write an image of voxels half as large as the labels'."""
    group = zarr.create_group(folder, zarr_format=2)
    shape = tuple(2 * side for side in SHAPE)
    array = group.create_array("s0", shape=shape, chunks=(64, 64, 64), dtype=np.uint8)
    array[:2] = 100
    multiscale = ngff("0.4")
    steps = multiscale["datasets"][0]["coordinateTransformations"]
    steps[0]["scale"], steps[1]["translation"] = [8.0] * 3, [4.0] * 3
    multiscale["datasets"] = multiscale["datasets"][:1]
    group.attrs["multiscales"] = [multiscale]


def put(file: Path, data: bytes | None) -> None:
    assert file.parent.is_dir()
    if data is None:
        file.unlink()
    else:
        file.write_bytes(data)


@pytest.fixture
def form(request: pytest.FixtureRequest) -> Format:
    return FORMATS[request.param[0]]


@pytest.fixture
def published(request: pytest.FixtureRequest, tmp_path: Path, form: Format) -> Iterator[Published]:
    write_image(tmp_path / "em.zarr")
    place, folder, cloud = request.param[1], tmp_path / "labels", CloudSettings()
    address = str(folder)
    if place == "http":
        web = request.getfixturevalue("web")
        folder = web.root / tmp_path.name
        address = f"{web.address}/{tmp_path.name}"
    form.write(folder)
    found: Path | None = folder

    def replace(path: str, data: bytes | None) -> None:
        put(folder / path, data)

    if place == "s3":
        s3 = request.getfixturevalue("s3")
        s3.upload(folder, tmp_path.name)
        cloud, address, found = CloudSettings(s3.endpoint), s3.url(tmp_path.name), None

        def replace(path: str, data: bytes | None) -> None:
            s3.put(f"{tmp_path.name}/{path}", data)

    workspace = Workspace(tmp_path / "data", cloud=cloud)
    opened = Published(workspace, address, found, replace)
    yield opened
    opened.workspace.close()


def everywhere(function: Callable[..., None]) -> Callable[..., None]:
    """Run a test on every format and place."""
    ids = ["-".join(param) for param in PLACES]
    pairs = [(param, param) for param in PLACES]
    mark = pytest.mark.parametrize(("form", "published"), pairs, indirect=True, ids=ids)
    return mark(function)


def one_place(form: str, place: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        ("form", "published"), [((form, place), (form, place))], indirect=True
    )


def digest(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    text = [f"{path} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files]
    return hashlib.sha256("".join(text).encode()).hexdigest()


@everywhere
def test_published_labels_are_edited_where_they_are(published: Published) -> None:
    before = digest(published.folder) if published.folder else ""
    published.register()
    workspace = published.workspace
    info = workspace.volume("cell")
    assert info.bounds == Roi((0, 0, 0), SHAPE)
    assert info.voxel_size == (16.0, 16.0, 16.0)
    assert info.levels[0].voxel_size == (8.0, 8.0, 8.0)
    assert info.to_json()["labels"]["source"] == published.address
    assert np.array_equal(published.labels(), truth())
    second = workspace.at("cell").read(Roi((0, 0, 0), coarse().shape), 1)  # type: ignore[arg-type]
    assert np.array_equal(second, coarse())

    merged = workspace.merge("cell", points=[IN_LEFT, IN_RIGHT], edit=ANA)
    assert (merged.removed_roots, merged.added_roots) == ((LEFT, RIGHT), (LEFT,))
    assert published.root(IN_RIGHT) == LEFT
    workspace.split("cell", [[(5, 10, 10)], [(5, 10, 140)]], ANA)
    new = published.root((5, 10, 140))
    assert {published.root((5, 10, 10)), new} == {BAR, 2**32}
    workspace.delete("cell", [FAR], ANA)
    assert published.root(IN_FAR) == 0
    workspace.undo("cell", ANA)
    assert published.root(IN_FAR) == FAR
    workspace.revert("cell", 0, ANA)
    for version in (0, workspace.head("cell")):
        assert np.array_equal(published.labels(version), truth())
    expected = np.where(truth() == RIGHT, LEFT, truth())
    assert np.array_equal(published.labels(1), expected)
    split = published.labels(2)
    assert np.array_equal(published.labels(3), np.where(split == FAR, 0, split))

    workspace.count_base("cell", lambda share, sentence: None)
    assert workspace.counted_share("cell") == 1
    sizes = {o.root: o.voxels for o in workspace.objects("cell")}
    ids, counts = np.unique(truth(), return_counts=True)
    assert sizes == dict(zip(ids.tolist()[1:], counts.tolist()[1:], strict=True))
    if published.folder:
        assert digest(published.folder) == before


@everywhere
def test_a_chunk_that_was_never_written_is_background(published: Published, form: Format) -> None:
    published.replace(form.first_chunk, None)
    published.register()
    here = Roi((0, 0, 0), CHUNK)
    assert not published.workspace.at("cell").read(here).any()
    assert published.root((5, 10, 100)) == BAR
    published.workspace.delete("cell", [BAR], ANA)
    rest = truth()
    rest[here.slices()] = 0
    assert np.array_equal(published.labels(), np.where(rest == BAR, 0, rest))


@everywhere
def test_a_damaged_chunk_is_an_error_and_never_zeros(
    published: Published, form: Format, tmp_path: Path
) -> None:
    form.write(tmp_path / "copy")
    whole = (tmp_path / "copy" / form.first_chunk).read_bytes()
    published.register()
    published.replace(form.first_chunk, whole[:-30])
    view = published.workspace.at("cell")
    for attempt in (
        lambda: view.read(Roi((0, 0, 0), (4, 4, 4))),
        lambda: view.root_at(IN_BAR),
        lambda: published.workspace.merge("cell", points=[IN_BAR, IN_RIGHT], edit=ANA),
        lambda: published.workspace.count_base("cell", lambda share, sentence: None),
    ):
        with pytest.raises(SegmentationError) as error:
            attempt()
        assert (type(error.value), error.value.kind) in (
            (FormatError, ErrorKind.CORRUPT_CHUNK),
            # A shorter file may also have been cut off on its way.
            (ResourceError, ErrorKind.SOURCE_UNAVAILABLE),
        )
    assert published.workspace.head("cell") == 0
    assert published.root(IN_RIGHT) == RIGHT
    published.replace(form.first_chunk, whole)
    published.workspace.merge("cell", points=[IN_BAR, IN_RIGHT], edit=ANA)
    assert np.array_equal(published.labels(0), truth())


@one_place("zarr3", "local")
def test_labels_that_vanish_as_a_whole_are_an_error(published: Published) -> None:
    published.register()
    assert published.root(IN_BAR) == BAR
    assert published.folder is not None
    published.folder.rename(published.folder.with_name("elsewhere"))
    view = published.workspace.at("cell")
    with pytest.raises(ResourceError, match="no longer there") as error:
        view.read(Roi((64, 0, 0), (6, 64, 64)))
    assert error.value.kind is ErrorKind.SOURCE_UNAVAILABLE
    published.folder.with_name("elsewhere").rename(published.folder)
    assert not view.read(Roi((64, 0, 0), (6, 64, 64))).any()


@one_place("zarr3", "local")
def test_labels_that_were_made_anew_are_refused(published: Published) -> None:
    published.register()
    published.workspace.merge("cell", points=[IN_LEFT, IN_RIGHT], edit=ANA)
    assert published.folder is not None
    array = zarr.open_group(published.folder, mode="r+")["s1"]
    array[...] = np.roll(coarse(), 3, axis=2)  # type: ignore[index]
    published.reopen(CloudSettings())
    assert published.workspace.head("cell") == 1
    with pytest.raises(FormatError, match="another name") as error:
        published.root(IN_BAR)
    assert error.value.kind is ErrorKind.BASE_CHANGED


@pytest.fixture
def proxied(s3: Any, tmp_path: Path) -> Iterator[tuple[Published, FaultProxy]]:
    """Labels in a bucket, reached through a proxy that can be told to fail."""
    write_image(tmp_path / "em.zarr")
    write_zarr(tmp_path / "labels", 3)
    s3.upload(tmp_path / "labels", tmp_path.name)
    proxy = FaultProxy(s3.endpoint)
    workspace = Workspace(tmp_path / "data", cloud=CloudSettings(proxy.address))
    published = Published(
        workspace,
        s3.url(tmp_path.name),
        None,
        lambda path, data: s3.put(f"{tmp_path.name}/{path}", data),
    )
    published.register()
    assert published.root(IN_BAR) == BAR
    yield published, proxy
    published.workspace.close()
    proxy.stop()


FAULTS = {
    "busy": [BUSY] * 500,
    "dropped": [LOST_ANSWER] * 500,
    "forbidden": [Fault(forwarded=False, status=403, code="AccessDenied")] * 500,
    "slow": [Fault(delay_s=3.0)] * 500,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bucket_that_fails_changes_nothing_and_is_asked_again(
    proxied: tuple[Published, FaultProxy], fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    published, proxy = proxied
    workspace = published.workspace
    monkeypatch.setattr(stores, "_TIMEOUT_S", 1.0)
    proxy.plan("GET", *FAULTS[fault])
    view = workspace.at("cell")
    for attempt in (
        lambda: view.read(Roi((40, 100, 100), (20, 20, 20))),
        lambda: workspace.merge("cell", points=[IN_BAR, IN_FAR], edit=ANA),
        lambda: workspace.merge("cell", ids=[BAR, FAR], edit=ANA),
    ):
        with pytest.raises(ResourceError) as error:
            attempt()
        assert error.value.kind is ErrorKind.SOURCE_UNAVAILABLE
    assert workspace.head("cell") == 0
    proxy.plan("GET")
    monkeypatch.setattr(stores, "_TIMEOUT_S", 60.0)
    again(lambda: workspace.merge("cell", points=[IN_BAR, IN_FAR], edit=ANA))
    assert np.array_equal(again(lambda: published.labels(0)), truth())
    assert published.root(IN_FAR) == BAR


def again(attempt: Callable[[], Any]) -> Any:
    """Try until the requests that were refused while the bucket failed are all answered."""
    for _ in range(20):
        try:
            return attempt()
        except ResourceError:
            time.sleep(0.25)
    return attempt()


def test_a_short_pause_is_waited_for(proxied: tuple[Published, FaultProxy]) -> None:
    published, proxy = proxied
    proxy.plan("GET", BUSY, LOST_ANSWER, BUSY)
    assert np.array_equal(published.labels(), truth())


def test_each_chunk_in_a_bucket_is_fetched_once(proxied: tuple[Published, FaultProxy]) -> None:
    published, proxy = proxied
    published.reopen(CloudSettings(proxy.address))
    with proxy.counting("GET") as requests:
        published.labels()
        published.labels()
    fetched = [r.path for r in requests if "/s0/c/" in r.path]
    assert len(fetched) == len(set(fetched))
