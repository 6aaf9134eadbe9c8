"""Remove objects: their voxels become background."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np

from segmentation_backend.edits.blocks import difference_in, look_up, read_chunks
from segmentation_backend.edits.voxels import write_voxels
from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.labels import ChunkKey, Delta, LabelView
from segmentation_backend.labels.chunks import keys_over
from segmentation_backend.labels.staging import Write

__all__ = ["delete", "erase_supervoxels"]


def delete(view: LabelView, ids: Sequence[int]) -> Delta:
    """Return the change that removes objects, named by their roots or any of their supervoxels.

    Only chunks over their supervoxels' boxes are read, a few at a time. Raises InvalidInputError
    (INVALID_PARAMETER for no id, INVALID_ID, BACKGROUND_NOT_AN_OBJECT), NotFoundError
    OBJECT_NOT_FOUND; one id that is wrong refuses all.
    """
    if not ids:
        raise InvalidInputError(
            "No object is named; pick at least one to delete.", ErrorKind.INVALID_PARAMETER
        )
    members = view.agglomeration.members_of({found.root for found in view.resolve(ids)})
    return erase_supervoxels(view, {s for group in members.values() for s in group})


def erase_supervoxels(view: LabelView, supervoxels: Collection[int]) -> Delta:
    """Return the change after which none of the supervoxels has a voxel."""
    return write_voxels(view, _writes(view, supervoxels))


def _writes(
    view: LabelView, supervoxels: Collection[int]
) -> Iterator[tuple[ChunkKey, list[Write]]]:
    doomed = np.array(sorted(supervoxels), dtype=np.uint64)
    nothing = np.zeros_like(doomed)
    boxes = {stats.bbox for stats in view.statistics_of(supervoxels).values()}
    keys = {key for box in boxes for key in keys_over(box, 0)}
    for key, chunk in read_chunks(view, keys):
        left = look_up(chunk.block, doomed, nothing)
        write = difference_in(key, chunk.offset, chunk.block, left)
        if write is not None:
            yield write
