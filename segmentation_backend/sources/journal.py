"""How far an import has come, kept beside what it has written, so that it goes on after a kill."""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import json
import os
import shutil
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from segmentation_backend.errors import ConflictError, ErrorKind
from segmentation_backend.geometry import Coordinate, VoxelSize

__all__ = ["ImportJournal", "identify"]

_FILE = "import.json"
_FORMAT = 1
_EVERY_S = 3.0


def identify(
    path: str | Path,
    dataset: str | None,
    shape: Coordinate,
    dtype: np.dtype[np.generic],
    voxel_size: VoxelSize | None,
) -> str:
    """Return what an import depends on as a hash: only the same one may be carried on."""
    facts: list[Any] = [_FORMAT, str(path), dataset, shape, dtype.str, voxel_size]
    local = Path(path)
    if local.is_file() or (local.is_dir() and dataset is None):
        found = local.stat()
        facts += [found.st_size, found.st_mtime_ns]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


class ImportJournal:
    """The folder of an unfinished import: a lock, and how many blocks of each level are written.

    Blocks are counted in the order in which they are written, which is always the same.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        """Name the folder; it is made, or taken over, on entry."""
        self.folder = folder
        self._identity = identity
        self._done: dict[str, int] = {}
        self._seen: dict[str, int] = {}
        self._lock = -1
        self._saved = 0.0
        # Waiting for the disk must not keep blocks from being read and compressed.
        self._saver = ThreadPoolExecutor(1, "import journal")
        self._saving: Future[None] | None = None

    def __enter__(self) -> ImportJournal:
        """Take the folder, empty unless it holds the beginning of the same import.

        Raises ConflictError (NAME_TAKEN) while another process writes there.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            os.close(self._lock)
            raise ConflictError(
                f"{self.folder} is being written by another import of the same name; wait for it "
                "or choose another name.",
                ErrorKind.NAME_TAKEN,
            ) from err
        self._done = self._read()
        if not self._done:
            for entry in self.folder.iterdir():
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        self._saved = time.monotonic()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let the folder go; what is written of it stays."""
        self._saver.shutdown()
        os.close(self._lock)

    def _read(self) -> dict[str, int]:
        try:
            document = json.loads((self.folder / _FILE).read_bytes())
            if document["identity"] != self._identity:
                return {}
            return {str(level): int(count) for level, count in document["done"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}

    def has_done(self, level: int, count: int) -> bool:
        """Whether the next `count` blocks of a level are all there."""
        key = str(level)
        return self._seen.get(key, 0) + count <= self._done.get(key, 0)

    def skips(self, level: int) -> bool:
        """Return whether the next block of a level is there, and go past it if so."""
        if not self.has_done(level, 1):
            return False
        self._seen[str(level)] = self._seen.get(str(level), 0) + 1
        return True

    def note(self, level: int) -> None:
        """Remember that the next block of a level is written; on disk every few seconds."""
        key = str(level)
        self._seen[key] = self._seen.get(key, 0) + 1
        self._done[key] = self._seen[key]
        if time.monotonic() - self._saved < _EVERY_S:
            return
        if self._saving is None or self._saving.done():
            self.wait()
            self._saved = time.monotonic()
            self._saving = self._saver.submit(self._save, json.dumps(self._document()))

    def save(self) -> None:
        """Write down how far it is, once all of that is on the disk."""
        self.wait()
        self._save(json.dumps(self._document()))

    def wait(self) -> None:
        """Return when nothing is being written down; raises OSError where that failed."""
        saving, self._saving = self._saving, None
        if saving is not None:
            saving.result()

    def _document(self) -> dict[str, Any]:
        return {"identity": self._identity, "done": self._done}

    def _save(self, document: str) -> None:
        # Chunks are written without a sync each, which would cost more than compressing them; a
        # block counts only when one sync has brought everything before it to the disk.
        _sync(self._lock)
        draft = self.folder / f"{_FILE}.new"
        draft.write_text(document)
        draft.replace(self.folder / _FILE)

    def finish(self, destination: Path) -> None:
        """Give the folder its final name, when all of it is on the disk."""
        self.wait()
        _sync(self._lock)
        for name in (_FILE, "planes"):
            (self.folder / name).unlink(missing_ok=True)
        os.rename(self.folder, destination)


def _sync(descriptor: int) -> None:
    """Bring everything that was written to the file system of an open folder to its disk."""
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is None:
        os.sync()
    elif syncfs(descriptor) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
