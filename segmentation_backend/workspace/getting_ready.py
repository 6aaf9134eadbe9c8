"""What the first users of a new environment would have to wait for, done before they come.

Networks are loaded and run on empty tiles; and the compiled loops of a segmentation and of edits
are called on a few voxels in a folder of their own, which goes again. No volume is read and no
label is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from segmentation_backend import edits
from segmentation_backend.database import open_database
from segmentation_backend.geometry import Roi, ScaleLevel
from segmentation_backend.labels import Delta, LabelRepository, LabelView
from segmentation_backend.models.registry import ModelSpec
from segmentation_backend.workspace.catalog import VolumeInfo
from segmentation_backend.workspace.editing import EditContext, Editor
from segmentation_backend.workspace.networks import warm_up

__all__ = ["READY_STEPS", "get_ready"]

READY_STEPS = ("network", "slice", "stack", "orthoplane", "edits")
"""In the order in which somebody is likely to wait for them."""

_NOBODY = EditContext("nobody")
_MOST = 1000
"""Ids that one import may use."""

Labels: TypeAlias = npt.NDArray[np.uint32]


def get_ready(step: str, spec: ModelSpec, models_dir: Path, volumes: list[VolumeInfo]) -> None:
    """Do one of `READY_STEPS`, for a model and the volumes that there are."""
    # torch costs seconds and hundreds of megabytes: only the process that segments pays them.
    from segmentation_backend.inference.first_run import first_run

    if step == "network":
        warm_up(spec, models_dir, volumes)
    elif step == "slice":
        _write_labels(first_run("slice", spec))
    elif step == "stack":
        first_run("stack", spec)
    elif step == "orthoplane":
        first_run("orthoplane", spec)
        first_run("slice", spec, is_shaped=True)
    else:
        _edit_labels(first_run("stack", spec))


def _write_labels(labels: Labels) -> None:
    """Commit labels (z, y, x) to a scratch store, then again over those, and read them."""
    with _scratch(labels) as (repository, roi):
        _commit(repository, "segment", lambda view: _imported(view, roi, labels))
        _commit(repository, "segment", lambda view: _imported(view, roi, labels[:, ::-1]))
        repository.at().read(roi)


def _edit_labels(labels: Labels) -> None:
    """Paint, grow and cut an object of a scratch store, and look at the cut before."""
    with _scratch(labels) as (repository, roi):
        _commit(repository, "segment", lambda view: _imported(view, roi, labels))
        inside = np.argwhere(labels == 1).tolist()
        groups = [inside[:1], inside[-1:]]
        stroke = edits.brush_mask(repository.levels[0], inside[:1], 2.0, "voxels")
        edits.preview_split(repository.at(), groups)
        _commit(repository, "split", lambda v: edits.split(v, groups, repository.reserve_ids))
        _commit(repository, "paint", lambda v: edits.paint(v, *stroke, 2, "all", lambda _: 1))
        _commit(repository, "morph", lambda view: edits.morph(view, 2, "dilate"))
        _commit(repository, "delete", lambda view: edits.delete(view, [2]))


def _imported(view: LabelView, roi: Roi, labels: Labels) -> Delta:
    return edits.import_labels(view, roi, labels, view.version * _MOST + 1)


def _commit(repository: LabelRepository, kind: str, compute: Callable[[LabelView], Delta]) -> None:
    Editor(repository).commit(kind, {}, _NOBODY, compute)


@contextmanager
def _scratch(labels: Labels) -> Iterator[tuple[LabelRepository, Roi]]:
    """Yield an empty label store for labels (z, y, x), and their region; it is gone afterwards."""
    d, h, w = labels.shape
    levels = (
        ScaleLevel(0, (1.0, 1.0, 1.0), (d, h, w)),
        ScaleLevel(1, (1.0, 2.0, 2.0), (d, h // 2, w // 2)),
    )
    with TemporaryDirectory(prefix="mitoglance-") as folder:
        engine = open_database(Path(folder) / "labels.sqlite")
        try:
            packs = Path(folder) / "packs"
            yield LabelRepository(engine, packs, "scratch", levels), Roi((0, 0, 0), (d, h, w))
        finally:
            engine.dispose()
