"""Split supervoxels off their object: edges go, and not a single voxel is written."""

from __future__ import annotations

from collections.abc import Sequence

from segmentation_backend.edits.joints import box_of, rejoin
from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.labels import Delta, LabelView

__all__ = ["cleave"]


def cleave(view: LabelView, supervoxels: Sequence[int]) -> Delta:
    """Return the change that makes one object of the supervoxels named, and one of the rest.

    All must belong to one object, and not be all of it. Both sides stay in one piece: where that
    needs new edges they are added. The side that holds the object's smallest supervoxel keeps its
    id. Raises InvalidInputError (SEEDS_ON_ONE_SIDE for none or all of the object,
    SEEDS_OUTSIDE_OBJECT for more than one object, INVALID_ID, BACKGROUND_NOT_AN_OBJECT),
    NotFoundError OBJECT_NOT_FOUND.
    """
    if not supervoxels:
        raise InvalidInputError(
            "No supervoxel is named; pick the ones to split off.", ErrorKind.SEEDS_ON_ONE_SIDE
        )
    objects = view.resolve(supervoxels)
    root = objects[0].root
    for supervoxel, found in zip(supervoxels, objects, strict=True):
        if found.root != root:
            raise InvalidInputError(
                f"Supervoxel {supervoxel} belongs to object {found.root}, and {supervoxels[0]} to "
                f"{root}. Pick supervoxels of one object.",
                ErrorKind.SEEDS_OUTSIDE_OBJECT,
            )
    off = {int(supervoxel) for supervoxel in supervoxels}
    rest = set(view.members(root)) - off
    if not rest:
        raise InvalidInputError(
            f"Object {root} has no supervoxel besides {sorted(off)[:5]}: there would be nothing to "
            "split them off from. Pick fewer, or split the object between points.",
            ErrorKind.SEEDS_ON_ONE_SIDE,
        )
    sides = {(s, side): s for side, group in ((1, off), (2, rest)) for s in group}
    added, removed = rejoin(sides, view.edges_of(root))
    return Delta(
        base_version=view.version,
        bbox=box_of(view, off if root in rest else rest),
        edges_added=added,
        edges_removed=removed,
    )
