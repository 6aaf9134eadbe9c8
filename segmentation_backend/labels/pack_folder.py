"""Packs as files of a local folder: written, renamed and synced before a row names one.

A pack is written under a temporary name, so that a process that dies leaves no half of one under a
pack's name. A power cut may; no row names that one.
"""

from __future__ import annotations

import errno
import os
import secrets
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryFile

from segmentation_backend.errors import ErrorKind, ResourceError
from segmentation_backend.labels.delta import ChunkKey, InlineChunk, StoredChunk
from segmentation_backend.labels.pack_format import (
    check_pack,
    is_name,
    lay_out,
    new_name,
    payload,
    relative_path,
)
from segmentation_backend.labels.packs import Hook, no_hook

__all__ = ["PackFolder"]

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_THREADS = 8
"""Packs that are synced at a time."""


class PackFolder:
    """The packs of one volume in a local folder; see `PackStore` for what each method promises."""

    def __init__(self, folder: Path, hook: Hook = no_hook) -> None:
        """Use `folder` (made at the first write)."""
        self.folder = folder
        self._hook = hook
        self._durable: set[Path] = set()

    def write(self, chunks: Mapping[ChunkKey, InlineChunk]) -> dict[ChunkKey, StoredChunk]:
        """Store encoded chunks durably in one new pack and return where each one lies."""
        name = new_name()
        content, places = lay_out(name, chunks)
        self._write(name, content, is_new=True)
        return places

    def read(self, places: Iterable[StoredChunk]) -> Iterator[tuple[StoredChunk, bytes]]:
        """Yield the encoded bytes of chunks, each pack opened once."""
        by_pack: dict[str, list[StoredChunk]] = defaultdict(list)
        for place in places:
            by_pack[place.pack].append(place)
        for name, wanted in by_pack.items():
            try:
                with self._path(name).open("rb") as file:
                    for place in wanted:
                        file.seek(place.start)
                        yield place, payload(file.read(place.length), place)
            except OSError as err:
                raise self._unreadable(name, err) from err

    def names(self) -> Iterator[tuple[str, float]]:
        """Yield every pack and abandoned temporary file as (name, age in seconds)."""
        now = time.time()
        for path in sorted(self.folder.glob("??/*")):
            whole = path.suffix == ".pack" and is_name(path.stem)
            if whole or path.suffix == ".tmp":
                name = path.stem if whole else path.name
                try:
                    yield name, now - path.stat().st_mtime
                except FileNotFoundError:  # finished or swept by another process meanwhile
                    continue

    def verify(self, name: str) -> int:
        """Return the number of chunks of a pack after checking every byte of it."""
        return check_pack(self.content(name), name)

    def remove(self, name: str) -> None:
        """Delete a file listed by `names`; already gone is fine."""
        path = self._path(name) if not name.endswith(".tmp") else self.folder / name[:2] / name
        try:
            path.unlink(missing_ok=True)
        except OSError as err:
            raise ResourceError(
                f"The label pack {name} cannot be deleted from {self.folder} "
                f"({err.strerror or err}); look at the disk and the rights of the folder.",
                ErrorKind.SOURCE_UNAVAILABLE,
            ) from err

    def content(self, name: str) -> bytes:
        """Return all bytes of a pack as they lie there, unchecked."""
        try:
            return self._path(name).read_bytes()
        except OSError as err:
            raise self._unreadable(name, err) from err

    def put(self, name: str, content: bytes) -> None:
        """Store a whole pack under its name, durably, in place of what may lie there."""
        check_pack(content, name)
        self._write(name, content, is_new=False)

    def check(self) -> None:
        """Raise ResourceError unless the folder takes files."""
        try:
            with TemporaryFile(dir=self.folder):
                pass
        except OSError as err:
            raise ResourceError(
                f"The folder of label packs {self.folder} takes no files ({err.strerror or err}); "
                "check that its disk is there and that this user may write to it.",
                ErrorKind.SOURCE_UNAVAILABLE,
            ) from err

    def _path(self, name: str) -> Path:
        return self.folder / relative_path(name)

    def _write(self, name: str, content: bytes, *, is_new: bool) -> None:
        target = self._path(name)
        # Of its own: two processes may restore the same pack at once.
        temporary = target.with_name(f"{name}-{secrets.token_hex(4)}.tmp")
        try:
            self._make_folder(target.parent)
            self._write_file(temporary, content)
            if not is_new:
                # Its name is known already: the old bytes must not make way for half of the new.
                _sync_file(temporary)
            temporary.rename(target)
            self._hook("pack-renamed")
            if is_new:
                # Nobody knows the name before both are done, so they need not wait for each other.
                syncing = self._threads.submit(_sync_file, target)
            _sync_folder(target.parent)
            if is_new:
                syncing.result()
            self._hook("pack-synced")
        except OSError as err:
            # On a disk that has turned read-only, even this is refused.
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise self._unwritten(err) from err
        self._hook("pack-durable")

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(_THREADS, thread_name_prefix="label-pack-sync")

    def _make_folder(self, folder: Path) -> None:
        if folder in self._durable and folder.is_dir():
            return
        made = [above for above in (folder, *folder.parents) if not above.is_dir()]
        folder.mkdir(parents=True, exist_ok=True)
        there = set(self.folder.iterdir())
        # Also when it was there: another process may have made it a moment ago, unsynced yet.
        for path in {folder, *made}:
            _sync_folder(path.parent)
        self._durable |= there

    def _write_file(self, path: Path, content: bytes) -> None:
        with path.open("xb") as file:
            self._hook("pack-opened")
            file.write(content)
        self._hook("pack-written")

    def _unreadable(self, name: str, err: OSError) -> ResourceError:
        return ResourceError(
            f"The label pack {name} cannot be read from {self.folder} ({err.strerror or err}); try "
            "again, and if it stays, look at the disk that holds this folder.",
            ErrorKind.SOURCE_UNAVAILABLE,
        )

    def _unwritten(self, err: OSError) -> ResourceError:
        if err.errno in _NO_SPACE:
            return ResourceError(
                f"The disk that holds {self.folder} is full; nothing was changed. Free some space "
                "and repeat the edit.",
                ErrorKind.DISK_FULL,
            )
        return ResourceError(
            f"The change could not be written to {self.folder} ({err.strerror or err}); nothing "
            "was changed. Check the disk that holds this folder and repeat the edit.",
            ErrorKind.SOURCE_UNAVAILABLE,
        )


def _sync_file(path: Path) -> None:
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
