"""What one block came to: its objects, how sure they are, and how that is kept as bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

from segmentation_backend.errors import ErrorKind, FormatError
from segmentation_backend.geometry import Coordinate
from segmentation_backend.inference.grid import Block

__all__ = ["BlockMaps", "BlockResult", "pack", "unpack"]


@dataclass(frozen=True, slots=True)
class BlockMaps:
    """The network's maps in a block's core, for display; 255 stands for 1."""

    probability: NDArray[np.uint8]
    """(z, y, x); where three planes were seen, their mean."""
    centres: NDArray[np.uint8]
    """(z, y, x), the centre heat map; where three planes were seen, their maximum."""

    def with_others(self, others: Iterable[BlockMaps | None]) -> BlockMaps:
        """Return the maps with, voxel by voxel, the highest probability of this and other classes.

        Centres are those of all classes anyway.
        """
        highest = self.probability
        for other in others:
            if other is not None:
                highest = np.maximum(highest, other.probability)
        return BlockMaps(highest, self.centres)


@dataclass(frozen=True, slots=True)
class BlockResult:
    """The objects of one block, numbered 1..n; nothing in it depends on other blocks."""

    block: Block
    labels: NDArray[np.uint32]
    """(z, y, x) of `block.box`: the core, and the margin by which neighbours are compared."""
    probability: NDArray[np.float32]
    """(n,) mean foreground probability over each object's voxels in the box."""
    agreement: NDArray[np.float32]
    """(n,) mean share of the planes that found something at each object's voxels; 1 where the
    network saw one plane."""
    maps: BlockMaps | None = None

    @property
    def count(self) -> int:
        """The number of objects."""
        return len(self.probability)

    @property
    def core_labels(self) -> NDArray[np.uint32]:
        """The labels of the core, a view."""
        return self.labels[self.block.core.slices(self.block.box.offset)]

    def to_bytes(self) -> bytes:
        """Return everything but the block itself, compressed."""
        arrays: dict[str, NDArray[Any]] = {
            "labels": self.labels,
            "probability": self.probability,
            "agreement": self.agreement,
        }
        if self.maps is not None:
            arrays |= {"maps": self.maps.probability, "centres": self.maps.centres}
        return pack(arrays)

    @classmethod
    def from_bytes(cls, content: bytes, block: Block) -> BlockResult:
        """Return what `to_bytes` wrote of a block; FormatError where it is not that."""
        arrays = unpack(content)
        shapes = {"labels": block.box.shape, "maps": block.core.shape, "centres": block.core.shape}
        found = {name: a.shape for name, a in arrays.items() if name in shapes}
        missing = {"labels", "probability", "agreement"} - set(arrays)
        if missing or any(shapes[name] != shape for name, shape in found.items()):
            raise _damaged(f"it holds {found}, not block {block.index} of {block.box}")
        maps = BlockMaps(arrays["maps"], arrays["centres"]) if "maps" in arrays else None
        return cls(block, arrays["labels"], arrays["probability"], arrays["agreement"], maps)


def pack(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return arrays as one JSON line that describes them and their values after it, compressed."""
    described = [[name, a.dtype.str, list(a.shape)] for name, a in arrays.items()]
    values = [np.ascontiguousarray(a).tobytes() for a in arrays.values()]
    content = b"".join([json.dumps(described).encode(), b"\n", *values])
    return zstandard.ZstdCompressor(level=1, write_checksum=True).compress(content)


def unpack(content: bytes) -> dict[str, NDArray[Any]]:
    """Return the arrays that `pack` was given; FormatError (CORRUPT_CHUNK) for anything else."""
    try:
        # Not bytes: arrays over those are read-only, which some libraries refuse.
        whole = bytearray(zstandard.ZstdDecompressor().decompress(content))
        head, _, _ = whole.partition(b"\n")
        described: list[tuple[str, str, Coordinate]] = json.loads(head)
        arrays = {}
        at = len(head) + 1
        for name, dtype, shape in described:
            count = int(np.prod(shape))
            arrays[name] = np.frombuffer(whole, dtype, count, at).reshape(shape)
            at += arrays[name].nbytes
    except (zstandard.ZstdError, ValueError, TypeError) as error:
        raise _damaged(str(error)) from error
    return arrays


def _damaged(reason: str) -> FormatError:
    return FormatError(
        f"A stored block result cannot be read ({reason}); delete it, and it is computed again.",
        ErrorKind.CORRUPT_CHUNK,
    )
