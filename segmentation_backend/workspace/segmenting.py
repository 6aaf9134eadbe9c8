"""The part of the front door that runs networks: what would be segmented, and segment it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segmentation_backend.edits.importing import EXISTING
from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.geometry import Roi
from segmentation_backend.labels import MAIN, LabelRepository, Operation
from segmentation_backend.models.registry import (
    ModelSpec,
    default_model,
    find_model,
    list_models,
)
from segmentation_backend.sources.volume import Volume
from segmentation_backend.workspace.catalog import VolumeInfo
from segmentation_backend.workspace.drawn_regions import across, check_polygon
from segmentation_backend.workspace.editing import EditContext
from segmentation_backend.workspace.encoding import EncodedChunk, encode_labels, etag_of
from segmentation_backend.workspace.found import FoundSoFar, found_in
from segmentation_backend.workspace.heat_maps import HeatMaps, map_in
from segmentation_backend.workspace.networks import check_engine, chosen_parameters
from segmentation_backend.workspace.planning import (
    PLANES,
    PURPOSES,
    GreyRange,
    SegmentationPlan,
    check_budget,
    check_choice,
    check_grey_range,
    check_voxel_size,
    plan_region,
    plan_sections,
    published_greys,
)
from segmentation_backend.workspace.rehearsal import SegmentationChange
from segmentation_backend.workspace.stacks import KeptStacks, stack_in

__all__ = ["Segmenting"]

Progress = Callable[[float, str], None]


def _quietly(share: float, sentence: str) -> None:
    """Tell nobody."""


class Segmenting(ABC):
    """Segmentation of regions of any volume."""

    data_dir: Path
    models_dir: Path
    max_voxels: int

    @abstractmethod
    def volume(self, name: str) -> VolumeInfo:
        """Return what is known of a volume."""

    @abstractmethod
    def volumes(self) -> list[VolumeInfo]:
        """Return every volume."""

    @abstractmethod
    def image(self, volume: str) -> Volume:
        """Return the image of a volume."""

    @abstractmethod
    def repository(self, volume: str, branch: str = MAIN) -> LabelRepository:
        """Return the labels of a volume, on a branch."""

    def models(self) -> list[ModelSpec]:
        """Return the models that can be run here, the default first."""
        default = default_model(self.models_dir)
        rest = [m for m in list_models(self.models_dir) if m.name != default.name]
        return [default, *rest]

    def plan_segmentation(
        self,
        volume: str,
        roi: Roi,
        *,
        mode: str = "slice",
        plane: str = "xy",
        model: str | None = None,
        level: int | None = None,
        voxel_size_nm: float | None = None,
        existing: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        grey_range: GreyRange | None = None,
        centre: tuple[float, float, float] | None = None,
        is_rehearsal: bool = False,
        engine: str = "exact",
        class_name: str | int | None = None,
        preset: str | None = None,
        purpose: str = "segment",
        polygon: Sequence[Sequence[float]] | None = None,
        sections: Sequence[int] | None = None,
        keep_maps: bool = False,
        keep_stacks: bool = False,
        enforce_budget: bool = True,
    ) -> SegmentationPlan:
        """Clip a region, choose its level and check everything a worker would refuse later.

        Without a `level`, the one nearest to `voxel_size_nm` (the model's own without it) is read.
        `engine` is what runs the network, `models info MODEL --engines` lists them: `exact` is the
        fastest one that gives the network's own maps; int8 and quantized lose some, for speed.
        `class_name` is what is looked for with a model of several classes: a name or an id, several
        with commas between, or "all"; its first thing without it. The preset `empanada-exact`
        computes the region as empanada-napari 1.2.4 does, for comparison: what is found depends on
        the region's edges.
        `polygon` (corners in level-0 voxels, along the axes of z, y, x that the plane shows) cuts
        the region to what lies inside. `sections` stand in for its extent across the plane; in mode
        "slice" each is segmented for itself, and all are one operation. What is there already is
        replaced where nobody edited it; a run that follows a view ("follow") only fills what is
        empty, unless `existing` says otherwise. `keep_stacks` keeps what each of the three stacks
        of mode "orthoplane" shows by itself, to be looked at; it changes nothing in other modes.
        """
        info = self.volume(volume)
        check_choice("purpose", purpose, PURPOSES)
        usual = "fill-empty" if purpose == "follow" else "replace-unedited"
        # "keep" is what it was called before.
        existing = "fill-empty" if existing == "keep" else existing or usual
        check_choice("existing", existing, EXISTING)
        check_grey_range(grey_range)
        spec = (
            default_model(self.models_dir) if model is None else find_model(model, self.models_dir)
        )
        check_engine(engine, spec)
        spec.check_mode(mode)
        others = grey_range is not None or engine != "exact"
        chosen = chosen_parameters(parameters or {}, preset, spec, others)
        wanted = spec.voxel_size_nm if voxel_size_nm is None else check_voxel_size(voxel_size_nm)
        corners = None if polygon is None else check_polygon(polygon)
        box, each = plan_sections(info, roi, mode, plane, corners, sections)
        clipped, scale, level_roi = plan_region(info, box, mode, plane, level, wanted, each)
        if corners is not None and not across(corners, PLANES[plane], clipped).any():
            raise InvalidInputError(
                f"No voxel of the region {clipped} lies inside the polygon; draw a larger one.",
                ErrorKind.ROI_EMPTY,
            )
        plan = SegmentationPlan(
            volume=volume,
            roi=clipped,
            mode=mode,
            plane=plane,
            level=scale.level,
            level_voxel_size=scale.voxel_size,
            level_roi=level_roi,
            model=spec.name,
            existing=existing,
            parameters=chosen,
            grey_range=published_greys(info) if grey_range is None else grey_range,
            centre=centre,
            is_rehearsal=is_rehearsal,
            engine=engine,
            class_ids=spec.classes_of(class_name),
            preset=preset,
            purpose=purpose,
            polygon=corners,
            sections=each,
            keep_maps=keep_maps and not is_rehearsal,
            keep_stacks=keep_stacks and mode == "orthoplane" and not is_rehearsal,
        )
        if enforce_budget:
            check_budget(plan, self.max_voxels)
        return plan

    def segment(
        self,
        plan: SegmentationPlan,
        edit: EditContext,
        progress: Progress = _quietly,
        show: FoundSoFar | None = None,
    ) -> Operation:
        """Run a plan here and now (in a worker, or a notebook) and commit its objects.

        InvalidInputError NOTHING_TO_CHANGE where it follows a view and everything is there already.
        `show` (see `show_found`) is given each block before `progress` hears of it.
        """
        from segmentation_backend.workspace.segmentation import commit_plan

        repository = self.repository(plan.volume, edit.branch)
        return commit_plan(plan, self, repository, edit, progress, show)

    def show_found(self, plan: SegmentationPlan, run_id: str) -> FoundSoFar:
        """Return where a run shows what it has found so far; close it when the run has ended."""
        voxel_size = self.volume(plan.volume).voxel_size
        within = None
        if plan.polygon is not None:
            within = across(plan.polygon, PLANES[plan.plane], plan.roi)
        found = FoundSoFar(self.data_dir / "previews", run_id, plan.roi, voxel_size, within)
        if plan.keep_maps:
            found.maps = HeatMaps(self.data_dir, run_id)
        if plan.keep_stacks:
            found.stacks = KeptStacks(self.data_dir, run_id)
        return found

    def found_chunk(self, run_id: str, blocks: int, roi: Roi) -> EncodedChunk:
        """Return part of what a run has found, encoded for Neuroglancer.

        `roi` counts from the corner of the run's region, `blocks` says how many were finished.
        """
        folder = self.data_dir / "previews"
        return EncodedChunk(
            etag_of(f"{run_id}-{blocks}", roi),
            lambda: encode_labels(found_in(folder, run_id, roi).astype(np.uint64)),
        )

    def map_chunk(self, run_id: str, kind: str, blocks: int, roi: Roi) -> EncodedChunk:
        """Return part of one of a run's maps (see `map_in`), as the bytes of (z, y, x).

        `roi` is in voxels of the level that the run read, `blocks` says how many were finished.
        """
        return EncodedChunk(
            etag_of(f"{run_id}-{kind}-{blocks}", roi),
            lambda: map_in(self.data_dir, run_id, kind, roi).tobytes(),
        )

    def stack_chunk(self, run_id: str, plane: str, roi: Roi) -> EncodedChunk:
        """Return part of what a run's stack along a plane shows, encoded for Neuroglancer.

        `roi` counts from the corner of the run's region, in voxels of the level that it read.
        """
        return EncodedChunk(
            etag_of(f"{run_id}-stack-{plane}", roi),
            lambda: encode_labels(stack_in(self.data_dir, run_id, plane, roi).astype(np.uint64)),
        )

    def rehearse(
        self, plan: SegmentationPlan, branch: str = MAIN, progress: Progress = _quietly
    ) -> SegmentationChange:
        """Run a plan and return what it would change; what was computed is not computed again."""
        from segmentation_backend.workspace.segmentation import rehearse_plan

        return rehearse_plan(plan, self, self.repository(plan.volume, branch), progress)

    def warm(self, plan: SegmentationPlan, progress: Progress = _quietly) -> None:
        """Compute what a plan needs and keep it; a run of it then has little left to do."""
        from segmentation_backend.workspace.segmentation import warm_blocks

        warm_blocks(plan, self, progress)

    def warm_up(self, step: str) -> None:
        """Do one of `READY_STEPS`, with the default network, so that no user waits for it."""
        from segmentation_backend.workspace.getting_ready import get_ready

        get_ready(step, default_model(self.models_dir), self.models_dir, self.volumes())
