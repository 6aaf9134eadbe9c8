"""Erode, dilate, open, close, fill holes: the shape of one object, and of no other.

Erosion and dilation by a ball are thresholds on the Euclidean distance to the surface (Serra 1982;
distance by Felzenszwalb and Huttenlocher 2012 through `edt`), so any radius costs the same and
anisotropic voxels count with their true edges. Opening is erosion, then dilation; closing is
dilation, then erosion.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Literal, TypeAlias, get_args

import cc3d
import edt
import numpy as np
import numpy.typing as npt

from segmentation_backend.edits.brush import Unit, edges_in
from segmentation_backend.edits.kernels import spread
from segmentation_backend.edits.object_box import ObjectBox, read_object
from segmentation_backend.edits.voxels import nothing_to_change, write_voxels
from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.geometry import Coordinate, VoxelSize
from segmentation_backend.labels import Delta, LabelView

__all__ = ["Morphology", "morph"]

Mask: TypeAlias = npt.NDArray[np.bool_]

Morphology: TypeAlias = Literal["erode", "dilate", "open", "close", "fill_holes"]

_LARGEST_RADIUS_VOXELS = 256

_UNCHANGED = {
    "erode": "Object {} has no surface inside the volume.",
    "dilate": "Object {} has no free voxel around it within the radius.",
    "open": "Object {} has nothing as thin as the ball; choose a larger radius.",
    "close": "Object {} has no free gap as narrow as the ball; choose a larger radius.",
    "fill_holes": "Object {} encloses no background of that size.",
}

_SLACK = 1e-6
"""A voxel whose centre is at exactly the radius is inside the ball, whatever the rounding."""


def morph(
    view: LabelView,
    object_id: int,
    operation: Morphology,
    radius: float = 1.0,
    unit: Unit = "voxels",
    plane: int | None = None,
    largest_hole: int | None = None,
) -> Delta:
    """Return the change that erodes, dilates, opens, closes or fills the holes of one object.

    The ball's `radius` is in nm or, stretched with the voxels, in voxels; with `plane` (0, 1 or 2:
    the axis across it) each slice is treated on its own, with a disc. `fill_holes` takes no radius:
    it fills background that the object encloses wholly (in 3D, or in its slice), holes of at most
    `largest_hole` voxels when that is given.

    No voxel of another object ever changes, and what another object cuts off from this one is not
    filled. Voxels that stay keep their supervoxel; new ones get the one from which they are reached
    in the fewest steps. The volume's edge is no surface: nothing erodes from it. An object that
    falls apart stays one object (see `relabel_components`).

    Raises InvalidInputError (NOTHING_TO_CHANGE; INVALID_PARAMETER, also when nothing would be left
    of the object; ROI_TOO_LARGE; those of `LabelView.object`), NotFoundError OBJECT_NOT_FOUND.
    """
    _check(operation, radius, plane, largest_hole)
    shape = _Shape(radius, edges_in(unit, view.levels[0].voxel_size), plane)
    # What surrounds the object matters where it grows, and as the surface that erodes. A closed
    # object stays in its box.
    margins = {"dilate": shape.reach, "erode": (1, 1, 1), "open": (1, 1, 1)}
    found = read_object(view, object_id, margins.get(operation, (0, 0, 0)))
    mask = found.mask
    if operation == "fill_holes":
        wanted = mask | _holes(mask, plane, largest_hole)
    else:
        wanted = _formed(mask, operation, shape)
    if not wanted.any():
        raise InvalidInputError(
            f"To {operation} object {found.root} with a radius of {radius} {unit} would leave "
            "nothing of it. Choose a smaller radius, or delete the object.",
            ErrorKind.INVALID_PARAMETER,
        )
    return _delta(view, found, operation, wanted)


def _check(operation: str, radius: float, plane: int | None, largest_hole: int | None) -> None:
    problem = None
    if operation not in get_args(Morphology):
        problem = f"operation must be one of {', '.join(get_args(Morphology))}, not {operation!r}."
    elif not (isfinite(radius) and radius > 0):
        problem = f"The radius must be more than 0, not {radius}."
    elif plane not in (None, 0, 1, 2):
        problem = f"plane must be 0 (across z), 1 (y), 2 (x) or left out, not {plane!r}."
    elif largest_hole is not None and largest_hole < 1:
        problem = f"largest_hole must be at least 1 voxel, not {largest_hole}."
    if problem is not None:
        raise InvalidInputError(problem, ErrorKind.INVALID_PARAMETER)


@dataclass(frozen=True)
class _Shape:
    """A ball, or a disc across one axis."""

    radius: float
    edges: VoxelSize
    """A voxel's edges, in the unit of `radius`."""
    plane: int | None

    @property
    def reach(self) -> Coordinate:
        """How many voxels the shape reaches along each axis."""
        reach = [int(self.radius / edge * (1 + _SLACK)) for edge in self.edges]
        if max(reach) > _LARGEST_RADIUS_VOXELS:
            raise InvalidInputError(
                f"A radius of {self.radius} is {max(reach)} voxels; at most "
                f"{_LARGEST_RADIUS_VOXELS} are possible.",
                ErrorKind.INVALID_PARAMETER,
            )
        if self.plane is not None:
            reach[self.plane] = 0
        return (reach[0], reach[1], reach[2])

    def squared_distance(self, mask: Mask) -> npt.NDArray[np.float32]:
        """Return the squared distance of each voxel of `mask` to the nearest voxel outside it."""
        if self.plane is None:
            return np.asarray(edt.edtsq(mask, anisotropy=self.edges, black_border=False))
        out = np.empty(mask.shape, dtype=np.float32)
        edges = [edge for axis, edge in enumerate(self.edges) if axis != self.plane]
        slices, results = np.moveaxis(mask, self.plane, 0), np.moveaxis(out, self.plane, 0)
        for plane, result in zip(slices, results, strict=True):
            plane = np.ascontiguousarray(plane)
            result[...] = edt.edtsq(plane, anisotropy=edges, black_border=False)
        return out

    def eroded(self, mask: Mask) -> Mask:
        """Return the voxels of `mask` farther than the radius from any voxel outside it."""
        return mask & (self.squared_distance(mask) > (self.radius * (1 + _SLACK)) ** 2)

    def dilated(self, mask: Mask) -> Mask:
        """Return `mask` and the voxels within the radius of it."""
        return ~self.eroded(~mask)


def _formed(mask: Mask, operation: str, shape: _Shape) -> Mask:
    if operation == "erode":
        return shape.eroded(mask)
    if operation == "dilate":
        return shape.dilated(mask)
    if operation == "open":
        return shape.dilated(shape.eroded(mask))
    # Room for the dilated object on all sides, also beyond the volume's edge, which would attract
    # what is near it otherwise.
    padded = np.pad(mask, [(reach + 1, reach + 1) for reach in shape.reach])
    inner = tuple(slice(reach + 1, -reach - 1) for reach in shape.reach)
    return shape.eroded(shape.dilated(padded))[inner]


def _holes(mask: Mask, plane: int | None, largest: int | None) -> Mask:
    """Return what the object encloses: in 3D, or slice by slice across an axis."""
    if plane is None:
        return _enclosed(mask, largest, connectivity=6)
    slices = [_enclosed(s, largest, connectivity=4) for s in np.moveaxis(mask, plane, 0)]
    return np.moveaxis(np.stack(slices), 0, plane)


def _enclosed(mask: Mask, largest: int | None, connectivity: Literal[4, 6]) -> Mask:
    outside = np.pad(~mask, 1, constant_values=True)
    parts = cc3d.connected_components(outside, connectivity=connectivity)
    around = parts[(0,) * parts.ndim]
    holes = (parts != 0) & (parts != around)
    if largest is not None:
        small = cc3d.statistics(parts)["voxel_counts"] <= largest
        holes &= small[parts]
    return np.asarray(holes[(slice(1, -1),) * parts.ndim], dtype=np.bool_)


def _delta(view: LabelView, found: ObjectBox, operation: str, wanted: Mask) -> Delta:
    lost = found.mask & ~wanted
    new = wanted & (found.index == 0)
    if new.any():
        spread(found.index, new, len(found.members))
    found.index[lost] = 0
    delta = write_voxels(view, found.writes(view))
    if delta.is_empty:
        raise nothing_to_change(f"{_UNCHANGED[operation].format(found.root)} Nothing was changed.")
    return delta
