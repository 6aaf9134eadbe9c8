"""The bytes of a pack: encoded chunks one after another, each with its checksum; and its name.

Layout, little-endian: 8 bytes magic; per chunk a record (crc32 of all that follows in the record,
payload length, level, z, y, x, payload); a footer (record count, crc32 of the magic and of all
record checksums, magic).
"""

from __future__ import annotations

import re
import secrets
import struct
import zlib
from collections.abc import Iterator, Mapping

from segmentation_backend.errors import ErrorKind, FormatError, InvalidInputError
from segmentation_backend.labels.delta import ChunkKey, InlineChunk, StoredChunk

__all__ = [
    "check_pack",
    "chunks_in",
    "damaged",
    "is_name",
    "lay_out",
    "new_name",
    "payload",
    "relative_path",
]

_MAGIC = b"MITOPCK1"
_RECORD = struct.Struct("<IIiiii")
_FOOTER = struct.Struct("<II8s")
_NAME = re.compile(r"[0-9a-f]{4,64}")


def new_name() -> str:
    """Return a name that no other pack has: 96 random bits."""
    return secrets.token_hex(12)


def is_name(text: str) -> bool:
    """Whether a text can be the name of a pack."""
    return _NAME.fullmatch(text) is not None


def relative_path(name: str) -> str:
    """Return where a pack lies in its store, the same in a folder and in a bucket.

    Raises InvalidInputError (INVALID_NAME) for what cannot be a pack's name, such as a path.
    """
    if not is_name(name):
        raise InvalidInputError(
            f"{name!r} is not the name of a label pack: those are hexadecimal digits.",
            ErrorKind.INVALID_NAME,
        )
    # Two letters of the random name spread a million packs over 256 folders.
    return f"{name[:2]}/{name}.pack"


def lay_out(
    name: str, chunks: Mapping[ChunkKey, InlineChunk]
) -> tuple[bytes, dict[ChunkKey, StoredChunk]]:
    """Return the bytes of a pack called `name`, and where each chunk lies in them."""
    parts = [_MAGIC]
    places = {}
    start = len(_MAGIC)
    summary = zlib.crc32(_MAGIC)
    for key, chunk in chunks.items():
        header = _RECORD.pack(0, len(chunk.data), *key)[4:]
        checksum = zlib.crc32(chunk.data, zlib.crc32(header)).to_bytes(4, "little")
        summary = zlib.crc32(checksum, summary)
        parts += [checksum, header, chunk.data]
        places[key] = StoredChunk(name, start, _RECORD.size + len(chunk.data))
        start += places[key].length
    parts.append(_FOOTER.pack(len(chunks), summary, _MAGIC))
    return b"".join(parts), places


def payload(record: bytes, place: StoredChunk) -> bytes:
    """Return the encoded chunk in the bytes found at a place.

    Raises FormatError (CORRUPT_CHUNK) when they are not what was written there.
    """
    intact = (
        len(record) == place.length
        and place.length >= _RECORD.size
        and int.from_bytes(record[:4], "little") == zlib.crc32(record[4:])
    )
    if not intact:
        raise FormatError(
            f"The label pack {place.pack} is damaged at byte {place.start}; restore this file "
            "from a backup. Other chunks and versions can still be read.",
            ErrorKind.CORRUPT_CHUNK,
        )
    return record[_RECORD.size :]


def check_pack(content: bytes, name: str) -> int:
    """Return the number of chunks of a pack after checking every byte of it.

    Raises FormatError (CORRUPT_CHUNK) when it is torn or altered.
    """
    end = len(content) - _FOOTER.size
    if end < len(_MAGIC) or content[: len(_MAGIC)] != _MAGIC:
        raise damaged(name)
    count, summary, magic = _FOOTER.unpack(content[end:])
    seen, at, running = 0, len(_MAGIC), zlib.crc32(_MAGIC)
    while at + _RECORD.size <= end:
        checksum, length = struct.unpack_from("<II", content, at)
        if zlib.crc32(content[at + 4 : at + _RECORD.size + length]) != checksum:
            raise damaged(name)
        running = zlib.crc32(checksum.to_bytes(4, "little"), running)
        at += _RECORD.size + length
        seen += 1
    if (at, seen, running, magic) != (end, count, summary, _MAGIC):
        raise damaged(name)
    return seen


def chunks_in(content: bytes, name: str) -> Iterator[tuple[StoredChunk, ChunkKey]]:
    """Yield where each chunk of a pack lies, and which one it is, after checking every byte.

    Raises FormatError (CORRUPT_CHUNK) when the pack is torn or altered.
    """
    check_pack(content, name)
    at = len(_MAGIC)
    while at + _RECORD.size <= len(content) - _FOOTER.size:
        _, length, *key = _RECORD.unpack_from(content, at)
        yield StoredChunk(name, at, _RECORD.size + length), ChunkKey(*key)
        at += _RECORD.size + length


def damaged(name: str) -> FormatError:
    """Return the error for a pack whose bytes are not what was written."""
    return FormatError(
        f"The label pack {name} is torn or altered; restore it from a backup.",
        ErrorKind.CORRUPT_CHUNK,
    )
