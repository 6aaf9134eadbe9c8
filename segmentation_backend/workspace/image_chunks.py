"""Image chunks on their way out: raw voxels, read once for everybody, kept a while."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from segmentation_backend.geometry import Roi
from segmentation_backend.sources.pending import PendingRead
from segmentation_backend.sources.volume import Volume
from segmentation_backend.workspace.bounded import Bounded
from segmentation_backend.workspace.waiting import WaitingRoom

__all__ = ["ImageChunk", "ImageChunks"]

CACHE_BYTES = 128 * 2**20
PLACES = 8

Place: TypeAlias = tuple[str, int, Roi]


@dataclass(frozen=True, slots=True)
class ImageChunk:
    """The voxels of a chunk as they are sent."""

    data: bytes
    """z, y, x in C order, little-endian; never compressed: on noisy EM that costs more than it
    saves."""
    etag: str
    """Of the content."""


class ImageChunks:
    """Chunks of images, so that everybody who looks at the same place shares the work. Thread-safe.

    Two who ask for the same chunk wait for one read; when nobody waits any more, it is cancelled.
    """

    def __init__(
        self,
        open_image: Callable[[str], Future[Volume]],
        capacity_bytes: int = CACHE_BYTES,
        room: WaitingRoom | None = None,
    ) -> None:
        """Read volumes that `open_image` opens by name; keep at most `capacity_bytes`."""
        self._open_image = open_image
        self._kept: Bounded[Place, ImageChunk] = Bounded(
            capacity_bytes, lambda chunk: len(chunk.data)
        )
        self._room = room or WaitingRoom(PLACES)
        self._reads: dict[Place, _Read] = {}
        self._lock = threading.Lock()

    @property
    def kept_bytes(self) -> int:
        """How many bytes of chunks are kept now."""
        return self._kept.weight

    def kept(self, volume: str, level: int, roi: Roi) -> ImageChunk | None:
        """Return a chunk that is in memory, or None."""
        return self._kept.get((volume, level, roi))

    def chunk(
        self, volume: str, level: int, roi: Roi, still_wanted: Callable[[], None] = lambda: None
    ) -> ImageChunk:
        """Return the voxels of a region (z, y, x, inside the level's bounds).

        `still_wanted` is asked before and while somebody waits; what it raises leaves, and the read
        is cancelled unless others wait for it. Raises what opening the image and `Volume.read` do,
        and ResourceError SERVER_BUSY when too many wait for slow sources.
        """
        place = (volume, level, roi)
        known = self._kept.get(place)
        if known is not None:
            return known
        still_wanted()
        opening = self._open_image(volume)
        if not opening.done():
            self._room.wait(volume, lambda s: not wait_for([opening], s).not_done, still_wanted)
        image = opening.result()
        read = self._join(place)
        if isinstance(read, ImageChunk):
            return read
        try:
            pending = read.begin(lambda: image.begin_read(roi, level))
            self._room.wait(volume, pending.is_done_within, still_wanted)
            chunk = read.finish(pending)
            self._kept.put(place, chunk)
            return chunk
        finally:
            self._leave(place, read)

    def _join(self, place: Place) -> _Read | ImageChunk:
        with self._lock:
            known = self._kept.get(place)
            if known is not None:
                return known
            read = self._reads.setdefault(place, _Read())
            read.waiters += 1
            return read

    def _leave(self, place: Place, read: _Read) -> None:
        with self._lock:
            read.waiters -= 1
            if read.waiters:
                return
            # Whoever comes now begins anew, so nobody waits for what is cancelled.
            del self._reads[place]
        read.cancel()


@dataclass(eq=False, slots=True)
class _Read:
    """One read and those who wait for it."""

    waiters: int = 0
    _pending: PendingRead | None = None
    _chunk: ImageChunk | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, begin: Callable[[], PendingRead]) -> PendingRead:
        with self._lock:
            if self._pending is None:
                self._pending = begin()
            return self._pending

    def finish(self, pending: PendingRead) -> ImageChunk:
        with self._lock:
            if self._chunk is None:
                voxels = pending.result()
                data = np.ascontiguousarray(voxels, voxels.dtype.newbyteorder("<")).tobytes()
                # Of the content, so that parts of two contents are never put together.
                digest = hashlib.sha256(data, usedforsecurity=False).hexdigest()[:24]
                self._chunk = ImageChunk(data, digest)
            return self._chunk

    def cancel(self) -> None:
        if self._pending is not None and self._chunk is None:
            self._pending.cancel()
