"""Which 3D objects are kept: those large enough, long enough, or the largest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segmentation_backend.inference.section_kernels import object_boxes, replace_ids

__all__ = [
    "CLOSED",
    "Faces",
    "drop_small_objects",
    "find_large_objects",
    "keep_largest",
    "select_objects",
]

Faces = tuple[bool, bool, bool, bool, bool, bool]
"""Something about the first and the last face of z, of y and of x."""

CLOSED: Faces = (False, False, False, False, False, False)
"""The array ends where the volume ends."""


def drop_small_objects(
    labels: NDArray[np.uint32], min_size: int, min_extent: int, open_faces: Faces = CLOSED
) -> NDArray[np.uint32]:
    """Return the objects (z, y, x) with enough voxels and a long enough box, renumbered 1..n.

    See `find_large_objects`.
    """
    return select_objects(labels, find_large_objects(labels, min_size, min_extent, open_faces))


def find_large_objects(
    labels: NDArray[np.uint32], min_size: int, min_extent: int, open_faces: Faces = CLOSED
) -> NDArray[np.bool_]:
    """Return bool (n + 1,): which objects (z, y, x) have enough voxels and a long enough box.

    A side of the box that reaches a face of the array is not held against an object: its rest may
    lie outside. Where the volume goes on past a face (`open_faces`), whatever touches that face is
    kept, since its size is not known here.
    """
    table = _boxes(labels)
    begins, ends = table[:, 1:4], table[:, 4:7]
    at_first, at_last = begins == 0, ends == np.array(labels.shape)
    long_enough = ((ends - begins >= min_extent) | at_first | at_last).all(1)
    kept = (table[:, 0] >= min_size) & long_enough
    faces = np.array(open_faces).reshape(3, 2)
    kept |= (at_first & faces[:, 0]).any(1) | (at_last & faces[:, 1]).any(1)
    return np.where(table[:, 0] > 0, kept, False)


def keep_largest(labels: NDArray[np.uint32], most: int) -> NDArray[np.uint32]:
    """Return the `most` largest objects (z, y, x), renumbered 1..n; of equals the lower numbers."""
    sizes = _boxes(labels)[:, 0]
    kept = sizes > 0
    kept[np.argsort(-sizes, kind="stable")[most:]] = False
    return select_objects(labels, kept)


def select_objects(
    labels: NDArray[np.uint32], kept: NDArray[np.bool_], *, in_place: bool = False
) -> NDArray[np.uint32]:
    """Return the objects whose entry in `kept` (n + 1,) is set, renumbered 1..m in their order.

    `labels` may have any shape; entry 0 is the background's and does not matter. In place they are
    written over `labels`, which then must be contiguous.
    """
    chosen = kept.copy()
    chosen[0] = False
    numbers = np.where(chosen, np.cumsum(chosen), 0).astype(np.uint32)
    out = labels if in_place else np.empty(labels.shape, np.uint32)
    replace_ids(np.ascontiguousarray(labels).reshape(-1), numbers, out.reshape(-1))
    return out


def _boxes(labels: NDArray[np.uint32]) -> NDArray[np.int64]:
    table: NDArray[np.int64] = object_boxes(
        np.ascontiguousarray(labels, dtype=np.uint32), int(labels.max(initial=0))
    )
    return table
