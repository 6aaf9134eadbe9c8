"""What a zip archive says that it holds: read from its list of members, nothing unpacked.

tensorstore leaves out members that it cannot, or will not, unpack (encrypted, packed by another
method, a thousand times smaller than their content): chunks in them would look as if they had never
been written. So the list is read here, too, and compared.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from typing import NamedTuple

from segmentation_backend.errors import ErrorKind, FormatError

__all__ = ["TAIL_BYTES", "check_members", "directory_place"]

TAIL_BYTES = 2**16 + 128
"""Of the end of an archive, in which it says where its list is."""

_MAX_DIRECTORY = 2**26
_MAX_UNPACKED = 2**26
_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_MEMBER = struct.Struct("<4s6H3L5H2L")
_FIELD = struct.Struct("<HH")
_SIZES_64 = 1
_FULL = 2**32 - 1
_ENCRYPTED = 1
_HINT = "Unpack the archive, or write it again without packing its members (zip -0)."


class _Member(NamedTuple):
    name: bytes
    is_packed: bool
    is_encrypted: bool
    unpacked: int


def directory_place(tail: bytes, url: str) -> tuple[int, int] | None:
    """Return begin and end of the list of members, from the end of an archive; None for no archive.

    Raises FormatError (UNSUPPORTED_FORMAT) for a list that is larger than anybody's.
    """
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) - at < _END.size:
        return None
    *_, length, begin, _ = _END.unpack_from(tail, at)
    before = at - _LOCATOR.size
    larger = tail.rfind(b"PK\6\6", 0, at)
    if before >= 0 and tail[before : before + 4] == b"PK\6\7" and larger >= 0:
        if len(tail) - larger < _END_64.size:
            return None
        *_, length, begin = _END_64.unpack_from(tail, larger)
    if length > _MAX_DIRECTORY:
        raise _unreadable(url, f"a list of members of {length} bytes (at most {_MAX_DIRECTORY})")
    return begin, begin + length


def check_members(directory: bytes, url: str, below: str, known: Collection[str]) -> None:
    """Refuse an archive with a member that would not be read, or unpacks to too much.

    `directory` is its list, of which only what lies `below` a folder counts, and `known` are the
    keys that tensorstore sees there, without the folder. Raises FormatError (UNSUPPORTED_FORMAT).
    """
    folder = f"{below}/".encode() if below else b""
    for member in _members(directory):
        if not member.name.startswith(folder) or member.name.endswith(b"/"):
            continue
        name = member.name[len(folder) :].decode("utf-8", "replace")
        if member.is_packed and member.unpacked > _MAX_UNPACKED:
            raise _unreadable(
                url, f"a member {name[:200]!r} that unpacks to {member.unpacked} bytes at once"
            )
        if name not in known:
            why = "encrypted" if member.is_encrypted else "packed too small, or by another method"
            raise _unreadable(url, f"a member {name[:200]!r} that is {why}")


def _unreadable(url: str, what: str) -> FormatError:
    return FormatError(
        f"{url} cannot be read as it is: it has {what}. {_HINT}", ErrorKind.UNSUPPORTED_FORMAT
    )


def _members(directory: bytes) -> Iterator[_Member]:
    """Yield what a list has; where it is damaged it ends."""
    at = 0
    while at + _MEMBER.size <= len(directory) and directory[at : at + 4] == b"PK\1\2":
        _, _, _, flags, method, *_, unpacked, name, more, comment, _, _, _, _ = _MEMBER.unpack_from(
            directory, at
        )
        begin = at + _MEMBER.size
        if unpacked == _FULL:
            unpacked = _size_64(directory[begin + name : begin + name + more])
        yield _Member(
            directory[begin : begin + name], method != 0, bool(flags & _ENCRYPTED), unpacked
        )
        at = begin + name + more + comment


def _size_64(extra: bytes) -> int:
    at = 0
    while at + _FIELD.size <= len(extra):
        kind, length = _FIELD.unpack_from(extra, at)
        at += _FIELD.size
        if kind == _SIZES_64 and length >= 8:
            return int.from_bytes(extra[at : at + 8], "little")
        at += length
    return _FULL
