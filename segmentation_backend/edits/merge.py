"""Join objects: one edge each, and not a single voxel."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.labels import Delta, LabelView
from segmentation_backend.labels.delta import edge_between

__all__ = ["merge"]


def merge(view: LabelView, ids: Sequence[int]) -> Delta:
    """Return the change that makes one object of two or more.

    `ids` name the objects by their roots or by any of their supervoxels; the edges join exactly the
    supervoxels named, in that order, so pass the ones the user pointed at. Raises InvalidInputError
    (MERGE_SAME_OBJECT, BACKGROUND_NOT_AN_OBJECT, INVALID_ID), NotFoundError OBJECT_NOT_FOUND.
    """
    objects = view.resolve(ids)
    named: dict[int, int] = {}
    for supervoxel, found in zip(ids, objects, strict=True):
        named.setdefault(found.root, int(supervoxel))
    if len(named) < 2:
        raise InvalidInputError(
            f"A merge needs two different objects, and {[int(i) for i in ids]} name "
            + (f"only object {objects[0].root}." if objects else "none.")
            + " Pick a second object.",
            ErrorKind.MERGE_SAME_OBJECT,
        )
    bbox = objects[0].bbox
    for found in objects[1:]:
        bbox = bbox.union(found.bbox)
    edges = frozenset(edge_between(a, b) for a, b in pairwise(named.values()))
    return Delta(base_version=view.version, bbox=bbox, edges_added=edges)
