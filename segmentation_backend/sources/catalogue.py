"""Published EM datasets by name: where their images and labels are, and how they are shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from typing import Any, Literal, NamedTuple, TypeAlias

from segmentation_backend.errors import ErrorKind, NotFoundError
from segmentation_backend.geometry import Coordinate, VoxelSize

__all__ = [
    "CatalogueView",
    "Dataset",
    "EmLayer",
    "PublishedLabels",
    "ShownRange",
    "find_dataset",
    "merge_datasets",
    "search_datasets",
]

Axis: TypeAlias = Literal["z", "y", "x"]


class ShownRange(NamedTuple):
    """The grey values between which an image is shown."""

    low: float
    high: float
    """Greater than `low`, also where the image is inverted."""
    inverted: bool = False
    """Whether `low` is shown white: membranes are bright in the file."""

    def to_json(self) -> dict[str, Any]:
        """Return the range as JSON has it."""
        return self._asdict()


@dataclass(frozen=True, slots=True)
class EmLayer:
    """One copy of a dataset's EM image."""

    name: str
    url: str
    format: str
    """`n5`, `zarr` or `precomputed`."""
    voxel_size: VoxelSize | None = None
    """nm, z, y, x; None: not known, or told in two ways. The file itself always decides."""
    shape: Coordinate | None = None
    """Voxels at the finest level, z, y, x, where somebody has read them from the file."""
    flipped: tuple[Axis, ...] = ()
    """Axes along which the file runs against the dataset's coordinates."""
    shown: ShownRange | None = None


@dataclass(frozen=True, slots=True)
class PublishedLabels:
    """A segmentation of a whole dataset, as its authors published it."""

    name: str
    url: str
    format: str
    voxel_size: VoxelSize | None = None
    """nm, z, y, x: labels are paired with an image by it, never by the number of a level."""
    flipped: tuple[Axis, ...] = ()
    about: str | None = None
    """What is labelled, in words."""
    doi: str | None = None

    @property
    def shows_mitochondria(self) -> bool:
        """Whether mitochondria, or parts of them, are what is labelled."""
        return "mito" in self.name.lower()

    @property
    def is_whole_mitochondria(self) -> bool:
        """Whether one object is one mitochondrion, so that it can be proofread as such."""
        return self.name.lower() in ("mito", "mito_seg", "empanada-mito_seg", "mito_instance_seg")


@dataclass(frozen=True, slots=True)
class CatalogueView:
    """A place worth seeing first."""

    name: str
    title: str
    position_nm: tuple[float, float, float]
    """The middle, z, y, x."""
    nm_per_pixel: float
    extent_nm: float
    """Height of the 3D view."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset, with everything that is published of it."""

    name: str
    em: tuple[EmLayer, ...]
    """The one to open first is the first."""
    title: str | None = None
    organism: str | None = None
    sample: str | None = None
    voxel_size: VoxelSize | None = None
    """Of the acquisition, nm, z, y, x."""
    extent_um: tuple[float, float, float] | None = None
    """About how large it is, µm, z, y, x: what its authors say, rounded; never a shape."""
    labels: tuple[PublishedLabels, ...] = ()
    crops: int | None = None
    """Number of small hand-labelled regions (ground truth), which are not opened from here."""
    doi: tuple[str, ...] = ()
    licence: str | None = None
    terms: str | None = None
    """Address of the terms of use."""
    thumbnail: str | None = None
    views: tuple[CatalogueView, ...] = ()

    @property
    def mitochondria(self) -> tuple[PublishedLabels, ...]:
        """The labels that show mitochondria, whole ones first."""
        found = [labels for labels in self.labels if labels.shows_mitochondria]
        return tuple(sorted(found, key=lambda labels: not labels.is_whole_mitochondria))

    @property
    def words(self) -> str:
        """Everything one may search for, in lower case."""
        parts = [self.name, self.title, self.organism, self.sample, *self.doi]
        parts += [layer.name for layer in self.em]
        parts += [text for labels in self.labels for text in (labels.name, labels.about)]
        return " ".join(part for part in parts if part).casefold()

    def to_json(self) -> dict[str, Any]:
        """Return the dataset as the catalogue format has it; what is not known is left out."""
        return _members(self)


def _members(value: EmLayer | PublishedLabels | CatalogueView | Dataset) -> dict[str, Any]:
    members = {field.name: getattr(value, field.name) for field in fields(value)}
    return {name: _plain(item) for name, item in members.items() if item not in (None, ())}


def _plain(value: object) -> object:
    if isinstance(value, ShownRange):
        return value.to_json()
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, EmLayer | PublishedLabels | CatalogueView | Dataset):
        return _members(value)
    return value


def find_dataset(datasets: Mapping[str, Dataset], name: str) -> Dataset:
    """Return a dataset by its name; NotFoundError DATASET_NOT_FOUND offers near names."""
    wanted = name.strip()
    for known, dataset in datasets.items():
        if known.casefold() == wanted.casefold():
            return dataset
    near = get_close_matches(wanted.casefold(), datasets, n=3, cutoff=0.5)
    near += [d.name for d in search_datasets(datasets.values(), wanted)[:3] if d.name not in near]
    hint = f"Did you mean {' or '.join(near[:4])}?" if near else "`mitoglance catalogue` lists all."
    raise NotFoundError(
        f"There is no dataset {wanted[:64]!r} among the {len(datasets)} of the catalogue. {hint}",
        ErrorKind.DATASET_NOT_FOUND,
    )


def search_datasets(datasets: Iterable[Dataset], words: str = "") -> list[Dataset]:
    """Return the datasets in which every word occurs.

    Those with published mitochondria come first, and of them those with a place worth seeing.
    """
    wanted = words.casefold().split()
    found = [d for d in datasets if all(word in d.words for word in wanted)]
    joined = " ".join(wanted)
    return sorted(found, key=lambda d: (d.name != joined, not d.mitochondria, not d.views, d.name))


def merge_datasets(known: Dataset, newer: Dataset) -> Dataset:
    """Return what is known of a dataset with what was learnt since.

    What is newer wins where it says something; layers are the same when their address is, and
    those that it does not mention stay (a frozen copy of a catalogue forgets nothing).
    """
    said = {f.name: getattr(newer, f.name) for f in fields(Dataset)}
    changes = {name: value for name, value in said.items() if value not in (None, ())}
    changes["em"] = _merge_layers(known.em, newer.em)
    changes["labels"] = _merge_layers(known.labels, newer.labels)
    return replace(known, **changes)


def _merge_layers(known: Sequence[Any], newer: Sequence[Any]) -> tuple[Any, ...]:
    by_url = {layer.url: layer for layer in known}
    for layer in newer:
        old = by_url.get(layer.url)
        if old is not None:
            said = {f.name: getattr(layer, f.name) for f in fields(layer)}
            layer = replace(old, **{k: v for k, v in said.items() if v not in (None, ())})
        by_url[layer.url] = layer
    return tuple(by_url.values())
