"""What packed bytes claim or turn out to unpack to, found without keeping it.

tensorstore unpacks gzip, zlib, bzip2, xz and zstd of a chunk no further than the chunk's size, but
blosc to whatever its header says, and gzip in the shards of precomputed volumes to its end.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

__all__ = [
    "MOST_DEFLATED",
    "BombError",
    "Suspicion",
    "blosc_size",
    "check_body",
    "check_deflated",
    "inflate",
    "inflated",
]

_BLOSC = struct.Struct("<BBBBIII")
"""Versions of format and compressor, flags, type size; bytes unpacked, of a block, packed."""
_N5 = struct.Struct(">HH")
_MOST_AXES = 32
_MOST_UNPACKED = 2**30
_GZIP = b"\x1f\x8b\x08"
_GZIP_OR_ZLIB = 47
_PIECE, _STEP = 2**18, 2**16
MOST_DEFLATED = 1032
"""How many bytes one byte of deflate can stand for."""


class BombError(ValueError):
    """Something unpacks to more than it may; the message says to how much."""


@dataclass(frozen=True)
class Suspicion:
    """What an object of a store is looked at for."""

    unpacked: int = 0
    """Bytes that it may unpack to."""
    is_blosc: bool = False
    is_n5: bool = False
    """Whether a header stands before the packed bytes."""
    is_gzip: bool = False
    """Whether gzip is unpacked to its end."""
    begins: tuple[int, ...] = (0,)
    """Where chunks may begin: a shard that is read whole may have its list in front."""

    def joined(self, other: Suspicion) -> Suspicion:
        """Return what both look for: levels of one image may share a store."""
        return Suspicion(
            max(self.unpacked, other.unpacked),
            self.is_blosc or other.is_blosc,
            self.is_n5 or other.is_n5,
            self.is_gzip or other.is_gzip,
            tuple(sorted({*self.begins, *other.begins})),
        )


def check_body(body: bytes, suspicion: Suspicion) -> None:
    """Raise BombError for an object, or a part of a shard, in which something unpacks to too much.

    A part of a shard may be several chunks; of blosc those are looked at that lie without a gap.
    """
    if suspicion.is_blosc:
        header = _n5_header(body) if suspicion.is_n5 else 0
        for begin in suspicion.begins:
            _check_blosc(body, begin + header, suspicion.unpacked)
    if suspicion.is_gzip:
        _check_gzip(body, suspicion.unpacked)


def _check_blosc(body: bytes, begin: int, limit: int) -> None:
    while len(body) - begin >= _BLOSC.size:
        _, _, _, _, unpacked, _, packed = _BLOSC.unpack_from(body, begin)
        if not _BLOSC.size <= packed <= len(body) - begin:
            # No blosc, such as the list of a shard.
            return
        if unpacked > limit:
            raise BombError(f"{packed} bytes of blosc unpack to {unpacked}")
        begin += packed


def blosc_size(head: bytes, size: int, *, is_n5: bool) -> int:
    """Return what a file of `size` bytes that begins like this unpacks to; 0 for no blosc."""
    begin = _n5_header(head) if is_n5 else 0
    if len(head) - begin < _BLOSC.size:
        return 0
    _, _, _, _, unpacked, _, packed = _BLOSC.unpack_from(head, begin)
    found: int = unpacked if packed == size - begin else 0
    return found


def _check_gzip(body: bytes, limit: int) -> None:
    at, size = body.find(_GZIP), 0
    while at >= 0:
        size += check_deflated(memoryview(body)[at:], limit)
        if size > _MOST_UNPACKED:
            # A body that is nothing but beginnings would take for ever.
            raise BombError(f"{len(body)} bytes of gzip unpack to more than {_MOST_UNPACKED}")
        at = body.find(_GZIP, at + 1)


def check_deflated(body: bytes | memoryview, limit: int) -> int:
    """Return to how many bytes gzip or zlib unpacks, as far as it is sound; nothing is kept.

    Raises BombError beyond `limit`. What is damaged, or none, is left to whoever unpacks it, and so
    is what stands behind it: neither HDF5 nor tensorstore joins several.
    """
    size, unpacker = 0, zlib.decompressobj(_GZIP_OR_ZLIB)
    try:
        for begin in range(0, len(body), _STEP):
            piece = bytes(body[begin : begin + _STEP])
            while piece and not unpacker.eof:
                size += len(unpacker.decompress(piece, _PIECE))
                if size > limit:
                    raise BombError(f"{len(body)} bytes unpack to more than {limit}")
                piece = unpacker.unconsumed_tail
            if unpacker.eof:
                break
    except zlib.error:
        pass
    return size


def inflate(body: bytes, limit: int) -> bytes:
    """Return what zlib packed; BombError for more than `limit` bytes, zlib.error for damage."""
    unpacker = zlib.decompressobj()
    plain = unpacker.decompress(body, limit + 1)
    if len(plain) > limit:
        raise BombError(f"{len(body)} bytes unpack to more than {limit}")
    if not unpacker.eof:
        raise zlib.error("it ends early")
    return plain


def inflated(body: bytes, encoding: str, limit: int) -> bytes:
    """Return a body that a server sent packed, though it was not asked to.

    Raises BombError beyond `limit` bytes, and for what cannot be unpacked with a bound.
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return body
    if name not in ("gzip", "x-gzip", "deflate"):
        raise BombError(f"an answer packed with {name[:20]!r}, which was not asked for")
    unpacker = zlib.decompressobj(_GZIP_OR_ZLIB)
    try:
        plain = unpacker.decompress(body, limit + 1)
    except zlib.error as err:
        raise BombError(f"a damaged answer ({err})") from err
    if len(plain) > limit:
        raise BombError(f"more than {limit} bytes, sent as {len(body)}")
    return plain


def _n5_header(body: bytes) -> int:
    """Return how many bytes the header of an N5 block has."""
    if len(body) < _N5.size:
        return 0
    mode, rank = _N5.unpack_from(body)
    size: int = _N5.size + 4 * min(rank, _MOST_AXES) + (4 if mode else 0)
    return size
