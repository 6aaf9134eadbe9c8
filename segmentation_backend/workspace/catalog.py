"""The volumes a data directory knows: their names, where their voxels are, how they look."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from segmentation_backend.database import read, write
from segmentation_backend.errors import ConflictError, ErrorKind, InvalidInputError, NotFoundError
from segmentation_backend.geometry import (
    Roi,
    ScaleLevel,
    VoxelSize,
    parse_coordinate,
    plan_levels,
)
from segmentation_backend.sources.catalogue import ShownRange
from segmentation_backend.sources.contrast import Contrast, StatedRange, choose_range
from segmentation_backend.sources.grids import Corner
from segmentation_backend.sources.importing import import_image
from segmentation_backend.sources.readers import is_stack
from segmentation_backend.sources.secrets import without_secrets
from segmentation_backend.sources.specs import ANY_SOURCE, CloudSettings, locate
from segmentation_backend.sources.volume import Volume, open_volume
from segmentation_backend.workspace.bases import BaseRecord, adopt_base
from segmentation_backend.workspace.published import Choice, PublishedRecord

__all__ = ["Catalog", "VolumeInfo"]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")

metadata = sa.MetaData()
volumes = sa.Table(
    "volumes",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("image", sa.Text, nullable=False),
    sa.Column("dataset", sa.Text),
    sa.Column("voxel_size", sa.Text),
    sa.Column("about", sa.Text, nullable=False),
    sa.Column("created", sa.Text, nullable=False),
)


@dataclass(frozen=True, slots=True)
class VolumeInfo:
    """What a volume is, without its voxels."""

    name: str
    source: str
    """What the user named: a path or URL."""
    dtype: str
    bounds: Roi
    """The extent at level 0, the voxel grid of labels and of every coordinate we exchange."""
    levels: tuple[ScaleLevel, ...]
    """Levels of the image."""
    label_levels: tuple[ScaleLevel, ...]
    contrast: Contrast
    voxel_size_is_assumed: bool
    origin: Corner = (0.0, 0.0, 0.0)
    """Where the image's own metadata put the outer corner of voxel (0, 0, 0), nm, z, y, x."""
    labels: BaseRecord | None = None
    """The labels that edits stand on; None: the volume began empty."""
    published: PublishedRecord | None = None
    """Where in the catalogue it comes from; None: from nowhere in it."""
    stated: StatedRange | None = None
    """How the image's own metadata want it shown."""
    sources: str | None = None
    """What whoever registered it might open (see `source_rules`); None: everything."""

    @property
    def voxel_size(self) -> VoxelSize:
        """The voxel edges at level 0 of the labels, nm, z, y, x."""
        return self.label_levels[0].voxel_size

    @property
    def shown(self) -> ShownRange:
        """The grey values to show: the publishers', the file's own, or nearly all there are."""
        return self._shown[0]

    @property
    def _shown(self) -> tuple[ShownRange, str]:
        published = None if self.published is None else self.published.shown
        return choose_range(published, self.stated, self.contrast, np.dtype(self.dtype))

    def to_json(self) -> dict[str, Any]:
        """Return the volume as the HTTP interface shows it (without its version)."""
        shown, source = self._shown
        return {
            "name": self.name,
            "image": without_secrets(self.source),
            "labels": None if self.labels is None else self.labels.summary(),
            "dtype": self.dtype,
            "bounds": self.bounds.to_json(),
            "levels": [level.to_json() for level in self.levels],
            "label_levels": [level.to_json() for level in self.label_levels],
            "voxel_size": list(self.voxel_size),
            "voxel_size_is_assumed": self.voxel_size_is_assumed,
            "origin": list(self.origin),
            "contrast": {**shown.to_json(), "source": source},
            "published": None if self.published is None else self.published.summary(),
        }


class Catalog:
    """Volumes by name, in the database; image files it made itself lie in `image_dir`."""

    def __init__(self, engine: sa.Engine, image_dir: Path, cloud: CloudSettings) -> None:
        """Open the catalogue."""
        self._engine = engine
        self._image_dir = image_dir
        self._cloud = cloud

    def names(self) -> list[str]:
        """Return the names of all volumes, sorted."""
        with read(self._engine) as connection:
            return list(connection.scalars(sa.select(volumes.c.name).order_by(volumes.c.name)))

    def info(self, name: str) -> VolumeInfo:
        """Return what a volume is, as it was when registered; its image is not touched."""
        row = self._known(name)
        return _describe(name, row.source, json.loads(row.about))

    def image(self, name: str) -> Volume:
        """Open the image of a registered volume for reading."""
        row = self._known(name)
        size = parse_voxel_size(json.loads(row.voxel_size)) if row.voxel_size else None
        # An imported image is a file of our own.
        is_own = row.image != row.source
        about = json.loads(row.about)
        cloud = self._cloud if is_own else self._asker(about.get("sources"))
        return open_volume(
            row.image,
            dataset=row.dataset,
            voxel_size=size,
            name=name,
            cloud=cloud,
            flipped=about.get("flipped", ()),
        )

    def _asker(self, sources: str | None) -> CloudSettings:
        """Return the access of somebody who may open just these places."""
        return replace(self._cloud, sources=None if sources == ANY_SOURCE else sources)

    def _known(self, name: str) -> sa.Row[Any]:
        row = self._row(name)
        if row is None:
            known = ", ".join(self.names()) or "none yet"
            raise NotFoundError(
                f"There is no volume {name!r}; the volumes here are: {known}.",
                ErrorKind.VOLUME_NOT_FOUND,
            )
        return row

    def add(
        self,
        name: str,
        source: str,
        *,
        dataset: str | None = None,
        voxel_size: VoxelSize | None = None,
        labels: str | None = None,
        in_place: bool | None = None,
        choice: Choice | None = None,
        sources: str = ANY_SOURCE,
        progress: Callable[[float, str], None] | None = None,
    ) -> VolumeInfo:
        """Register an image under a name; files that are no chunk stores are imported.

        `in_place` reads a file where it is (True) or imports a chunk store too (False). `labels`
        are read in place, under the edits (see `adopt_base`); `choice` says which image and labels
        of a published dataset it is instead. Only `sources` are opened. The same name with the same
        image and labels is answered with what is there already.
        """
        check_name(name)
        if self._row(name) is not None:
            return self._the_same(name, source, labels, choice)
        cloud = self._asker(sources)
        # Before anything is touched: even whether a file exists is not everybody's business.
        locate(source, cloud).child(dataset or "")
        location, inside = source, dataset
        if in_place is False or (in_place is None and needs_import(source, dataset)):
            target = self._image_dir / f"{name}.zarr"
            if not target.exists():
                import_image(
                    source,
                    target,
                    dataset=dataset,
                    voxel_size=voxel_size,
                    progress=progress,
                    cloud=cloud,
                )
            location, inside = str(target), None
        reopen = partial(
            open_volume,
            location,
            dataset=inside,
            name=name,
            cloud=cloud if location == source else self._cloud,
            flipped=() if choice is None else choice.em.flipped,
        )
        image = reopen(voxel_size=voxel_size)
        if choice is not None and image.voxel_size_is_assumed and choice.em.voxel_size:
            # The file does not say how large its voxels are, but whoever published it does.
            voxel_size = choice.em.voxel_size
            image = reopen(voxel_size=voxel_size)
        about = self._about(image, labels, choice, cloud)
        values = {
            "name": name,
            "source": source,
            "image": location,
            "dataset": inside,
            "voxel_size": json.dumps(voxel_size) if voxel_size else None,
            "about": json.dumps(about),
            "created": datetime.now(UTC).isoformat(),
        }
        with write(self._engine) as connection:
            known = connection.scalar(sa.select(volumes.c.name).where(volumes.c.name == name))
            if known is None:
                connection.execute(volumes.insert().values(**values))
        return _describe(name, source, about)

    def _about(
        self, image: Volume, labels: str | None, choice: Choice | None, cloud: CloudSettings
    ) -> dict[str, Any]:
        """Return what is remembered of an image, so that a list of volumes opens none of them."""
        about = {
            "dtype": str(image.dtype),
            "levels": [level.to_json() for level in image.levels],
            "contrast": asdict(image.contrast()),
            "voxel_size_is_assumed": image.voxel_size_is_assumed,
            "origin": list(image.origin),
        }
        if image.stated is not None:
            about["stated"] = image.stated.to_json()
        base = None if labels is None else adopt_base(labels, image, cloud)
        if choice is not None:
            base, record = choice.adopt(image, cloud)
            about["published"] = record.to_json()
            about["flipped"] = list(choice.em.flipped)
        if base is not None:
            about["labels"] = base.to_json()
        if cloud.sources is not None:
            about["sources"] = cloud.sources
        return about

    def _the_same(
        self, name: str, source: str, labels: str | None, choice: Choice | None
    ) -> VolumeInfo:
        """Return a volume that is registered already, unless other sources are asked for."""
        known = self.info(name)
        if choice is not None and choice.is_of(known.published):
            return known
        if choice is not None:
            labels = None if choice.labels is None else choice.labels.url
        own = None if known.labels is None else known.labels.source
        if known.source != source:
            raise ConflictError(
                f"The name {name!r} belongs to {known.source}; choose another name for {source}.",
                ErrorKind.NAME_TAKEN,
            )
        if own != labels:
            raise ConflictError(
                f"The volume {name!r} stands on {own or 'no labels'}, not on "
                f"{labels or 'no labels'}; choose another name.",
                ErrorKind.NAME_TAKEN,
            )
        return known

    def _row(self, name: str) -> sa.Row[Any] | None:
        with read(self._engine) as connection:
            return connection.execute(sa.select(volumes).where(volumes.c.name == name)).first()


def needs_import(source: str, dataset: str | None) -> bool:
    """Whether a local file (or a folder of pictures) is no chunk store: it has no pyramid."""
    return "://" not in source and "|" not in source and is_stack(Path(source), dataset)


def parse_voxel_size(value: Sequence[float]) -> VoxelSize:
    """Return three edge lengths in nm, z, y, x."""
    z, y, x = map(float, value)
    return (z, y, x)


def check_name(name: str) -> None:
    """Refuse a volume name that would not fit into a URL."""
    if not NAME.fullmatch(name):
        raise InvalidInputError(
            f"{name!r} cannot name a volume; use 1 to 64 letters, digits, '_', '-' or '.', "
            "beginning with a letter or digit.",
            ErrorKind.INVALID_NAME,
        )


def _describe(name: str, source: str, about: Mapping[str, Any]) -> VolumeInfo:
    levels = tuple(
        ScaleLevel(
            item["level"],
            parse_voxel_size(item["voxel_size"]),
            parse_coordinate(item["shape"], "shape"),
        )
        for item in about["levels"]
    )
    labels = BaseRecord.from_json(about["labels"]) if "labels" in about else None
    published = PublishedRecord.from_json(about["published"]) if "published" in about else None
    # Older records have none: the middle of the first voxel is then at 0.
    origin = about.get("origin", [-edge / 2 for edge in levels[0].voxel_size])
    own = plan_levels(levels[0].shape, levels[0].voxel_size)
    label_levels = own if labels is None else labels.levels
    return VolumeInfo(
        name=name,
        source=source,
        dtype=about["dtype"],
        bounds=Roi((0, 0, 0), label_levels[0].shape),
        levels=levels,
        label_levels=label_levels,
        contrast=Contrast(**about["contrast"]),
        voxel_size_is_assumed=about["voxel_size_is_assumed"],
        origin=parse_voxel_size(origin),
        labels=labels,
        published=published,
        stated=StatedRange(**about["stated"]) if "stated" in about else None,
        sources=about.get("sources"),
    )
