"""How arrays lie in space: axes, voxel sizes and units, as foreign metadata give them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import TypeAlias

from segmentation_backend.errors import ErrorKind, FormatError
from segmentation_backend.geometry import VoxelSize

__all__ = [
    "ASSUMED_VOXEL_SIZE",
    "Corner",
    "Grid",
    "broken",
    "finite_numbers",
    "first_corners",
    "pick_spatial_axes",
    "resolve_voxel_sizes",
    "unit_name",
    "unit_names",
]

Corner: TypeAlias = tuple[float, float, float]
"""A position in nm, z, y, x, in the coordinates of somebody's metadata."""

ASSUMED_VOXEL_SIZE: VoxelSize = (10.0, 10.0, 10.0)
"""nm; used where neither the caller nor the data says how large a voxel is."""

_NANOMETRES = {
    "meter": 1e9, "metre": 1e9, "m": 1e9,
    "centimeter": 1e7, "cm": 1e7,
    "millimeter": 1e6, "mm": 1e6,
    "micrometer": 1e3, "micrometre": 1e3, "micron": 1e3, "um": 1e3, "µm": 1e3, "μm": 1e3,
    "nanometer": 1.0, "nanometre": 1.0, "nm": 1.0,
    "angstrom": 0.1, "ångström": 0.1, "å": 0.1, "a": 0.1,
    "picometer": 1e-3, "pm": 1e-3,
}  # fmt: skip


@dataclass(frozen=True)
class Grid:
    """How an array lies in space, one entry per axis in C order."""

    axes: tuple[str, ...]
    scale: tuple[float, ...]
    """Below 0 where the array is stored in reverse."""
    units: tuple[str | None, ...]
    translation: tuple[float, ...] | None = None
    """Where the middle of the first voxel lies."""
    is_from_corner: bool = False
    """Whether the array's index space itself says where the corner is (precomputed)."""

    def order(self) -> tuple[int, int, int] | None:
        """Return which entries are z, y and x, or None when one is missing."""
        if not {"z", "y", "x"} <= set(self.axes):
            return None
        return (self.axes.index("z"), self.axes.index("y"), self.axes.index("x"))

    def spatial(self) -> tuple[tuple[float, ...], tuple[str | None, ...]] | None:
        """Return the voxel edges and the units of z, y, x, or None when one is missing."""
        order = self.order()
        if order is None:
            return None
        return tuple(abs(self.scale[i]) for i in order), tuple(self.units[i] for i in order)

    def flips(self) -> tuple[bool, bool, bool]:
        """Return which of z, y, x are stored in reverse."""
        order = self.order()
        if order is None:
            return (False, False, False)
        z, y, x = (self.scale[i] < 0 for i in order)
        return (z, y, x)

    def coarser(self, factors: Sequence[float]) -> Grid:
        """Return the grid of means over `factors` voxels: their middles lie further on."""
        scale = tuple(a * b for a, b in zip(self.scale, factors, strict=True))
        shift = self.translation
        if shift is not None:
            shift = tuple(
                t + s * (f - 1) / 2 for t, s, f in zip(shift, self.scale, factors, strict=True)
            )
        return replace(self, scale=scale, translation=shift)


def pick_spatial_axes(
    axes: Sequence[str] | None, shape: Sequence[int], what: str
) -> tuple[int, int, int]:
    """Return which axes of an array are z, y and x; all others must have one entry.

    Without names the last three are meant that are left when surplus axes of one entry are
    dropped from the front. Raises FormatError (UNSUPPORTED_RANK).
    """
    named = axes is not None and len(axes) == len(shape) and {"z", "y", "x"} <= set(axes)
    names = list(axes) if named and axes else _guess_axes(shape)
    described = ", ".join(
        f"{name}={size}" if named else str(size) for name, size in zip(names, shape, strict=True)
    )
    if not {"z", "y", "x"} <= set(names):
        raise FormatError(
            f"{what} has {len(shape)} axes ({described}); an image needs z, y and x. A single "
            "picture can be imported as a stack of one.",
            ErrorKind.UNSUPPORTED_RANK,
        )
    order = (names.index("z"), names.index("y"), names.index("x"))
    if any(size != 1 for axis, size in enumerate(shape) if axis not in order):
        raise FormatError(
            f"{what} has {len(shape)} axes ({described}), of which others than z, y, x have more "
            "than one entry. Write one channel and one time point as an array of its own and "
            "open that.",
            ErrorKind.UNSUPPORTED_RANK,
        )
    return order


def _guess_axes(shape: Sequence[int]) -> list[str]:
    """Return names: z, y, x for the last three that remain without surplus axes of size 1."""
    kept = list(range(len(shape)))
    for axis in range(len(shape)):
        if len(kept) > 3 and shape[axis] == 1:
            kept.remove(axis)
    names = ["?"] * len(shape)
    for axis, name in zip(kept[-3:][::-1], "xyz", strict=False):
        names[axis] = name
    return names


def resolve_voxel_sizes(
    grids: Sequence[Grid | None],
    shapes: Sequence[Sequence[int]],
    wanted: VoxelSize | None,
) -> tuple[tuple[VoxelSize, ...], bool]:
    """Return the voxel size of each level in nm, and whether the finest was assumed.

    `wanted` stands for the finest level where given. Levels without a scale get it from the
    ratio of their shape to the finest one. A scale without units is read as nm, or as um where
    it is below 1, or as a count of assumed voxels where it is exactly 1.
    """
    scales = [grid.spatial() if grid else None for grid in grids]
    base, assumed = (wanted, False) if wanted else _base_size(scales[0])
    sizes = []
    for scale, shape in zip(scales, shapes, strict=True):
        if scale and scales[0]:
            ratio = [a / b for a, b in zip(scale[0], scales[0][0], strict=True)]
        else:
            ratio = [float(max(1, round(a / b))) for a, b in zip(shapes[0], shape, strict=True)]
        z, y, x = (a * b for a, b in zip(base, ratio, strict=True))
        sizes.append((z, y, x))
    return tuple(sizes), assumed


def first_corners(
    grid: Grid | None, offset: Sequence[int], voxel_size: VoxelSize, shape: Sequence[int]
) -> tuple[Corner, ...]:
    """Return where the outer corner of the first voxel may lie, the likeliest place first.

    `offset` is where the array's index space begins (precomputed's `voxel_offset`, which is that
    of a corner). A translation is the place of the first voxel's middle in NGFF and of its corner
    for some writers, and nothing in the metadata tells which was meant, so both are returned;
    likewise without any translation, where the middle is at 0. Along an axis that is stored in
    reverse the first voxel, as we read it, is the last stored one.
    """
    begin = [float(value) for value in offset]
    order = grid.order() if grid else None
    if grid is not None and grid.translation is not None and order is not None:
        # In voxels, so that units do not matter.
        begin = [
            b + grid.translation[axis] / abs(grid.scale[axis])
            for b, axis in zip(begin, order, strict=True)
        ]
        begin = [
            b - (side - 1) if is_flipped else b
            for b, side, is_flipped in zip(begin, shape, grid.flips(), strict=True)
        ]
    elif any(begin):
        return (_position(begin, 0.0, voxel_size),)
    middle, corner = (_position(begin, back, voxel_size) for back in (0.5, 0.0))
    return (corner, middle) if grid is not None and grid.is_from_corner else (middle, corner)


def _position(begin: Sequence[float], back: float, voxel_size: VoxelSize) -> Corner:
    z, y, x = ((b - back) * edge for b, edge in zip(begin, voxel_size, strict=True))
    return (z, y, x)


def _base_size(
    spatial: tuple[tuple[float, ...], tuple[str | None, ...]] | None,
) -> tuple[VoxelSize, bool]:
    if spatial is None:
        return ASSUMED_VOXEL_SIZE, True
    scale, units = spatial
    if None not in units:
        z, y, x = (s * _nanometres(u) for s, u in zip(scale, units, strict=True))
        return (z, y, x), False
    finest = min(scale)
    by = ASSUMED_VOXEL_SIZE[0] if finest == 1 else 1.0 if finest > 1 else 1e3
    z, y, x = (s * by for s in scale)
    return (z, y, x), True


def _nanometres(unit: str | None) -> float:
    if unit not in _NANOMETRES:
        known = "nanometer, micrometer, angstrom, millimeter or meter"
        raise broken("unit", unit, f"one of {known}; or give the voxel size yourself")
    return _NANOMETRES[unit]


def unit_name(value: object) -> str | None:
    """Return the unit in lower case and singular, or None for nothing and for pixels."""
    name = value.strip().lower() if isinstance(value, str) else ""
    name = name.rstrip("s") if len(name) > 3 else name
    return None if name in ("", "pixel", "pixels", "px", "voxel", "none") else name


def unit_names(value: object, count: int) -> tuple[str | None, ...]:
    """Return one unit per axis from a list of them or one for all."""
    values = value if isinstance(value, list) and len(value) == count else [value] * count
    return tuple(unit_name(v) for v in values)


def finite_numbers(value: object, name: str, count: int | None) -> tuple[float, ...]:
    """Return numbers out of JSON, or raise FormatError naming the member they came from."""
    right = (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and len(value) > 0
        and all(isinstance(v, int | float) and isfinite(v) for v in value)
    )
    if not right or not isinstance(value, Sequence) or (count and len(value) != count):
        raise broken(name, value, f"{count or 'some'} finite numbers")
    return tuple(float(v) for v in value)


def broken(name: str, value: object, expected: str) -> FormatError:
    """Return the error for metadata that cannot be used."""
    shown = repr(value)
    return FormatError(
        f"The image's metadata cannot be used: {name} must be {expected}, not {shown[:200]}.",
        ErrorKind.UNSUPPORTED_FORMAT,
    )
