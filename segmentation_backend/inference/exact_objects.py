"""Objects of a stack as runs of voxels, empanada's own currency, and back to a volume.

Runs are found section by section in rows that follow one another without a break, as empanada does.
In sections of the xz plane a run may then go over the end of a row; in the volume it goes on in the
next row along y, not z, so its tail lies one plane off. That is reproduced.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segmentation_backend.inference.exact_kernels import encode_rows, fill_runs, voted_runs
from segmentation_backend.inference.exact_matching import Profiles

__all__ = ["AXES", "Plane", "RunObject", "fill", "filtered", "stack_objects", "unite", "vote"]

Integers: TypeAlias = NDArray[np.int64]
Box: TypeAlias = tuple[int, ...]
Shape: TypeAlias = tuple[int, int, int]
Plane: TypeAlias = Literal["xy", "xz", "yz"]

AXES: dict[Plane, int] = {"xy": 0, "xz": 1, "yz": 2}
"""The axis (of z, y, x) across each plane, in the order in which they are voted on."""


@dataclass(frozen=True, slots=True)
class RunObject:
    """One object of a volume z, y, x."""

    starts: Integers
    """First flat index (C order) of each run, ascending."""
    lengths: Integers
    box: Box
    """z0, y0, x0, z1, y1, x1, half-open; of a consensus, around all that it was made from."""

    @property
    def size(self) -> int:
        """Voxels, those of runs that overlap counted twice."""
        return int(self.lengths.sum())


def stack_objects(
    pieces: Sequence[NDArray[np.uint32]], profiles: Sequence[Profiles], shape: Shape, plane: Plane
) -> list[RunObject]:
    """Return the objects of a stack in the order in which a walk from its end meets them.

    `pieces` are the connected components of each section, `profiles` say whose they are; `shape`
    is the volume's, z, y, x.
    """
    numbers: dict[int, int] = {}
    for section in reversed(profiles):
        for label in section:
            numbers.setdefault(label, len(numbers) + 1)
    dense = np.zeros((len(pieces), *pieces[0].shape), np.int32)
    for index, section in enumerate(profiles):
        number_of = np.zeros(int(pieces[index].max(initial=0)) + 1, np.int32)
        for label, parts in section.items():
            number_of[parts] = numbers[label]
        dense[index] = number_of[pieces[index]]
    volume = np.moveaxis(dense, 0, AXES[plane])
    table = _sorted_runs(dense, volume, shape, plane)
    bounds = np.searchsorted(table[:, 0], np.arange(1, len(numbers) + 2))
    boxes = ndimage.find_objects(volume)
    return [
        RunObject(
            table[begin:end, 1],
            table[begin:end, 2],
            tuple([side.start for side in box] + [side.stop for side in box]),
        )
        for begin, end, box in zip(bounds[:-1], bounds[1:], boxes, strict=True)
    ]


def _sorted_runs(
    dense: NDArray[np.int32], volume: NDArray[np.int32], shape: Shape, plane: Plane
) -> Integers:
    """Return rows of label, first index in the volume, length, sorted."""
    _, height, width = shape
    if plane == "yz":
        found = encode_rows(np.ascontiguousarray(volume).reshape(1, -1))
        starts = found[:, 2]
    else:
        found = encode_rows(dense.reshape(len(dense), -1))
        if plane == "xy":
            starts = found[:, 1] * (height * width) + found[:, 2]
        else:
            z, x = np.divmod(found[:, 2], width)
            starts = (z * height + found[:, 1]) * width + x
    table = np.stack([found[:, 0], starts, found[:, 3]], 1)
    return np.ascontiguousarray(table[np.lexsort((starts, found[:, 0]))])


def filtered(
    objects: Iterable[tuple[int, RunObject]], min_size: int, min_extent: int
) -> list[tuple[int, RunObject]]:
    """Return the numbered objects with enough voxels and a long enough box on every side."""
    return [
        (number, item)
        for number, item in objects
        if item.size >= min_size
        and min(b - a for a, b in zip(item.box[:3], item.box[3:], strict=True)) >= min_extent
    ]


def fill(objects: Iterable[tuple[int, RunObject]], shape: Shape) -> NDArray[np.int32]:
    """Return labels int32 (z, y, x); where objects overlap the last one stays."""
    volume = np.zeros(shape, np.int32)
    for number, item in objects:
        fill_runs(volume.reshape(-1), item.starts, item.lengths, np.int32(number))
    return volume


def vote(objects: Sequence[RunObject], votes: int) -> RunObject | None:
    """Return the voxels that at least so many objects have, or None."""
    if len(objects) < votes:
        return None
    starts = np.sort(np.concatenate([item.starts for item in objects]))
    ends = np.sort(np.concatenate([item.starts + item.lengths for item in objects]))
    runs = voted_runs(starts, ends, votes)
    if not len(runs):
        return None
    corners = np.array([item.box for item in objects])
    box = (*corners[:, :3].min(0).tolist(), *corners[:, 3:].max(0).tolist())
    return RunObject(runs[:, 0].copy(), runs[:, 1] - runs[:, 0], box)


def unite(objects: Sequence[RunObject]) -> RunObject:
    """Return the union of objects."""
    return objects[0] if len(objects) == 1 else vote(objects, 1) or objects[0]
