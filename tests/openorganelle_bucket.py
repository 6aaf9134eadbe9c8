"""A bucket laid out as OpenOrganelle's, with its attributes as stored there, on this machine.

Small arrays of the same names, formats, attributes and scales, in an S3 double:

- jrc_mus-kidney: N5 and zarr EM (uint8, 8 nm), `labels/empanada-mito_seg` at 16 nm;
- jrc_hela-2: N5 EM (uint16, inverted, 5.24 x 4 x 4 nm), `mito_seg` and `mito-mem_seg` at its scale;
- jrc_hela-1: precomputed EM (8 nm) upside down along y, without saying so, `mito_seg` at 4 nm;
- jrc_mus-liver: N5 EM, `mito_seg` at 16 nm and, somewhere inside, `ariadne/mito_bag_seg`.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import tensorstore as ts
from moto.server import ThreadedMotoServer

from segmentation_backend.labels.kernels import mode_pool

BUCKET = "janelia-cosem-datasets"
SHAPE = (96, 128, 160)
"""Of every EM, voxels z, y, x."""

KIDNEY = "jrc_mus-kidney/jrc_mus-kidney.n5"
ONE_NM, OTHER_NM = (240.0, 320.0, 400.0), (560.0, 800.0, 1000.0)
"""Inside the kidney's two mitochondria (nm, z, y, x)."""
ONE, OTHER = 7, 2**33 + 5


@dataclass
class OpenOrganelle:
    """The running double."""

    endpoint: str
    client: Any

    def remove(self, prefix: str) -> dict[str, bytes]:
        """Delete all keys below a prefix; return what they held, for `put_back`."""
        listed = self.client.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
        held = {}
        for item in listed:
            body = self.client.get_object(Bucket=BUCKET, Key=item["Key"])["Body"]
            held[item["Key"]] = body.read()
            self.client.delete_object(Bucket=BUCKET, Key=item["Key"])
        return held

    def put_back(self, held: dict[str, bytes]) -> None:
        for key, data in held.items():
            self.client.put_object(Bucket=BUCKET, Key=key, Body=data, ACL="public-read")


def mitochondria(shape: Sequence[int], edge: float) -> np.ndarray:
    """Return the kidney's mitochondria on a grid of voxels of `edge` nm."""
    labels = np.zeros(shape, np.uint64)
    for name, (z, y, x) in ((ONE, ONE_NM), (OTHER, OTHER_NM)):
        labels[
            tuple(slice(round((c - 100) / edge), round((c + 100) / edge)) for c in (z, y, x))
        ] = name
    return labels


@contextmanager
def openorganelle() -> Iterator[OpenOrganelle]:
    """Yield the running double."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        endpoint = f"http://{host}:{port}"
        client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **keys)
        client.create_bucket(Bucket=BUCKET)
        with tempfile.TemporaryDirectory() as folder:
            write_all(Path(folder))
            for file in (f for f in Path(folder).rglob("*") if f.is_file()):
                key = file.relative_to(folder).as_posix()
                client.put_object(Bucket=BUCKET, Key=key, Body=file.read_bytes(), ACL="public-read")
        yield OpenOrganelle(endpoint, client)
    finally:
        server.stop()


def write_all(root: Path) -> None:
    """Write the whole bucket into a folder."""
    grey = np.random.default_rng(4).integers(130, 170, SHAPE, np.uint8)
    kidney = grey.copy()
    kidney[mitochondria(SHAPE, 8.0) > 0] -= 20
    n5 = root / KIDNEY
    write_n5(n5 / "em/fibsem-uint8", kidney, (8, 8, 8), levels=3)
    half = tuple(side // 2 for side in SHAPE)
    write_n5(n5 / "labels/empanada-mito_seg", mitochondria(half, 16.0), (16, 16, 16))
    write_zarr(root / "jrc_mus-kidney/jrc_mus-kidney.zarr/recon-1/em/fibsem-uint8", kidney)
    hela, size = root / "jrc_hela-2/jrc_hela-2.n5", (5.24, 4.0, 4.0)
    bright = 24444 + (170 - kidney.astype(np.uint16)) * 150
    write_n5(hela / "em/fibsem-uint16", bright, size)
    whole = mitochondria(SHAPE, 8.0)
    write_n5(hela / "labels/mito_seg", whole, size)
    write_n5(hela / "labels/mito-mem_seg", (whole > 0).astype(np.uint8), size)
    write_precomputed(
        root / "jrc_hela-1/neuroglancer/em/fibsem-uint8.precomputed", kidney[:, ::-1], 8
    )
    doubled = mitochondria(SHAPE, 8.0).repeat(2, 0).repeat(2, 1).repeat(2, 2)
    write_n5(root / "jrc_hela-1/jrc_hela-1.n5/labels/mito_seg", doubled, (4, 4, 4), levels=1)
    liver = root / "jrc_mus-liver/jrc_mus-liver.n5"
    write_n5(liver / "em/fibsem-uint8", kidney, (8, 8, 8))
    write_n5(liver / "labels/mito_seg", mitochondria(half, 16.0), (16, 16, 16))
    corner = (15728.0, 30912.0, 30984.0)
    write_n5(liver / "labels/ariadne/mito_bag_seg", whole[:64, :64, :64], (8, 8, 8), corner=corner)


def write_n5(
    group: Path,
    voxels: np.ndarray,
    voxel_size: Sequence[float],
    levels: int = 2,
    corner: Sequence[float] = (0.0, 0.0, 0.0),
) -> None:
    """Write a pyramid with the attributes that COSEM's own tools write (x, y, z, but for these)."""
    datasets, scales = [], []
    for level in range(levels):
        by = 2**level
        if level:
            voxels = halved(voxels)
        scale = [edge * by for edge in voxel_size]
        shift = [c + (by - 1) / 2 * edge for c, edge in zip(corner, voxel_size, strict=True)]
        transform = {
            "axes": ["z", "y", "x"], "units": ["nm"] * 3, "scale": scale, "translate": shift
        }  # fmt: skip
        write_n5_array(group / f"s{level}", voxels)
        attributes = json.loads((group / f"s{level}/attributes.json").read_text())
        attributes["pixelResolution"] = {"dimensions": scale[::-1], "unit": "nm"}
        attributes["transform"] = transform
        (group / f"s{level}/attributes.json").write_text(json.dumps(attributes))
        datasets.append({"path": f"s{level}", "transform": transform})
        scales.append([by] * 3)
    document = {
        "axes": ["x", "y", "z"],
        "units": ["nm", "nm", "nm"],
        "pixelResolution": {"dimensions": list(voxel_size)[::-1], "unit": "nm"},
        "scales": scales,
        "multiscales": [{"datasets": datasets}],
    }
    (group / "attributes.json").write_text(json.dumps(document))


def write_n5_array(path: Path, voxels: np.ndarray) -> None:
    spec = {
        "driver": "n5",
        "kvstore": {"driver": "file", "path": f"{path}/"},
        "metadata": {
            "dimensions": list(voxels.shape[::-1]),
            "blockSize": [64, 64, 64],
            "dataType": voxels.dtype.name,
            "compression": {"type": "gzip"},
        },
    }
    ts.open(spec, create=True).result().write(voxels.T).result()


def write_precomputed(folder: Path, voxels: np.ndarray, edge: int) -> None:
    """Write two levels of an image, in the corner of its own world."""
    for level in range(2):
        voxels = halved(voxels) if level else voxels
        spec = {
            "driver": "neuroglancer_precomputed",
            "kvstore": {"driver": "file", "path": f"{folder}/"},
            "multiscale_metadata": {"type": "image", "data_type": "uint8", "num_channels": 1},
            "scale_metadata": {
                "size": voxels.shape[::-1], "resolution": [edge * 2**level] * 3,
                "voxel_offset": [0, 0, 0], "chunk_size": [64, 64, 64], "encoding": "raw",
            },
        }  # fmt: skip
        ts.open(spec, create=True).result().write(voxels.T[..., None]).result()


def write_zarr(group: Path, voxels: np.ndarray) -> None:
    """Write a pyramid with OME-NGFF 0.4 metadata, positions of voxel centres."""
    datasets = []
    for level in range(2):
        voxels = halved(voxels) if level else voxels
        spec = {
            "driver": "zarr",
            "kvstore": {"driver": "file", "path": f"{group}/s{level}/"},
            "metadata": {"shape": voxels.shape, "chunks": [64, 64, 64], "dtype": "|u1"},
        }
        ts.open(spec, create=True).result().write(voxels).result()
        steps = [
            {"type": "scale", "scale": [8.0 * 2**level] * 3},
            {"type": "translation", "translation": [4.0 * (2**level - 1)] * 3},
        ]
        datasets.append({"path": f"s{level}", "coordinateTransformations": steps})
    axes = [{"name": name, "type": "space", "unit": "nanometer"} for name in "zyx"]
    multiscale = {"version": "0.4", "name": "fibsem-uint8", "axes": axes, "datasets": datasets}
    (group / ".zgroup").write_text('{"zarr_format": 2}')
    (group / ".zattrs").write_text(json.dumps({"multiscales": [multiscale]}))


def halved(voxels: np.ndarray) -> np.ndarray:
    """Return the next level: means of grey values, modes of ids."""
    if voxels.dtype in (np.uint64, np.uint32):
        return mode_pool(voxels.astype(np.uint64), 2, 2, 2).astype(voxels.dtype)
    z, y, x = (side // 2 for side in voxels.shape)
    means = voxels[: 2 * z, : 2 * y, : 2 * x].reshape(z, 2, y, 2, x, 2).mean((1, 3, 5))
    return means.astype(voxels.dtype)
