"""Chunks that are larger than they may be, as they are sent or unpacked: an error, never memory."""

from __future__ import annotations

import gzip
import io
import json
import struct
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from http.client import HTTPMessage
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorstore as ts
from hostile_sizes import BOMB, BOX, CHUNK, MB, SIDE, WHOLE
from hostile_web import HostileWeb, array, growth_below, hostile_web, zeros_packed
from numcodecs import Blosc
from PIL import Image

from segmentation_backend.errors import ErrorKind, FormatError, ResourceError
from segmentation_backend.geometry import Roi
from segmentation_backend.sources import gate, stores
from segmentation_backend.sources.discovery import find_image
from segmentation_backend.sources.gate import KeyAddress, own_gate
from segmentation_backend.sources.labels import open_labels
from segmentation_backend.sources.pyramids import open_spatial
from segmentation_backend.sources.specs import Location, locate
from segmentation_backend.sources.stores import open_context
from segmentation_backend.sources.volume import open_volume


@pytest.fixture
def web() -> Iterator[HostileWeb]:
    with hostile_web() as running:
        yield running


@lru_cache(maxsize=1)
def blosc_bomb() -> bytes:
    return bytes(Blosc("zstd", 1).encode(np.zeros(BOMB, np.uint8)))


BLOSC = {"id": "blosc", "cname": "zstd", "clevel": 1, "shuffle": 0}


def zarr2(compressor: dict[str, Any] | None, chunk: bytes) -> dict[str, bytes]:
    return {"em/.zarray": array(compressor=compressor), "em/0.0.0": chunk}


def zarr3(codecs: list[dict[str, Any]], chunk: bytes) -> dict[str, bytes]:
    document = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [SIDE] * 3,
        "data_type": "uint8",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [SIDE] * 3}},
        "chunk_key_encoding": {"name": "default"},
        "fill_value": 0,
        "codecs": codecs,
    }
    return {"em/zarr.json": json.dumps(document).encode(), "em/c/0/0/0": chunk}


def n5(compression: dict[str, Any], packed: bytes, sides: tuple[int, ...]) -> dict[str, bytes]:
    document = {
        "dimensions": [SIDE] * 3,
        "blockSize": [SIDE] * 3,
        "dataType": "uint8",
        "compression": compression,
    }
    block = struct.pack(">HH3I", 0, 3, *sides) + packed
    return {"em/attributes.json": json.dumps(document).encode(), "em/0/0/0": block}


def precomputed(encoding: str, chunk: bytes) -> dict[str, bytes]:
    return {"em/info": info(encoding), f"em/s0/0-{SIDE}_0-{SIDE}_0-{SIDE}": chunk}


def info(encoding: str = "raw", **more: Any) -> bytes:
    scale = {
        "key": "s0",
        "size": [SIDE] * 3,
        "resolution": [4, 4, 4],
        "chunk_sizes": [[SIDE] * 3],
        "encoding": encoding,
        **more,
    }
    document = {
        "@type": "neuroglancer_multiscale_volume",
        "type": "image",
        "data_type": "uint8",
        "num_channels": 1,
        "scales": [scale],
    }
    return json.dumps(document).encode()


def shard(data: bytes, entries: bytes) -> dict[str, bytes]:
    sharding = {
        "@type": "neuroglancer_uint64_sharded_v1",
        "preshift_bits": 0,
        "hash": "identity",
        "minishard_bits": 0,
        "shard_bits": 0,
        "minishard_index_encoding": "gzip",
        "data_encoding": "gzip",
    }
    index = struct.pack("<QQ", len(data), len(data) + len(entries))
    return {"em/info": info(sharding=sharding), "em/s0/0.shard": index + data + entries}


def zarr3_shard(inner: list[dict[str, Any]], begin: int, length: int) -> dict[str, bytes]:
    none = 2**64 - 1
    index = struct.pack("<16Q", begin, length, *[none] * 14)
    codec = {
        "name": "sharding_indexed",
        "configuration": {
            "chunk_shape": [SIDE // 2] * 3,
            "codecs": inner,
            "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
            "index_location": "start",
        },
    }
    return zarr3([codec], index)


def picture(kind: str) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.zeros((10_000, 10_000), np.uint8)).save(out, kind)
    return out.getvalue()


BYTES: dict[str, Any] = {"name": "bytes"}
GZIP_3: dict[str, Any] = {"name": "gzip", "configuration": {"level": 1}}
BLOSC_3 = {
    "name": "blosc",
    "configuration": {
        "cname": "zstd", "clevel": 1, "shuffle": "noshuffle", "typesize": 1, "blocksize": 0,
    },
}  # fmt: skip
N5_BLOSC = {"type": "blosc", "cname": "zstd", "clevel": 1, "shuffle": 0, "blocksize": 0}

BOMBS: dict[str, Callable[[], dict[str, bytes]]] = {
    "zarr 2 gzip": lambda: zarr2({"id": "gzip", "level": 1}, zeros_packed(BOMB)),
    "zarr 2 zlib": lambda: zarr2({"id": "zlib", "level": 1}, zeros_packed(BOMB, 15)),
    "zarr 2 blosc": lambda: zarr2(BLOSC, blosc_bomb()),
    "zarr 2 large": lambda: zarr2(None, bytes(40 * MB)),
    "zarr 3 gzip": lambda: zarr3([BYTES, GZIP_3], zeros_packed(BOMB)),
    "zarr 3 blosc": lambda: zarr3([BYTES, BLOSC_3], blosc_bomb()),
    "zarr 3 shard that leads away": lambda: zarr3_shard([BYTES], 2**62, 2**62),
    "zarr 3 shard that wants much": lambda: zarr3_shard([BYTES], 128, 2**40),
    "n5 gzip": lambda: n5({"type": "gzip"}, zeros_packed(BOMB), WHOLE),
    "n5 blosc": lambda: n5(N5_BLOSC, blosc_bomb(), WHOLE),
    "n5 huge block": lambda: n5({"type": "gzip"}, zeros_packed(BOMB), (1024, 1024, 160)),
    "n5 endless block": lambda: n5({"type": "raw"}, b"x" * 999, (2**32 - 1,) * 3),
    "precomputed jpeg": lambda: precomputed("jpeg", picture("JPEG")),
    "precomputed png": lambda: precomputed("png", picture("PNG")),
    "precomputed shard": lambda: shard(
        (bomb := zeros_packed(BOMB)), gzip.compress(struct.pack("<3Q", 0, 0, len(bomb)))
    ),
    "precomputed list of a shard": lambda: shard(b"", zeros_packed(BOMB)),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_chunk_of_a_web_server_that_unpacks_to_too_much_is_an_error(
    web: HostileWeb, name: str
) -> None:
    web.files = BOMBS[name]()
    volume = open_volume(f"{web.address}/em")
    with growth_below(72 * MB), pytest.raises(ResourceError) as error:
        volume.read(BOX)
    assert error.value.kind is ErrorKind.SOURCE_UNAVAILABLE
    assert "A chunk of it is damaged" in error.value.message


def test_a_bomb_in_labels_is_a_corrupt_chunk(web: HostileWeb) -> None:
    web.files = zarr2(BLOSC, blosc_bomb())
    with growth_below(72 * MB), pytest.raises(FormatError, match="unpack to 167772160") as error:
        open_labels(f"{web.address}/em").read(BOX, 0)
    assert error.value.kind is ErrorKind.CORRUPT_CHUNK


ENDLESS = {
    "zarr 2": (zarr2(None, b""), "0.0.0"),
    "n5": (n5({"type": "raw"}, b"", WHOLE), "0/0/0"),
    "precomputed": (precomputed("raw", b""), "_0-64"),
    "precomputed shard": (shard(b"", b""), ".shard"),
    "zarr 3 shard": (zarr3_shard([BYTES], 128, CHUNK // 8), "c/0/0/0"),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_a_chunk_without_an_end_is_hung_up_on(web: HostileWeb, name: str) -> None:
    web.files, web.endless = ENDLESS[name]
    volume = open_volume(f"{web.address}/em")
    with growth_below(72 * MB), pytest.raises(ResourceError) as error:
        volume.read(BOX)
    assert error.value.kind is ErrorKind.SOURCE_UNAVAILABLE
    # What lies in the pipes comes on top.
    assert web.sent < 60 * MB


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
def test_what_is_packed_on_the_way_is_unpacked_with_a_bound(web: HostileWeb, encoding: str) -> None:
    window = 15 if encoding == "deflate" else 31
    truth = np.random.default_rng(0).integers(0, 255, CHUNK, np.uint8).tobytes()
    packer = zlib.compressobj(1, zlib.DEFLATED, window)
    web.files = zarr2(None, packer.compress(truth) + packer.flush())
    web.encoding = {"em/0.0.0": encoding}
    # The volume's own reading, so that nothing of it is in memory.
    volume = open_volume(f"{web.address}/em")
    if encoding in ("gzip", "deflate"):
        read = open_volume(f"{web.address}/em").read(volume.bounds)
        assert read.tobytes() == truth
    web.files = zarr2(None, zeros_packed(BOMB, window))
    with growth_below(72 * MB), pytest.raises(ResourceError, match="larger than a chunk"):
        open_volume(f"{web.address}/em", cache_bytes=7).read(BOX)


def test_a_server_that_sends_all_instead_of_a_part_is_hung_up_on(web: HostileWeb) -> None:
    web.files = zarr3_shard([BYTES], 128, CHUNK // 8)
    web.files["em/c/0/0/0"] += bytes(40 * MB)
    web.gives_parts = False
    with growth_below(120 * MB), pytest.raises(ResourceError, match="no parts of a file"):
        open_volume(f"{web.address}/em").read(BOX)


def test_each_chunk_is_asked_for_once_and_on_one_line(web: HostileWeb) -> None:
    web.files = {f"em/{z}.0.0": bytes(CHUNK) for z in range(4)}
    web.files["em/.zarray"] = array(shape=[4 * SIDE, SIDE, SIDE])
    volume = open_volume(f"{web.address}/em")
    web.asked.clear()
    web.lines.clear()
    for z in range(4):
        volume.read(Roi((z * SIDE, 0, 0), (8, 8, 8)))
    assert web.asked == [f"/em/{z}.0.0" for z in range(4)]
    assert len(web.lines) == 1


def test_chunks_that_are_as_they_should_be_come_through(web: HostileWeb) -> None:
    truth = np.random.default_rng(0).integers(0, 255, WHOLE, np.uint8)
    plain = truth.tobytes()
    packed = bytes(Blosc("zstd", 1).encode(truth))
    half = truth[:32, :32, :32].tobytes()
    data = gzip.compress(truth.tobytes())
    stored = {
        "raw": zarr2(None, plain),
        "blosc": zarr2(BLOSC, packed),
        "zarr 3": zarr3([BYTES, BLOSC_3], packed),
        "n5": n5(N5_BLOSC, packed, WHOLE),
        "precomputed": shard(data, gzip.compress(struct.pack("<3Q", 0, 0, len(data)))),
        "zarr 3 shard": zarr3_shard([BYTES], 128, len(half)),
    }
    stored["zarr 3 shard"]["em/c/0/0/0"] += half
    for name, files in stored.items():
        web.files = {f"{name.replace(' ', '-')}/{key}": data for key, data in files.items()}
        volume = open_volume(f"{web.address}/{name.replace(' ', '-')}/em")
        np.testing.assert_array_equal(volume.read(BOX), truth[BOX.slices()])
    assert volume.read(Roi((40, 40, 40), (4, 4, 4))).max() == 0


def test_several_chunks_of_a_shard_that_are_asked_for_together_come_through(
    web: HostileWeb,
) -> None:
    truth = np.random.default_rng(0).integers(0, 255, WHOLE, np.uint8)
    corners = [(z, y, x) for z in (0, 32) for y in (0, 32) for x in (0, 32)]
    boxes = [truth[z : z + 32, y : y + 32, x : x + 32] for z, y, x in corners]
    packed = [bytes(Blosc("zstd", 1).encode(np.ascontiguousarray(box))) for box in boxes]
    web.files = zarr3_shard([BYTES, BLOSC_3], 0, 0)

    def store(parts: list[bytes]) -> None:
        begins = 128 + np.cumsum([0, *map(len, parts)])
        index = [n for begin, part in zip(begins, parts, strict=False) for n in (begin, len(part))]
        web.files["em/c/0/0/0"] = struct.pack("<16Q", *index) + b"".join(parts)

    store(packed)
    volume = open_volume(f"{web.address}/em")
    np.testing.assert_array_equal(volume.read(volume.bounds), truth)
    # All of it is asked for whole, half of it in one part.
    store([*packed[:5], blosc_bomb(), *packed[6:]])
    for roi in (volume.bounds, Roi((32, 0, 0), (32, 64, 64))):
        with growth_below(72 * MB), pytest.raises(ResourceError, match="unpack to 167772160"):
            open_volume(f"{web.address}/em", cache_bytes=9).read(roi)


# ---- the gate itself -----------------------------------------------------------------------------


def public(url: str) -> Location:
    """Return a place as if anybody might have named it."""
    return replace(locate(url), is_public=True)


@pytest.mark.parametrize(
    ("url", "key", "address"),
    [
        ("s3://bucket/a", "a/b", "https://bucket.s3.amazonaws.com/a/b"),
        ("s3://my.bucket/a", "a/b", "https://s3.us-east-1.amazonaws.com/my.bucket/a/b"),
        ("s3+https://far.org/bucket/a", "a/b", "https://far.org/bucket/a/b"),
        ("https://far.org/a?sign=1", "a/b", "https://far.org/a/b?sign=1"),
        (
            "gs://bucket/a",
            "a/b%20c",
            "https://storage.googleapis.com/storage/v1/b/bucket/o/a%2Fb%20c?alt=media",
        ),
    ],
)
def test_what_anybody_may_name_is_asked_at_its_address(url: str, key: str, address: str) -> None:
    place = public(url).doubtful_address()
    assert place is not None
    assert place.of(key) == address
    if not url.startswith("https"):
        assert locate(url).doubtful_address() is None


def test_keys_of_google_are_quoted_as_a_whole(web: HostileWeb) -> None:
    web.files = {"b/bucket/o/em%2Fs0%2Fa%20b": b"voxels"}
    place = KeyAddress(f"{web.address}/b/bucket/o/", "?alt=media", is_quoted=True)
    store = ts.KvStore.open(own_gate().store(place, "em/")[0]).result()
    assert store.read("s0/a b").result().value == b"voxels"
    assert store.read("s0/c").result().state == "missing"
    assert web.asked == [f"/b/bucket/o/em%2Fs0%2F{key}?alt=media" for key in ("a%20b", "c")]


def test_a_public_bucket_is_read_through_the_gate(web: HostileWeb) -> None:
    truth = np.random.default_rng(0).integers(0, 255, WHOLE, np.uint8)
    web.files = {f"bucket/{key}": data for key, data in zarr2(None, truth.tobytes()).items()}
    place = public(f"s3+{web.address}/bucket/em")
    context = open_context()
    opened = open_spatial(find_image(place, context).levels[0], context)
    np.testing.assert_array_equal(opened.array.read().result(), truth)
    web.endless = "0.0.0"
    with growth_below(72 * MB), pytest.raises(ValueError, match="larger than a chunk"):
        open_spatial(find_image(place, open_context(8)).levels[0], open_context(8)).array[
            :8, :8, :8
        ].read().result()
    assert web.sent < 60 * MB


def test_public_chunks_have_a_smaller_bound(web: HostileWeb) -> None:
    web.files = {"bucket/em/.zarray": array(shape=[1024] * 3, chunks=[512, 512, 512])}
    url, context = f"s3+{web.address}/bucket/em", open_context()
    source = find_image(public(url), context).levels[0]
    with pytest.raises(FormatError, match=r"at most 64 MB.*list the place"):
        open_spatial(source, context)
    mine = replace(source, location=replace(source.location, is_public=False))
    assert open_spatial(mine, context).array.shape == (1024,) * 3


def test_the_gate_opens_to_nobody_else(web: HostileWeb) -> None:
    spec, _ = own_gate().store(KeyAddress(f"{web.address}/"), "em/")
    url = f"{spec['base_url']}/{'0' * 40}/em/.zarray"
    with pytest.raises(urllib.error.HTTPError, match="403") as error:
        urllib.request.urlopen(url)
    error.value.close()
    assert web.asked == []


def test_amazon_says_in_which_region_a_bucket_is() -> None:
    headers = HTTPMessage()
    headers["x-amz-bucket-region"] = "eu-west-1"
    answer: Any = SimpleNamespace(status=301, headers=headers)
    place = KeyAddress("https://bucket.s3.amazonaws.com/")
    moved = gate._in_its_region(answer, place)
    assert moved is not None
    assert moved.of("a") == "https://bucket.s3.eu-west-1.amazonaws.com/a"
    assert gate._in_its_region(answer, KeyAddress("https://far.org/")) is None
    headers.replace_header("x-amz-bucket-region", "evil.org/")
    assert gate._in_its_region(answer, place) is None


def test_a_proxy_is_asked_by_tensorstore_itself(
    web: HostileWeb, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "getproxies", lambda: {"https": "http://proxy:3128"})
    place = locate("https://far.org/em")
    assert stores._guarded(place) == (place.kvstore(), None)
