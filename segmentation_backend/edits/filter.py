"""Remove the objects that are too small to be any."""

from __future__ import annotations

from collections.abc import Collection
from itertools import takewhile
from math import inf, prod

from segmentation_backend.edits.blocks import corner_of, read_chunks
from segmentation_backend.edits.delete import erase_supervoxels
from segmentation_backend.edits.voxels import nothing_to_change
from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.geometry import Roi
from segmentation_backend.labels import Delta, LabelView, ObjectStats
from segmentation_backend.labels.chunks import keys_over
from segmentation_backend.labels.kernels import distinct_ids

__all__ = ["MOST_OBJECTS", "filter_small"]

MOST_OBJECTS = 100_000
"""Objects that one operation removes (each is a row in the history and in memory)."""


def filter_small(
    view: LabelView,
    min_voxels: float | None = None,
    min_nm3: float | None = None,
    roi: Roi | None = None,
) -> Delta:
    """Return the change that removes every object smaller than a number of voxels or a volume.

    With `roi` only objects with a voxel in that region go, but the whole of each counts, and the
    whole goes. Over base labels, objects that nobody counted yet stay. Raises InvalidInputError:
    NOTHING_TO_CHANGE when no object is that small, INVALID_PARAMETER for no or two sizes or beyond
    `MOST_OBJECTS`, ROI_OUT_OF_BOUNDS, ROI_EMPTY.
    """
    size = _size(view, min_voxels, min_nm3)
    if roi is not None:
        view.storage.check_roi(roi)
        if roi.is_empty:
            raise InvalidInputError(f"The region {roi} holds no voxel.", ErrorKind.ROI_EMPTY)
    # The smallest first: the list is cut off where one more would be too many.
    listed = view.objects(roi, sort="voxels", limit=MOST_OBJECTS + 1)
    small = list(takewhile(lambda found: found.voxels < size, listed))
    if len(small) > MOST_OBJECTS:
        raise InvalidInputError(
            f"More than {MOST_OBJECTS} objects are smaller than {size:g} voxels; one operation "
            "removes no more. Choose a smaller size or a region.",
            ErrorKind.INVALID_PARAMETER,
        )
    if view.storage.base is not None:
        # Over a base, objects are listed as far as they are counted; here each counts as a whole.
        whole = view.resolve([found.root for found in small])
        small = [found for found in whole if found.voxels < size]
    roots = _inside(view, small, roi)
    if not roots:
        where = "in the volume" if roi is None else f"in {roi}"
        raise nothing_to_change(f"No object {where} has fewer than {size:g} voxels.")
    members = view.agglomeration.members_of(roots)
    return erase_supervoxels(view, {s for group in members.values() for s in group})


def _size(view: LabelView, min_voxels: float | None, min_nm3: float | None) -> float:
    """Return how many voxels an object must have to stay."""
    given = [value for value in (min_voxels, min_nm3) if value is not None]
    if len(given) != 1 or not 0 < given[0] < inf:
        raise InvalidInputError(
            "Give one smallest size, more than 0: min_voxels or min_nm3, not "
            f"{min_voxels!r} and {min_nm3!r}.",
            ErrorKind.INVALID_PARAMETER,
        )
    return given[0] if min_nm3 is None else min_nm3 / prod(view.levels[0].voxel_size)


def _inside(view: LabelView, objects: Collection[ObjectStats], roi: Roi | None) -> set[int]:
    """Return the objects with a voxel in the region; a box that overlaps is not enough."""
    roots = {found.root for found in objects}
    if roi is None:
        return roots
    doubtful = [found for found in objects if not roi.encloses(found.bbox)]
    absent = {found.root for found in doubtful}
    return roots - (absent - _roots_in(view, roi, [found.bbox for found in doubtful]))


def _roots_in(view: LabelView, roi: Roi, boxes: Collection[Roi]) -> set[int]:
    """Return the objects with a voxel in `roi`, looked for in `boxes` only."""
    keys = {key for box in boxes for key in keys_over(box.intersect(roi), 0)}
    supervoxels: set[int] = set()
    for key, chunk in read_chunks(view, keys):
        corner = corner_of(key)
        inside = roi.shift([-c for c in corner]).intersect(chunk.box)
        if not inside.is_empty:
            found = distinct_ids(chunk.block[inside.slices(chunk.offset)])
            supervoxels.update(found.tolist())
    return set(view.agglomeration.roots_of(supervoxels).values())
