"""Labels that somebody published, put under a volume's edits: on which grid, and which they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.geometry import Coordinate, ScaleLevel, VoxelSize, parse_coordinate
from segmentation_backend.labels import BaseDescription, LabelBase, describe_base
from segmentation_backend.labels.base_levels import plan_base_levels
from segmentation_backend.sources.direct import DirectLayer, direct_layer
from segmentation_backend.sources.direct_formats import LayerKind
from segmentation_backend.sources.labels import LabelArrays, open_labels
from segmentation_backend.sources.secrets import without_secrets
from segmentation_backend.sources.specs import CloudSettings
from segmentation_backend.sources.volume import Volume

__all__ = ["BaseRecord", "adopt_base", "direct_base", "open_base"]

_LARGEST_RATIO = 32
"""How many times larger, or smaller, than an image's a label's voxel may be along an axis."""

_OVERHANG = 1.05


@dataclass(frozen=True, slots=True)
class BaseRecord:
    """What is remembered of the labels under a volume."""

    source: str
    """What the user named: a path or URL."""
    description: BaseDescription
    offset: Coordinate = (0, 0, 0)
    """Where the labels begin in the volume, in voxels of their level 0."""
    flipped: tuple[str, ...] = ()
    """Axes along which the file is stored in reverse without saying so."""

    @property
    def levels(self) -> tuple[ScaleLevel, ...]:
        """The label pyramid of the volume: the arrays' own levels and computed ones."""
        return tuple(planned.level for planned in plan_base_levels(self.description.levels))

    @property
    def voxel_size(self) -> VoxelSize:
        """The voxel edges at level 0, nm, z, y, x."""
        return self.description.levels[0].voxel_size

    def summary(self) -> dict[str, Any]:
        """Return the record as the HTTP interface shows it."""
        return {"source": without_secrets(self.source), "dtype": self.description.dtype}

    def to_json(self) -> dict[str, Any]:
        """Return the record as it is kept."""
        record: dict[str, Any] = {
            "source": self.source,
            "description": self.description.to_json(),
        }
        if any(self.offset):
            record["offset"] = list(self.offset)
        if self.flipped:
            record["flipped"] = list(self.flipped)
        return record

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> BaseRecord:
        """Return what `to_json` made."""
        offset = parse_coordinate(value.get("offset", [0, 0, 0]), "offset")
        description = BaseDescription.from_json(value["description"])
        return cls(value["source"], description, offset, tuple(value.get("flipped", ())))


def adopt_base(
    source: str, image: Volume, cloud: CloudSettings, flipped: Sequence[str] = ()
) -> BaseRecord:
    """Return the record of labels that fit an image; reads a few chunks of them.

    Labels of a part of the image are placed where their metadata say, to the nearest of their
    voxels. Axes in `flipped` are stored in reverse, whatever the metadata say. Raises
    InvalidInputError INVALID_PARAMETER for labels that lie outside or are of another scale, and
    what `open_labels` and `LabelBase.load` raise.
    """
    labels = open_labels(source, cloud=cloud, flipped=flipped)
    if labels.voxel_size_is_assumed or image.voxel_size_is_assumed:
        labels = labels.with_voxel_size(_size_by_shape(labels, image))
        offset: Coordinate = (0, 0, 0)
    else:
        offset = _offset(labels, image)
        labels = labels.placed(offset)
    _check_extent(labels, image)
    return BaseRecord(source, describe_base(labels), offset, tuple(flipped))


def open_base(record: BaseRecord, cloud: CloudSettings, cache_dir: Path) -> LabelBase:
    """Return the labels of a record; nothing is opened before the first read.

    `cache_dir` holds what can be made again: coarse levels that the labels do not have.
    """

    def reader() -> LabelArrays:
        labels = open_labels(record.source, cloud=cloud, flipped=record.flipped)
        if labels.levels[0].voxel_size != record.voxel_size:
            labels = labels.with_voxel_size(record.voxel_size)
        return labels.placed(record.offset)

    # Where the samples of a description hold nothing, both directions have the same.
    turned = "".join(sorted(record.flipped))
    folder = cache_dir / f"flipped-{turned}" if turned else cache_dir
    return LabelBase(record.description, reader, cache_dir=folder)


def direct_base(base: LabelBase) -> DirectLayer | str:
    """Return how a browser reads labels from their source, or why only we can.

    Level by level they are then what `base` has, with the same sizes of voxels: its finest levels,
    up to the first that is computed here. Opens the labels; errors are those of `LabelBase.load`.
    """
    arrays = base.reader
    assert isinstance(arrays, LabelArrays)
    if arrays.is_placed:
        return "it begins elsewhere than the image"
    levels, stored = list(base.levels), []
    for number, planned in enumerate(base.plan):
        if planned.stored is None:
            break
        # Writers round odd sides down, where a level of ours would be a voxel longer.
        levels[number] = replace(planned.level, shape=arrays.levels[planned.stored].shape)
        stored.append(arrays.stored[planned.stored])
    return direct_layer(levels, stored, LayerKind.LABELS)


def _size_by_shape(labels: LabelArrays, image: Volume) -> VoxelSize:
    """Return the voxel size of the image's level that has the labels' shape.

    Where one of the two does not know its voxel size, nothing else can be compared.
    """
    shape = labels.levels[0].shape
    for level in image.levels:
        if all(abs(a - b) <= 1 for a, b in zip(level.shape, shape, strict=True)):
            return level.voxel_size
    whose = "labels" if labels.voxel_size_is_assumed else "image"
    shapes = ", ".join(str(level.shape) for level in image.levels[: image.stored_levels])
    raise InvalidInputError(
        f"The {whose} {labels.url if whose == 'labels' else image.url} do not say how large their "
        f"voxels are, and the labels' shape {shape} is that of no level of the image ({shapes}), "
        "so it is open how they lie on each other. Write the voxel size into the metadata"
        + (", or register the image with its voxel_size." if whose == "image" else "."),
        ErrorKind.INVALID_PARAMETER,
    )


def _offset(labels: LabelArrays, image: Volume) -> Coordinate:
    """Return how many label voxels after the image's first corner the labels begin.

    Where any reading of both metadata lets the corners meet to half a voxel, they do; otherwise
    translations are taken as middles of voxels, as NGFF has them.
    """
    voxel = labels.levels[0].voxel_size
    distances = [
        [(a - b) / edge for a, b, edge in zip(own, other, voxel, strict=True)]
        for own in labels.corners
        for other in image.corners
    ]
    if min(max(abs(d) for d in distance) for distance in distances) <= 0.501:
        return (0, 0, 0)
    z, y, x = (round(d) for d in distances[0])
    ends = [a + side for a, side in zip((z, y, x), labels.levels[0].shape, strict=True)]
    room = [
        side * edge / own
        for side, edge, own in zip(
            image.bounds.shape, image.levels[0].voxel_size, voxel, strict=True
        )
    ]
    if min(ends) <= 0 or any(a >= r for a, r in zip((z, y, x), room, strict=True)):
        nm = ", ".join(f"{d * edge:g}" for d, edge in zip(distances[0], voxel, strict=True))
        raise InvalidInputError(
            f"The labels {labels.url} begin ({nm}) nm (z, y, x) from the image's first corner, "
            "which is outside of it: they show another place. See whether both have the right "
            "translation.",
            ErrorKind.INVALID_PARAMETER,
        )
    return (z, y, x)


def _check_extent(labels: LabelArrays, image: Volume) -> None:
    fine, level = image.levels[0], labels.levels[0]
    for axis, name in enumerate("zyx"):
        own, other = level.voxel_size[axis], fine.voxel_size[axis]
        extent, room = level.shape[axis] * own, fine.shape[axis] * other
        if not 1 / _LARGEST_RATIO <= own / other <= _LARGEST_RATIO:
            problem = f"voxels of {own:g} nm on the image's of {other:g} nm along {name}"
        elif extent > room * _OVERHANG + own:
            problem = f"{extent:g} nm along {name}, and the image {room:g} nm"
        else:
            continue
        raise InvalidInputError(
            f"The labels {labels.url} do not fit the image: they have {problem}. See whether the "
            "voxel sizes of both are right.",
            ErrorKind.INVALID_PARAMETER,
        )
