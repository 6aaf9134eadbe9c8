"""Which voxels a page shows, from the projection of its panels; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor
from typing import TypeAlias

from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.geometry import Roi, VoxelSize

__all__ = ["PLANES", "Panel", "Vector", "parse_point", "parse_view", "visible_roi"]

Vector: TypeAlias = tuple[float, float, float]
"""A position or direction in level-0 voxels, z, y, x."""

PLANES = ("xy", "xz", "yz")
"""The plane perpendicular to each axis, z, y, x."""

_AXES = ("z", "y", "x")


@dataclass(frozen=True, slots=True)
class Panel:
    """A slice panel: where its centre is, and what one pixel to the right and down means."""

    centre: Vector
    right: Vector
    """Level-0 voxels per pixel."""
    down: Vector
    """Level-0 voxels per pixel."""
    width: float
    """Pixels."""
    height: float
    """Pixels."""

    def corners(self) -> list[Vector]:
        """Return the four corners, in level-0 voxels."""
        found: list[Vector] = []
        for u in (-self.width / 2, self.width / 2):
            for v in (-self.height / 2, self.height / 2):
                z, y, x = (
                    c + u * r + v * d
                    for c, r, d in zip(self.centre, self.right, self.down, strict=True)
                )
                found.append((z, y, x))
        return found

    def normal_axis(self, voxel_size: VoxelSize) -> int:
        """Return the axis (of z, y, x) that the panel looks along most directly."""
        # In nm, since a direction in voxels leans towards the axis with the smallest edges.
        r = [a * e for a, e in zip(self.right, voxel_size, strict=True)]
        d = [a * e for a, e in zip(self.down, voxel_size, strict=True)]
        normal = (
            abs(r[1] * d[2] - r[2] * d[1]),
            abs(r[2] * d[0] - r[0] * d[2]),
            abs(r[0] * d[1] - r[1] * d[0]),
        )
        return max(range(3), key=lambda axis: normal[axis])


def visible_roi(
    panels: Sequence[Panel], active: int, mode: str, bounds: Roi, voxel_size: VoxelSize
) -> tuple[Roi, str]:
    """Return the visible region, clipped to `bounds`, and the plane of the active panel.

    `slice`: the plane nearest the active panel's, one voxel thick at the panel's centre, over the
    bounding rectangle of what the panel shows. `box`: the bounding box of what all panels show;
    a single panel shows no depth, so its shorter side (in nm) is taken for it.
    """
    if not panels or not 0 <= active < len(panels):
        raise _invalid(f"active must be the index of one of the {len(panels)} panels.")
    axis = panels[active].normal_axis(voxel_size)
    if mode == "slice":
        begin, end = _extent(panels[active].corners())
        begin[axis] = panels[active].centre[axis]
        end[axis] = floor(begin[axis]) + 1
    elif mode in ("box", "orthoplane"):
        begin, end = _extent([corner for panel in panels for corner in panel.corners()])
        if len({panel.normal_axis(voxel_size) for panel in panels}) == 1:
            _add_depth(begin, end, panels[active].centre[axis], axis, voxel_size)
    else:
        raise _invalid(f"mode must be slice, box or orthoplane, not {mode[:64]!r}.")
    seen = _voxels_within(begin, end)
    clipped = seen.intersect(bounds)
    if clipped.is_empty:
        raise InvalidInputError(
            f"The view, {_ranges(seen)}, lies outside the volume, which is {_ranges(bounds)}; "
            "move the view over the volume.",
            ErrorKind.ROI_OUT_OF_BOUNDS,
        )
    return clipped, PLANES[axis]


def _extent(points: Sequence[Vector]) -> tuple[list[float], list[float]]:
    columns = list(zip(*points, strict=True))
    return [min(c) for c in columns], [max(c) for c in columns]


def _add_depth(
    begin: list[float], end: list[float], centre: float, axis: int, voxel_size: VoxelSize
) -> None:
    sides = [
        (e - b) * edge
        for i, (b, e, edge) in enumerate(zip(begin, end, voxel_size, strict=True))
        if i != axis
    ]
    half = min(sides) / voxel_size[axis] / 2
    begin[axis] = min(begin[axis], centre - half)
    end[axis] = max(end[axis], centre + half)


def _voxels_within(begin: Sequence[float], end: Sequence[float]) -> Roi:
    # Voxel i spans [i, i + 1). The billionth keeps rounding in the page from adding a voxel.
    return Roi.from_bounds(
        [floor(b + 1e-9) for b in begin],
        [max(floor(b + 1e-9) + 1, -floor(1e-9 - e)) for b, e in zip(begin, end, strict=True)],
    )


def _ranges(roi: Roi) -> str:
    return ", ".join(
        f"{name} {a} to {b - 1}" for name, a, b in zip(_AXES, roi.offset, roi.end, strict=True)
    )


def parse_view(value: object) -> tuple[list[Panel], int]:
    """Return the panels and the active one from `{"panels": [...], "active": int}`."""
    view = value if isinstance(value, dict) else {}
    panels, active = view.get("panels"), view.get("active", 0)
    if not isinstance(panels, list) or not 1 <= len(panels) <= 64:
        raise _invalid("view.panels must be an array of 1 to 64 slice panels.")
    if not isinstance(active, int) or isinstance(active, bool) or not 0 <= active < len(panels):
        raise _invalid("view.active must be the index of a panel.")
    return [_panel(panel, f"view.panels[{i}]") for i, panel in enumerate(panels)], active


def _panel(value: object, name: str) -> Panel:
    if not isinstance(value, dict):
        raise _invalid(f"{name} must be an object.")
    width = _number(value.get("width"), f"{name}.width")
    height = _number(value.get("height"), f"{name}.height")
    if width <= 0 or height <= 0:
        raise _invalid(f"{name} must be at least one pixel wide and high.")
    right = parse_point(value.get("right"), f"{name}.right")
    down = parse_point(value.get("down"), f"{name}.down")
    if not any(right) or not any(down):
        raise _invalid(f"{name}.right and {name}.down must not be zero.")
    return Panel(parse_point(value.get("centre"), f"{name}.centre"), right, down, width, height)


def parse_point(value: object, name: str) -> Vector:
    """Return three numbers from JSON, or say which field was wrong and how."""
    if not isinstance(value, list) or len(value) != 3:
        raise _invalid(f"{name} must be three numbers [z, y, x].")
    z, y, x = (_number(v, name) for v in value)
    return (z, y, x)


def _number(value: object, name: str) -> float:
    # (The comparison is also false for "not a number".)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 2**53:
        raise _invalid(f"{name} must be a number of reasonable size.")
    return float(value)


def _invalid(message: str) -> InvalidInputError:
    return InvalidInputError(message, ErrorKind.INVALID_PARAMETER)
