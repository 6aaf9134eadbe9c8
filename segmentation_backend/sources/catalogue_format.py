"""The catalogue's own file format: JSON, every member checked, nothing believed.

`docs/catalogue.md` describes it. The same reader takes the shipped file, a user's own, and what a
refresh has kept, so that a hostile or broken one is refused in one place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, TypeVar
from urllib.parse import urlsplit

from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.sources.catalogue import (
    CatalogueView,
    Dataset,
    EmLayer,
    PublishedLabels,
    ShownRange,
)

__all__ = ["FORMAT", "CatalogueFile", "is_public_address", "parse_catalogue", "parse_dataset"]

FORMAT = "mitoglance-catalogue/1"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
LAYER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
DOI = re.compile(r"10\.[0-9]{4,9}/[!-~]{1,100}")
FORMATS = ("n5", "zarr", "precomputed")
MOST_DATASETS = 5000
MOST_LAYERS = 500
_LONGEST_TEXT = 300
_LONGEST_URL = 2000
_LARGEST_NUMBER = 1e12

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class CatalogueFile:
    """What a catalogue file holds."""

    source: str
    """Who says all this."""
    as_of: str
    """The day on which it was true, ISO 8601."""
    datasets: tuple[Dataset, ...]

    def to_text(self) -> str:
        """Return the file's text: one layer per line, so that changes can be read."""
        head = {"format": FORMAT, "source": self.source, "as_of": self.as_of}
        lines = [f"  {_compact(key)}: {_compact(value)}," for key, value in head.items()]
        body = ",\n".join(_dataset_text(dataset.to_json()) for dataset in self.datasets)
        return "\n".join(["{", *lines, '  "datasets": [', body, "  ]", "}", ""])


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _dataset_text(members: Mapping[str, Any]) -> str:
    lines = []
    for key, value in members.items():
        if value and isinstance(value, list) and isinstance(value[0], Mapping):
            layers = ",\n".join(f"        {_compact(layer)}" for layer in value)
            lines.append(f"      {_compact(key)}: [\n{layers}\n      ]")
        else:
            lines.append(f"      {_compact(key)}: {_compact(value)}")
    return "    {\n" + ",\n".join(lines) + "\n    }"


def parse_catalogue(data: bytes, where: str, *, is_trusted: bool) -> CatalogueFile:
    """Return what a catalogue file holds; InvalidInputError INVALID_PARAMETER says what is wrong.

    Only a trusted file (shipped, or the administrator's) may name places that are not public.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as err:
        raise _wrong(where, f"it is not valid JSON ({err})") from err
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise _wrong(where, f'it must be a JSON object with "format": "{FORMAT}"')
    _known(document, ("format", "source", "as_of", "licence", "terms", "datasets"), where)
    shared = {key: document[key] for key in ("licence", "terms") if key in document}
    rows = _list(document.get("datasets"), f"{where}: datasets", MOST_DATASETS)
    datasets = tuple(
        parse_dataset({**shared, **row} if isinstance(row, dict) else row, where, is_trusted)
        for row in rows
    )
    seen: set[str] = set()
    for dataset in datasets:
        if dataset.name.casefold() in seen:
            raise _wrong(where, f"it has the dataset {dataset.name} twice")
        seen.add(dataset.name.casefold())
    source = _text(document.get("source", ""), f"{where}: source")
    as_of = _text(document.get("as_of", ""), f"{where}: as_of")
    return CatalogueFile(source, as_of, datasets)


def parse_dataset(value: object, where: str, is_trusted: bool) -> Dataset:
    """Return a dataset out of JSON; InvalidInputError names the member that cannot be right."""
    members = _object(value, f"{where}: a dataset")
    name = _matching(NAME, members.get("name"), f"{where}: the name of a dataset")
    at = f"{where}: {name}"
    _known(members, Dataset.__slots__, at)
    optional = _Members(members, at)
    em = _rows(members.get("em"), f"{at}: em", lambda row, w: _em(row, w, is_trusted))
    if not em:
        raise _wrong(at, "em must have at least one layer")
    labels = members.get("labels", [])
    return Dataset(
        name=name,
        title=optional.get("title", _text),
        organism=optional.get("organism", _text),
        sample=optional.get("sample", _text),
        voxel_size=optional.get("voxel_size", _lengths),
        extent_um=optional.get("extent_um", _lengths),
        em=em,
        labels=_rows(labels, f"{at}: labels", lambda row, w: _labels(row, w, is_trusted)),
        crops=optional.get("crops", _count),
        doi=_rows(members.get("doi", []), f"{at}: doi", lambda row, w: _matching(DOI, row, w)),
        licence=optional.get("licence", _text),
        terms=optional.get("terms", _web_address),
        thumbnail=optional.get(
            "thumbnail", _web_address if is_trusted else lambda v, w: _public_address(v, w)
        ),
        views=_rows(members.get("views", []), f"{at}: views", _view),
    )


class _Members:
    """Optional members of an object, each checked by a function of its own."""

    def __init__(self, members: Mapping[str, Any], where: str) -> None:
        self._members = members
        self._where = where

    def get(self, name: str, check: Callable[[object, str], _Item]) -> _Item | None:
        value = self._members.get(name)
        return None if value is None else check(value, f"{self._where}: {name}")


def _em(value: object, where: str, is_trusted: bool) -> EmLayer:
    members = _object(value, where)
    _known(members, EmLayer.__slots__, where)
    optional = _Members(members, where)
    return EmLayer(
        **_place(members, where, is_trusted),
        voxel_size=optional.get("voxel_size", _lengths),
        shape=optional.get("shape", _shape),
        shown=optional.get("shown", _shown),
    )


def _labels(value: object, where: str, is_trusted: bool) -> PublishedLabels:
    members = _object(value, where)
    _known(members, PublishedLabels.__slots__, where)
    optional = _Members(members, where)
    return PublishedLabels(
        **_place(members, where, is_trusted),
        voxel_size=optional.get("voxel_size", _lengths),
        about=optional.get("about", _text),
        doi=optional.get("doi", lambda v, w: _matching(DOI, v, w)),
    )


def _place(members: Mapping[str, Any], where: str, is_trusted: bool) -> dict[str, Any]:
    url = _text(members.get("url"), f"{where}: url", _LONGEST_URL)
    if not is_trusted and not is_public_address(url):
        raise _wrong(f"{where}: url", f"{url[:100]!r} is no s3://, gs:// or https:// address")
    kind = members.get("format")
    if kind not in FORMATS:
        raise _wrong(f"{where}: format", f"{str(kind)[:40]!r} is none of {', '.join(FORMATS)}")
    flipped = _list(members.get("flipped", []), f"{where}: flipped", 3)
    if not all(axis in ("z", "y", "x") for axis in flipped):
        raise _wrong(f"{where}: flipped", "it must be a list of z, y, x")
    return {
        "name": _matching(LAYER_NAME, members.get("name"), f"{where}: name"),
        "url": url,
        "format": kind,
        "flipped": tuple(flipped),
    }


def _view(value: object, where: str) -> CatalogueView:
    members = _object(value, where)
    _known(members, CatalogueView.__slots__, where)
    position = _numbers(members.get("position_nm"), f"{where}: position_nm")
    return CatalogueView(
        name=_matching(NAME, members.get("name"), f"{where}: name"),
        title=_text(members.get("title"), f"{where}: title"),
        position_nm=position,
        nm_per_pixel=_length(members.get("nm_per_pixel"), f"{where}: nm_per_pixel"),
        extent_nm=_length(members.get("extent_nm"), f"{where}: extent_nm"),
    )


def _shown(value: object, where: str) -> ShownRange:
    members = _object(value, where)
    _known(members, ShownRange._fields, where)
    low = _number(members.get("low"), f"{where}: low")
    high = _number(members.get("high"), f"{where}: high")
    inverted = members.get("inverted", False)
    if not low < high or not isinstance(inverted, bool):
        raise _wrong(where, "it needs low below high, and inverted true or false")
    return ShownRange(low, high, inverted)


def is_public_address(url: str) -> bool:
    """Whether an address is of a kind that a catalogue of strangers may name."""
    parts = urlsplit(url)
    if parts.scheme not in ("s3", "gs", "https") or not parts.netloc or "|" in url:
        return False
    # A bucket or a host name with dots: no address of a machine, no port, no password.
    return bool(re.fullmatch(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*", parts.netloc)) and not (
        parts.scheme == "https"
        and (re.fullmatch(r"[0-9.]+", parts.netloc) or "." not in parts.netloc)
    )


def _public_address(value: object, where: str) -> str:
    text = _text(value, where, _LONGEST_URL)
    if not text.startswith("https://") or not is_public_address(text):
        raise _wrong(where, f"{text[:100]!r} is no https:// address")
    return text


def _web_address(value: object, where: str) -> str:
    text = _text(value, where, _LONGEST_URL)
    parts = urlsplit(text)
    # What is written into a page's policy must not be able to end a directive.
    if parts.scheme not in ("https", "http") or not re.fullmatch(r"[A-Za-z0-9.:-]+", parts.netloc):
        raise _wrong(where, f"{text[:100]!r} is no https:// address")
    return text


def _rows(value: object, where: str, check: Callable[[object, str], _Item]) -> tuple[_Item, ...]:
    return tuple(check(row, where) for row in _list(value, where, MOST_LAYERS))


def _object(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(where, "it must be an object")
    return value


def _list(value: object, where: str, most: int) -> Sequence[Any]:
    if not isinstance(value, list) or len(value) > most:
        raise _wrong(where, f"it must be a list of at most {most}")
    return value


def _known(members: Mapping[str, Any], names: Sequence[str], where: str) -> None:
    for name in members:
        if name not in names:
            raise _wrong(where, f"{name[:40]!r} is none of {', '.join(names)}")


def _text(value: object, where: str, longest: int = _LONGEST_TEXT) -> str:
    if not isinstance(value, str) or len(value) > longest or not value.isprintable():
        raise _wrong(where, f"it must be a printable text of at most {longest} characters")
    return value


def _matching(pattern: re.Pattern[str], value: object, where: str) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise _wrong(where, f"{str(value)[:100]!r} is not of the form {pattern.pattern}")
    return value


def _number(value: object, where: str) -> float:
    right = isinstance(value, int | float) and not isinstance(value, bool)
    if not right or not isfinite(value) or abs(value) > _LARGEST_NUMBER:  # type: ignore[arg-type]
        raise _wrong(where, f"{str(value)[:40]!r} is no number of a size that occurs")
    return float(value)  # type: ignore[arg-type]


def _length(value: object, where: str) -> float:
    number = _number(value, where)
    if number <= 0:
        raise _wrong(where, f"it must be above zero, not {number:g}")
    return number


def _count(value: object, where: str) -> int:
    number = _length(value, where)
    if number != int(number):
        raise _wrong(where, f"it must be a whole number, not {number:g}")
    return int(number)


def _numbers(value: object, where: str) -> tuple[float, float, float]:
    if not isinstance(value, list) or len(value) != 3:
        raise _wrong(where, "it must be three numbers, z, y, x")
    z, y, x = (_number(item, where) for item in value)
    return (z, y, x)


def _lengths(value: object, where: str) -> tuple[float, float, float]:
    z, y, x = (_length(item, where) for item in _numbers(value, where))
    return (z, y, x)


def _shape(value: object, where: str) -> tuple[int, int, int]:
    z, y, x = (_count(item, where) for item in _numbers(value, where))
    return (z, y, x)


def _wrong(where: str, why: str) -> InvalidInputError:
    return InvalidInputError(
        f"The catalogue cannot be read. {where}: {why}.", ErrorKind.INVALID_PARAMETER
    )
