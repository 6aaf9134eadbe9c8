"""Which arrays a viewer in the browser decodes itself: the metadata of one level, checked.

What is let through is what Neuroglancer 2.41 reads. All its rules are here; shapes are in C order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from segmentation_backend.geometry import Coordinate
from segmentation_backend.sources.discovery import LevelSource

__all__ = [
    "ArrayForViewer",
    "NotDirectError",
    "n5_array",
    "precomputed_scale",
    "zarr2_array",
    "zarr3_array",
]

_Document: TypeAlias = Mapping[str, Any]

_TYPES = {
    "uint8": ("u1", 1), "int8": ("i1", 1), "uint16": ("u2", 2), "int16": ("i2", 2),
    "uint32": ("u4", 4), "int32": ("i4", 4), "float32": ("f4", 4),
}  # fmt: skip
_NUMPY = {name: kind for kind, (name, _) in _TYPES.items()}
_ZARR3_CODECS = ("bytes", "blosc", "gzip", "zstd", "crc32c", "transpose", "sharding_indexed")
_BLOSC = ("blosclz", "lz4", "lz4hc", "zlib", "zstd")
_N5_COMPRESSION = ("raw", "gzip", "blosc", "zstd")
_ENCODINGS = ("raw", "jpeg", "png", "compressed_segmentation", "compresso", "jxl")


class NotDirectError(Exception):
    """A browser cannot read the image; the text says why, as the end of a sentence."""


@dataclass(frozen=True, slots=True)
class ArrayForViewer:
    """One array as a viewer is told of it."""

    document: dict[str, Any]
    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    """What is decoded as one."""
    item_bytes: int
    key: str = ""
    """The folder of its chunks below the place of its metadata."""
    offset: Coordinate = (0, 0, 0)
    is_sharded: bool = False


def zarr2_array(own: _Document, level: LevelSource) -> ArrayForViewer:
    """Return a zarr v2 array from its `.zarray`."""
    del level
    kind, order = str(own.get("dtype")), own.get("order")
    name = _NUMPY.get(kind[1:])
    if name is None or kind[:1] not in "|<>":
        raise NotDirectError(f"viewers do not know the type {kind}")
    if own.get("filters") or order not in ("C", "F"):
        raise NotDirectError("its chunks have filters that viewers do not know")
    shape, chunk = _sides(own.get("shape")), _sides(own.get("chunks"))
    document = {
        "zarr_format": 2,
        "shape": list(shape),
        "chunks": list(chunk),
        "order": order,
        "dtype": kind,
        "fill_value": _fill(own.get("fill_value"), name),
        "filters": None,
        "compressor": _compressor(own.get("compressor")),
        "dimension_separator": own.get("dimension_separator") or ".",
    }
    return ArrayForViewer(document, shape, chunk, _TYPES[name][1])


def _compressor(own: object) -> dict[str, Any] | None:
    if own is None:
        return None
    if isinstance(own, Mapping) and own.get("id") in ("gzip", "zlib", "zstd"):
        return {"id": own["id"], "level": int(own.get("level") or 1)}
    if isinstance(own, Mapping) and own.get("id") == "blosc" and own.get("cname") in _BLOSC:
        numbers = {"clevel": int(own.get("clevel", 5)), "shuffle": int(own.get("shuffle", 1))}
        return {"id": "blosc", "cname": own["cname"], **numbers, "blocksize": 0}
    raise NotDirectError("viewers do not know its compression")


def _fill(value: object, kind: str) -> int | float:
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise NotDirectError(f"viewers cannot show its fill value {str(value)[:20]}")
    if kind != "float32" and value != int(value):
        raise NotDirectError(f"its fill value {value} is none of its type")
    return value if kind == "float32" else int(value)


def zarr3_array(own: _Document, level: LevelSource) -> ArrayForViewer:
    """Return a zarr v3 array from its `zarr.json`."""
    del level
    kind, grid = own.get("data_type"), own.get("chunk_grid")
    keys, codecs = own.get("chunk_key_encoding"), own.get("codecs")
    if kind not in _TYPES:
        raise NotDirectError(f"viewers do not know the type {str(kind)[:40]}")
    if not isinstance(grid, Mapping) or grid.get("name") != "regular":
        raise NotDirectError("its chunks are not all of one shape")
    if not isinstance(keys, Mapping) or keys.get("name") not in ("default", "v2"):
        raise NotDirectError("its chunks have unusual names")
    if own.get("storage_transformers") or not isinstance(codecs, list):
        raise NotDirectError("viewers do not know its codecs")
    shape = _sides(own.get("shape"))
    outer = _sides((grid.get("configuration") or {}).get("chunk_shape"))
    inner = _check_codecs(codecs)
    document = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": kind,
        "chunk_grid": grid,
        "chunk_key_encoding": keys,
        "fill_value": _fill(own.get("fill_value"), kind),
        "codecs": codecs,
        "attributes": {},
    }
    return ArrayForViewer(
        document, shape, inner or outer, _TYPES[kind][1], is_sharded=inner is not None
    )


def _check_codecs(codecs: Sequence[object]) -> tuple[int, ...] | None:
    """Return the shape of the chunks in a shard, or None without shards."""
    inner = None
    for codec in codecs:
        if not isinstance(codec, Mapping) or codec.get("name") not in _ZARR3_CODECS:
            raise NotDirectError("viewers do not know its codecs")
        settings = codec.get("configuration") or {}
        if codec["name"] == "blosc" and settings.get("cname") not in _BLOSC:
            raise NotDirectError("viewers do not know its compression")
        if codec["name"] == "sharding_indexed":
            inner = _check_codecs(settings.get("codecs") or [])
            inner = inner or _sides(settings.get("chunk_shape"))
    return inner


def n5_array(own: _Document, level: LevelSource) -> ArrayForViewer:
    """Return an N5 array from its `attributes.json`."""
    del level
    kind, compression = own.get("dataType"), own.get("compression")
    if kind not in _TYPES:
        raise NotDirectError(f"viewers do not know the type {str(kind)[:40]}")
    if isinstance(compression, Mapping):
        name = compression.get("type")
    else:
        name, compression = own.get("compressionType"), {"type": own.get("compressionType")}
    if name not in _N5_COMPRESSION:
        raise NotDirectError("viewers do not know its compression")
    if name == "blosc" and compression.get("cname") not in _BLOSC:
        raise NotDirectError("viewers do not know its compression")
    shape, chunk = _sides(own.get("dimensions")), _sides(own.get("blockSize"))
    document = {
        "dimensions": list(shape),
        "blockSize": list(chunk),
        "dataType": kind,
        "compression": dict(compression),
    }
    return ArrayForViewer(document, shape[::-1], chunk[::-1], _TYPES[kind][1])


def precomputed_scale(own: _Document, level: LevelSource) -> ArrayForViewer:
    """Return a scale of a precomputed volume from its `info`."""
    index, kind = level.extra["scale_index"], own.get("data_type")
    if kind not in _TYPES:
        raise NotDirectError(f"viewers do not know the type {str(kind)[:40]}")
    if own.get("num_channels") != 1:
        raise NotDirectError("it has more channels than one")
    scale = own["scales"][index]
    if scale.get("encoding") not in _ENCODINGS:
        raise NotDirectError("viewers do not know its compression")
    sides = _sides(scale.get("size")), _sides((scale.get("chunk_sizes") or [None])[0])
    shape, chunk = (side[::-1] for side in sides)
    begin = [int(at) for at in scale.get("voxel_offset") or (0, 0, 0)]
    sharding = scale.get("sharding")
    kept = ("encoding", "compressed_segmentation_block_size", "jpeg_quality")
    document = {name: scale[name] for name in kept if name in scale}
    document |= {"size": list(sides[0]), "chunk_sizes": [list(sides[1])]}
    if sharding is not None:
        document["sharding"] = sharding
    key = scale.get("key") or "_".join(f"{edge:g}" for edge in scale["resolution"])
    return ArrayForViewer(
        {"data_type": kind, "scale": document},
        shape,
        chunk,
        _TYPES[kind][1],
        str(key).strip("/"),
        (begin[0], begin[1], begin[2]),
        is_sharded=sharding is not None,
    )


def _sides(value: object) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(isinstance(side, int) for side in value):
        raise NotDirectError("its metadata are unusual")
    if len(value) != 3:
        raise NotDirectError("it has more axes than three")
    return tuple(value)
