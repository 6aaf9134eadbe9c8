"""What the tests of a workspace on S3 run in other processes."""

from __future__ import annotations

import hashlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segmentation_backend import edits
from segmentation_backend.geometry import Roi
from segmentation_backend.labels import LabelRepository, OperationMeta, open_packs
from segmentation_backend.labels.packs import Hook, no_hook
from segmentation_backend.sources.specs import CloudSettings
from segmentation_backend.workspace import EditContext, Workspace

SHAPE = (20, 80, 96)
WHOLE = Roi((0, 0, 0), SHAPE)


@dataclass(frozen=True)
class Place:
    """A data directory whose packs are in a bucket."""

    data_dir: Path
    packs: str
    endpoint: str

    @property
    def cloud(self) -> CloudSettings:
        return CloudSettings(self.endpoint, "test", "secret")

    def open(self) -> Workspace:
        return Workspace(self.data_dir, cloud=self.cloud, packs=self.packs)

    def fill(
        self,
        workspace: Workspace,
        labels: np.ndarray,
        user: str,
        request_id: str | None = None,
        hook: Hook = no_hook,
    ) -> int:
        """Commit labels as a segmentation would; return the operation's id."""
        packs = open_packs(f"{self.packs}/cell", self.cloud, hook)
        levels = workspace.volume("cell").label_levels
        repository = LabelRepository(
            workspace.engine, Path("unused"), "cell", levels, packs=packs, hook=hook
        )
        first = repository.reserve_ids(int(labels.max()))
        delta = edits.import_labels(repository.at(), WHOLE, labels, first, "fill-empty")
        meta = OperationMeta("segment", user, request_id=request_id)
        return repository.commit(delta, meta).operation_id


def bars() -> np.ndarray:
    """Three bars: 1 and 2 apart, 3 long enough to be cut."""
    labels = np.zeros(SHAPE, np.uint32)
    labels[4:16, 8:20, 8:30] = 1
    labels[4:16, 8:20, 40:60] = 2
    labels[4:16, 40:52, 8:90] = 3
    return labels


def row(number: int) -> np.ndarray:
    """One thin bar in a row of its own; all of them share their chunks."""
    labels = np.zeros(SHAPE, np.uint32)
    labels[2:4, 2 * number, 4:90] = 1
    return labels


def digest(workspace: Workspace, version: int) -> str:
    """Return what a version looks like, at every level."""
    found = hashlib.sha256()
    for level in workspace.volume("cell").label_levels:
        roi = Roi((0, 0, 0), level.shape)
        found.update(workspace.cutout("cell", roi, level.level, version).tobytes())
    return found.hexdigest()


def digests(workspace: Workspace) -> list[str]:
    """Return what every version looks like."""
    return [digest(workspace, version) for version in range(workspace.head("cell") + 1)]


def edit_everything(workspace: Workspace, user: str) -> None:
    """Merge, split, undo and redo objects that `bars` made, and take a version back."""
    who = EditContext(user)
    workspace.merge("cell", ids=[1, 2], edit=who)
    workspace.undo("cell", who)
    workspace.redo("cell", who)
    workspace.split("cell", [[(10, 45, 10)], [(10, 45, 88)]], who)
    workspace.undo("cell", who)
    workspace.redo("cell", who)
    workspace.revert("cell", 1, who)
    workspace.undo("cell", who)


def edit_in_child(place: Place, answer: Path) -> None:
    """Write down what all versions look like here, then edit, then again."""
    workspace = place.open()
    before = digests(workspace)
    who = EditContext("child")
    workspace.merge("cell", ids=[1, 3], edit=who)
    place.fill(workspace, row(10), "child")
    workspace.undo("cell", who)
    answer.write_text("\n".join([*before, *digests(workspace)[len(before) :]]))
    workspace.close()


def add_rows(place: Place, numbers: list[int]) -> None:
    """Import one bar after another, beside another process that does the same."""
    workspace = place.open()
    for number in numbers:
        place.fill(workspace, row(number), f"rows {numbers[0]}")
    workspace.close()


def fill_and_die(place: Place, step: str, request_id: str) -> None:
    """Import a bar in a process that ends, as kill -9 does, when its commit reaches a step."""

    def die(reached: str) -> None:
        if reached == step:
            os.kill(os.getpid(), signal.SIGKILL)

    place.fill(place.open(), row(3), "ann", request_id, die)
