"""Files of chunks on this machine, looked at before they are read whole: their size, and blosc's.

What comes over a network is looked at on its way (`gate`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import tensorstore as ts

from segmentation_backend.geometry import Roi
from segmentation_backend.sources.bombs import BombError, blosc_size

__all__ = ["ChunkFiles", "chunk_files"]

_MARGIN = 2**16
_HEAD_BYTES = 256
_CORNERS = "-_"
_Map: TypeAlias = tuple[int | None, int, int]


@dataclass(frozen=True)
class ChunkFiles:
    """Where the chunks of an array are, each of which has a file of its own."""

    folder: str
    names: tuple[str, str]
    """What stands before the numbers of a chunk, and between them; `_CORNERS`: of its corners."""
    sides: tuple[int, ...]
    """Of a chunk, along the axes as stored."""
    domain: tuple[tuple[int, int], ...]
    """Begin and end of the array along them."""
    maps: tuple[_Map, ...]
    """For each: which axis of the image it is (None: one place of it only), offset and step."""
    chunk_bytes: int
    is_blosc: bool
    is_n5: bool

    def check(self, box: Roi) -> None:
        """Raise BombError when a chunk that a box meets has, or claims, far more than a chunk.

        Costs a few µs for each chunk; one that is not there is none of our business.
        """
        for place in product(*self._places(box)):
            path = self.folder + self._name(place)
            with suppress(FileNotFoundError, NotADirectoryError):
                self._check_file(path)

    def _places(self, box: Roi) -> Iterator[range]:
        for (axis, offset, step), side, (begin, _) in zip(
            self.maps, self.sides, self.domain, strict=True
        ):
            ends = [offset, offset]
            if axis is not None:
                ends = [offset + step * box.offset[axis], offset + step * (box.end[axis] - 1)]
            yield range((min(ends) - begin) // side, (max(ends) - begin) // side + 1)

    def _name(self, place: Sequence[int]) -> str:
        before, between = self.names
        if between != _CORNERS:
            return before + between.join(map(str, place))
        corners = [
            (begin + i * side, min(begin + (i + 1) * side, end))
            for i, side, (begin, end) in zip(place, self.sides, self.domain, strict=True)
        ]
        return before + "_".join(f"{first}-{last}" for first, last in corners[:3])

    def _check_file(self, path: str) -> None:
        size = os.stat(path).st_size
        if size > 2 * self.chunk_bytes + _MARGIN:
            raise BombError(f"{path} has {size} bytes, and a chunk {self.chunk_bytes} unpacked")
        if not self.is_blosc:
            return
        with open(path, "rb", buffering=0) as file:
            unpacked = blosc_size(file.read(_HEAD_BYTES), size, is_n5=self.is_n5)
        if unpacked > self.chunk_bytes + _MARGIN:
            raise BombError(
                f"{path} unpacks to {unpacked} bytes, and a chunk has {self.chunk_bytes}"
            )


def chunk_files(array: ts.TensorStore) -> ChunkFiles | None:
    """Return the files of an array as z, y, x; None for one that is elsewhere, or in shards."""
    spec = array.spec()
    document = spec.to_json()
    document = document["base"] if document["driver"] == "cast" else document
    store = document.get("kvstore", {})
    describe = _LAYOUTS.get(document["driver"])
    layout = None if describe is None else describe(document)
    transform = spec.transform
    if layout is None or transform is None or store.get("driver") != "file":
        return None
    return ChunkFiles(
        folder=store["path"],
        names=layout.names,
        sides=layout.sides,
        domain=layout.domain,
        maps=tuple(_map(output) for output in transform.output),
        chunk_bytes=prod(layout.sides) * np.dtype(document["dtype"]).itemsize,
        is_blosc="blosc" in layout.codec,
        is_n5=document["driver"] == "n5",
    )


def _map(output: ts.OutputIndexMap) -> _Map:
    if output.method == ts.OutputIndexMethod.constant:
        return None, output.offset, 0
    return output.input_dimension, output.offset, output.stride or 1


class _Layout(NamedTuple):
    names: tuple[str, str]
    sides: tuple[int, ...]
    domain: tuple[tuple[int, int], ...]
    codec: str


def _zarr2(document: Mapping[str, Any]) -> _Layout:
    own = document["metadata"]
    names = ("", own["dimension_separator"])
    return _Layout(names, tuple(own["chunks"]), _from_0(own["shape"]), str(own["compressor"]))


def _zarr3(document: Mapping[str, Any]) -> _Layout | None:
    own = document["metadata"]
    codec = str(own["codecs"])
    if "sharding_indexed" in codec:
        return None
    encoding = own["chunk_key_encoding"]
    is_default = encoding["name"] == "default"
    between = encoding.get("configuration", {}).get("separator", "/" if is_default else ".")
    names = (f"c{between}" if is_default else "", between)
    sides = own["chunk_grid"]["configuration"]["chunk_shape"]
    return _Layout(names, tuple(sides), _from_0(own["shape"]), codec)


def _n5(document: Mapping[str, Any]) -> _Layout:
    own = document["metadata"]
    sides, codec = tuple(own["blockSize"]), str(own["compression"])
    return _Layout(("", "/"), sides, _from_0(own["dimensions"]), codec)


def _precomputed(document: Mapping[str, Any]) -> _Layout | None:
    own, channels = document["scale_metadata"], document["multiscale_metadata"]["num_channels"]
    if own.get("sharding") is not None:
        return None
    domain = [(a, a + n) for a, n in zip(own["voxel_offset"], own["size"], strict=True)]
    sides = (*own["chunk_size"], channels)
    return _Layout((f"{own['key']}/", _CORNERS), sides, (*domain, (0, channels)), "")


def _from_0(shape: Sequence[int]) -> tuple[tuple[int, int], ...]:
    return tuple((0, side) for side in shape)


_LAYOUTS: Mapping[str, Callable[[Mapping[str, Any]], _Layout | None]] = {
    "zarr": _zarr2,
    "zarr3": _zarr3,
    "n5": _n5,
    "neuroglancer_precomputed": _precomputed,
}
