"""The one place that talks to tensorstore: open, read, and say what went wrong in our words."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from math import prod
from typing import Any, TypeAlias, TypeVar
from urllib.request import getproxies

import tensorstore as ts

from segmentation_backend.errors import (
    ErrorKind,
    FormatError,
    NotFoundError,
    ResourceError,
    SegmentationError,
)
from segmentation_backend.sources.bombs import Suspicion
from segmentation_backend.sources.gate import FIRST_LIMIT, Passage, own_gate, with_real_addresses
from segmentation_backend.sources.secrets import without_secrets
from segmentation_backend.sources.specs import RETRIES, Location
from segmentation_backend.sources.web_documents import (
    DocumentTooLargeError,
    key_url,
    read_web_document,
)
from segmentation_backend.sources.zip_members import (
    TAIL_BYTES,
    check_members,
    directory_place,
)

__all__ = [
    "CACHE_BYTES",
    "check_archive",
    "list_keys",
    "open_array",
    "open_context",
    "read_documents",
    "translate",
    "wait",
]

CACHE_BYTES = 256 * 2**20
"""The default bound on decoded chunks kept in memory, shared by all volumes of a process."""

_TIMEOUT_S = 120.0
_LIST_TIMEOUT_S = 10.0
_MAX_DOCUMENT = 2**24
_CHUNK_MARGIN = 2**16
_TOGETHER = 2**27
"""Bytes that tensorstore asks for at once when several parts of one file are wanted."""
_INDEX_ENTRY, _CHECKSUM = 16, 4
_MAY_PASS = (
    "ABORTED",
    "CANCELLED",
    "DEADLINE_EXCEEDED",
    "INTERNAL",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "UNAUTHENTICATED",
    "UNAVAILABLE",
)
_Result = TypeVar("_Result")
_Finish: TypeAlias = Callable[[], bytes | None]


def open_context(cache_bytes: int = CACHE_BYTES) -> ts.Context:
    """Return the context that all volumes opened with the same limit share."""
    # Threads and connections do not survive a fork, so a child makes its own.
    return _context(cache_bytes, os.getpid())


@lru_cache(maxsize=8)
def _context(cache_bytes: int, process: int) -> ts.Context:
    del process
    return ts.Context({"cache_pool": {"total_bytes_limit": cache_bytes}})


def wait(start: Callable[[], ts.Future[_Result]], what: str) -> _Result:
    """Return the result of a tensorstore call; `what` names the data in error messages.

    Raises ResourceError (SOURCE_UNAVAILABLE) when the place does not answer, NotFoundError
    (PATH_NOT_FOUND) when it is not there and FormatError (UNSUPPORTED_FORMAT) when it cannot
    be understood.
    """
    try:
        return start().result(timeout=_TIMEOUT_S)
    except TimeoutError as err:
        raise ResourceError(
            f"{what} did not answer within {_TIMEOUT_S:.0f} s; check the connection and try again.",
            ErrorKind.SOURCE_UNAVAILABLE,
        ) from err
    except (ValueError, OSError, NotImplementedError) as err:
        raise translate(err, what) from err


def translate(error: Exception, what: str) -> SegmentationError:
    """Return our error for one of tensorstore's, which start with the name of a status code."""
    # What follows "[tensorstore_spec=" is for programmers, and long.
    reason = str(error).split(" [tensorstore_spec=")[0].split(" [source locations=")[0]
    reason = with_real_addresses(reason)
    status = reason.partition(":")[0]
    what, reason = without_secrets(what), without_secrets(reason)
    if "No space left" in reason or getattr(error, "errno", None) == errno.ENOSPC:
        return ResourceError(
            f"The disk is full while writing {what}; free some space and try again.",
            ErrorKind.DISK_FULL,
        )
    if "was ignored by server" in reason:
        return FormatError(
            f"The server of {what} gives no parts of a file, which archives and shards are read "
            "by. Download the file and open it here, or put it on a server that answers range "
            "requests.",
            ErrorKind.UNSUPPORTED_FORMAT,
        )
    if status in ("PERMISSION_DENIED", "UNAUTHENTICATED"):
        return ResourceError(
            f"Access to {what} was refused; if it is not public, set the credentials of its "
            f"cloud (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for S3). {reason}",
            ErrorKind.SOURCE_UNAVAILABLE,
        )
    if status in _MAY_PASS:
        return ResourceError(
            f"{what} cannot be reached; check the address and the connection. {reason}",
            ErrorKind.SOURCE_UNAVAILABLE,
        )
    if status == "NOT_FOUND":
        return NotFoundError(f"{what} is not there. {reason}", ErrorKind.PATH_NOT_FOUND)
    return FormatError(
        f"{what} is in a form that cannot be read. {reason}", ErrorKind.UNSUPPORTED_FORMAT
    )


def read_documents(
    location: Location, names: Iterable[str], context: ts.Context
) -> dict[str, dict[str, Any]]:
    """Return those of the named JSON files that exist (all are asked for at once).

    Raises FormatError (UNSUPPORTED_FORMAT) for one that is not a JSON object, or too large; what
    is too large is not read to its end.
    """
    names = list(names)
    is_web = location.driver == "http" and location.archive is None
    begin = partial(_begin_web, location) if is_web else partial(_begin_stored, location, context)
    documents, refused = {}, []
    for name, finish in zip(names, begin(names), strict=True):
        try:
            data = finish()
        except ResourceError as err:
            # Buckets that may not be listed refuse keys that are not there.
            if not str(err).startswith("Access"):
                raise
            refused.append(err)
            continue
        if data is not None:
            documents[name] = _parse(data, f"{location.url}/{name}")
    if refused and not documents:
        raise refused[0]
    return documents


def _begin_web(location: Location, names: list[str]) -> list[_Finish]:
    """Return, for each file of a web server, what gives its bytes (None: it is not there)."""

    def fetch(name: str) -> bytes | None:
        url = key_url(location.root, location.path, name)
        try:
            return read_web_document(url, _MAX_DOCUMENT)
        except DocumentTooLargeError as err:
            raise _too_large(f"{location.url}/{name}", str(err)) from err
        except ValueError as err:
            raise translate(err, location.url) from err

    with ThreadPoolExecutor(len(names)) as pool:
        return [pool.submit(fetch, name).result for name in names]


def _begin_stored(location: Location, context: ts.Context, names: list[str]) -> list[_Finish]:
    """Do the same for any other store; its server is not asked for more than a document may have.

    A file on this machine says its size. Of others the byte after the last allowed one is asked
    for: who has it, has too much, and the rest is never read.
    """
    spec, _ = _guarded(location)
    store = wait(lambda: ts.KvStore.open(spec, context=context), location.url)
    if location.local_path is not None:
        _refuse_large_files(location, names)
        return [partial(_value, store.read(name), location.url) for name in names]
    last = slice(_MAX_DOCUMENT, _MAX_DOCUMENT + 1)
    probes = [store.read(name, byte_range=last) for name in names]
    return [
        _begin_small(store, name, probe, location.url)
        for name, probe in zip(names, probes, strict=True)
    ]


def _begin_small(
    store: ts.KvStore, name: str, probe: ts.Future[ts.KvStore.ReadResult], url: str
) -> _Finish:
    """Return what gives the bytes of a file, when `probe` has shown that they are not too many."""
    try:
        found = _value(probe, url)
    except FormatError as err:
        if not str(err.__cause__).startswith("OUT_OF_RANGE"):
            return partial(_fail, err)
        return partial(_value, store.read(name), url)
    except ResourceError as err:
        return partial(_fail, err)
    if found is not None:
        raise _too_large(f"{url}/{name}", f"more than {_MAX_DOCUMENT} bytes")
    return lambda: None


def _value(future: ts.Future[ts.KvStore.ReadResult], url: str) -> bytes | None:
    result = wait(lambda: future, url)
    return result.value if result.state == "value" else None


def _fail(error: SegmentationError) -> bytes | None:
    raise error


def _refuse_large_files(location: Location, names: list[str]) -> None:
    """Refuse a local document that is too large before it is in memory."""
    for name in names:
        try:
            size = os.stat(os.path.join(str(location.local_path), name)).st_size
        except OSError:
            continue
        _check_size(size, f"{location.url}/{name}")


def _check_size(size: int, what: str) -> None:
    if size > _MAX_DOCUMENT:
        raise _too_large(what, f"{size} bytes")


def _too_large(what: str, size: str) -> FormatError:
    return FormatError(
        f"{what} has {size}; metadata of an image have at most {_MAX_DOCUMENT}.",
        ErrorKind.UNSUPPORTED_FORMAT,
    )


def _parse(data: bytes, what: str) -> dict[str, Any]:
    _check_size(len(data), what)
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as err:
        raise FormatError(
            f"{what} is not valid JSON ({err}); the array cannot be opened.",
            ErrorKind.UNSUPPORTED_FORMAT,
        ) from err
    if not isinstance(document, dict):
        raise FormatError(
            f"{what} must hold a JSON object, not {type(document).__name__}.",
            ErrorKind.UNSUPPORTED_FORMAT,
        )
    return document


def list_keys(location: Location, context: ts.Context) -> list[str] | None:
    """Return all keys below a location, or None where they cannot be listed in a few seconds."""
    # The gate knows keys, not lists; that of an archive is read like its members.
    spec = location.kvstore() if location.archive is None else _guarded(location)[0]
    store = wait(lambda: ts.KvStore.open(spec, context=context), location.url)
    try:
        keys = store.list().result(timeout=_LIST_TIMEOUT_S)
    except (TimeoutError, ValueError, OSError, NotImplementedError):
        # Plain http has no listing and a huge bucket takes minutes: the caller asks for a name.
        return None
    return [key.decode("utf-8", "replace") for key in keys]


def check_archive(location: Location, context: ts.Context) -> None:
    """Refuse the zip archive of a location when some of it would not be read (`check_members`).

    What is no archive is left to whoever reads it.
    """
    spec = _guarded(location)[0]["base"]
    base = wait(lambda: ts.KvStore.open(spec, context=context), location.url)
    try:
        tail = _value(base.read("", byte_range=slice(-TAIL_BYTES, None)), location.url)
    except FormatError as err:
        if not str(err.__cause__).startswith("OUT_OF_RANGE"):
            raise
        tail = _value(base.read(""), location.url)
    place = directory_place(tail or b"", location.url)
    if place is None or place[0] == place[1]:
        return
    directory = _value(base.read("", byte_range=slice(*place)), location.url)
    known = list_keys(location, context)
    if directory is not None and known is not None:
        check_members(directory, location.url, location.path, frozenset(known))


def open_array(
    location: Location, driver: str, context: ts.Context, extra: dict[str, Any] | None = None
) -> ts.TensorStore:
    """Return the array at a location, read-only; `driver` is tensorstore's name of its format."""
    kvstore, passage = _guarded(location)
    spec = {
        "driver": driver,
        "kvstore": kvstore,
        # Images do not change while they are open; asking each time would cost a round trip.
        "recheck_cached_data": "open",
        "recheck_cached_metadata": "open",
        **(extra or {}),
    }
    store: ts.TensorStore = wait(
        lambda: ts.open(spec, read=True, open=True, context=context), location.url
    )
    if passage is not None:
        _expect_chunks_of(store, driver, passage)
    return store


def _guarded(location: Location) -> tuple[dict[str, Any], Passage | None]:
    """Return the store of a location, and the passage to it where nobody vouches for its server.

    Where a proxy is set, tensorstore would ask it for the gate, which it cannot reach.
    """
    place = location.doubtful_address()
    if place is None or getproxies():
        return location.kvstore(), None
    passages = []

    def below(tail: str) -> dict[str, Any]:
        store, passage = own_gate().store(place, tail)
        passages.append(passage)
        return {**store, "context": {"http_request_retries": RETRIES}}

    spec = location.kvstore(below)
    if location.archive is not None:
        passages[0].part_limit = max(passages[0].part_limit, _TOGETHER)
    return spec, passages[0]


def _expect_chunks_of(array: ts.TensorStore, driver: str, passage: Passage) -> None:
    """Let through what chunks of an array can need, and have them looked at."""
    layout, item = array.chunk_layout, array.dtype.numpy_dtype.itemsize
    chunk = prod(side or 1 for side in layout.read_chunk.shape or array.shape)
    shard = prod(side or 1 for side in layout.write_chunk.shape or array.shape)
    spec = array.spec().to_json()
    sharding = spec.get("scale_metadata", {}).get("sharding")
    document = json.dumps(spec.get("metadata", {}))
    is_sharded = sharding is not None or '"sharding_indexed"' in document
    # A shard of which everything is wanted is asked for whole.
    whole = max(chunk * item, min(shard * item, _TOGETHER) if is_sharded else 0)
    passage.limit = max(passage.limit, 2 * whole + _CHUNK_MARGIN)
    passage.part_limit = max(passage.part_limit, 2 * whole + (_TOGETHER if is_sharded else 0))
    index = _INDEX_ENTRY * (shard // chunk)
    suspicion = Suspicion(
        unpacked=max(chunk * item, FIRST_LIMIT if sharding else 0) + _CHUNK_MARGIN,
        is_blosc='"blosc"' in document,
        is_n5=driver == "n5",
        is_gzip=sharding is not None,
        begins=(0, index, index + _CHECKSUM) if is_sharded else (0,),
    )
    passage.suspicion = passage.suspicion.joined(suspicion)
