"""`Workspace`: one data directory, its volumes and everything one can do with them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from segmentation_backend.database import open_database
from segmentation_backend.errors import ErrorKind, InvalidInputError, NotFoundError
from segmentation_backend.geometry import Coordinate, Roi, ScaleLevel, VoxelSize
from segmentation_backend.labels import (
    MAIN,
    LabelBase,
    LabelRepository,
    ObjectStats,
    PackFolder,
    PackStore,
    open_packs,
)
from segmentation_backend.sources.catalogue_store import DatasetCatalogue
from segmentation_backend.sources.direct import DirectLayer
from segmentation_backend.sources.specs import ANY_SOURCE, CloudSettings
from segmentation_backend.sources.synthetic import synthetic_em
from segmentation_backend.sources.volume import Volume
from segmentation_backend.workspace.bases import BaseRecord, direct_base, open_base
from segmentation_backend.workspace.catalog import Catalog, VolumeInfo
from segmentation_backend.workspace.editing import check_id
from segmentation_backend.workspace.encoding import (
    EncodedChunk,
    LabelChunks,
    LabelForm,
    encode_labels,
    etag_of,
    readable,
)
from segmentation_backend.workspace.label_edits import LabelEdits
from segmentation_backend.workspace.label_history import LabelHistory
from segmentation_backend.workspace.object_classes import classes_of, of_class
from segmentation_backend.workspace.occupied import occupied_chunks
from segmentation_backend.workspace.opening import Opening
from segmentation_backend.workspace.planning import check_choice
from segmentation_backend.workspace.previews import Previews, SplitPreview
from segmentation_backend.workspace.published import choose, read_beside
from segmentation_backend.workspace.segmenting import Segmenting

__all__ = ["Workspace"]

DEMO = "demo"
DEMO_SHAPE = (128, 256, 256)
DEMO_SEED = 2
DEMO_VOXEL_SIZE = (10.0, 10.0, 10.0)
MAX_CUTOUT_VOXELS = 2**27
"""One answer of at most a gigabyte of ids."""


@dataclass(frozen=True)
class _Opened:
    info: VolumeInfo
    repository: LabelRepository
    image: Opening[Volume]
    """Opened when first read: a list of volumes must not wait for any of them."""
    beside: Mapping[str, LabelBase]


class Workspace(LabelEdits, LabelHistory, Segmenting):
    """A data directory, opened. One per process; safe to use from many threads.

    >>> workspace = Workspace(Path("data"))
    >>> workspace.register("cell", "cell.zarr")
    >>> workspace.merge("cell", ids=[3, 8], points=None, edit=EditContext("ana"))
    """

    def __init__(
        self,
        data_dir: Path,
        database_url: str | None = None,
        cloud: CloudSettings | None = None,
        max_voxels: int = 2**26,
        packs: str | None = None,
        catalogue: Path | None = None,
    ) -> None:
        """Open (and make) a data directory; `max_voxels` bounds one segmentation.

        `packs` is where label packs are kept, a folder or `s3://bucket/prefix`, without it a folder
        in the data directory; every process that opens the directory must name the same place.
        `catalogue` is a file of datasets of one's own.
        """
        self.data_dir = data_dir
        self.models_dir = data_dir / "models"
        self.max_voxels = max_voxels
        self._cloud = cloud or CloudSettings()
        self._packs = (packs or str(data_dir / "packs")).rstrip("/")
        folders = [data_dir, self.models_dir, data_dir / "images"]
        all_packs = open_packs(self._packs, self._cloud)
        if isinstance(all_packs, PackFolder):
            folders.append(all_packs.folder)
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        self.engine: sa.Engine = open_database(database_url or data_dir / "mitoglance.sqlite")
        self.catalogue = DatasetCatalogue(data_dir / "catalogue", catalogue)
        self._catalog = Catalog(self.engine, data_dir / "images", self._cloud)
        self._previews = Previews(data_dir / "previews")
        self._label_chunks = LabelChunks()
        self._opened: dict[str, _Opened] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Let go of the database."""
        self.engine.dispose()

    def check_packs(self) -> None:
        """Raise ResourceError unless the place of the label packs can be reached."""
        open_packs(self._packs, self._cloud).check()

    def packs_of(self, volume: str) -> PackStore:
        """Return where the packs of a volume are kept."""
        return open_packs(f"{self._packs}/{volume}", self._cloud)

    def sweep_orphans(self) -> int:
        """Delete what crashes left half written and no version names; return how many files."""
        return sum(
            len(self._open(name).repository.sweep_orphans()) for name in self._catalog.names()
        )

    # Volumes

    def volumes(self) -> list[VolumeInfo]:
        """Return every registered volume."""
        return [self.volume(name) for name in self._catalog.names()]

    def volume(self, name: str) -> VolumeInfo:
        """Return one volume, or raise NotFoundError naming those that exist."""
        return self._open(name).info

    def register(
        self,
        name: str,
        image: str,
        *,
        dataset: str | None = None,
        voxel_size: VoxelSize | None = None,
        labels: str | None = None,
        in_place: bool | None = None,
        sources: str = ANY_SOURCE,
        progress: Callable[[float, str], None] | None = None,
    ) -> VolumeInfo:
        """Register an image (path or URL); NPZ, TIFF, HDF5, MRC and pictures are first imported.

        `labels` (path or URL) are label arrays to begin from; they are read in place. `in_place`
        reads a file where it is, too (True), or imports zarr and N5 as well (False). `sources` says
        what whoever asks may open, now and whenever it is opened again (see `source_rules`); other
        places are a ReadOnlyError SOURCE_REFUSED.
        """
        return self._catalog.add(
            name,
            image,
            dataset=dataset,
            voxel_size=voxel_size,
            labels=labels,
            in_place=in_place,
            sources=sources,
            progress=progress,
        )

    def register_published(
        self,
        dataset: str,
        *,
        name: str | None = None,
        em: str | None = None,
        labels: str | None = None,
        sources: str = ANY_SOURCE,
    ) -> VolumeInfo:
        """Register a dataset of the catalogue, under its own name without a `name`.

        `em` and `labels` name one of its images and its published labels (or `NO_LABELS`; or an
        address), see `choose`; `sources` as for `register`. NotFoundError DATASET_NOT_FOUND for
        what it does not have.
        """
        found = self.catalogue.find(dataset)
        choice = choose(found, self.catalogue.known().as_of, em, labels)
        return self._catalog.add(name or found.name, choice.em.url, choice=choice, sources=sources)

    def register_demo(self) -> VolumeInfo:
        """Register the synthetic EM volume as `demo`."""
        target = self.data_dir / "images" / "demo-source.npz"
        if not target.exists():
            temporary = target.with_name(".demo-source.npz")
            np.savez(temporary, em=synthetic_em(DEMO_SHAPE, DEMO_SEED, DEMO_VOXEL_SIZE).em)
            temporary.replace(target)
        return self.register(DEMO, str(target), dataset="em", voxel_size=DEMO_VOXEL_SIZE)

    # Reading

    def label_chunk(
        self,
        volume: str,
        version: int | None,
        level: int,
        roi: Roi,
        form: LabelForm = LabelForm.COMPRESSED_SEGMENTATION,
    ) -> EncodedChunk:
        """Return the root ids of a region, encoded when its bytes are asked; see `LabelChunks`."""
        return self._label_chunks.chunk(self.repository(volume), version, level, roi, form)

    def occupied_chunks(
        self, volume: str, version: int | None, chunk: Coordinate
    ) -> tuple[int, list[set[Coordinate]] | None]:
        """Return the version, and which chunks of each level may hold labels; see `occupied`."""
        return occupied_chunks(self.repository(volume), version, chunk)

    def beside_chunk(self, volume: str, layer: str, level: int, roi: Roi) -> EncodedChunk:
        """Return part of published labels that are shown beside a volume's own, encoded."""
        base = self._beside(volume, layer)
        tag = etag_of(base.description.identity, level, roi)
        return EncodedChunk(
            tag, lambda: encode_labels(readable(partial(read_beside, base, roi, level)))
        )

    def beside_levels(self, volume: str, layer: str) -> tuple[ScaleLevel, ...]:
        """Return the pyramid of published labels beside a volume's own."""
        return self._beside(volume, layer).levels

    def beside_direct(self, volume: str, layer: str) -> DirectLayer | str:
        """Return how a browser reads such labels from their source, or why only we can."""
        return direct_base(self._beside(volume, layer))

    def _beside(self, volume: str, layer: str) -> LabelBase:
        opened = self._open(volume)
        if layer not in opened.beside:
            raise NotFoundError(
                f"No published labels {layer[:64]!r} are shown beside {volume}.",
                ErrorKind.ROUTE_NOT_FOUND,
            )
        return opened.beside[layer]

    def cutout(
        self,
        volume: str,
        roi: Roi,
        level: int = 0,
        version: int | None = None,
        layer: str = "labels",
    ) -> npt.NDArray[Any]:
        """Return image voxels or root ids (z, y, x) of a region inside the volume."""
        check_choice("layer", layer, ("labels", "image"))
        opened = self._open(volume)
        levels = opened.info.label_levels if layer == "labels" else opened.info.levels
        if not 0 <= level < len(levels):
            raise InvalidInputError(
                f"The {layer} of {volume} have levels 0 to {len(levels) - 1}, not {level}.",
                ErrorKind.INVALID_PARAMETER,
            )
        bounds = Roi((0, 0, 0), levels[level].shape)
        if not bounds.encloses(roi):
            raise InvalidInputError(
                f"The region {roi} is not inside {bounds}, the bounds at level {level}.",
                ErrorKind.ROI_OUT_OF_BOUNDS,
            )
        if roi.size > MAX_CUTOUT_VOXELS:
            raise InvalidInputError(
                f"The region {roi} has {roi.size} voxels; one cutout holds at most "
                f"{MAX_CUTOUT_VOXELS}. Ask for smaller regions, or a coarser level.",
                ErrorKind.ROI_TOO_LARGE,
            )
        if layer == "image":
            return self.image(volume).read(roi, level)
        return opened.repository.at(version).read(roi, level)

    def objects(
        self,
        volume: str,
        version: int | None = None,
        roi: Roi | None = None,
        sort: str = "-voxels",
        limit: int = 1000,
        after: int | None = None,
        class_name: str | None = None,
    ) -> list[ObjectStats]:
        """Return objects with boxes, sizes and confidence, largest first; see `LabelView.objects`.

        Over base labels: those that are counted; with a `roi` that is not too large, all in it.
        With `class_name` those only that a run looked for under that name.
        """
        if roi is not None:
            self.repository(volume).count_base_over(roi)
        view = self.at(volume, version)
        if class_name is None:
            return view.objects(roi, sort, limit, after)
        return of_class(class_name, view, partial(view.objects, roi, sort, 1000), limit, after)

    def object_classes(
        self, volume: str, roots: Sequence[int], version: int | None = None
    ) -> dict[int, str]:
        """Return the class of objects by name; those that no run looked for are absent."""
        return classes_of(self.at(volume, version), roots)

    def object(
        self, volume: str, root: int, version: int | None = None, point: Coordinate | None = None
    ) -> ObjectStats:
        """Return the box, size and centroid of one object.

        `point` (z, y, x) says where it was seen: over base labels, it is counted from there.
        """
        view = self.at(volume, version)
        if point is not None:
            view.root_at(point)
        return view.object(check_id(root))

    # Previews

    def preview(self, preview_id: str) -> SplitPreview:
        """Return a split preview made within the last hour."""
        return self._previews.find(preview_id)

    def preview_chunk(self, preview_id: str, roi: Roi) -> EncodedChunk:
        """Return part of a preview, encoded for Neuroglancer; `roi` counts from its corner."""
        preview = self._previews.find(preview_id)
        if not Roi((0, 0, 0), preview.roi.shape).encloses(roi):
            raise InvalidInputError(
                f"{roi} is not inside the preview, {preview.roi.shape}.",
                ErrorKind.ROI_OUT_OF_BOUNDS,
            )
        part = roi.shift(preview.roi.offset)
        return EncodedChunk(
            etag_of(preview_id, roi), lambda: encode_labels(self._preview_sides(preview, part))
        )

    def _preview_sides(self, preview: SplitPreview, roi: Roi) -> npt.NDArray[np.uint64]:
        sides = self._previews.sides(preview.preview_id, roi).astype(np.uint64)
        if not preview.is_exact:
            # Where the object ends, the preview's cells are too coarse to know; the labels know.
            sides[self.at(preview.volume, preview.version).read(roi) != preview.root] = 0
        return sides

    # Segmentation

    def image(self, volume: str) -> Volume:
        """Return the image of a volume, opened."""
        return self.begin_image(volume).result()

    def begin_image(self, volume: str) -> Future[Volume]:
        """Begin to open the image of a volume, where it is not open yet, without waiting for it."""
        return self._open(volume).image.begin()

    def counted_share(self, volume: str) -> float:
        """Return how much of a volume's base labels is counted, 0 to 1; 1 without any."""
        return self.repository(volume).counted_share

    def count_base(self, volume: str, progress: Callable[[float, str], None]) -> None:
        """Count all base labels of a volume, so that every object is known with its size.

        Stopped at any time, by an exception from `progress` too, it carries on where it was.
        """
        for share in self.repository(volume).count_base():
            progress(share, f"Counting the labels of {volume}")

    def repository(self, volume: str, branch: str = MAIN) -> LabelRepository:
        """Return the labels of a volume, on a branch."""
        repository = self._open(volume).repository
        return repository if branch == MAIN else repository.branch(branch)

    def _all_beside(self, info: VolumeInfo) -> dict[str, LabelBase]:
        shown = info.published.beside if info.published else ()
        return {labels.name: self._base(labels.record, info) for labels in shown}

    def _base(self, record: BaseRecord, info: VolumeInfo) -> LabelBase:
        cloud = replace(self._cloud, sources=info.sources)
        return open_base(record, cloud, self.data_dir / "caches" / "bases")

    def _open(self, name: str) -> _Opened:
        with self._lock:
            opened = self._opened.get(name)
            if opened is None:
                info = self._catalog.info(name)
                base = None if info.labels is None else self._base(info.labels, info)
                repository = LabelRepository(
                    self.engine,
                    self.data_dir / "packs" / name,
                    name,
                    info.label_levels,
                    packs=self.packs_of(name),
                    base=base,
                )
                image = Opening(partial(self._catalog.image, name))
                opened = _Opened(info, repository, image, self._all_beside(info))
                self._opened[name] = opened
            return opened
