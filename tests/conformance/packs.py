"""Packs of label chunks for the tests: what is written, read back, and a bucket for it."""

from __future__ import annotations

import numpy as np

from segmentation_backend.labels import ChunkKey, InlineChunk, PackStore, StoredChunk
from segmentation_backend.labels.pack_bucket import PackBucket
from segmentation_backend.sources.specs import CloudSettings

CHUNKS = {ChunkKey(0, 1, 2, 3): InlineChunk(b"some"), ChunkKey(1, 0, 1, 1): InlineChunk(b"bytes")}
BUCKET = "em-data"
"""The bucket of the S3 double."""

ABSENT = StoredChunk("ab" * 12, 8, 40)
MEGABYTE = 2**20


def chunks(count: int, size: int, seed: int = 0) -> dict[ChunkKey, InlineChunk]:
    rng = np.random.default_rng(seed)
    return {ChunkKey(0, 0, 0, k): InlineChunk(rng.bytes(size)) for k in range(count)}


def name_of(places: dict[ChunkKey, StoredChunk]) -> str:
    (name,) = {place.pack for place in places.values()}
    return name


def read_back(packs: PackStore, places: dict[ChunkKey, StoredChunk]) -> dict[ChunkKey, bytes]:
    found = dict(packs.read(places.values()))
    return {key: found[place] for key, place in places.items()}


def data_of(written: dict[ChunkKey, InlineChunk]) -> dict[ChunkKey, bytes]:
    return {key: chunk.data for key, chunk in written.items()}


_numbers = iter(range(10**6))


def bucket(
    endpoint: str, prefix: str | None = None, *, name: str = BUCKET, timeout_s: float = 5.0
) -> PackBucket:
    cloud = CloudSettings(endpoint, "test", "secret")
    prefix = f"packs/{next(_numbers)}/cell" if prefix is None else prefix
    return PackBucket(name, prefix, cloud, timeout_s=timeout_s)
