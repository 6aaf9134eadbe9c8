"""The live catalogue: fetched within limits of time and size, checked, then believed.

Two forms are read: one file in our own format (an address that ends in `.json`), and the static
interface of `fibsem-metadata`, `<address>/api/index.json` with a `manifest.json` per dataset.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from http.client import HTTPException
from typing import IO
from urllib.parse import quote

from segmentation_backend.errors import (
    ErrorKind,
    InvalidInputError,
    ResourceError,
    SegmentationError,
)
from segmentation_backend.sources.catalogue import Dataset
from segmentation_backend.sources.catalogue_format import CatalogueFile, parse_catalogue
from segmentation_backend.sources.openorganelle import dataset_of
from segmentation_backend.tls import open_tls

__all__ = ["fetch_catalogue"]

_TIMEOUT_S = 10.0
_DEADLINE_S = 90.0
_LARGEST_ANSWER = 8 * 2**20
_MOST_MANIFESTS = 1000
_CONNECTIONS = 8
_PIECE = 2**16
_PATH = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*){0,5}")
_ADVICE = "a live catalogue is read over TLS only."


def fetch_catalogue(address: str) -> CatalogueFile:
    """Return what a live catalogue says.

    A manifest that cannot be used is left out, unless none can. Raises ResourceError
    SOURCE_UNAVAILABLE where the address does not answer in time, InvalidInputError
    INVALID_PARAMETER for an address without TLS (other than this machine), and for an answer that
    is too large or no catalogue.
    """
    deadline = time.monotonic() + _DEADLINE_S
    base = address.rstrip("/")
    if base.endswith(".json"):
        return parse_catalogue(_get(base, deadline), base, is_trusted=False)
    index = _json(_get(f"{base}/api/index.json", deadline), f"{base}/api/index.json")
    datasets = tuple(_datasets(base, _paths(index, base), deadline))
    if not datasets:
        raise _no_catalogue(base, "none of its manifests can be used")
    return CatalogueFile(base, f"{datetime.now(UTC):%Y-%m-%d}", datasets)


def _paths(index: object, base: str) -> dict[str, str]:
    listed = index.get("datasets") if isinstance(index, dict) else None
    if not isinstance(listed, dict) or not 0 < len(listed) <= _MOST_MANIFESTS:
        raise _no_catalogue(base, f"its index must list 1 to {_MOST_MANIFESTS} datasets")
    for path in listed.values():
        if not isinstance(path, str) or not _PATH.fullmatch(path):
            raise _no_catalogue(base, f"{str(path)[:100]!r} is no path below it")
    return listed


def _datasets(base: str, paths: dict[str, str], deadline: float) -> Iterator[Dataset]:
    def fetch(name: str) -> Dataset | None:
        url = f"{base}/{quote(paths[name])}/manifest.json"
        data = _get(url, deadline)
        try:
            found = dataset_of(_json(data, url), url)
        except InvalidInputError:
            # One dataset in a form that nobody has seen yet is no reason to do without the rest.
            return None
        return found if found.name == name else None

    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        for dataset in pool.map(fetch, sorted(paths)):
            if dataset is not None:
                yield dataset


def _json(data: bytes, url: str) -> object:
    try:
        document: object = json.loads(data)
    except (ValueError, RecursionError) as err:
        raise _no_catalogue(url, "it is not valid JSON") from err
    return document


def _get(url: str, deadline: float) -> bytes:
    """Return what an address serves, or raise; nothing waits longer than to the deadline."""
    try:
        with open_tls(url, _TIMEOUT_S, _ADVICE) as answer:
            return b"".join(_pieces(answer, url, deadline))
    except (OSError, HTTPException) as err:
        reason = getattr(err, "reason", None) or err
        raise ResourceError(
            f"{url} does not answer ({reason}); check the connection, or the setting "
            "catalogue_url.",
            ErrorKind.SOURCE_UNAVAILABLE,
        ) from err


def _pieces(answer: IO[bytes], url: str, deadline: float) -> Iterator[bytes]:
    size = 0
    while piece := answer.read(_PIECE):
        size += len(piece)
        if size > _LARGEST_ANSWER:
            raise _no_catalogue(url, f"it is larger than {_LARGEST_ANSWER >> 20} MiB")
        if time.monotonic() > deadline:
            raise TimeoutError(f"not all of it came within {_DEADLINE_S:.0f} s")
        yield piece


def _no_catalogue(where: str, why: str) -> SegmentationError:
    return InvalidInputError(
        f"{where} is no catalogue that can be read: {why}. What was known before stays.",
        ErrorKind.INVALID_PARAMETER,
    )
