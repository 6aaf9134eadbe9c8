"""Immutable files of encoded chunks, one per operation that wrote voxels.

A pack becomes visible only through SQL rows that name it. It is written under a temporary name,
synced, renamed, and its folder synced, before the first such row: a crash leaves at most a file
that nobody names.

Layout, little-endian: 8 bytes magic; per chunk a record (crc32 of all that follows in the record,
payload length, level, z, y, x, payload); a footer (record count, crc32 of the magic and of all
record checksums, magic).
"""

from __future__ import annotations

import errno
import os
import secrets
import struct
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from segmentation_backend.errors import ErrorKind, FormatError, ResourceError, SegmentationError
from segmentation_backend.labels.delta import ChunkKey, InlineChunk, StoredChunk

__all__ = ["Hook", "PackStore", "no_hook"]

Hook = Callable[[str], None]
"""Called with the name of each step of a commit; tests stop or kill the process there."""

_MAGIC = b"MITOPCK1"
_RECORD = struct.Struct("<IIiiii")
_FOOTER = struct.Struct("<II8s")
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


def no_hook(_step: str) -> None:
    """Do nothing at a step."""


class PackStore:
    """The packs of one volume in a local folder."""

    def __init__(self, folder: Path, hook: Hook = no_hook) -> None:
        """Use `folder` (made at the first write)."""
        self.folder = folder
        self._hook = hook

    def write(self, chunks: Mapping[ChunkKey, InlineChunk]) -> dict[ChunkKey, StoredChunk]:
        """Store encoded chunks durably in one new pack and return where each one lies.

        Raises ResourceError (DISK_FULL, SOURCE_UNAVAILABLE); nothing is visible then.
        """
        name = secrets.token_hex(12)
        content, places = _layout(name, chunks)
        target = self._path(name)
        temporary = target.with_suffix(".tmp")
        try:
            self._make_folder(target.parent)
            self._write_file(temporary, content)
            self._hook("pack-synced")
            temporary.rename(target)
            self._hook("pack-renamed")
            _sync_folder(target.parent)
        except OSError as err:
            temporary.unlink(missing_ok=True)
            raise _unwritten(err) from err
        self._hook("pack-durable")
        return places

    def read(self, places: Iterable[StoredChunk]) -> Iterator[tuple[StoredChunk, bytes]]:
        """Yield the encoded bytes of chunks, each pack opened once.

        Raises FormatError CORRUPT_CHUNK when bytes are not what was written, ResourceError
        SOURCE_UNAVAILABLE when a pack cannot be opened: missing is not empty.
        """
        by_pack: dict[str, list[StoredChunk]] = defaultdict(list)
        for place in places:
            by_pack[place.pack].append(place)
        for name, wanted in by_pack.items():
            try:
                with self._path(name).open("rb") as file:
                    for place in wanted:
                        file.seek(place.start)
                        yield place, _payload(file.read(place.length), place)
            except OSError as err:
                raise ResourceError(
                    f"The label pack {name} cannot be read ({err.strerror}); try again, and if it "
                    "stays, look at the disk that holds the data directory.",
                    ErrorKind.SOURCE_UNAVAILABLE,
                ) from err

    def names(self) -> Iterator[tuple[str, float]]:
        """Yield every pack and abandoned temporary file as (name, age in seconds).

        A temporary file is named with its suffix, so that no row can ever name it.
        """
        now = time.time()
        for path in sorted(self.folder.glob("??/*")):
            if path.suffix in (".pack", ".tmp"):
                name = path.stem if path.suffix == ".pack" else path.name
                try:
                    yield name, now - path.stat().st_mtime
                except FileNotFoundError:  # finished or swept by another process meanwhile
                    continue

    def verify(self, name: str) -> int:
        """Return the number of chunks of a pack after checking every byte of it.

        Raises FormatError CORRUPT_CHUNK when it is torn or altered.
        """
        return _verified(self._path(name).read_bytes(), name)

    def remove(self, name: str) -> None:
        """Delete a file listed by `names`; already gone is fine."""
        path = self._path(name) if not name.endswith(".tmp") else self.folder / name[:2] / name
        path.unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        # Two letters of the random name spread a million packs over 256 folders.
        return self.folder / name[:2] / f"{name}.pack"

    def _make_folder(self, folder: Path) -> None:
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            _sync_folder(folder.parent)

    def _write_file(self, path: Path, content: bytes) -> None:
        with path.open("xb") as file:
            self._hook("pack-opened")
            file.write(content)
            file.flush()
            self._hook("pack-written")
            os.fsync(file.fileno())


def _layout(
    name: str, chunks: Mapping[ChunkKey, InlineChunk]
) -> tuple[bytes, dict[ChunkKey, StoredChunk]]:
    parts = [_MAGIC]
    places = {}
    start = len(_MAGIC)
    summary = zlib.crc32(_MAGIC)
    for key, chunk in chunks.items():
        body = _RECORD.pack(0, len(chunk.data), *key)[4:] + chunk.data
        checksum = zlib.crc32(body)
        summary = zlib.crc32(checksum.to_bytes(4, "little"), summary)
        parts.append(checksum.to_bytes(4, "little") + body)
        places[key] = StoredChunk(name, start, len(parts[-1]))
        start += len(parts[-1])
    parts.append(_FOOTER.pack(len(chunks), summary, _MAGIC))
    return b"".join(parts), places


def _payload(record: bytes, place: StoredChunk) -> bytes:
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


def _verified(content: bytes, name: str) -> int:
    end = len(content) - _FOOTER.size
    torn = FormatError(
        f"The label pack {name} is torn or altered; restore it from a backup.",
        ErrorKind.CORRUPT_CHUNK,
    )
    if end < len(_MAGIC) or content[: len(_MAGIC)] != _MAGIC:
        raise torn
    count, summary, magic = _FOOTER.unpack(content[end:])
    seen, at, running = 0, len(_MAGIC), zlib.crc32(_MAGIC)
    while at + _RECORD.size <= end:
        checksum, length = struct.unpack_from("<II", content, at)
        if zlib.crc32(content[at + 4 : at + _RECORD.size + length]) != checksum:
            raise torn
        running = zlib.crc32(checksum.to_bytes(4, "little"), running)
        at += _RECORD.size + length
        seen += 1
    if (at, seen, running, _MAGIC) != (end, count, summary, magic):
        raise torn
    return seen


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unwritten(err: OSError) -> SegmentationError:
    if err.errno in _NO_SPACE:
        return ResourceError(
            "The disk that holds the data directory is full; nothing was changed. Free some space "
            "and repeat the edit.",
            ErrorKind.DISK_FULL,
        )
    return ResourceError(
        f"The change could not be written ({err.strerror or err}); nothing was changed. Check the "
        "disk that holds the data directory and repeat the edit.",
        ErrorKind.SOURCE_UNAVAILABLE,
    )
