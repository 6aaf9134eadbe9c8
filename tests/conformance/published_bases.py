"""Labels as others publish them, in every format, written without our reader."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts
import zarr

from segmentation_backend.geometry import Coordinate
from segmentation_backend.labels.kernels import mode_pool
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
