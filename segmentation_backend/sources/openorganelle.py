"""OpenOrganelle's own description of a dataset (`fibsem-metadata` manifests), in our terms.

A manifest says of each layer its address, its format, `transform` (axes, scale, translate, units)
and `displaySettings`; of the dataset its title, sample, acquisition grid and DOIs. Nothing of it
is believed before `parse_dataset` has looked at it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from segmentation_backend.sources.catalogue import Dataset
from segmentation_backend.sources.catalogue_format import parse_dataset

__all__ = ["LICENCE", "TERMS", "dataset_of"]

LICENCE = "CC BY 4.0"
TERMS = (
    "https://github.com/janelia-cellmap/openorganelle/blob/"
    "a52cf1322da32e36a8e382c4a11efd785e5264ee/public/openorganelle_terms_of_use.pdf"
)
"""The site's terms of use put all data that are reached through it under the licence."""

_NM = {"nm": 1.0, "nanometer": 1.0, "um": 1e3, "µm": 1e3, "μm": 1e3, "micrometer": 1e3, "mm": 1e6}
_ORGANISMS = {"fly": "Drosophila", "c. elegans": "C. elegans"}
_FEWEST_VOXELS = 100
"""A dataset that had fewer along every axis was written down in the wrong unit."""


def dataset_of(manifest: object, where: str) -> Dataset:
    """Return a manifest as a dataset; InvalidInputError INVALID_PARAMETER for one that is none."""
    whole = _mapping(manifest)
    about = _mapping(whole.get("metadata"))
    sample, imaging = _mapping(about.get("sample")), _mapping(about.get("imaging"))
    sources = [_mapping(source) for source in _mapping(whole.get("sources")).values()]
    em = [_layer(s) for s in sources if s.get("contentType") == "em"]
    labels = [_layer(s) for s in sources if _is_segmentation(s)]
    grid = _spatial(imaging.get("gridSpacing"))
    members = {
        "name": whole.get("name"),
        "title": about.get("title"),
        "organism": _organism(sample.get("organism")),
        "sample": _joined(sample.get("type"), sample.get("subtype")),
        "voxel_size": grid,
        "extent_um": _extent(imaging.get("dimensions"), grid),
        "em": sorted(em, key=_preference),
        "labels": [_without_display(layer) for layer in labels],
        "doi": _dois(about.get("DOI")),
        "licence": LICENCE,
        "terms": TERMS,
        "thumbnail": about.get("thumbnailURL"),
    }
    said = {key: value for key, value in members.items() if value is not None}
    return parse_dataset(said, where, is_trusted=False)


def _is_segmentation(source: Mapping[str, Any]) -> bool:
    return source.get("contentType") == "segmentation" and source.get("sampleType") == "label"


def _preference(layer: Mapping[str, Any]) -> tuple[bool, bool, bool]:
    """Order layers: as the labels lie, without loss (precomputed is JPEG), of known contrast."""
    return (
        bool(layer.get("flipped")),
        layer.get("format") == "precomputed",
        "shown" not in layer,
    )


def _without_display(layer: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in layer.items() if key != "shown"}


def _layer(source: Mapping[str, Any]) -> dict[str, Any]:
    transform = _mapping(source.get("transform"))
    scale = _named(transform.get("axes"), transform.get("scale"))
    units = transform.get("units")
    is_nm = isinstance(units, list) and all(unit == "nm" for unit in units)
    layer: dict[str, Any] = {
        "name": source.get("name"),
        "url": str(source.get("url")).rstrip("/"),
        "format": source.get("format"),
    }
    if scale is not None and is_nm:
        # A negative scale says that the file runs against the dataset's axis.
        layer["voxel_size"] = [abs(edge) for edge in scale]
        layer["flipped"] = [axis for axis, edge in zip("zyx", scale, strict=True) if edge < 0]
    if source.get("contentType") == "em":
        shown = _shown(_mapping(source.get("displaySettings")))
        return layer if shown is None else {**layer, "shown": shown}
    about = source.get("description")
    return {**layer, "about": about} if about else layer


def _shown(display: Mapping[str, Any]) -> dict[str, Any] | None:
    limits = _mapping(display.get("contrastLimits"))
    low, high = limits.get("start"), limits.get("end")
    if not isinstance(low, int | float) or not isinstance(high, int | float) or low == high:
        return None
    # A range that runs backwards is another way to say that it is inverted.
    inverted = bool(display.get("invertLUT")) != (low > high)
    if not inverted and (low, high) == (limits.get("min"), limits.get("max")):
        # Everything there can be: nobody has chosen a range yet.
        return None
    return {"low": min(low, high), "high": max(low, high), "inverted": inverted}


def _extent(dimensions: object, grid: Sequence[float] | None) -> list[float] | None:
    """Return the extent in µm; a unit that leaves next to no voxels is a slip for µm."""
    extent = _spatial(dimensions)
    if extent is None:
        return None
    by = 1e3 if grid and _is_slip(extent, grid) else 1.0
    return [round(side * by / 1e3, 3) for side in extent]


def _is_slip(extent: Sequence[float], grid: Sequence[float]) -> bool:
    return all(side / edge < _FEWEST_VOXELS for side, edge in zip(extent, grid, strict=True))


def _spatial(value: object) -> list[float] | None:
    """Return `{unit, values: {x, y, z}}` in nm, z, y, x; None for anything else."""
    members = _mapping(value)
    by, values = _NM.get(str(members.get("unit"))), _mapping(members.get("values"))
    numbers = [values.get(axis) for axis in "zyx"]
    if by is None or not all(isinstance(n, int | float) and n > 0 for n in numbers):
        return None
    return [by * n for n in numbers if n is not None]


def _named(axes: object, numbers: object) -> list[float] | None:
    """Return numbers in the order z, y, x, by the names of their axes."""
    if not isinstance(axes, list) or not isinstance(numbers, list) or len(axes) != len(numbers):
        return None
    by_name = dict(zip(map(str, axes), numbers, strict=True))
    found = [by_name.get(axis) for axis in "zyx"]
    right = all(isinstance(n, int | float) and n != 0 for n in found)
    return [float(n) for n in found if n is not None] if right else None


def _organism(value: object) -> str | None:
    name = _joined(value)
    return None if name is None else _ORGANISMS.get(name.casefold(), name)


def _joined(*lists: object) -> str | None:
    words = [str(word) for part in lists if isinstance(part, list) for word in part]
    return ", ".join(words) or None


def _dois(value: object) -> list[str]:
    links = [_mapping(item).get("href") for item in value] if isinstance(value, list) else []
    texts = [str(link).partition("doi.org/")[2] for link in links]
    return [text for text in texts if text]


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
