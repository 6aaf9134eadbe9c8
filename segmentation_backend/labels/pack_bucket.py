"""Packs as objects of an S3 bucket, or of anything that speaks its protocol.

One pack is one object, whole and durable when its PUT is answered; until a row names it, nobody
knows its name. Keys are the same as in a folder of packs, so any tool copies one into the other.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError

from segmentation_backend.errors import FormatError
from segmentation_backend.labels.bucket_client import TIMEOUT_S, BucketAccess, Connection
from segmentation_backend.labels.bucket_errors import (
    beyond_the_end,
    conditions_unknown,
    explained,
    is_absent,
    is_unanswered,
)
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

__all__ = ["PackBucket"]

_PIECE = 8 * 2**20
"""The most bytes that one request carries; two at once come through 10 Mbit/s in time."""

_GAP = 2**20
"""Chunks of a pack that lie closer come in one request: waiting for another costs more."""

_AT_ONCE = 8
"""Requests that one read has under way."""

_ERRORS = (BaseError, OSError, ValueError)
"""What obstore raises."""


class PackBucket:
    """The packs of one volume below a prefix of a bucket; see `PackStore` for the promises.

    It connects when it is first used. A process that was forked from one that had reached a bucket
    already cannot: the network threads stayed behind, and it is told so instead of waiting.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str,
        cloud: BucketAccess | None = None,
        *,
        server: str | None = None,
        hook: Hook = no_hook,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """Use the objects below `prefix`; `server` wins over the one that `cloud` names."""
        self._prefix = "/".join(part for part in prefix.split("/") if part)
        self._connection = Connection.to(bucket, cloud, server, timeout_s)
        self._hook = hook
        self._creates_only = True

    @property
    def place(self) -> str:
        """Where the packs are, for people."""
        address = f"s3://{self._connection.bucket}/{self._prefix}".rstrip("/")
        server = self._connection.endpoint
        return f"{address} at {server}" if server else address

    def write(self, chunks: Mapping[ChunkKey, InlineChunk]) -> dict[ChunkKey, StoredChunk]:
        """Store encoded chunks durably in one new object and return where each one lies."""
        name = new_name()
        content, places = lay_out(name, chunks)
        self._hook("pack-opened")
        with _explained(
            f"The change could not be written to {self.place}",
            " Nothing was changed: the edit can be repeated.",
        ):
            self._create(relative_path(name), content)
        self._hook("pack-durable")
        return places

    def read(self, places: Iterable[StoredChunk]) -> Iterator[tuple[StoredChunk, bytes]]:
        """Yield the encoded bytes of chunks; close ones come together, far ones at once."""
        runs = list(_runs(places))
        if len(runs) < 2:
            for run in runs:
                yield from self._fetch(run)
            return
        # In groups: who reads a whole volume one by one must not get it all into memory.
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="packs") as pool:
            rest = iter(runs)
            while group := list(islice(rest, 4 * _AT_ONCE)):
                for found in pool.map(self._fetch, group):
                    yield from found

    def names(self) -> Iterator[tuple[str, float]]:
        """Yield every pack as (name, age in seconds); other objects are none of ours."""
        now = time.time()
        with _explained(f"The label packs in {self.place} cannot be listed"):
            # The library counts prefixes in whole parts: "cell" does not list "cell2".
            for batch in obstore.list(
                self._connection.client(), self._prefix or None, chunk_size=1000
            ):
                for found in batch:
                    name = found["path"].rpartition("/")[2].removesuffix(".pack")
                    if is_name(name) and found["path"] == self._key(relative_path(name)):
                        yield name, now - found["last_modified"].timestamp()

    def verify(self, name: str) -> int:
        """Return the number of chunks of a pack after checking every byte of it."""
        return check_pack(self.content(name), name)

    def remove(self, name: str) -> None:
        """Delete a pack listed by `names`; already gone is fine."""
        key = self._key(relative_path(name))
        with _explained(f"The label pack {name} in {self.place} cannot be deleted"):
            try:
                obstore.delete(self._connection.client(), key)
            except FileNotFoundError as err:
                if not is_absent(err):
                    raise

    def content(self, name: str) -> bytes:
        """Return all bytes of a pack as they lie there, unchecked."""
        key = self._key(relative_path(name))
        with _explained(f"The label pack {name} in {self.place} cannot be read"):
            try:
                first = obstore.get(self._connection.client(), key, options={"range": (0, _PIECE)})
            except BaseError as err:
                if beyond_the_end(err):  # an object without any bytes
                    return b""
                raise
            pieces = [bytes(first.bytes())]
            for start in range(_PIECE, first.meta["size"], _PIECE):
                piece = obstore.get_range(
                    self._connection.client(), key, start=start, length=_PIECE
                )
                pieces.append(bytes(piece))
        return b"".join(pieces)

    def put(self, name: str, content: bytes) -> None:
        """Store a whole pack under its name, durably, in place of what may lie there."""
        path = relative_path(name)
        check_pack(content, name)
        with _explained(f"The label pack {name} in {self.place} cannot be written"):
            self._overwrite(path, content)

    def check(self) -> None:
        """Raise ResourceError unless the bucket is there and lets us look for a pack."""
        with _explained(f"The label packs in {self.place} cannot be reached"):
            try:
                obstore.get(self._connection.client(), self._key(relative_path("0000")))
            except FileNotFoundError as err:
                if not is_absent(err):
                    raise

    def _key(self, path: str) -> str:
        return f"{self._prefix}/{path}" if self._prefix else path

    def _create(self, path: str, content: bytes) -> None:
        """Write a new object; an answer that was lost on the way does not make it a second one."""
        if not self._creates_only or len(content) > _PIECE:
            # The name is random, so that nothing lies there that could be lost.
            self._overwrite(path, content)
            return
        try:
            self._put_new(path, content)
        except BaseError as err:
            if conditions_unknown(err):
                self._creates_only = False
                self._overwrite(path, content)
            elif not (isinstance(err, AlreadyExistsError) or is_unanswered(err)):
                raise
            # An attempt came through and its answer did not; or two attempts met each other.
            elif not self._holds(path, content):
                self._put_new(path, content)

    def _put_new(self, path: str, content: bytes) -> None:
        client, key = self._connection.client(), self._key(path)
        obstore.put(client, key, content, mode="create", use_multipart=False)

    def _holds(self, path: str, content: bytes) -> bool:
        try:
            return obstore.get(self._connection.client(), self._key(path)).bytes() == content
        except FileNotFoundError as err:
            if is_absent(err):
                return False
            raise

    def _overwrite(self, path: str, content: bytes) -> None:
        obstore.put(
            self._connection.client(),
            self._key(path),
            content,
            use_multipart=len(content) > _PIECE,
            chunk_size=_PIECE,
            max_concurrency=2,
        )

    def _fetch(self, run: list[StoredChunk]) -> list[tuple[StoredChunk, bytes]]:
        pack, start = run[0].pack, run[0].start
        data = self._bytes(pack, start, _end(run[-1]) - start)
        found = []
        for place in run:
            record = data[place.start - start : _end(place) - start]
            try:
                chunk = payload(record, place)
            except FormatError:
                # What stands between us and the store may have cut or mixed up the answer.
                chunk = payload(self._bytes(pack, place.start, place.length), place)
            found.append((place, chunk))
        return found

    def _bytes(self, name: str, start: int, length: int) -> bytes:
        """Return a range of a pack, shorter where the pack ends before."""
        key = self._key(relative_path(name))
        with _explained(f"The label pack {name} in {self.place} cannot be read"):
            try:
                return bytes(
                    obstore.get_range(self._connection.client(), key, start=start, length=length)
                )
            except BaseError as err:
                if beyond_the_end(err):
                    return b""
                raise


@contextmanager
def _explained(what: str, ending: str = "") -> Iterator[None]:
    try:
        yield
    except _ERRORS as err:
        raise explained(err, what, ending) from err


def _runs(places: Iterable[StoredChunk]) -> Iterator[list[StoredChunk]]:
    """Yield groups of places that one request reads: near each other, in one pack."""
    run: list[StoredChunk] = []
    for place in sorted(set(places), key=lambda p: (p.pack, p.start)):
        if run and (
            place.pack != run[0].pack
            or place.start - _end(run[-1]) > _GAP
            or _end(place) - run[0].start > _PIECE
        ):
            yield run
            run = []
        run.append(place)
    if run:
        yield run


def _end(place: StoredChunk) -> int:
    return place.start + place.length
