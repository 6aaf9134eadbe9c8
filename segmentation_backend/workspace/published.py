"""Opening a dataset of the catalogue: which image, which labels under the edits, which beside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from segmentation_backend.errors import (
    ErrorKind,
    FormatError,
    InvalidInputError,
    NotFoundError,
    SegmentationError,
)
from segmentation_backend.geometry import Roi
from segmentation_backend.labels import LabelBase
from segmentation_backend.labels.chunks import CHUNK_SIDE, keys_over
from segmentation_backend.sources.catalogue import (
    Dataset,
    EmLayer,
    PublishedLabels,
    ShownRange,
)
from segmentation_backend.sources.specs import CloudSettings
from segmentation_backend.sources.volume import Volume
from segmentation_backend.workspace.bases import BaseRecord, adopt_base

__all__ = ["NO_LABELS", "BesideLabels", "Choice", "PublishedRecord", "choose", "read_beside"]

NO_LABELS = "none"
"""What to ask for in place of published labels to begin with none."""

_MOST_BESIDE = 4

_Layer = TypeVar("_Layer", EmLayer, PublishedLabels)


@dataclass(frozen=True, slots=True)
class BesideLabels:
    """Published labels that are shown beside a volume's own, and never edited."""

    name: str
    record: BaseRecord

    def to_json(self) -> dict[str, Any]:
        """Return the labels as they are kept."""
        return {"name": self.name, **self.record.to_json()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> BesideLabels:
        """Return what `to_json` made."""
        return cls(value["name"], BaseRecord.from_json(value))


@dataclass(frozen=True, slots=True)
class PublishedRecord:
    """Where a volume comes from, and how its authors show it."""

    dataset: str
    em: str
    """The image's name in the catalogue."""
    title: str | None = None
    labels: str | None = None
    """The name of the published labels under the edits."""
    doi: tuple[str, ...] = ()
    """Of the dataset and of the labels, to be cited."""
    licence: str | None = None
    terms: str | None = None
    as_of: str = ""
    shown: ShownRange | None = None
    beside: tuple[BesideLabels, ...] = ()
    notes: tuple[str, ...] = ()
    """What is not as the catalogue says, and why published labels were left out."""

    def summary(self) -> dict[str, Any]:
        """Return the record as the HTTP interface shows it."""
        return {
            "dataset": self.dataset,
            "title": self.title,
            "em": self.em,
            "labels": self.labels,
            "beside": [labels.name for labels in self.beside],
            "doi": list(self.doi),
            "licence": self.licence,
            "terms": self.terms,
            "as_of": self.as_of,
            "notes": list(self.notes),
        }

    def to_json(self) -> dict[str, Any]:
        """Return the record as it is kept."""
        shown = None if self.shown is None else self.shown.to_json()
        beside = [labels.to_json() for labels in self.beside]
        return {**self.summary(), "shown": shown, "beside": beside}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> PublishedRecord:
        """Return what `to_json` made."""
        return cls(
            **{
                **value,
                "doi": tuple(value["doi"]),
                "notes": tuple(value["notes"]),
                "shown": ShownRange(**value["shown"]) if value["shown"] else None,
                "beside": tuple(BesideLabels.from_json(item) for item in value["beside"]),
            }
        )


@dataclass(frozen=True, slots=True)
class Choice:
    """What of a dataset is opened; made before anything is read."""

    dataset: Dataset
    as_of: str
    em: EmLayer
    labels: PublishedLabels | None
    beside: tuple[PublishedLabels, ...]
    is_labels_asked_for: bool
    """Whether somebody named the labels: then they are there, or it is an error."""

    def is_of(self, known: PublishedRecord | None) -> bool:
        """Whether a volume that was opened before is what is asked for."""
        return (
            known is not None
            and (known.dataset, known.em) == (self.dataset.name, self.em.name)
            and (not self.is_labels_asked_for or known.labels == (self.labels and self.labels.name))
        )

    def adopt(
        self, image: Volume, cloud: CloudSettings
    ) -> tuple[BaseRecord | None, PublishedRecord]:
        """Return the labels under the edits, and what is remembered; reads a few chunks of each.

        Labels that do not fit the image, or are no longer there, are left out with a note; those
        that somebody asked for by name raise what `adopt_base` raises, and so does a place that
        does not answer now: the volume's labels are chosen once and for all.
        """
        notes = self._differences(image)
        base = None
        try:
            base = None if self.labels is None else _adopted(self.labels, image, cloud)
        except (NotFoundError, InvalidInputError, FormatError) as err:
            if self.is_labels_asked_for or self.labels is None:
                raise
            notes.append(f"The published labels {self.labels.name} are left out: {err.message}")
        beside = []
        for labels in self.beside:
            try:
                beside.append(BesideLabels(labels.name, _adopted(labels, image, cloud)))
            except SegmentationError as err:
                notes.append(f"The published labels {labels.name} are not shown: {err.message}")
        used = self.labels if base is not None else None
        return base, PublishedRecord(
            dataset=self.dataset.name,
            em=self.em.name,
            title=self.dataset.title,
            labels=used.name if used else None,
            doi=self.dataset.doi + ((used.doi,) if used and used.doi else ()),
            licence=self.dataset.licence,
            terms=self.dataset.terms,
            as_of=self.as_of,
            shown=self.em.shown,
            beside=tuple(beside),
            notes=tuple(notes),
        )

    def _differences(self, image: Volume) -> list[str]:
        """Return in words where the file is not what the catalogue says; the file is believed."""
        fine, notes = image.levels[0], []
        size, shape = self.em.voxel_size, self.em.shape
        if size and any(abs(a / b - 1) > 0.01 for a, b in zip(size, fine.voxel_size, strict=True)):
            notes.append(f"The catalogue has voxels of {size} nm, the file of {fine.voxel_size}.")
        if shape and shape != fine.shape:
            notes.append(f"The catalogue has {shape} voxels, the file {fine.shape}.")
        return notes


def choose(dataset: Dataset, as_of: str, em: str | None, labels: str | None) -> Choice:
    """Return what to open of a dataset.

    `em` names one of its images (the first without it). `labels` names published labels to begin
    from, or `NO_LABELS`; without it, they are the dataset's whole mitochondria where exactly one
    layer shows those. Others that show mitochondria are shown beside. Raises NotFoundError
    DATASET_NOT_FOUND for a name that the dataset does not have.
    """
    image = dataset.em[0] if em is None else _named("image", em, dataset, dataset.em)
    base = _base(dataset, labels)
    others = [one for one in dataset.mitochondria if one is not base]
    return Choice(dataset, as_of, image, base, tuple(others)[:_MOST_BESIDE], labels is not None)


def _adopted(labels: PublishedLabels, image: Volume, cloud: CloudSettings) -> BaseRecord:
    return adopt_base(labels.url, image, cloud, labels.flipped)


def _base(dataset: Dataset, labels: str | None) -> PublishedLabels | None:
    if labels == NO_LABELS:
        return None
    if labels is None:
        whole = [one for one in dataset.mitochondria if one.is_whole_mitochondria]
        return whole[0] if len(whole) == 1 else None
    if "/" in labels:
        # An address: labels of one's own, on a published image.
        return PublishedLabels(labels, labels, "")
    return _named("labels", labels, dataset, dataset.labels)


def _named(what: str, name: str, dataset: Dataset, layers: Sequence[_Layer]) -> _Layer:
    for layer in layers:
        if layer.name == name:
            return layer
    names = ", ".join(layer.name for layer in layers) or "none"
    raise NotFoundError(
        f"The dataset {dataset.name} has no {what} {name[:64]!r}; there are: {names}.",
        ErrorKind.DATASET_NOT_FOUND,
    )


def read_beside(base: LabelBase, roi: Roi, level: int) -> npt.NDArray[np.uint64]:
    """Return the ids (uint64, z, y, x) of a region of published labels; errors as `load`'s."""
    block = np.zeros(roi.shape, np.uint64)
    for key, chunk in base.load(list(keys_over(roi, level))).items():
        z, y, x = (b - p * CHUNK_SIDE for b, p in zip(roi.offset, key[1:], strict=True))
        chunk.paste(block, (z, y, x))
    return block
