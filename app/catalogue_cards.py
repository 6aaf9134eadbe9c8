"""The catalogue as the start page shows it: words for people, addresses for their browser."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from app.services import services
from segmentation_backend.errors import ErrorKind, NotFoundError
from segmentation_backend.workspace import CatalogueView, Dataset, VolumeInfo

__all__ = [
    "MOST_CARDS",
    "Card",
    "catalogue_cards",
    "image_origins",
    "published_view",
    "size_text",
]

MOST_CARDS = 500
"""More would be slow to look at; `mitoglance catalogue` and the HTTP interface have all."""

_MOST_ORIGINS = 20


@dataclass(frozen=True, slots=True)
class Card:
    """A dataset, in the words of its card."""

    name: str
    title: str
    facts: str
    """Organism and voxel size."""
    labels: str
    """What is published of mitochondria; empty for nothing."""
    thumbnail: str | None
    words: str
    """What the search looks through."""
    organism: str
    has_labels: bool
    credit: str
    """Address of what to cite, or of the terms of use."""
    licence: str
    opened: str | None
    """The volume that it is already open as."""
    views: tuple[CatalogueView, ...]


def catalogue_cards(datasets: Iterable[Dataset], opened: Mapping[str, str]) -> list[Card]:
    """Return a card for each dataset; `opened` has the volumes that stand on one, by its name."""
    return [_card(dataset, opened.get(dataset.name)) for dataset in datasets]


def _card(dataset: Dataset, volume: str | None) -> Card:
    labels = ", ".join(labels.name for labels in dataset.mitochondria)
    crops = (
        f"{dataset.crops} hand-labelled crop{'s' * (dataset.crops != 1)}" if dataset.crops else ""
    )
    facts = (dataset.organism, size_text(dataset.voxel_size))
    doi = f"https://doi.org/{dataset.doi[0]}" if dataset.doi else None
    return Card(
        name=dataset.name,
        title=dataset.title or dataset.name,
        facts=" · ".join(fact for fact in facts if fact),
        labels=labels or crops,
        thumbnail=dataset.thumbnail,
        words=dataset.words,
        organism=dataset.organism or "",
        has_labels=bool(labels),
        credit=doi or dataset.terms or "",
        licence=dataset.licence or "",
        opened=volume,
        views=dataset.views,
    )


def size_text(voxel_size: Sequence[float] | None) -> str:
    """Return an edge length where all three are the same, and else z × y × x."""
    if voxel_size is None:
        return ""
    if len(set(voxel_size)) == 1:
        return f"{voxel_size[0]:g} nm"
    return " × ".join(f"{edge:g}" for edge in voxel_size) + " nm"


def image_origins(datasets: Iterable[Dataset]) -> list[str]:
    """Return the origins that thumbnails come from, for the page's policy."""
    places = (urlsplit(dataset.thumbnail) for dataset in datasets if dataset.thumbnail)
    return sorted({f"{place.scheme}://{place.netloc}" for place in places})[:_MOST_ORIGINS]


def published_view(info: VolumeInfo, name: str) -> CatalogueView:
    """Return a view of the dataset that a volume stands on; NotFoundError for any other."""
    known = services().workspace.catalogue.known().datasets
    dataset = known.get(info.published.dataset) if info.published else None
    views = dataset.views if dataset else ()
    for view in views:
        if view.name == name:
            return view
    names = ", ".join(view.name for view in views) or "none"
    raise NotFoundError(
        f"The catalogue has no view {name[:64]!r} of {info.name}; there are: {names}.",
        ErrorKind.DATASET_NOT_FOUND,
    )
