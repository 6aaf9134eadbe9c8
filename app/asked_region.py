"""Which region a request means: what a page shows, a box, a drawn outline, sections named."""

from __future__ import annotations

from collections.abc import Mapping
from math import floor
from typing import Any, NamedTuple

from app.fields import KINDS, Field
from app.visible_roi import PLANES, parse_point, parse_view, visible_roi
from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.geometry import Roi
from segmentation_backend.workspace import VolumeInfo, parse_sections

__all__ = ["REGION_FIELDS", "AskedRegion", "asked_region"]

REGION_FIELDS = (
    Field("roi", "roi", "The region, in level-0 voxels; or name a view."),
    Field(
        "view",
        "object",
        "What the page shows: {panels: [{centre, right, down, width, height}], active}.",
    ),
    Field("plane", "text", "xy (without it), xz or yz; a view has its own."),
    Field(
        "within",
        "object",
        "{box: {offset, shape}} or {polygon: [[z, y, x], ...]}, corners on one section: what was "
        "drawn. It cuts a roi, and stands in for what a view shows.",
    ),
    Field(
        "sections",
        "text",
        "Sections of the plane, such as 10, 20-30, 45: mode slice segments each for itself, as one "
        "operation. Without it, those of the region.",
    ),
)

_MODE_OF_VIEW = {"slice": "slice", "box": "stack", "orthoplane": "orthoplane"}
"""What a page calls it, and what the network does."""

_AXES = ("z", "y", "x")


class AskedRegion(NamedTuple):
    """What a request says of the region."""

    roi: Roi
    """Not yet clipped, and without regard to polygon and sections."""
    plane: str
    mode: str
    """As the network knows it."""
    polygon: list[tuple[float, float]] | None
    """Corners along the two axes (of z, y, x) that the plane shows."""
    sections: tuple[int, ...] | None


class _Outline(NamedTuple):
    """What was drawn."""

    box: Roi
    """Around it."""
    flat: int | None
    """The axis across the section it was drawn on; None for a box with a depth."""
    polygon: list[tuple[float, float]] | None


def asked_region(body: Mapping[str, Any], info: VolumeInfo) -> AskedRegion:
    """Return the region that the `REGION_FIELDS` and the `mode` of a request's body mean."""
    if (body["roi"] is None) == (body["view"] is None):
        raise _invalid("Name the region by either roi or view, not both.")
    sections = None if body["sections"] is None else parse_sections(body["sections"])
    outline = None if body["within"] is None else _outline(body["within"])
    mode = body["mode"] or "slice"
    if body["roi"] is not None:
        return _of_roi(body, mode, outline, sections)
    panels, active = parse_view(body["view"])
    seen, plane = visible_roi(panels, active, mode, info.bounds, info.voxel_size)
    polygon = None
    if outline is not None:
        centre = [floor(v + 1e-9) for v in panels[active].centre]
        seen, plane = _outlined(outline, seen, plane, mode, centre, is_listed=sections is not None)
        polygon = outline.polygon
    return AskedRegion(seen, plane, _MODE_OF_VIEW[mode], polygon, sections)


def _of_roi(
    body: Mapping[str, Any], mode: str, outline: _Outline | None, sections: tuple[int, ...] | None
) -> AskedRegion:
    roi, plane = body["roi"], body["plane"] or "xy"
    if outline is None:
        return AskedRegion(roi, plane, mode, None, sections)
    if outline.polygon is None:
        cut = roi.intersect(outline.box)
        if cut.is_empty:
            raise _invalid(f"The box {outline.box} lies outside the region {roi}.")
        return AskedRegion(cut, plane, mode, None, sections)
    drawn_on = PLANES[outline.flat or 0]
    if body["plane"] not in (None, drawn_on):
        raise _invalid(f"The polygon was drawn on {drawn_on}, but the plane is {plane}.")
    return AskedRegion(roi, drawn_on, mode, outline.polygon, sections)


def _outlined(
    outline: _Outline, seen: Roi, plane: str, mode: str, centre: list[int], *, is_listed: bool
) -> tuple[Roi, str]:
    """Return the region of what was drawn, and the plane.

    What is flat has the depth that the view has; a slice is the one in view where that shows the
    plane it was drawn on, or else the section it was drawn on.
    """
    box, axis = outline.box, outline.flat
    if axis is None:
        if mode != "slice":
            return box, plane
        axis = PLANES.index(plane)
        low, high = box.offset[axis], box.end[axis]
        if not is_listed and not low <= centre[axis] < high:
            raise InvalidInputError(
                f"The section in view, {_AXES[axis]} {centre[axis]}, lies outside the box, "
                f"{_AXES[axis]} {low} to {high - 1}; move there, or list sections.",
                ErrorKind.ROI_OUT_OF_BOUNDS,
            )
        first, length = centre[axis], 1
    elif mode != "slice":
        first, length = seen.offset[axis], seen.shape[axis]
    elif PLANES[axis] == plane:
        first, length = centre[axis], 1
    else:
        first, length = box.offset[axis], 1
    begin, end = list(box.offset), list(box.end)
    begin[axis], end[axis] = first, first + length
    return Roi.from_bounds(begin, end), PLANES[axis]


def _outline(value: Mapping[str, Any]) -> _Outline:
    if set(value) == {"box"}:
        box: Roi = KINDS["roi"].check("within.box", value["box"])
        thin = [axis for axis, side in enumerate(box.shape) if side == 1]
        return _Outline(box, thin[0] if len(thin) == 1 else None, None)
    if set(value) != {"polygon"} or not isinstance(value["polygon"], list):
        raise _invalid("within must be {box: {offset, shape}} or {polygon: [[z, y, x], ...]}.")
    points = [parse_point(p, f"within.polygon[{i}]") for i, p in enumerate(value["polygon"])]
    if len(points) < 3:
        raise _invalid(f"A polygon has three corners or more, not {len(points)}.")
    # Corners are where somebody pointed, so a rounding error from being on one section.
    spread = [max(column) - min(column) for column in zip(*points, strict=True)]
    across = [axis for axis in range(3) if spread[axis] < 1e-3]
    if len(across) != 1:
        raise _invalid(
            "The corners of a polygon lie on one section of xy, xz or yz, not all on one line; "
            "straighten the view (Z) and draw it again."
        )
    (flat,) = across
    a, b = (axis for axis in range(3) if axis != flat)
    voxels = [tuple(floor(v + 1e-9) for v in point) for point in points]
    return _Outline(Roi.of_points(voxels), flat, [(point[a], point[b]) for point in points])


def _invalid(message: str) -> InvalidInputError:
    return InvalidInputError(message, ErrorKind.INVALID_PARAMETER)
