"""Every version, and the live labels, read back by other people's readers over real HTTP."""

from __future__ import annotations

import json
import re
import threading
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore as ts
import zarr
from werkzeug.serving import make_server
from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype

from app import create_app
from app.config import Config
from segmentation_backend.edits import import_labels
from segmentation_backend.geometry import Coordinate, Roi, VoxelSize
from segmentation_backend.labels import LabelRepository, OperationMeta
from segmentation_backend.workspace import EditContext, Workspace

README = Path(__file__).parents[2] / "README.md"
ANA = EditContext("ana")
IMPORTED, MERGED, SPLIT = 1, 2, 3

VOLUMES: dict[str, tuple[Coordinate, VoxelSize]] = {
    "odd": ((70, 150, 133), (8.0, 8.0, 8.0)),
    "anisotropic": ((21, 200, 129), (40.0, 8.0, 10.0)),
    "fractions": ((65, 64, 66), (3.24, 4.04, 4.04)),
    "plane": ((1, 128, 65), (50.0, 5.0, 5.0)),
}
"""Several chunks, sides off the grid, voxels of many shapes."""


@dataclass
class Served:
    url: str
    workspace: Workspace
    counts: Any

    def levels(self, volume: str) -> int:
        return len(self.workspace.volume(volume).label_levels)

    def truth(self, volume: str, version: int | None, level: int) -> np.ndarray:
        view = self.workspace.at(volume, version)
        return view.read(Roi((0, 0, 0), view.levels[level].shape), level)

    def answered(self, status: int) -> float:
        """Return how many chunks of zarr arrays were answered with a status."""
        return sum(
            count
            for labels, count in self.counts.samples().items()
            if "/c/<z>" in labels and f'status="{status}"' in labels
        )

    def pack_folder(self, volume: str) -> Path:
        return self.workspace.data_dir / "packs" / volume


def objects(shape: Coordinate) -> np.ndarray:
    """Return a long bar (1), two bars at the far corner (2, 3), and specks that touch nothing."""
    z, y, x = shape
    labels = np.zeros(shape, np.uint32)
    labels[:, 4:12, 3 : x - 3] = 1
    labels[z // 2 :, y - 12 : y - 2, x - 40 : x - 22] = 2
    labels[z // 2 :, y - 12 : y, x - 20 : x] = 3
    specks = np.random.default_rng(5).random(shape) < 0.001
    specks[:, :14] = specks[:, y - 14 :] = False
    labels[specks] = np.arange(4, 4 + specks.sum())
    return labels


def fill(workspace: Workspace, name: str, folder: Path) -> None:
    """Register a volume and make three versions of its labels: imported, merged, split."""
    shape, voxel_size = VOLUMES[name]
    np.savez(folder / f"{name}.npz", em=np.zeros(shape, np.uint8))
    info = workspace.register(
        name, str(folder / f"{name}.npz"), dataset="em", voxel_size=voxel_size
    )
    repository = LabelRepository(
        workspace.engine, workspace.data_dir / "packs" / name, name, info.label_levels
    )
    labels = objects(shape)
    first = repository.reserve_ids(int(labels.max()))
    delta = import_labels(repository.at(), Roi((0, 0, 0), shape), labels, first)
    repository.commit(delta, OperationMeta(kind="import", user="setup"))
    z, _, x = shape
    workspace.merge(name, ids=[first + 1, first + 2], points=None, edit=ANA)
    workspace.split(name, [[(z // 2, 8, 6)], [(z // 2, 8, x - 7)]], ANA)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("readback")
    app = create_app(Config(data_dir=folder / "data"))
    workspace: Workspace = app.extensions["mitoglance"].workspace
    for name in VOLUMES:
        fill(workspace, name, folder)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    server.log = lambda *_args: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    counts = app.extensions["mitoglance-requests"]
    yield Served(f"http://127.0.0.1:{server.server_port}", workspace, counts)
    server.shutdown()
    thread.join()
    workspace.close()


def zarr_spec(served: Served, source: str, level: int) -> dict[str, Any]:
    return {"driver": "zarr3", "kvstore": f"{served.url}/zarr/{source}/{level}/"}


def open_zarr(served: Served, source: str, level: int) -> Any:
    return ts.open(zarr_spec(served, source, level)).result()


def open_precomputed(served: Served, source: str, level: int) -> Any:
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": f"{served.url}/labels/{source}/",
        "scale_index": level,
    }
    return ts.open(spec).result()


SOURCES = pytest.mark.parametrize(
    ("at", "version"),
    [("", None), ("@0", 0), ("@1", IMPORTED), ("@2", MERGED), ("@3", SPLIT)],
    ids=["live", "empty", "imported", "merged", "split"],
)


@SOURCES
@pytest.mark.parametrize("volume", VOLUMES)
def test_tensorstore_reads_zarr(served: Served, volume: str, at: str, version: int | None) -> None:
    for level in range(served.levels(volume)):
        array = open_zarr(served, volume + at, level)
        assert array.dtype == ts.uint64
        assert array.domain.labels == ("z", "y", "x")
        found = array.read().result()
        np.testing.assert_array_equal(found, served.truth(volume, version, level))


@SOURCES
@pytest.mark.parametrize("volume", VOLUMES)
def test_tensorstore_reads_precomputed(
    served: Served, volume: str, at: str, version: int | None
) -> None:
    for level in range(served.levels(volume)):
        array = open_precomputed(served, volume + at, level)
        voxel_size = served.workspace.volume(volume).label_levels[level].voxel_size
        nm = [unit.multiplier for unit in array.dimension_units[:3]]
        np.testing.assert_allclose(nm, voxel_size[::-1])
        found = array.read().result()[..., 0].T
        np.testing.assert_array_equal(found, served.truth(volume, version, level))


def test_the_versions_differ(served: Served) -> None:
    for volume in VOLUMES:
        ids = [len(np.unique(served.truth(volume, version, 0))) for version in range(4)]
        assert ids[0] == 1
        assert ids[MERGED] == ids[IMPORTED] - 1
        assert ids[SPLIT] == ids[MERGED] + 1


@pytest.mark.parametrize("volume", VOLUMES)
def test_a_box_across_chunks_is_read_at_its_place(served: Served, volume: str) -> None:
    whole = served.truth(volume, SPLIT, 0)
    box = np.s_[whole.shape[0] // 2 :, 20:61, 30 : whole.shape[2] - 1]
    found = open_zarr(served, f"{volume}@{SPLIT}", 0)[box].read().result()
    np.testing.assert_array_equal(found, whole[box])
    found = open_precomputed(served, f"{volume}@{SPLIT}", 0)[..., 0].T[box].read().result()
    np.testing.assert_array_equal(found, whole[box])


class HttpStore(Store):
    """What zarr-python needs to read over HTTP, by GETs alone: no listing, 404 is absent."""

    supports_writes = supports_deletes = supports_listing = False

    def __init__(self, url: str) -> None:
        super().__init__(read_only=True)
        self.url = url
        self.missing: list[str] = []

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HttpStore) and other.url == self.url

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        assert byte_range is None
        try:
            with urllib.request.urlopen(f"{self.url}/{key}", timeout=60) as answer:
                return prototype.buffer.from_bytes(answer.read())
        except urllib.error.HTTPError as error:
            if error.code == 404:
                self.missing.append(key)
                return None
            raise

    async def get_partial_values(
        self,
        prototype: BufferPrototype,
        key_ranges: Iterable[tuple[str, ByteRequest | None]],
    ) -> list[Buffer | None]:
        return [await self.get(key, prototype, part) for key, part in key_ranges]

    async def exists(self, key: str) -> bool:
        raise NotImplementedError

    async def set(self, key: str, value: Buffer) -> None:
        raise NotImplementedError

    async def delete(self, key: str) -> None:
        raise NotImplementedError

    async def list(self) -> AsyncIterator[str]:
        raise NotImplementedError
        yield

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        raise NotImplementedError
        yield

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        raise NotImplementedError
        yield


@SOURCES
def test_zarr_python_reads_the_group(served: Served, at: str, version: int | None) -> None:
    for volume in VOLUMES:
        store = HttpStore(f"{served.url}/zarr/{volume}{at}")
        group = zarr.open_group(store, mode="r")
        assert sorted(group.keys()) == [str(k) for k in range(served.levels(volume))]
        for level in range(served.levels(volume)):
            array = group[str(level)]
            assert isinstance(array, zarr.Array)
            assert array.metadata.dimension_names == ("z", "y", "x")  # type: ignore[union-attr]
            np.testing.assert_array_equal(array[:], served.truth(volume, version, level))
        # Background has bytes: 404 never stands for it.
        assert not [key for key in store.missing if "/c/" in key]


def test_zarr_python_reads_one_array_by_its_own_address(served: Served) -> None:
    array = zarr.open_array(HttpStore(f"{served.url}/zarr/odd@1/2"), mode="r")
    np.testing.assert_array_equal(array[:], served.truth("odd", IMPORTED, 2))


@pytest.mark.parametrize("volume", VOLUMES)
def test_levels_lie_where_their_voxels_do(served: Served, volume: str) -> None:
    """Coarse voxels span the fine ones they were pooled from: same far edge of voxel 0's corner."""
    with urllib.request.urlopen(f"{served.url}/zarr/{volume}@1/zarr.json") as answer:
        ome = json.load(answer)["attributes"]["ome"]
    (multiscale,) = ome["multiscales"]
    for dataset in multiscale["datasets"]:
        scale, translation = dataset["coordinateTransformations"]
        voxel = np.array(scale["scale"])
        corner = np.array(translation["translation"]) - voxel / 2
        np.testing.assert_allclose(corner, -np.array(VOLUMES[volume][1]) / 2)
        level = served.workspace.volume(volume).label_levels[int(dataset["path"])]
        np.testing.assert_allclose(voxel, level.voxel_size)


def test_an_open_live_array_follows_edits_and_mostly_hears_304(served: Served) -> None:
    context = ts.Context({"cache_pool": {"total_bytes_limit": 10**9}})
    spec = {**zarr_spec(served, "odd", 0), "recheck_cached_data": True}
    live = ts.open(spec, context=context).result()
    precomputed = ts.open(
        {
            "driver": "neuroglancer_precomputed",
            "kvstore": f"{served.url}/labels/odd/",
            "scale_index": 0,
            "recheck_cached_data": True,
        },
        context=context,
    ).result()
    before = live.read().result()
    precomputed.read().result()
    roots = np.unique(before)[1:]
    unchanged, sent = served.answered(304), served.answered(200)
    served.workspace.merge("odd", ids=[int(roots[0]), int(roots[1])], points=None, edit=ANA)
    merged = served.truth("odd", None, 0)
    assert (merged != before).any()
    np.testing.assert_array_equal(live.read().result(), merged)
    np.testing.assert_array_equal(precomputed.read().result()[..., 0].T, merged)
    changed = sum(bool((merged[part] != before[part]).any()) for part in chunk_slices(merged.shape))
    total = len(chunk_slices(merged.shape))
    assert 0 < changed < total
    assert served.answered(200) - sent <= changed
    assert served.answered(304) - unchanged >= total - changed
    served.workspace.undo("odd", ANA)
    np.testing.assert_array_equal(live.read().result(), before)


def chunk_slices(shape: tuple[int, ...]) -> list[tuple[slice, ...]]:
    counts = [-(-side // 64) for side in shape]
    return [tuple(slice(64 * i, 64 * i + 64) for i in where) for where in np.ndindex(*counts)]


def test_a_chunk_whose_pack_is_gone_is_an_error_and_not_zeros(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    app = create_app(Config(data_dir=tmp_path / "data"))
    workspace: Workspace = app.extensions["mitoglance"].workspace
    fill(workspace, "odd", tmp_path)
    workspace.close()
    for pack in (tmp_path / "data" / "packs" / "odd").rglob("*.pack"):
        pack.unlink()
    fresh = create_app(Config(data_dir=tmp_path / "data"))
    request.addfinalizer(fresh.extensions["mitoglance"].workspace.close)
    server = make_server("127.0.0.1", 0, fresh, threaded=True)
    server.log = lambda *_args: None  # type: ignore[method-assign]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    request.addfinalizer(server.shutdown)
    # One attempt each: the reader would go on asking for half a minute.
    context = ts.Context({"http_request_retries": {"max_retries": 1}})
    url = f"http://127.0.0.1:{server.server_port}"
    for spec in (
        {"driver": "zarr3", "kvstore": f"{url}/zarr/odd@1/0/"},
        {"driver": "zarr3", "kvstore": f"{url}/zarr/odd/0/"},
        {"driver": "neuroglancer_precomputed", "kvstore": f"{url}/labels/odd@1/"},
    ):
        array = ts.open(spec, context=context).result()
        with pytest.raises(ValueError, match=r"503|UNAVAILABLE"):
            array.read().result()
    store = HttpStore(f"{url}/zarr/odd/0")
    with pytest.raises(urllib.error.HTTPError, match="503"):
        zarr.open_array(store, mode="r")[:]


def test_the_recipe_in_the_readme_reads_what_is_there(served: Served) -> None:
    found = re.search(
        r"<!-- read from python -->\n```python\n(.*?)```\n<!-- /read from python -->",
        README.read_text(encoding="utf-8"),
        re.S,
    )
    assert found is not None
    recipe = found.group(1)
    assert "http://localhost:8080/zarr/demo@3" in recipe
    recipe = recipe.replace("http://localhost:8080", served.url).replace("/demo", "/odd")
    names: dict[str, Any] = {}
    exec(compile(recipe, str(README), "exec"), names)
    np.testing.assert_array_equal(names["ids"], served.truth("odd", 3, 0)[32, :128, :128])
