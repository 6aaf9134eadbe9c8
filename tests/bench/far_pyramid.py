"""A public bucket with an OME-Zarr pyramid of 2048 voxels a side, made by code, on this machine."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product

import boto3
import numpy as np
import zstandard
from moto.s3.models import s3_backends
from moto.server import ThreadedMotoServer
from scipy import ndimage

BUCKET, GROUP = "bench", "em.zarr"
SIDE, CHUNK, EDGE = 2048, 128, 8.0
LEVELS = 5


def encoded_chunk() -> bytes:
    """Return one chunk as stored: smooth grey structures, a tenth of their size in zstd."""
    noise = np.random.default_rng(5).normal(size=(CHUNK,) * 3)
    smooth = ndimage.gaussian_filter(noise, 4, mode="wrap")
    grey = (128 + 40 * smooth / smooth.std()).clip(0, 255).astype(np.uint8)
    return zstandard.compress(grey.tobytes(), 5)


def documents() -> Iterator[tuple[str, bytes]]:
    datasets = []
    for level in range(LEVELS):
        scale = EDGE * 2**level
        steps = [
            {"type": "scale", "scale": [scale] * 3},
            # The first corner at 0, in the bare viewer too.
            {"type": "translation", "translation": [scale / 2] * 3},
        ]
        datasets.append({"path": f"s{level}", "coordinateTransformations": steps})
        array = {
            "zarr_format": 2, "shape": [SIDE >> level] * 3, "chunks": [CHUNK] * 3, "dtype": "|u1",
            "order": "C", "fill_value": 0, "filters": None, "dimension_separator": "/",
            "compressor": {"id": "zstd", "level": 5},
        }  # fmt: skip
        yield f"s{level}/.zarray", json.dumps(array).encode()
    axes = [{"name": name, "type": "space", "unit": "nanometer"} for name in "zyx"]
    multiscale = {"version": "0.4", "name": "em", "axes": axes, "datasets": datasets}
    yield ".zgroup", b'{"zarr_format": 2}'
    yield ".zattrs", json.dumps({"multiscales": [multiscale]}).encode()


@contextmanager
def far_pyramid() -> Iterator[str]:
    """Yield the address of the S3 double."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **keys)
    client.create_bucket(Bucket=BUCKET)

    for key, data in documents():
        client.put_object(Bucket=BUCKET, Key=f"{GROUP}/{key}", Body=data, ACL="public-read")
    # Thousands of requests would take minutes; the double's own shelf is in this process.
    shelf = next(one for all_ in s3_backends.values() for one in all_.values() if one.buckets)
    rights, chunk = shelf.get_object(BUCKET, f"{GROUP}/.zattrs").acl, encoded_chunk()
    for level in range(LEVELS):
        for z, y, x in product(range((SIDE >> level) // CHUNK), repeat=3):
            shelf.put_object(BUCKET, f"{GROUP}/s{level}/{z}/{y}/{x}", chunk).set_acl(rights)
    try:
        yield endpoint
    finally:
        server.stop()
