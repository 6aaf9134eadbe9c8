"""Small label volumes for the tests of the store and of the edits."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from pathlib import Path

import numpy as np
from databases import address_in

from segmentation_backend.database import open_database
from segmentation_backend.edits import import_labels, merge, split, undo
from segmentation_backend.geometry import Coordinate, VoxelSize, plan_levels
from segmentation_backend.labels import Delta, LabelRepository, Operation, OperationMeta


class Editor:
    """A repository with the few calls the tests make over and over."""

    def __init__(
        self,
        folder: Path,
        shape: Coordinate = (40, 130, 100),
        voxel_size: VoxelSize = (8.0, 8.0, 8.0),
    ) -> None:
        self.shape = shape
        self.levels = plan_levels(shape, voxel_size)
        self.folder = folder
        self.repository = LabelRepository(
            open_database(address_in(folder)), folder / "packs", "v", self.levels
        )

    def on(self, branch: str) -> Editor:
        """Return an editor of the same labels on another branch."""
        other = copy(self)
        other.repository = self.repository.branch(branch)
        return other

    def commit(self, delta: Delta, kind: str, user: str = "ann", **meta: object) -> Operation:
        return self.repository.commit(delta, OperationMeta(kind, user, **meta))  # type: ignore[arg-type]

    def paint(
        self, labels: np.ndarray, user: str = "ann", existing: str = "fill-empty"
    ) -> Operation:
        view = self.repository.at()
        first = self.repository.reserve_ids(int(labels.max()))
        delta = import_labels(view, view.bounds, labels, first, existing)  # type: ignore[arg-type]
        return self.commit(delta, "segment", user)

    def boxes(self, *corners: Coordinate, side: int = 10, user: str = "ann") -> Operation:
        labels = np.zeros(self.shape, dtype=np.uint32)
        for k, (z, y, x) in enumerate(corners, start=1):
            labels[z : z + side, y : y + side, x : x + side] = k
        return self.paint(labels, user)

    def merge(self, *ids: int, user: str = "ann") -> Operation:
        return self.commit(merge(self.repository.at(), ids), "merge", user)

    def split(self, *groups: Sequence[Coordinate], user: str = "ann") -> Operation:
        delta = split(self.repository.at(), groups, self.repository.reserve_ids)
        return self.commit(delta, "split", user)

    def undo(self, operation_id: int, user: str = "ann", kind: str = "undo") -> Operation:
        operation = self.repository.operation(operation_id)
        delta = undo(self.repository.at(), operation, self.repository.delta(operation_id))
        return self.commit(delta, kind, user, undoes=operation_id)

    def voxels(self, version: int | None = None) -> np.ndarray:
        view = self.repository.at(version)
        return view.read(view.bounds)


def dumbbell(shape: Coordinate, axis: int = 2) -> np.ndarray:
    """Return two balls joined by a thin neck, along an axis, as label 1 (uint32)."""
    centre = [n / 2 - 0.5 for n in shape]
    radius = min(shape) * 0.3
    grid = np.indices(shape)
    labels = np.zeros(shape, dtype=np.uint32)
    for sign in (-1, 1):
        middle = list(centre)
        middle[axis] += sign * shape[axis] * 0.25
        distance = sum((g - m) ** 2 for g, m in zip(grid, middle, strict=True))
        labels[distance <= radius**2] = 1
    neck = [slice(int(c), int(c) + 2) for c in centre]
    neck[axis] = slice(int(shape[axis] * 0.25), int(shape[axis] * 0.75))
    labels[tuple(neck)] = 1
    return labels
