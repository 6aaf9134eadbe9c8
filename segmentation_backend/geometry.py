"""Where things are: coordinates, boxes and scale levels, in z, y, x; the only nm ↔ voxel maths."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor, prod
from typing import Any, TypeAlias

from segmentation_backend.errors import ErrorKind, InvalidInputError

__all__ = [
    "Coordinate",
    "Roi",
    "ScaleLevel",
    "VoxelSize",
    "nearest_level",
    "parse_coordinate",
    "plan_levels",
]

Coordinate: TypeAlias = tuple[int, int, int]
"""A voxel position or extent, z, y, x."""

VoxelSize: TypeAlias = tuple[float, float, float]
"""The edge lengths of a voxel in nm, z, y, x."""


def parse_coordinate(value: object, name: str) -> Coordinate:
    """Return three integers from JSON, or say which field was wrong and how."""
    if (
        not isinstance(value, Sequence)
        or isinstance(value, str)
        or len(value) != 3
        or not all(isinstance(v, int) and not isinstance(v, bool) for v in value)
    ):
        raise InvalidInputError(
            f"{name} must be three integers [z, y, x], not {value!r}.",
            ErrorKind.INVALID_PARAMETER,
        )
    return (value[0], value[1], value[2])


@dataclass(frozen=True, slots=True)
class Roi:
    """A half-open box of voxels: `offset` is inside, `offset + shape` is the first outside."""

    offset: Coordinate
    shape: Coordinate

    @classmethod
    def from_bounds(cls, begin: Sequence[int], end: Sequence[int]) -> Roi:
        """Return the box from `begin` (inside) to `end` (outside); an inverted one is empty."""
        b = tuple(int(v) for v in begin)
        s = tuple(max(0, int(e) - v) for v, e in zip(b, end, strict=True))
        return cls((b[0], b[1], b[2]), (s[0], s[1], s[2]))

    @classmethod
    def from_json(cls, value: object) -> Roi:
        """Return the box of `{"offset": [z,y,x], "shape": [z,y,x]}`; an empty one is refused."""
        if not isinstance(value, dict) or set(value) != {"offset", "shape"}:
            raise InvalidInputError(
                'roi must be {"offset": [z,y,x], "shape": [z,y,x]}.', ErrorKind.INVALID_PARAMETER
            )
        roi = cls(
            parse_coordinate(value["offset"], "roi.offset"),
            parse_coordinate(value["shape"], "roi.shape"),
        )
        if roi.is_empty:
            raise InvalidInputError(
                f"The region {roi} holds no voxel; every side of roi.shape must be at least 1.",
                ErrorKind.ROI_EMPTY,
            )
        return roi

    @classmethod
    def of_points(cls, points: Iterable[Sequence[int]]) -> Roi:
        """Return the tight box around voxels; there must be at least one."""
        columns = list(zip(*points, strict=True))
        return cls.from_bounds([min(c) for c in columns], [max(c) + 1 for c in columns])

    def to_json(self) -> dict[str, Any]:
        """Return `{"offset": [...], "shape": [...]}`."""
        return {"offset": list(self.offset), "shape": list(self.shape)}

    @property
    def end(self) -> Coordinate:
        """The first voxel outside, at the far corner."""
        (z, y, x), (dz, dy, dx) = self.offset, self.shape
        return (z + dz, y + dy, x + dx)

    @property
    def size(self) -> int:
        """The number of voxels."""
        return 0 if self.is_empty else prod(self.shape)

    @property
    def is_empty(self) -> bool:
        """Whether the box holds no voxel."""
        return min(self.shape) <= 0

    def intersect(self, other: Roi) -> Roi:
        """Return the common part (possibly empty)."""
        return Roi.from_bounds(
            [max(a, b) for a, b in zip(self.offset, other.offset, strict=True)],
            [min(a, b) for a, b in zip(self.end, other.end, strict=True)],
        )

    def union(self, other: Roi) -> Roi:
        """Return the smallest box around both; an empty one adds nothing."""
        if self.is_empty or other.is_empty:
            return other if self.is_empty else self
        return Roi.from_bounds(
            [min(a, b) for a, b in zip(self.offset, other.offset, strict=True)],
            [max(a, b) for a, b in zip(self.end, other.end, strict=True)],
        )

    def contains(self, point: Sequence[int]) -> bool:
        """Whether a voxel lies inside."""
        return all(a <= p < b for a, p, b in zip(self.offset, point, self.end, strict=True))

    def encloses(self, other: Roi) -> bool:
        """Whether every voxel of `other` lies inside."""
        return other.is_empty or self.intersect(other) == other

    def grow(self, margin: Sequence[int]) -> Roi:
        """Return the box with `margin` voxels more on both sides of each axis."""
        return Roi.from_bounds(
            [a - m for a, m in zip(self.offset, margin, strict=True)],
            [b + m for b, m in zip(self.end, margin, strict=True)],
        )

    def shift(self, by: Sequence[int]) -> Roi:
        """Return the box moved by a vector."""
        z, y, x = (a + d for a, d in zip(self.offset, by, strict=True))
        return Roi((z, y, x), self.shape)

    def snap_out(self, grid: Sequence[int]) -> Roi:
        """Return the smallest box on the grid (anchored at the origin) around this one."""
        return Roi.from_bounds(
            [a // g * g for a, g in zip(self.offset, grid, strict=True)],
            [-(-b // g) * g for b, g in zip(self.end, grid, strict=True)],
        )

    def downscale(self, factor: Sequence[float]) -> Roi:
        """Return the smallest box of coarse voxels (`factor` fine voxels each) around this one."""
        # A billionth of a voxel of slack keeps 16/0.1-like ratios from growing the box.
        return Roi.from_bounds(
            [floor(a / f + 1e-9) for a, f in zip(self.offset, factor, strict=True)],
            [ceil(b / f - 1e-9) for b, f in zip(self.end, factor, strict=True)],
        )

    def slices(self, origin: Sequence[int] = (0, 0, 0)) -> tuple[slice, slice, slice]:
        """Return numpy slices into an array whose first voxel is `origin`."""
        z, y, x = (
            slice(a - o, b - o) for a, b, o in zip(self.offset, self.end, origin, strict=True)
        )
        return (z, y, x)

    def __str__(self) -> str:
        """Return `(z,y,x)+(dz,dy,dx)`."""
        return "({},{},{})+({},{},{})".format(*self.offset, *self.shape)


@dataclass(frozen=True, slots=True)
class ScaleLevel:
    """One level of a pyramid; level 0 is the finest."""

    level: int
    voxel_size: VoxelSize
    """nm, z, y, x."""
    shape: Coordinate

    def to_json(self) -> dict[str, Any]:
        """Return the level as the HTTP interface shows it."""
        return {
            "level": self.level,
            "voxel_size": list(self.voxel_size),
            "shape": list(self.shape),
        }


def nearest_level(levels: Sequence[ScaleLevel], voxel_size_nm: float) -> ScaleLevel:
    """Return the level whose finest voxel edge is nearest (as a ratio) to the wanted one."""

    def distance(level: ScaleLevel) -> float:
        edge = min(level.voxel_size)
        return max(edge / voxel_size_nm, voxel_size_nm / edge)

    return min(levels, key=distance)


def plan_levels(
    shape: Coordinate, voxel_size: VoxelSize, min_side: int = 64, max_levels: int = 10
) -> tuple[ScaleLevel, ...]:
    """Return a pyramid from `shape` up: each level halves the axes with the finest voxels.

    An axis is halved (rounding up) while its voxel edge is within 1.5 times the finest one, so
    that anisotropic stacks grow towards isotropy; the pyramid ends when every side is at most
    `min_side` voxels.
    """
    levels = [ScaleLevel(0, voxel_size, shape)]
    while max(levels[-1].shape) > min_side and len(levels) < max_levels:
        last = levels[-1]
        halved = [edge <= 1.5 * min(last.voxel_size) for edge in last.voxel_size]
        dz, dy, dx = ((s + 1) // 2 if h else s for s, h in zip(last.shape, halved, strict=True))
        ez, ey, ex = (e * 2 if h else e for e, h in zip(last.voxel_size, halved, strict=True))
        levels.append(ScaleLevel(len(levels), (ez, ey, ex), (dz, dy, dx)))
    return tuple(levels)
