"""Paint voxels, or erase them: the brush of a proofreader, and any other mask."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from segmentation_backend.edits.blocks import Part, difference_in, look_up, parts_over, read_parts
from segmentation_backend.edits.voxels import nothing_to_change, write_voxels
from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.geometry import Roi
from segmentation_backend.labels import ChunkKey, Delta, LabelView, check_id
from segmentation_backend.labels.kernels import distinct_ids
from segmentation_backend.labels.staging import Write

__all__ = ["Over", "paint"]

Ids: TypeAlias = npt.NDArray[np.uint64]
Mask: TypeAlias = npt.NDArray[np.bool_]

Over: TypeAlias = Literal["all", "background"] | Collection[int]
"""Which voxels a brush may change: all, the empty ones, or those of the objects listed, by any of
their supervoxels; 0 in the list stands for the empty ones."""


def paint(
    view: LabelView,
    roi: Roi,
    mask: Mask,
    target: int | None,
    over: Over,
    reserve_ids: Callable[[int], int],
) -> Delta:
    """Return the change that gives the voxels of `mask` to an object.

    `mask` is a bool z,y,x array shaped like `roi`. `target` names the object by its root or any of
    its supervoxels, and the voxels become that very supervoxel, so pass the one the user started
    on; voxels that are the object's already keep theirs. 0 erases. None makes a new object, with an
    id from `reserve_ids(1)`.

    `over` protects what the user does not mean (see `Over`): "background" paints around all other
    objects; `[0, 7]` paints over object 7 too; erasing with `[7]` touches object 7 only. An object
    painted through stays one object, though its parts may not touch (see `relabel_components`); one
    that loses its last voxel is gone.

    Raises InvalidInputError (NOTHING_TO_CHANGE, ROI_OUT_OF_BOUNDS, ROI_EMPTY, INVALID_PARAMETER,
    INVALID_ID, BACKGROUND_NOT_AN_OBJECT), NotFoundError OBJECT_NOT_FOUND.
    """
    _check(view, roi, mask)
    rule = _rule(view, target, over)
    strokes = _strokes(view, roi, mask, rule)
    first = next(strokes, None)
    if first is None:
        raise nothing_to_change(
            f"None of the {int(mask.sum())} voxels in {roi} would change: they hold the wanted "
            "label already, or what they hold is protected. Paint elsewhere, or over more."
        )
    # Only now: a stroke that is refused uses up no id.
    value = reserve_ids(1) if target is None else int(target)
    return write_voxels(view, _writes(chain([first], strokes), value))


def _check(view: LabelView, roi: Roi, mask: Mask) -> None:
    view.storage.check_roi(roi)
    if roi.is_empty:
        raise InvalidInputError(f"The region {roi} holds no voxel.", ErrorKind.ROI_EMPTY)
    if mask.dtype != np.bool_ or mask.shape != roi.shape:
        raise InvalidInputError(
            f"The mask must be a bool array of shape {roi.shape} like the region {roi}, not "
            f"{mask.dtype} of shape {mask.shape}.",
            ErrorKind.INVALID_PARAMETER,
        )


@dataclass(frozen=True)
class _Rule:
    """Which supervoxels give way to the brush."""

    everything: bool
    background: bool
    listed: Ids
    """Sorted; gives way even if not `everything`."""
    own: Ids
    """Sorted; the target's own supervoxels never do."""

    def gives_way(self, supervoxels: Ids) -> Mask:
        """Return where a block of supervoxels may be changed."""
        ids = distinct_ids(supervoxels)
        yields = np.isin(ids, self.own, invert=True)
        if not self.everything:
            yields &= np.isin(ids, self.listed)
        allowed = look_up(supervoxels, ids, yields.astype(np.uint64)) > 0
        return allowed | (supervoxels == 0) if self.background else allowed


def _rule(view: LabelView, target: int | None, over: Over) -> _Rule:
    own = _members(view, [target]) if target is None or check_id(target) else _members(view, [])
    if isinstance(over, str):
        if over not in ("all", "background"):
            raise InvalidInputError(
                f'over must be "all", "background" or a list of objects, not {over!r}.',
                ErrorKind.INVALID_PARAMETER,
            )
        return _Rule(over == "all", target != 0, _members(view, []), own)
    listed = [check_id(value) for value in over]
    if not listed:
        raise InvalidInputError(
            "over lists no object: nothing could be painted over. Name one, or 0 for background.",
            ErrorKind.INVALID_PARAMETER,
        )
    background = 0 in listed and target != 0
    return _Rule(False, background, _members(view, [i for i in listed if i]), own)


def _members(view: LabelView, ids: Collection[int | None]) -> Ids:
    """Return the sorted supervoxels of the objects; None is an object that does not exist yet."""
    objects = view.resolve([i for i in ids if i is not None]) if any(ids) else []
    joined = {found.root for found in objects if found.supervoxels > 1}
    groups = view.agglomeration.members_of(joined) if joined else {}
    members = {found.root for found in objects}.union(*groups.values())
    return np.array(sorted(members), dtype=np.uint64)


class _Stroke(NamedTuple):
    part: Part
    old: Ids
    changes: Mask


def _strokes(view: LabelView, roi: Roi, mask: Mask, rule: _Rule) -> Iterator[_Stroke]:
    """Yield the parts of the region in which a voxel changes."""
    touched = (p for p in parts_over(roi, view) if mask[p.roi.slices(roi.offset)].any())
    for part, old in read_parts(view, touched):
        changes = mask[part.roi.slices(roi.offset)] & rule.gives_way(old)
        if changes.any():
            yield _Stroke(part, old, changes)


def _writes(strokes: Iterator[_Stroke], value: int) -> Iterator[tuple[ChunkKey, list[Write]]]:
    for part, old, changes in strokes:
        new = np.where(changes, np.uint64(value), old)
        write = difference_in(part.key, part.box.offset, old, new)
        if write is not None:
            yield write
