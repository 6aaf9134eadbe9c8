"""Keeps finished blocks on disk, named by all that they depend on, so that none is computed twice.

A file's name is the SHA-256 of a description of the block: what image, network, contrast,
parameters and place made it, and which version of the program. So nothing ever needs to be
declared stale; what is not asked for any more is removed when room is needed. Files appear whole,
under their final name, and any number of processes may share a folder.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from segmentation_backend.errors import ErrorKind, FormatError
from segmentation_backend.inference.grid import Block
from segmentation_backend.inference.results import BlockResult

__all__ = ["RESULT_VERSION", "BlockCache", "ByteCache", "RunCache", "content_key"]

_log = logging.getLogger(__name__)

RESULT_VERSION = 2
"""Raised by whoever changes what any block comes to, whatever the reason."""

_DIGEST_BYTES = 32
_SUFFIX = ".block"
_PART = ".part"
_PART_SECONDS = 3600.0
"""Age from which an unfinished file belongs to a process that died."""
_ROOM = 0.9
"""Share of the bound that is left when room is made, so that it is not made every time."""
_UNSEEN = 1 / 16
"""Share of the bound that is written before the folder is looked through again: other processes
write there, too."""


def content_key(description: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a JSON object, 64 hexadecimal digits; the order of names is nothing.

    TypeError or ValueError where it is not JSON: a name that is not text, NaN.
    """
    if not all(isinstance(name, str) for name in description):
        raise TypeError(f"Names must be text, not {list(description)!r}.")
    text = json.dumps(
        description, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True
    )
    return hashlib.sha256(text.encode()).hexdigest()


class ByteCache:
    """A folder of files by 64 hexadecimal digits, of a bounded size; what is damaged is removed."""

    def __init__(self, folder: Path, max_bytes: int = 4 * 2**30) -> None:
        """Use a folder, made when first written to."""
        self._folder = folder
        self._max_bytes = max_bytes
        self._total: int | None = None
        """Bytes in the folder when last looked at, and what was written here since."""
        self._unseen = 0

    def find_bytes(self, key: str) -> bytes | None:
        """Return what is kept under a key, or None: not there, or not what was written."""
        path = self._path(key)
        try:
            content = _verified(path.read_bytes(), path)
        except OSError:
            return None
        except FormatError as error:
            self._drop(key, error)
            return None
        # The time of the last change is when it was last of use; removal goes by it.
        with suppress(OSError):
            os.utime(path)
        return content

    def holds(self, key: str) -> bool:
        """Whether there is a file under a key."""
        return self._path(key).exists()

    def keep_bytes(self, key: str, content: bytes) -> None:
        """Write a file; a disk that takes no more costs the cache, not the run."""
        try:
            self._write(self._path(key), hashlib.sha256(content).digest() + content)
        except OSError as error:
            _log.warning("A block's result could not be kept in %s: %s", self._folder, error)

    def _drop(self, key: str, error: FormatError) -> None:
        _log.warning("%s", error)
        self._path(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}{_SUFFIX}"

    def _write(self, path: Path, content: bytes) -> None:
        if len(content) > self._max_bytes:
            return
        self._make_room(len(content))
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(_PART, path.stem, path.parent)
        part = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    def _make_room(self, size: int) -> None:
        """Remove what was not of use for longest, if `size` bytes more would be too many."""
        if self._total is None or self._unseen > _UNSEEN * self._max_bytes:
            self._total, self._unseen = sum(s for _, s, _ in self._files()), 0
        if self._total + size > self._max_bytes:
            files = sorted(self._files())
            self._total = sum(s for _, s, _ in files)
            for _, length, path in files:
                if self._total + size <= _ROOM * self._max_bytes:
                    break
                path.unlink(missing_ok=True)
                self._total -= length
        self._total += size
        self._unseen += size

    def _files(self) -> list[tuple[int, int, Path]]:
        """Return when each file was last of use (ns), its bytes and its path."""
        found = []
        for path in self._folder.glob("*/*"):
            # Another process may have removed it since.
            with suppress(FileNotFoundError):
                status = path.stat()
                if path.suffix == _SUFFIX:
                    found.append((status.st_mtime_ns, status.st_size, path))
                elif path.suffix == _PART and time.time() - status.st_mtime > _PART_SECONDS:
                    path.unlink()
        return found


class BlockCache(ByteCache):
    """A folder of block results, of a bounded size."""

    def run(self, description: Mapping[str, Any]) -> RunCache:
        """Return the cache of blocks that share everything but their place.

        `description` is JSON: the image and its level, the weights' SHA-256, contrast, parameters.
        """
        return RunCache(self, description)

    def find(self, key: str, block: Block) -> BlockResult | None:
        """Return a result, or None: not there, or not what was written."""
        content = self.find_bytes(key)
        try:
            return None if content is None else BlockResult.from_bytes(content, block)
        except FormatError as error:
            self._drop(key, error)
            return None

    def keep(self, key: str, result: BlockResult) -> None:
        """Write a result; a disk that takes no more costs the cache, not the run."""
        self.keep_bytes(key, result.to_bytes())


class RunCache:
    """The cached blocks of one image, network and set of parameters."""

    def __init__(self, cache: BlockCache, description: Mapping[str, Any]) -> None:
        """Use `cache.run`."""
        self._cache = cache
        self._description = dict(description)

    def key(self, block: Block) -> str:
        """Return the name of a block's result."""
        place = {
            "mode": block.mode,
            "plane": block.plane,
            "index": list(block.index),
            # The same index lies elsewhere where the volume ends elsewhere or tiles differ.
            "core": block.core.to_json(),
            "box": block.box.to_json(),
            "tile": block.tile.to_json(),
            "open_faces": list(block.open_faces),
        }
        return content_key({"version": RESULT_VERSION, "block": place, "run": self._description})

    def holds(self, block: Block) -> bool:
        """Whether there is a result of a block; it may be damaged, or gone in a moment."""
        return self._cache.holds(self.key(block))

    def find(self, block: Block) -> BlockResult | None:
        """Return a block's result, or None."""
        return self._cache.find(self.key(block), block)

    def keep(self, result: BlockResult) -> None:
        """Keep a block's result."""
        self._cache.keep(self.key(result.block), result)


def _verified(content: bytes, path: Path) -> bytes:
    """Return what follows the digest at the head of a file, if it is the digest of that."""
    digest, body = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if hashlib.sha256(body).digest() != digest:
        raise FormatError(
            f"The block result {path} is damaged; it is removed and computed again.",
            ErrorKind.CORRUPT_CHUNK,
        )
    return body
