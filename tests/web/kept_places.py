"""A data directory with a history worth keeping, and what every version of it says."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import numpy as np
import sqlalchemy as sa
from databases import url_in

from app.shares import ShareStore
from app.storage import instance_id
from segmentation_backend import edits
from segmentation_backend.database import write
from segmentation_backend.geometry import Roi
from segmentation_backend.labels.confidence import Confidence
from segmentation_backend.workspace import EditContext, Workspace
from segmentation_backend.workspace.editing import Editor

SHAPE = (20, 80, 96)
WHOLE = Roi((0, 0, 0), SHAPE)
ANA = EditContext("ana")


def bars(shift: int = 0) -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint32)
    labels[4:16, 8:20, 8:30] = 1
    labels[4:16, 8:20, 40:60] = 2
    labels[4:16, 40:52, 8:90] = 3
    return np.roll(labels, shift, axis=1)


def fill(workspace: Workspace, labels: np.ndarray, branch: str = "main") -> int:
    repository = workspace.repository("cell", branch)
    first = repository.reserve_ids(int(labels.max()))
    operation = Editor(repository).commit(
        "segment",
        {},
        EditContext("ana", branch=branch),
        lambda view: edits.import_labels(
            view, WHOLE, labels, first, "fill-empty", confidences={1: Confidence.of(0.8, 2 / 3)}
        ),
    )
    return operation.operation_id


def versions(workspace: Workspace) -> dict[int, str]:
    """Return a digest of every version that can be reached from a branch."""
    repository = workspace.repository("cell")
    found = {0}
    for branch in repository.branches():
        log = repository.branch(branch.name).operations(limit=1000)
        found.update(operation.operation_id for operation in log)
    return {version: digest(workspace, version) for version in sorted(found)}


def digest(workspace: Workspace, version: int) -> str:
    view = workspace.repository("cell").at(version)
    said = hashlib.sha256(view.read(WHOLE).tobytes())
    said.update(str([o.to_json() for o in view.objects(sort="root")]).encode())
    return said.hexdigest()


class Place:
    """A data directory and its database, as the command line names them."""

    def __init__(self, data_dir: Path, url: str | None) -> None:
        self.data_dir = data_dir
        self.url = url

    @property
    def options(self) -> list[str]:
        database = [] if self.url is None else ["--database-url", self.url]
        return ["--data-dir", str(self.data_dir), *database]

    def open(self) -> Workspace:
        return Workspace(self.data_dir, self.url)

    def versions(self) -> dict[int, str]:
        workspace = self.open()
        try:
            return versions(workspace)
        finally:
            workspace.close()


def make_live(tmp_path: Path) -> Place:
    """Make a volume with a few operations, a branch, a tag, a share."""
    np.savez(tmp_path / "cell.npz", em=np.full(SHAPE, 7, np.uint8))
    place = Place(tmp_path / "live", url_in(tmp_path))
    workspace = place.open()
    size = (8.0, 8.0, 8.0)
    workspace.register("cell", str(tmp_path / "cell.npz"), dataset="em", voxel_size=size)
    fill(workspace, bars())
    workspace.merge("cell", ids=[1, 2], points=None, edit=ANA)
    repository = workspace.repository("cell")
    repository.create_branch("side", "bob")
    fill(workspace, bars(20), "side")
    fill(workspace, bars(30), "side")
    repository.create_tag("first", "ana", 1, "µ")
    workspace.undo("cell", ANA)
    ShareStore(workspace.engine).create("cell", 1, {"layers": []}, "ana")
    instance_id(workspace.engine)
    workspace.close()
    return place


def grow_old(place: Place) -> None:
    for path in place.data_dir.glob("packs/*/*/*"):
        os.utime(path, times=(time.time() - 7200,) * 2)


def delete_side(place: Place) -> None:
    """Delete the branch, as if it was yesterday."""
    workspace = place.open()
    workspace.repository("cell").delete_branch("side")
    with write(workspace.engine) as connection:
        connection.execute(
            sa.text("UPDATE label_branches SET deleted = '2001' WHERE deleted IS NOT NULL")
        )
    workspace.close()
