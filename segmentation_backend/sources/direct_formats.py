"""Which arrays a viewer in the browser decodes itself: the metadata of one level, checked.

What is let through is what Neuroglancer 2.41 reads. All its rules are here; shapes are in C order.
Labels are more strictly looked at than images: an id that is shown as another one is a wrong id.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

from segmentation_backend.geometry import Coordinate
from segmentation_backend.sources.discovery import LevelSource

__all__ = [
    "ArrayForViewer",
    "LayerKind",
    "NotDirectError",
    "n5_array",
    "precomputed_scale",
    "zarr2_array",
    "zarr3_array",
]

_Document: TypeAlias = Mapping[str, Any]


class LayerKind(StrEnum):
    """What a viewer makes of the voxels; the values are precomputed's `type`."""

    IMAGE = "image"
    LABELS = "segmentation"


_NUMPY = {
    "u1": "uint8", "i1": "int8", "u2": "uint16", "i2": "int16", "u4": "uint32", "i4": "int32",
    "u8": "uint64", "f4": "float32",
}  # fmt: skip
_BYTES = {kind: int(name[1]) for name, kind in _NUMPY.items()}
_TYPES = {
    LayerKind.IMAGE: [kind for kind in _BYTES if kind != "uint64"],
    # A sign would be taken for a part of the id; here such ids are refused.
    LayerKind.LABELS: [kind for kind in _BYTES if kind.startswith("u")],
}
_ZARR3_CODECS = ("bytes", "blosc", "gzip", "zstd", "crc32c", "transpose", "sharding_indexed")
_BLOSC = ("blosclz", "lz4", "lz4hc", "zlib", "zstd")
_N5_COMPRESSION = ("raw", "gzip", "blosc", "zstd")
_ENCODINGS = {
    LayerKind.IMAGE: ("raw", "jpeg", "png", "compressed_segmentation", "compresso", "jxl"),
    # Pictures are for greys: decoders may differ in what they make of them.
    LayerKind.LABELS: ("raw", "compressed_segmentation", "compresso"),
}


class NotDirectError(Exception):
    """A browser cannot read the image or labels; the text says why, as the end of a sentence."""


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


def zarr2_array(own: _Document, level: LevelSource, kind: LayerKind) -> ArrayForViewer:
    """Return a zarr v2 array from its `.zarray`."""
    del level
    dtype, order = str(own.get("dtype")), own.get("order")
    name = _type(_NUMPY.get(dtype[1:]) if dtype[:1] in "|<>" else None, kind, dtype)
    if own.get("filters") or order not in ("C", "F"):
        raise NotDirectError("its chunks have filters that viewers do not know")
    shape, chunk = _sides(own.get("shape")), _sides(own.get("chunks"))
    document = {
        "zarr_format": 2,
        "shape": list(shape),
        "chunks": list(chunk),
        "order": order,
        "dtype": dtype,
        "fill_value": _fill(own.get("fill_value"), name, kind),
        "filters": None,
        "compressor": _compressor(own.get("compressor")),
        "dimension_separator": own.get("dimension_separator") or ".",
    }
    return ArrayForViewer(document, shape, chunk, _BYTES[name])


def _type(name: object, kind: LayerKind, stored: object) -> str:
    if not isinstance(name, str) or name not in _TYPES[kind]:
        what = "as ids" if kind is LayerKind.LABELS else "as greys"
        raise NotDirectError(f"viewers do not show the type {str(stored)[:40]} {what}")
    return name


def _compressor(own: object) -> dict[str, Any] | None:
    if own is None:
        return None
    if isinstance(own, Mapping) and own.get("id") in ("gzip", "zlib", "zstd"):
        return {"id": own["id"], "level": int(own.get("level") or 1)}
    if isinstance(own, Mapping) and own.get("id") == "blosc" and own.get("cname") in _BLOSC:
        numbers = {"clevel": int(own.get("clevel", 5)), "shuffle": int(own.get("shuffle", 1))}
        return {"id": "blosc", "cname": own["cname"], **numbers, "blocksize": 0}
    raise NotDirectError("viewers do not know its compression")


def _fill(value: object, name: str, kind: LayerKind) -> int | float:
    if value is None:
        return 0
    if kind is LayerKind.LABELS and value != 0:
        # Viewers draw no labels where no chunk is (static/js/drawing.js).
        raise NotDirectError("what is not stored there is not background")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise NotDirectError(f"viewers cannot show its fill value {str(value)[:20]}")
    if name != "float32" and value != int(value):
        raise NotDirectError(f"its fill value {value} is none of its type")
    return value if name == "float32" else int(value)


def zarr3_array(own: _Document, level: LevelSource, kind: LayerKind) -> ArrayForViewer:
    """Return a zarr v3 array from its `zarr.json`."""
    del level
    name, grid = _type(own.get("data_type"), kind, own.get("data_type")), own.get("chunk_grid")
    keys, codecs = own.get("chunk_key_encoding"), own.get("codecs")
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
        "data_type": name,
        "chunk_grid": grid,
        "chunk_key_encoding": keys,
        "fill_value": _fill(own.get("fill_value"), name, kind),
        "codecs": codecs,
        "attributes": {},
    }
    return ArrayForViewer(
        document, shape, inner or outer, _BYTES[name], is_sharded=inner is not None
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


def n5_array(own: _Document, level: LevelSource, kind: LayerKind) -> ArrayForViewer:
    """Return an N5 array from its `attributes.json`."""
    del level
    name, compression = (
        _type(own.get("dataType"), kind, own.get("dataType")),
        own.get("compression"),
    )
    if isinstance(compression, Mapping):
        by = compression.get("type")
    else:
        by, compression = own.get("compressionType"), {"type": own.get("compressionType")}
    if by not in _N5_COMPRESSION:
        raise NotDirectError("viewers do not know its compression")
    if by == "blosc" and compression.get("cname") not in _BLOSC:
        raise NotDirectError("viewers do not know its compression")
    shape, chunk = _sides(own.get("dimensions")), _sides(own.get("blockSize"))
    document = {
        "dimensions": list(shape),
        "blockSize": list(chunk),
        "dataType": name,
        "compression": dict(compression),
    }
    return ArrayForViewer(document, shape[::-1], chunk[::-1], _BYTES[name])


def precomputed_scale(own: _Document, level: LevelSource, kind: LayerKind) -> ArrayForViewer:
    """Return a scale of a precomputed volume from its `info`."""
    name = _type(own.get("data_type"), kind, own.get("data_type"))
    if own.get("num_channels") != 1:
        raise NotDirectError("it has more channels than one")
    scale = own["scales"][level.extra["scale_index"]]
    if scale.get("encoding") not in _ENCODINGS[kind]:
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
        {"type": str(kind), "data_type": name, "scale": document},
        shape,
        chunk,
        _BYTES[name],
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
