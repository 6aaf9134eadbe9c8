"""A chunk of supervoxel ids: 64 voxels a side, kept and stored as the box that holds labels.

Encoded form: six bytes (the box inside the chunk: offset z, y, x, then side lengths z, y, x; all
zero when the chunk is background) and one zstd frame of the box as uint64, little-endian, C order
z, y, x. One labelled slice in a chunk is thus 32 kB to compress, not 2 MB.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
import zstandard

from segmentation_backend.errors import ErrorKind, FormatError
from segmentation_backend.geometry import Coordinate, Roi, ScaleLevel
from segmentation_backend.labels.delta import ChunkKey, InlineChunk
from segmentation_backend.labels.kernels import labelled_box

__all__ = [
    "CHUNK_SIDE",
    "EMPTY_CHUNK",
    "Chunk",
    "chunk_roi",
    "compose",
    "decode",
    "encode",
    "keys_over",
    "trim",
]

CHUNK_SIDE = 64
"""Voxels per side of a chunk, at every scale level."""

_ZSTD_LEVEL = 3
"""Not 1: inside a large object its matches come to a few bytes each, five times the size of the
frame and ten times the time to read it. Above 3 jagged labels take several times as long."""

_SIDES = (CHUNK_SIDE, CHUNK_SIDE, CHUNK_SIDE)


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Labels of one chunk: `block` starts at `offset` inside the chunk; all else is background."""

    offset: Coordinate
    block: npt.NDArray[np.uint64]
    """Read-only, C order z, y, x; of size 0 when the chunk is background."""

    @property
    def box(self) -> Roi:
        """The box of `block`, in voxels from the chunk's first voxel."""
        depth, height, width = self.block.shape
        return Roi(self.offset, (depth, height, width))

    def paste(self, into: npt.NDArray[np.uint64], origin: Coordinate) -> None:
        """Copy what overlaps into an array whose first voxel is `origin` in this chunk."""
        depth, height, width = into.shape
        common = self.box.intersect(Roi(origin, (depth, height, width)))
        if not common.is_empty:
            into[common.slices(origin)] = self.block[common.slices(self.offset)]

    def cut(self, box: Roi) -> npt.NDArray[np.uint64]:
        """Return a new dense array of a box given in voxels from the chunk's first voxel."""
        out = np.zeros(box.shape, dtype=np.uint64)
        self.paste(out, box.offset)
        return out


EMPTY_CHUNK = Chunk((0, 0, 0), np.zeros((0, 0, 0), dtype=np.uint64))
"""The chunk without a label."""


def trim(block: npt.NDArray[np.uint64], offset: Coordinate) -> Chunk:
    """Return the chunk whose labels are `block` at `offset`, without its background margins."""
    block = np.ascontiguousarray(block)
    z0, y0, x0, z1, y1, x1 = labelled_box(block).tolist()
    if z1 == 0:
        return EMPTY_CHUNK
    box = Roi.from_bounds((z0, y0, x0), (z1, y1, x1))
    tight = block[box.slices()]
    # A copy unless it already is one: the chunk must not change when the caller's array does.
    tight = np.array(tight, order="C", copy=True)
    tight.flags.writeable = False
    return Chunk((offset[0] + z0, offset[1] + y0, offset[2] + x0), tight)


def compose(before: Chunk, writes: Sequence[tuple[Coordinate, npt.NDArray[np.uint64]]]) -> Chunk:
    """Return the chunk after dense blocks were written over it, each at its offset inside it."""
    box = before.box
    for offset, block in writes:
        depth, height, width = block.shape
        box = box.union(Roi(offset, (depth, height, width)))
    array = before.cut(box)
    for offset, block in writes:
        depth, height, width = block.shape
        array[Roi(offset, (depth, height, width)).slices(box.offset)] = block
    return trim(array, box.offset)


def encode(chunk: Chunk) -> InlineChunk:
    """Return the bytes of a chunk (see the module's description)."""
    header = bytes((*chunk.offset, *chunk.block.shape))
    if chunk.block.size == 0:
        return InlineChunk(bytes(6))
    frame = zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(
        np.ascontiguousarray(chunk.block, dtype="<u8").data
    )
    return InlineChunk(header + frame)


def decode(data: bytes) -> Chunk:
    """Return the chunk of encoded bytes; raises FormatError CORRUPT_CHUNK."""
    if len(data) < 6:
        raise FormatError("A stored chunk is shorter than its header.", ErrorKind.CORRUPT_CHUNK)
    z, y, x, depth, height, width = data[:6]
    if depth * height * width == 0:
        return EMPTY_CHUNK
    size = depth * height * width * 8
    try:
        raw = zstandard.ZstdDecompressor().decompress(data[6:], max_output_size=size)
    except zstandard.ZstdError as err:
        raise FormatError(
            f"A stored chunk cannot be decompressed ({err}).", ErrorKind.CORRUPT_CHUNK
        ) from err
    if len(raw) != size or max(z + depth, y + height, x + width) > CHUNK_SIDE:
        raise FormatError("A stored chunk has the wrong size.", ErrorKind.CORRUPT_CHUNK)
    block = np.frombuffer(raw, dtype="<u8").reshape(depth, height, width)
    return Chunk((z, y, x), block.astype(np.uint64, copy=False))


def chunk_roi(key: ChunkKey, level: ScaleLevel) -> Roi:
    """Return the voxels of a chunk at its level, clipped to the level's shape."""
    offset = (key.z * CHUNK_SIDE, key.y * CHUNK_SIDE, key.x * CHUNK_SIDE)
    return Roi(offset, _SIDES).intersect(Roi((0, 0, 0), level.shape))


def keys_over(roi: Roi, level: int) -> Iterator[ChunkKey]:
    """Return the keys of all chunks that overlap a box of voxels of `level`, z slowest."""
    if roi.is_empty:
        return
    ranges: Iterable[range] = (
        range(begin // CHUNK_SIDE, (end - 1) // CHUNK_SIDE + 1)
        for begin, end in zip(roi.offset, roi.end, strict=True)
    )
    for z, y, x in product(*ranges):
        yield ChunkKey(level, z, y, x)
