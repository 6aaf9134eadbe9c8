"""What a store of label packs must do, whatever it lies on.

A pack is an immutable file of encoded chunks, one per operation that wrote voxels. It becomes
visible only through SQL rows that name it, and it is durable before the first such row: a crash
leaves at most a pack that nobody names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

from segmentation_backend.labels.delta import ChunkKey, InlineChunk, StoredChunk

__all__ = ["Hook", "PackStore", "no_hook"]

Hook = Callable[[str], None]
"""Called with the name of each step of a commit; tests stop or kill the process there."""


def no_hook(_step: str) -> None:
    """Do nothing at a step."""


class PackStore(Protocol):
    """The packs of one volume; safe to use from many threads.

    Every method raises ResourceError (SOURCE_UNAVAILABLE) when the place does not answer or a pack
    is not there: missing is never empty. FormatError (CORRUPT_CHUNK): bytes are not what was
    written.
    """

    def write(self, chunks: Mapping[ChunkKey, InlineChunk]) -> dict[ChunkKey, StoredChunk]:
        """Store encoded chunks durably in one new pack and return where each one lies.

        Raises ResourceError (DISK_FULL, SOURCE_UNAVAILABLE); nothing is visible then.
        """

    def read(self, places: Iterable[StoredChunk]) -> Iterator[tuple[StoredChunk, bytes]]:
        """Yield the encoded bytes of chunks, in any order; each one's checksum is checked."""

    def names(self) -> Iterator[tuple[str, float]]:
        """Yield every pack, and what a crash left of one, as (name, age in seconds).

        Left-overs carry a suffix, so that no row can ever name them. In a bucket, ages compare two
        clocks; signed requests bound the difference to 15 minutes.
        """

    def verify(self, name: str) -> int:
        """Return the number of chunks of a pack after checking every byte of it."""

    def remove(self, name: str) -> None:
        """Delete what `names` listed; already gone is fine."""

    def content(self, name: str) -> bytes:
        """Return all bytes of a pack as they lie there, unchecked."""

    def put(self, name: str, content: bytes) -> None:
        """Store a whole pack under its name, durably, in place of what may lie there.

        The bytes are checked first, so repeating it is harmless and repairs a damaged pack; its
        age starts anew. Raises InvalidInputError (INVALID_NAME) for what is no pack's name.
        """

    def check(self) -> None:
        """Raise ResourceError unless the place can be reached; costs one small request."""
