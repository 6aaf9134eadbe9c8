"""The catalogue of a data directory: what is shipped, what a refresh brought, what a user added."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from pathlib import Path

from segmentation_backend.errors import (
    ErrorKind,
    InvalidInputError,
    ResourceError,
    SegmentationError,
)
from segmentation_backend.sources.catalogue import (
    Dataset,
    find_dataset,
    merge_datasets,
    search_datasets,
)
from segmentation_backend.sources.catalogue_format import CatalogueFile, parse_catalogue
from segmentation_backend.sources.catalogue_live import fetch_catalogue

__all__ = ["DatasetCatalogue", "Known", "shipped_catalogue"]

_LARGEST_FILE = 64 * 2**20
_FRESH_S = 24 * 3600.0

_Stamp = tuple[int, int] | None


@dataclass(frozen=True)
class Known:
    """All datasets, as of now."""

    datasets: Mapping[str, Dataset]
    as_of: str
    """The day of the newest of the files that this was made from."""
    refreshed: bool
    """Whether the live catalogue was ever reached."""
    problems: tuple[str, ...] = field(default=())
    """Files that could not be used, in words; what is shipped is there all the same."""
    unreached: str | None = None
    """When and why the live catalogue could not be had last, in words; None: it could."""


class DatasetCatalogue:
    """Datasets by name. Files are read again when they change; safe to use from many threads.

    Later files win: the shipped one, `<folder>/live.json` that `refresh` writes, the user's own.
    """

    def __init__(self, folder: Path, own: Path | None = None) -> None:
        """Keep in `folder` what is refreshed; `own` is the user's file, or `own.json` in there."""
        self._live = folder / "live.json"
        self._failure = folder / "failure.txt"
        self._own = own or folder / "own.json"
        self._is_own_wanted = own is not None
        self._lock = threading.Lock()
        self._read: tuple[tuple[_Stamp, ...], Known] | None = None

    def known(self) -> Known:
        """Return everything that is known."""
        stamps = tuple(_stamp(path) for path in (self._live, self._failure, self._own))
        with self._lock:
            if self._read is None or self._read[0] != stamps:
                self._read = stamps, self._load()
            return self._read[1]

    def find(self, name: str) -> Dataset:
        """Return a dataset; NotFoundError DATASET_NOT_FOUND for a name that nobody knows."""
        return find_dataset(self.known().datasets, name)

    def search(self, words: str = "") -> list[Dataset]:
        """Return the datasets in which every word occurs."""
        return search_datasets(self.known().datasets.values(), words)

    @property
    def is_fresh(self) -> bool:
        """Whether the live catalogue was reached within a day."""
        stamp = _stamp(self._live)
        return stamp is not None and datetime.now(UTC).timestamp() - stamp[0] / 1e9 < _FRESH_S

    def refresh(self, address: str) -> int:
        """Fetch the live catalogue and keep it; return how many datasets it describes.

        What was known before stays, and stays as it was where anything fails: ResourceError
        SOURCE_UNAVAILABLE where the address does not answer, InvalidInputError for an answer that
        is no catalogue. The failure is remembered for those who look at the catalogue.
        """
        try:
            found = fetch_catalogue(address)
        except SegmentationError as err:
            _replace(self._failure, f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC. {err.message}")
            raise
        _replace(self._live, found.to_text())
        with suppress(OSError):
            self._failure.unlink(missing_ok=True)
        return len(found.datasets)

    def _load(self) -> Known:
        shipped = shipped_catalogue()
        datasets = {dataset.name: dataset for dataset in shipped.datasets}
        problems: list[str] = []
        live = _parsed(self._live, False, problems) if self._live.exists() else None
        if live is not None:
            for dataset in live.datasets:
                old = datasets.get(dataset.name)
                datasets[dataset.name] = merge_datasets(old, dataset) if old else dataset
        own = None
        if self._is_own_wanted or self._own.exists():
            own = _parsed(self._own, True, problems)
        if own is not None:
            datasets |= {dataset.name: dataset for dataset in own.datasets}
        newest = max((file.as_of for file in (shipped, live) if file), default="")
        return Known(datasets, newest, live is not None, tuple(problems), self._unreached())

    def _unreached(self) -> str | None:
        try:
            failure = self._failure.read_text(encoding="utf-8")[:500]
        except OSError:
            return None
        return f"The live catalogue could not be reached on {failure}"


@cache
def shipped_catalogue() -> CatalogueFile:
    """Return the catalogue that comes with the program."""
    file = resources.files("segmentation_backend.sources") / "catalogue_data" / "openorganelle.json"
    return parse_catalogue(file.read_bytes(), "The shipped catalogue", is_trusted=False)


def _parsed(path: Path, is_trusted: bool, problems: list[str]) -> CatalogueFile | None:
    try:
        return _parse_file(path, is_trusted)
    except SegmentationError as err:
        problems.append(err.message)
        return None


def _parse_file(path: Path, is_trusted: bool) -> CatalogueFile:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_FILE + 1)
    except OSError as err:
        raise ResourceError(
            f"The catalogue {path} cannot be read ({err.strerror}); check the setting catalogue.",
            ErrorKind.SOURCE_UNAVAILABLE,
        ) from err
    if len(data) > _LARGEST_FILE:
        raise InvalidInputError(
            f"The catalogue {path} is larger than {_LARGEST_FILE >> 20} MiB.",
            ErrorKind.INVALID_PARAMETER,
        )
    return parse_catalogue(data, str(path), is_trusted=is_trusted)


def _stamp(path: Path) -> _Stamp:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _replace(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            Path(name).replace(path)
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as err:
        raise ResourceError(
            f"The catalogue cannot be kept in {path.parent} ({err.strerror}); free some space, or "
            "check who may write there.",
            ErrorKind.DISK_FULL,
        ) from err
