"""One object in the box around it: which of its supervoxels is where, and who else is there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from segmentation_backend.edits.blocks import difference_in, look_up, parts_over, read_parts
from segmentation_backend.edits.split import LARGEST_BOX
from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.geometry import Roi
from segmentation_backend.labels import ChunkKey, LabelView
from segmentation_backend.labels.kernels import distinct_ids
from segmentation_backend.labels.staging import Write

__all__ = ["ObjectBox", "read_object"]

Index: TypeAlias = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class ObjectBox:
    """The surroundings of one object, by number instead of by id."""

    root: int
    roi: Roi
    members: tuple[int, ...]
    """The object's supervoxels, sorted."""
    index: Index
    """Shaped like `roi`: 0 background, k the k-th member (from 1), `others` any other object."""

    @property
    def others(self) -> int:
        """What `index` holds where another object is."""
        return len(self.members) + 1

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """The object's voxels, z,y,x shaped like `roi`."""
        # Unsigned: 0 - 1 is larger than any member.
        return np.asarray(self.index - np.uint32(1) < len(self.members), dtype=np.bool_)

    def writes(self, view: LabelView) -> Iterator[tuple[ChunkKey, list[Write]]]:
        """Yield what turns the labels into `index`; other objects stay as they are."""
        table = np.array([0, *self.members, 0], dtype=np.uint64)
        for part, old in read_parts(view, parts_over(self.roi, view)):
            here = self.index[part.roi.slices(self.roi.offset)]
            new = np.where(here == self.others, old, table[here])
            write = difference_in(part.key, part.box.offset, old, new)
            if write is not None:
                yield write


def read_object(view: LabelView, object_id: int, margin: Sequence[int] = (0, 0, 0)) -> ObjectBox:
    """Return an object, named by its root or any of its supervoxels, with `margin` voxels around.

    The box is cut off at the volume's bounds. Raises InvalidInputError ROI_TOO_LARGE beyond
    `LARGEST_BOX` voxels, and what `LabelView.object` raises.
    """
    found = view.object(object_id)
    roi = found.bbox.grow(margin).intersect(view.bounds)
    if roi.size > LARGEST_BOX:
        raise InvalidInputError(
            f"The box {roi} around object {found.root} has more than {LARGEST_BOX} voxels. Split "
            "the object first, or choose a smaller radius.",
            ErrorKind.ROI_TOO_LARGE,
        )
    members = view.members(found.root)
    index = np.zeros(roi.shape, dtype=np.uint32)
    known = np.array(members, dtype=np.uint64)
    for part, block in read_parts(view, parts_over(roi, view)):
        ids = distinct_ids(block)
        if ids.size:
            at = np.searchsorted(known, ids)
            at[at == len(known)] = 0
            numbers = np.where(known[at] == ids, at + 1, len(known) + 1).astype(np.uint64)
            index[part.roi.slices(roi.offset)] = look_up(block, ids, numbers)
    return ObjectBox(found.root, roi, members, index)
