"""Chunks of computed levels, which cost up to 512 chunks of the base to make: kept between runs."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

from segmentation_backend.errors import FormatError
from segmentation_backend.labels.chunks import Chunk, decode, encode
from segmentation_backend.labels.delta import ChunkKey, InlineChunk
from segmentation_backend.labels.recent import Recent

__all__ = ["ComputedChunks"]

_REMEMBERED_BYTES = 32 * 2**20
"""Encoded chunks in memory: a few thousand."""


_DIGEST = 16
"""Bytes at a file's start that tell whether the rest survived: files are not forced to disk."""


class ComputedChunks:
    """Chunks in memory and, where a folder is given, in files that processes share."""

    def __init__(self, folder: Path | None) -> None:
        """Keep files in `folder`; it holds nothing that could not be made again."""
        self._folder = folder
        self._recent = Recent[InlineChunk](_REMEMBERED_BYTES, lambda chunk: len(chunk.data) + 256)

    def get(self, key: ChunkKey) -> Chunk | None:
        """Return a chunk that was made before."""
        known = self._recent.get(key)
        if known is not None:
            return decode(known.data)
        with suppress(OSError, FormatError):
            if self._folder is not None:
                return self._from_file(key)
        return None

    def _from_file(self, key: ChunkKey) -> Chunk | None:
        content = self._path(key).read_bytes()
        digest, data = content[:_DIGEST], content[_DIGEST:]
        if digest != _digest(data):
            return None
        chunk = decode(data)
        self._recent.keep({key: InlineChunk(data)})
        return chunk

    def keep(self, key: ChunkKey, chunk: Chunk, *, durably: bool) -> None:
        """Remember a chunk; `durably` beyond this process, as far as the disk allows."""
        encoded = encode(chunk)
        self._recent.keep({key: encoded})
        if durably and self._folder is not None:
            # A cache that cannot be written is no reason to fail.
            with suppress(OSError):
                self._write(self._path(key), encoded.data)

    def _path(self, key: ChunkKey) -> Path:
        assert self._folder is not None
        return self._folder / str(key.level) / f"{key.z}_{key.y}_{key.x}"

    def _write(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
            file.write(_digest(data) + data)
        os.replace(file.name, path)


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST).digest()
