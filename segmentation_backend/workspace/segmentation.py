"""Run a planned segmentation: image in, one committed operation out. The only place where the
network and the label store meet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import fastremap
import numpy as np
import numpy.typing as npt

from segmentation_backend import edits
from segmentation_backend.geometry import Roi, VoxelSize
from segmentation_backend.inference.parameters import InferenceParameters
from segmentation_backend.labels import Delta, LabelRepository, LabelView, Operation
from segmentation_backend.models.registry import ModelSpec, find_model
from segmentation_backend.sources.volume import Contrast, Volume
from segmentation_backend.workspace.catalog import VolumeInfo
from segmentation_backend.workspace.editing import EditContext, Editor
from segmentation_backend.workspace.planning import SegmentationPlan

if TYPE_CHECKING:
    from torch import nn

    from segmentation_backend.inference.runner import Mode, Plane

__all__ = ["load_network", "rehearse", "run_plan", "to_level_zero"]

COMMIT_AT = 0.97
"""The share of a job's progress bar that the network takes; the rest is writing."""


def run_plan(
    plan: SegmentationPlan,
    info: VolumeInfo,
    image: Volume,
    repository: LabelRepository,
    models_dir: Path,
    edit: EditContext,
    progress: Callable[[float, str], None],
) -> Operation:
    """Segment the planned region and commit its objects as one operation.

    `progress(share, sentence)` is called after every block; an exception raised from it cancels
    the run and leaves nothing behind.
    """
    done = repository.find_request(edit.request_id, None) if edit.request_id is not None else None
    if done is not None:
        return done
    # torch costs seconds and hundreds of megabytes: only the process that segments pays them.
    from segmentation_backend.inference.runner import segment_region

    spec = find_model(plan.model, models_dir)
    progress(0.0, f"Loading {spec.name}")
    network = load_network(plan.model, models_dir)
    found = segment_region(
        lambda roi: image.read(roi, plan.level),
        plan.level_roi,
        bounds=Roi((0, 0, 0), info.levels[plan.level].shape),
        network=network,
        spec=spec,
        contrast=info.contrast,
        plane=cast("Plane", plan.plane),
        mode=cast("Mode", plan.mode),
        parameters=plan.parameters,
        progress=lambda share, sentence: progress(COMMIT_AT * share, sentence),
    )
    labels = to_level_zero(found, plan.level_roi, plan.level_voxel_size, plan.roi, info.voxel_size)
    labels, _ = fastremap.renumber(labels, in_place=True)
    count = int(labels.max(initial=0))
    progress(COMMIT_AT, f"Saving {count} objects")
    provenance = {
        **plan.to_json(),
        "image": info.source,
        "weights_sha256": _weights_digest(spec, models_dir),
        "contrast": {"mean": info.contrast.mean, "std": info.contrast.std},
        "objects": count,
        "software": f"mitoglance {version('mitoglance')}",
    }

    def delta(view: LabelView) -> Delta:
        first = repository.reserve_ids(max(count, 1))
        return edits.import_labels(
            view, plan.roi, labels, first, cast("edits.Existing", plan.existing)
        )

    # Whatever is newest: a result that took minutes must not fall to an edit made meanwhile.
    context = replace(edit, base_version=None, provenance=provenance)
    return Editor(repository).commit("segment", {"plan": plan.to_json()}, context, delta)


def rehearse(spec: ModelSpec, models_dir: Path) -> None:
    """Run a model once on an empty image: libraries, weights and kernels are ready then."""
    from segmentation_backend.inference.runner import segment_region

    segment_region(
        lambda roi: np.zeros(roi.shape, np.uint8),
        Roi((0, 0, 0), (2, 128, 128)),
        network=load_network(spec.name, models_dir),
        spec=spec,
        contrast=Contrast(128.0, 30.0, 0.0, 255.0),
        plane="xy",
        mode="stack",
        parameters=InferenceParameters(),
        progress=lambda share, sentence: None,
    )


def load_network(name: str, models_dir: Path) -> nn.Module:
    """Return a model's network in eval mode; kept in memory until its file changes."""
    spec = find_model(name, models_dir)
    path = models_dir / spec.file_name
    return _cached_network(name, models_dir, path.stat().st_mtime_ns if path.exists() else 0)


@lru_cache(maxsize=2)
def _cached_network(name: str, models_dir: Path, _changed: int) -> nn.Module:
    import torch

    from segmentation_backend.models.weights import load

    network = load(find_model(name, models_dir), models_dir)
    return network.to("cuda") if torch.cuda.is_available() else network


def _weights_digest(spec: ModelSpec, models_dir: Path) -> str:
    record = models_dir / f"{spec.file_name}.sha256"
    return spec.sha256 or record.read_text().split()[0]


def to_level_zero(
    labels: npt.NDArray[Any],
    level_roi: Roi,
    level_voxel_size: VoxelSize,
    roi: Roi,
    voxel_size: VoxelSize,
) -> npt.NDArray[np.uint32]:
    """Return labels (z, y, x) of a coarser level on the voxels of `roi` at level 0.

    Each fine voxel takes the label of the coarse voxel that its centre lies in.
    """
    index = []
    for axis in range(3):
        fine = (np.arange(roi.shape[axis]) + roi.offset[axis] + 0.5) * voxel_size[axis]
        coarse = np.floor(fine / level_voxel_size[axis]).astype(np.int64)
        index.append(np.clip(coarse - level_roi.offset[axis], 0, level_roi.shape[axis] - 1))
    return np.ascontiguousarray(labels[np.ix_(*index)].astype(np.uint32))
