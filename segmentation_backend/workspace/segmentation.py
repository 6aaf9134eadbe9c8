"""Run a planned segmentation: image in, one committed operation out. The only place where the
network and the label store meet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from math import ceil, prod
from typing import TYPE_CHECKING, Any, cast

import fastremap
import numpy as np
import numpy.typing as npt

from segmentation_backend import edits
from segmentation_backend.geometry import Coordinate, Roi, VoxelSize
from segmentation_backend.labels import Delta, LabelRepository, LabelView, Operation
from segmentation_backend.labels.confidence import Confidence
from segmentation_backend.models.registry import find_model
from segmentation_backend.sources.secrets import without_secrets
from segmentation_backend.sources.volume import Contrast, Volume
from segmentation_backend.workspace.catalog import VolumeInfo
from segmentation_backend.workspace.drawn_regions import across
from segmentation_backend.workspace.editing import EditContext, Editor
from segmentation_backend.workspace.found import FoundSoFar
from segmentation_backend.workspace.neighbours import Within, alike, beside, cut, going_on
from segmentation_backend.workspace.network_greys import network_greys
from segmentation_backend.workspace.networks import OpenedNetwork, open_network
from segmentation_backend.workspace.object_classes import class_ranges
from segmentation_backend.workspace.planning import PLANES, SegmentationPlan
from segmentation_backend.workspace.rehearsal import SegmentationChange
from segmentation_backend.workspace.resampling import to_level_zero

if TYPE_CHECKING:
    from segmentation_backend.inference.grid import BlockGrid
    from segmentation_backend.inference.results import BlockResult
    from segmentation_backend.inference.runner import Mode, Plane
    from segmentation_backend.inference.stitching import RegionObjects
    from segmentation_backend.models.engines import FastNetwork
    from segmentation_backend.workspace.segmenting import Segmenting

__all__ = ["commit_plan", "rehearse_plan", "warm_blocks"]

COMMIT_AT = 0.97
"""The share of a job's progress bar that the network takes; the rest is writing."""

_LARGEST_CHUNK = 2**24
"""Voxels of a chunk that is kept whole while its neighbours are read."""

Labels = npt.NDArray[np.uint32]
Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class _Found:
    """The objects of a region and what is known of those around it."""

    labels: Labels
    """(z, y, x) of `around`, level-0 voxels, 0 = background; complete inside the region only."""
    around: Roi
    roi: Roi
    provenance: dict[str, Any]
    confidences: dict[int, Confidence]
    """How sure the network is of each object of the region."""
    kinds: list[int]
    """The place of each object's class among those that were looked for."""
    within: Within = None

    @property
    def inside(self) -> Labels:
        """The objects in the region, 1..n, n at the most."""
        return np.ascontiguousarray(self.labels[self.roi.slices(self.around.offset)])

    def part(self, before: int) -> edits.Part:
        """Return what is to be written, its objects numbered from `before` + 1."""
        labels = self.inside
        within = cut(self.within, self.around, self.roi)
        return edits.Part(self.roi, np.where(labels > 0, labels + np.uint32(before), 0), within)

    def present(self, view: LabelView) -> list[int]:
        """Return the supervoxels that are in the region now."""
        there = view.read_supervoxels(self.roi)
        where = cut(self.within, self.around, self.roi)
        found: list[int] = fastremap.unique(there if where is None else there * where).tolist()
        return [supervoxel for supervoxel in found if supervoxel]

    def joins(self, view: LabelView, existing: str) -> Iterator[tuple[int, int]]:
        """Yield (object, supervoxel) that are the same thing on two sides of a face.

        Where nothing that is there makes way, also those that are the same thing in the region.
        """
        for box, where in beside(self.around, self.roi, self.within):
            here = self.labels[box.slices(self.around.offset)] * where
            if here.any():
                yield from alike(here, view.read_supervoxels(box) * where)
        if existing == "fill-empty":
            there = view.read_supervoxels(self.roi)
            inside = cut(self.within, self.around, self.roi)
            yield from going_on(self.inside if inside is None else self.inside * inside, there)


@dataclass(frozen=True)
class _FoundEach:
    """Regions that were each segmented for themselves, and are written as one."""

    each: Sequence[_Found]
    provenance: dict[str, Any]
    names: Sequence[tuple[int, str]]
    """Ids and names of the classes that were looked for."""

    def described(self, first_id: int) -> dict[str, Any]:
        """Return the provenance, which says which ids from `first_id` on are of which class."""
        kinds = [kind for found in self.each for kind in found.kinds]
        return self.provenance | {"classes": class_ranges(kinds, self.names, first_id)}

    def delta(self, view: LabelView, first_id: int, existing: str) -> Delta:
        """Return the change that writes the objects and joins them to their other halves."""
        parts: list[edits.Part] = []
        joins: list[tuple[int, int]] = []
        confidences: dict[int, Confidence] = {}
        before = 0
        for found in self.each:
            parts.append(found.part(before))
            joins += [(label + before, other) for label, other in found.joins(view, existing)]
            confidences |= {before + label: sure for label, sure in found.confidences.items()}
            before += int(found.provenance["objects"])
        known = cast("edits.Existing", existing)
        return edits.import_parts(view, parts, first_id, known, joins, confidences)


def commit_plan(
    plan: SegmentationPlan,
    workspace: Segmenting,
    repository: LabelRepository,
    edit: EditContext,
    progress: Progress,
    show: FoundSoFar | None = None,
) -> Operation:
    """Segment the planned region and commit its objects as one operation.

    `progress(share, sentence)` is called after every block, which `show` is given before; an
    exception raised from it cancels the run and leaves nothing behind but blocks in the cache.
    """
    done = repository.find_request(edit.request_id, None) if edit.request_id is not None else None
    if done is not None:
        return done
    found = _segment_each(plan, workspace, progress, show)
    count = int(found.provenance["objects"])
    progress(COMMIT_AT, f"Saving {count} objects")

    first_id = repository.reserve_ids(max(count, 1))

    def delta(view: LabelView) -> Delta:
        change = found.delta(view, first_id, plan.existing)
        if plan.purpose == "follow" and change.is_empty:
            raise edits.nothing_to_change("Everything in view is there already.")
        return change

    # Whatever is newest: a result that took minutes must not fall to an edit made meanwhile.
    context = replace(edit, base_version=None, provenance=found.described(first_id))
    return Editor(repository).commit("segment", {"plan": plan.to_json()}, context, delta)


def rehearse_plan(
    plan: SegmentationPlan, workspace: Segmenting, repository: LabelRepository, progress: Progress
) -> SegmentationChange:
    """Segment the planned region and return what its objects would change."""
    found = _segment_each(plan, workspace, progress)
    view = repository.at()
    present = len({i for one in found.each for i in one.present(view)})
    # Ids that nobody reserved: this delta is counted, never committed.
    return SegmentationChange.of(found.delta(view, 2**62, plan.existing), present)


def warm_blocks(plan: SegmentationPlan, workspace: Segmenting, progress: Progress) -> None:
    """Segment the planned region for the sake of the blocks that the cache keeps of it."""
    _segment_each(plan, workspace, progress)


def _segment_each(
    plan: SegmentationPlan,
    workspace: Segmenting,
    progress: Progress,
    show: FoundSoFar | None = None,
) -> _FoundEach:
    """Segment each section of a plan that names some, or the one region it is about."""
    info, spec = workspace.volume(plan.volume), find_model(plan.model, workspace.models_dir)
    plans = plan.by_section(info.voxel_size)
    found = []
    for number, one in enumerate(plans):
        report = progress
        if len(plans) > 1:
            report = _Nested(progress, number, len(plans), one.roi.offset[PLANES[plan.plane]])
        is_last = number + 1 == len(plans)
        found.append(_segment(one, workspace, report, show, is_last=is_last))
    count = sum(int(one.provenance["objects"]) for one in found)
    ids = plan.class_ids or (spec.default_class,)
    names = [(class_id, spec.class_names.get(class_id, str(class_id))) for class_id in ids]
    provenance = found[0].provenance | plan.to_json() | {"objects": count}
    return _FoundEach(found, provenance, names)


@dataclass(frozen=True, slots=True)
class _Nested:
    """Tells the progress of one of several sections as a part of the whole."""

    progress: Progress
    number: int
    count: int
    section: int

    def __call__(self, share: float, sentence: str) -> None:
        done = (self.number + min(1.0, share / COMMIT_AT)) / self.count
        self.progress(
            COMMIT_AT * done, f"Section {self.section} ({self.number + 1} of {self.count})"
        )


def _segment(
    plan: SegmentationPlan,
    workspace: Segmenting,
    progress: Progress,
    show: FoundSoFar | None = None,
    *,
    is_last: bool = True,
) -> _Found:
    # torch costs seconds and hundreds of megabytes: only the process that segments pays them.
    from segmentation_backend.inference.cache import BlockCache
    from segmentation_backend.inference.runner import (
        BlockOptions,
        plan_grid,
        region_around,
        segment_region,
    )

    info, image = workspace.volume(plan.volume), workspace.image(plan.volume)
    spec = find_model(plan.model, workspace.models_dir)
    progress(0.0, f"Loading {spec.name}")
    if plan.preset is not None:
        return _segment_exact(plan, workspace, progress, show)
    contrast, read = network_greys(plan.grey_range, info.contrast, image, plan.level, spec)
    level = info.levels[plan.level]
    bounds = Roi((0, 0, 0), level.shape)
    opened = open_network(plan.model, plan.engine, bounds, workspace.models_dir)
    factor = [c / f for c, f in zip(plan.level_voxel_size, info.voxel_size, strict=True)]
    seen = [axis for axis in range(3) if plan.mode != "slice" or axis != PLANES[plan.plane]]
    level_around = plan.level_roi.grow([int(a in seen) for a in range(3)]).intersect(bounds)
    grid = plan_grid(bounds, plan.mode, plan.plane, opened.network, spec)
    # The last one is about to be seen among the labels themselves.
    seen_first = region_around(grid, plan.level_roi, plan.plane, plan.parameters)
    last = len(grid.blocks(seen_first)) + show.blocks if show and is_last else 0
    options = BlockOptions(
        cache=BlockCache(workspace.data_dir / "caches" / "blocks"),
        identity={"image": info.source, "level": level.to_json(), **opened.identity},
        centre=None if plan.centre is None else _at_level(plan.centre, factor),
        chunk=_remote_chunk(image, info, plan.level),
        voxel_size=plan.level_voxel_size,
        around=level_around,
        keep_maps=plan.keep_maps,
        on_block=None if show is None else partial(_show, show, plan.level_voxel_size, last),
        on_stack=None if show is None or show.stacks is None else show.stacks.add,
    )
    objects = segment_region(
        read,
        plan.level_roi,
        bounds=bounds,
        network=opened.network,
        spec=spec,
        contrast=contrast,
        plane=cast("Plane", plan.plane),
        mode=cast("Mode", plan.mode),
        parameters=plan.parameters,
        progress=lambda share, sentence: progress(COMMIT_AT * share, sentence),
        options=options,
        class_id=plan.class_ids or None,
    )
    reach = [ceil(f) if a in seen else 0 for a, f in enumerate(factor)]
    around = plan.roi.grow(reach).intersect(info.bounds)
    fine = to_level_zero(
        objects.labels, level_around, plan.level_voxel_size, around, info.voxel_size
    )
    provenance = _provenance(plan, info, contrast, opened, grid)
    return _numbered(fine, around, plan, provenance, objects)


def _segment_exact(
    plan: SegmentationPlan,
    workspace: Segmenting,
    progress: Progress,
    show: FoundSoFar | None,
) -> _Found:
    """Return what empanada finds in the planned region; nothing beside it is looked at."""
    from segmentation_backend.inference.exact_region import segment_exact
    from segmentation_backend.inference.grid import BlockGrid

    info, image = workspace.volume(plan.volume), workspace.image(plan.volume)
    bounds = Roi((0, 0, 0), info.levels[plan.level].shape)
    opened = open_network(plan.model, "eager", bounds, workspace.models_dir)
    objects = segment_exact(
        image.read(plan.level_roi, plan.level),
        # As it is, and in float32 on a GPU too.
        cast("FastNetwork", opened.network).network,
        opened.spec,
        plan.plane,
        plan.mode,
        plan.parameters,
        lambda share, sentence: progress(COMMIT_AT * share, sentence),
        plan.class_ids or None,
        None if show is None or show.stacks is None else show.stacks.add,
    )
    fine = to_level_zero(
        objects.labels, plan.level_roi, plan.level_voxel_size, plan.roi, info.voxel_size
    )
    grid = BlockGrid.plan(bounds, plan.mode, plan.plane)
    provenance = _provenance(plan, info, None, opened, grid)
    return _numbered(fine, plan.roi, plan, provenance, objects)


def _remote_chunk(image: Volume, info: VolumeInfo, level: int) -> Coordinate | None:
    """Return the box that is fetched as one; None where there is no need to keep what was read.

    A level that is computed when read has no chunks, and one chunk may be all of an image.
    """
    if "://" not in info.source or level >= image.stored_levels:
        return None
    chunk = image.read_chunk(level)
    return chunk if prod(chunk) <= _LARGEST_CHUNK else None


def _show(
    show: FoundSoFar, voxel_size: VoxelSize, last: int, results: Sequence[BlockResult]
) -> None:
    first = results[0]
    if show.maps is not None and first.maps is not None:
        show.maps.add(first.maps.with_others([r.maps for r in results[1:]]), first.block.core)
    if show.blocks + 1 != last:
        labels = first.core_labels
        for other in results[1:]:
            shifted = labels + np.uint32(other.count)
            labels = np.where(labels > 0, shifted, other.core_labels)
        show.add(labels, first.block.core, voxel_size)


def _numbered(
    labels: Labels,
    around: Roi,
    plan: SegmentationPlan,
    provenance: dict[str, Any],
    objects: RegionObjects,
) -> _Found:
    """Return the objects of the region, numbered 1..n, those of one class after those of another.

    Those around the region only are left out.
    """
    within = None
    if plan.polygon is not None:
        within = across(plan.polygon, PLANES[plan.plane], around)
    inside = labels[plan.roi.slices(around.offset)]
    where = cut(within, around, plan.roi)
    ids = fastremap.unique(np.ascontiguousarray(inside if where is None else inside * where))
    ids = ids[ids > 0]
    kinds = objects.kinds[ids - 1]
    ids = ids[np.argsort(kinds, kind="stable")]
    numbers = np.zeros(int(labels.max(initial=0)) + 1, np.uint32)
    numbers[ids] = np.arange(1, len(ids) + 1)
    shares = np.stack([objects.probability, objects.agreement], 1)[ids - 1].tolist()
    confidences = {number: Confidence.of(*both) for number, both in enumerate(shares, 1)}
    provenance |= {"objects": len(ids)}
    of = sorted(kinds.tolist())
    return _Found(numbers[labels], around, plan.roi, provenance, confidences, of, within)


def _provenance(
    plan: SegmentationPlan,
    info: VolumeInfo,
    contrast: Contrast | None,
    opened: OpenedNetwork,
    grid: BlockGrid,
) -> dict[str, Any]:
    return {
        **plan.to_json(),
        "class_name": opened.spec.class_names.get(opened.spec.class_of(plan.class_id)),
        "image": without_secrets(info.source),
        **opened.provenance(grid, plan.parameters.fine_boundaries),
        "contrast": None if contrast is None else {"mean": contrast.mean, "std": contrast.std},
        "software": f"mitoglance {version('mitoglance')}",
    }


def _at_level(point: tuple[float, float, float], factor: list[float]) -> list[float]:
    return [p / f for p, f in zip(point, factor, strict=True)]
