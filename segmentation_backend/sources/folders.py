"""What the metadata files of a folder say it is, and which folders there are below it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import tensorstore as ts

from segmentation_backend.errors import FormatError
from segmentation_backend.sources.specs import Location
from segmentation_backend.sources.stores import list_keys, read_documents

__all__ = ["Folder", "inspect_folder", "list_folders"]

_DOCUMENTS = ("zarr.json", ".zarray", ".zgroup", ".zattrs", "attributes.json", "info")
_FILES = {
    None: _DOCUMENTS[:-1],
    "zarr": ("zarr.json", ".zarray", ".zgroup", ".zattrs"),
    "zarr2": (".zarray", ".zgroup", ".zattrs"),
    "zarr3": ("zarr.json",),
    "n5": ("attributes.json",),
    "precomputed": ("info",),
}
_MAX_FOLDERS = 500


@dataclass(frozen=True)
class Folder:
    """The metadata of one folder: tensorstore's driver, whether it is an array, attributes."""

    driver: str
    is_array: bool
    rank: int
    attributes: Mapping[str, Any]
    consolidated: tuple[str, ...] = ()
    """Paths below that the metadata lists."""


def inspect_folder(location: Location, context: ts.Context) -> Folder | None:
    """Return what the metadata files in a folder say, or None without any."""
    documents = read_documents(location, _FILES[location.format], context)
    if "zarr.json" in documents:
        return _zarr3(documents["zarr.json"])
    attributes = documents.get(".zattrs", {})
    if ".zarray" in documents:
        return Folder("zarr", True, _length(documents[".zarray"].get("shape")), attributes)
    if ".zgroup" in documents or ".zattrs" in documents:
        return Folder("zarr", False, 0, attributes)
    if "attributes.json" in documents:
        attributes = documents["attributes.json"]
        is_array = "dimensions" in attributes and "dataType" in attributes
        return Folder("n5", is_array, _length(attributes.get("dimensions")), attributes)
    return _precomputed(location, context)


def _precomputed(location: Location, context: ts.Context) -> Folder | None:
    if location.format not in (None, "precomputed"):
        return None
    try:
        info = read_documents(location, ["info"], context).get("info", {})
    except FormatError:
        if location.format:
            raise
        # Any folder may hold a text called info.
        return None
    return Folder("neuroglancer_precomputed", False, 3, info) if "scales" in info else None


def _zarr3(document: Mapping[str, Any]) -> Folder:
    attributes = document.get("attributes") or {}
    names = document.get("dimension_names")
    if isinstance(names, list) and None not in names:
        attributes = {"axes": names, **attributes}
    listed = document.get("consolidated_metadata") or {}
    paths = tuple(listed.get("metadata", ())) if isinstance(listed, Mapping) else ()
    is_array = document.get("node_type") == "array"
    return Folder("zarr3", is_array, _length(document.get("shape")), attributes, paths)


def _length(shape: object) -> int:
    return len(shape) if isinstance(shape, list) else 0


def list_folders(
    location: Location, folder: Folder | None, context: ts.Context
) -> list[str] | None:
    """Return folders below that have metadata, upper ones first; None if they cannot be listed."""
    if folder is not None and folder.consolidated:
        paths = list(folder.consolidated)
    elif location.local_path is not None:
        paths = list(_local_folders(location))
    else:
        listed = read_documents(location, [".zmetadata"], context).get(".zmetadata", {})
        keys = list(listed.get("metadata", ())) or list_keys(location, context)
        if keys is None:
            return None
        marks = tuple(f"/{name}" for name in _DOCUMENTS if name != ".zattrs")
        paths = sorted({key.rpartition("/")[0] for key in keys if key.endswith(marks)})
    # Consolidated metadata may name what they like.
    paths = [path for path in paths if ".." not in path.split("/")]
    # A pyramid of s0, s1, ... may lie in a folder that has no metadata of its own.
    paths += {path[:-3] for path in paths if path.endswith("/s0")} - set(paths)
    return sorted(paths, key=lambda path: (path.count("/"), path))[:_MAX_FOLDERS]


def _local_folders(location: Location) -> Iterator[str]:
    """Yield folders with metadata below a local one, without entering arrays."""
    top = str(location.local_path)
    for here, folders, files in islice(os.walk(top), _MAX_FOLDERS):
        folders.sort()
        if here != top and not set(files).isdisjoint(_DOCUMENTS):
            yield Path(here).relative_to(top).as_posix()
            if _is_local_array(Path(here), files):
                folders.clear()


def _is_local_array(folder: Path, files: list[str]) -> bool:
    """Whether a folder holds chunks, of which there may be millions."""
    if ".zarray" in files:
        return True
    for name in {"zarr.json", "attributes.json"}.intersection(files):
        try:
            document = json.loads((folder / name).read_bytes())
        except (ValueError, OSError):
            continue
        return document.get("node_type") == "array" or "dataType" in document
    return False
