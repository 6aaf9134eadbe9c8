"""A chunk of supervoxel ids: 64 voxels a side, kept and stored as the box that holds labels.

Encoded form: six bytes (the box inside the chunk: offset z, y, x, then side lengths z, y, x; all
zero when the chunk is background), one byte `w`, and one zstd frame: the distinct ids in the box as
uint64, then for each of its voxels, in C order z, y, x, the number of its id (from 0, in `w` bytes,
1 or 2). All little-endian. So what is compressed is an eighth of the voxels' ids, or less.

In the first release, and where a box holds more than 65,536 ids, there is no `w`: the frame (which
begins with the byte 0x28) holds the box as uint64.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import zstandard

from segmentation_backend.errors import ErrorKind, FormatError
from segmentation_backend.geometry import Coordinate, Roi, ScaleLevel
from segmentation_backend.labels.delta import ChunkKey, InlineChunk
from segmentation_backend.labels.kernels import from_numbers, labelled_box, numbered

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

_ZSTD_LEVEL = 1
_RAW_ZSTD_LEVEL = 3
"""Of ids as such. Not 1: inside a large object its matches come to a few bytes each, five times the
size of the frame and ten times the time to read it."""

_FRAME_BEGINS = 0x28
_NUMBER_TYPES: dict[int, np.dtype[Any]] = {1: np.dtype("u1"), 2: np.dtype("<u2")}

_SIDES = (CHUNK_SIDE, CHUNK_SIDE, CHUNK_SIDE)


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Labels of one chunk: `block` starts at `offset` inside the chunk; all else is background."""

    offset: Coordinate
    block: npt.NDArray[np.uint64]
    """Read-only, C order z, y, x; of size 0 when the chunk is background."""
    ids: npt.NDArray[np.uint64] | None = field(default=None, repr=False)
    """The sorted distinct ids in `block` (no 0), where they are known."""

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

    def look(self, box: Roi) -> npt.NDArray[np.uint64]:
        """Return what `cut` does, but perhaps read-only and without a copy."""
        if self.box.encloses(box):
            return self.block[box.slices(self.offset)]
        return self.cut(box)

    def cut(self, box: Roi) -> npt.NDArray[np.uint64]:
        """Return a new dense array of a box given in voxels from the chunk's first voxel."""
        out = np.zeros(box.shape, dtype=np.uint64)
        self.paste(out, box.offset)
        return out


EMPTY_CHUNK = Chunk((0, 0, 0), np.zeros((0, 0, 0), dtype=np.uint64))
"""The chunk without a label."""


def trim(block: npt.NDArray[np.uint64], offset: Coordinate, *, is_own: bool = False) -> Chunk:
    """Return the chunk whose labels are `block` at `offset`, without its background margins.

    `is_own`: the caller gives the array away, so that it need not be copied.
    """
    block = np.ascontiguousarray(block)
    z0, y0, x0, z1, y1, x1 = labelled_box(block).tolist()
    if z1 == 0:
        return EMPTY_CHUNK
    box = Roi.from_bounds((z0, y0, x0), (z1, y1, x1))
    if not (is_own and box.shape == block.shape):
        # The chunk must not change when the caller's array does.
        block = np.array(block[box.slices()], order="C", copy=True)
    block.flags.writeable = False
    return Chunk((offset[0] + z0, offset[1] + y0, offset[2] + x0), block)


def compose(before: Chunk, writes: Sequence[tuple[Coordinate, npt.NDArray[np.uint64]]]) -> Chunk:
    """Return the chunk after dense blocks were written over it, each at its offset inside it."""
    boxes = [Roi(offset, _shape(block)) for offset, block in writes]
    if len(writes) == 1 and boxes[0].encloses(before.box):
        return trim(writes[0][1], writes[0][0])
    box = before.box
    for written in boxes:
        box = box.union(written)
    array = before.cut(box)
    for written, (_, block) in zip(boxes, writes, strict=True):
        array[written.slices(box.offset)] = block
    return trim(array, box.offset, is_own=True)


def _shape(block: npt.NDArray[np.uint64]) -> Coordinate:
    depth, height, width = block.shape
    return (depth, height, width)


def encode(chunk: Chunk) -> InlineChunk:
    """Return the bytes of a chunk (see the module's description)."""
    header = bytes((*chunk.offset, *chunk.block.shape))
    if chunk.block.size == 0:
        return InlineChunk(bytes(6))
    flat = np.ascontiguousarray(chunk.block).reshape(-1)
    found = numbered(flat)
    if found is None:
        frame = zstandard.ZstdCompressor(level=_RAW_ZSTD_LEVEL).compress(flat.astype("<u8").data)
        return InlineChunk(header + frame)
    ids, numbers = found
    kind = _NUMBER_TYPES[numbers.itemsize]
    content = ids.astype("<u8").tobytes() + numbers.astype(kind, copy=False).tobytes()
    frame = zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(content)
    return InlineChunk(header + bytes([kind.itemsize]) + frame)


def decode(data: bytes) -> Chunk:
    """Return the chunk of encoded bytes; raises FormatError CORRUPT_CHUNK."""
    if len(data) < 6:
        raise FormatError("A stored chunk is shorter than its header.", ErrorKind.CORRUPT_CHUNK)
    z, y, x, *shape = data[:6]
    voxels = prod(shape)
    if voxels == 0:
        return EMPTY_CHUNK
    if len(data) < 7 or max(z + shape[0], y + shape[1], x + shape[2]) > CHUNK_SIDE:
        raise _wrong_size()
    ids = None
    if data[6] == _FRAME_BEGINS:
        flat = np.frombuffer(_content(data[6:], 8 * voxels), dtype="<u8").astype(np.uint64)
        if flat.size != voxels:
            raise _wrong_size()
    else:
        flat, ids = _from_numbers(data[7:], data[6], voxels)
    flat.flags.writeable = False
    return Chunk((z, y, x), flat.reshape(shape), ids)


def _from_numbers(
    frame: bytes, width: int, voxels: int
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    kind = _NUMBER_TYPES.get(width)
    if kind is None:
        raise FormatError(
            f"A stored chunk is of a kind ({width}) that this version does not know.",
            ErrorKind.CORRUPT_CHUNK,
        )
    content = _content(frame, 8 * min(voxels, 1 << (8 * width)) + width * voxels)
    count, rest = divmod(len(content) - width * voxels, 8)
    if rest or count < 1:
        raise _wrong_size()
    ids = np.frombuffer(content, dtype="<u8", count=count).astype(np.uint64)
    numbers = np.frombuffer(content, dtype=kind, offset=8 * count)
    flat = np.empty(voxels, dtype=np.uint64)
    if not from_numbers(ids, numbers, flat):
        raise _wrong_size()
    ids.sort()
    return flat, ids[1:] if ids[0] == 0 else ids


def _content(frame: bytes, largest: int) -> bytes:
    try:
        size = zstandard.get_frame_parameters(frame).content_size
        if size > largest:
            raise _wrong_size()
        return zstandard.ZstdDecompressor().decompress(frame)
    except zstandard.ZstdError as err:
        raise FormatError(
            f"A stored chunk cannot be decompressed ({err}).", ErrorKind.CORRUPT_CHUNK
        ) from err


def _wrong_size() -> FormatError:
    return FormatError("A stored chunk has the wrong size.", ErrorKind.CORRUPT_CHUNK)


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
