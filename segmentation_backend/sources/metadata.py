"""What OME-NGFF, N5 and precomputed metadata say about the levels of an image; nothing is read.

Everything here is in C order (slowest axis first), whatever order the format uses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from segmentation_backend.errors import ErrorKind, FormatError
from segmentation_backend.sources.grids import (
    Grid,
    broken,
    finite_numbers,
    unit_name,
    unit_names,
)

__all__ = ["LevelPath", "array_grid", "below", "group_levels", "precomputed_levels"]


_SMALLEST, _LARGEST = 1e-12, 1e12
_MAX_LEVELS = 64
_MAX_PATH = 1024


@dataclass(frozen=True)
class LevelPath:
    """One level of a pyramid: its place below the group, and its grid where that is known."""

    path: str
    axes: tuple[str, ...] | None
    grid: Grid | None


def below(path: object, name: str) -> str:
    """Return a relative path that metadata give, or raise FormatError where it leads elsewhere.

    A level lies below its group: not at it (a loop), above it, at another server or anywhere else.
    """
    parts = path.split("/") if isinstance(path, str) else []
    leads_on = any(part not in ("", ".") for part in parts)
    is_plain = isinstance(path, str) and len(path) <= _MAX_PATH and not set(path) & set("\\|?#\0")
    is_here = ".." not in parts and parts[:1] != [""] and "://" not in str(path)
    if not (isinstance(path, str) and leads_on and is_plain and is_here):
        raise broken(name, path, "the path of an array below the group")
    return path


def _check_count(levels: Sequence[object], name: str) -> None:
    if len(levels) > _MAX_LEVELS:
        raise broken(name, f"{len(levels)} of them", f"at most {_MAX_LEVELS} levels")


def group_levels(attributes: Mapping[str, Any], is_n5: bool) -> tuple[LevelPath, ...] | None:
    """Return the levels that a group's attributes declare, or None for a plain group.

    Reads OME-NGFF 0.1 to 0.5 `multiscales` and, for N5, `scales` or `downsamplingFactors` with
    `pixelResolution` or `resolution`. Raises FormatError (UNSUPPORTED_FORMAT) for metadata that
    contradict themselves.
    """
    ome = attributes.get("ome")
    holder = ome if isinstance(ome, Mapping) else attributes
    multiscales = holder.get("multiscales")
    if multiscales is not None:
        if not isinstance(multiscales, list) or not multiscales:
            raise broken("multiscales", multiscales, "a list with one entry or more")
        return _ngff_levels(multiscales[0], attributes, is_n5)
    factors = attributes.get("downsamplingFactors", attributes.get("scales"))
    if is_n5 and isinstance(factors, list) and factors and isinstance(factors[0], list):
        return _n5_levels(attributes, factors)
    return None


def _ngff_levels(
    image: object, attributes: Mapping[str, Any], is_n5: bool
) -> tuple[LevelPath, ...]:
    if not isinstance(image, Mapping) or not isinstance(image.get("datasets"), list):
        raise broken("multiscales[0]", image, "an object with a list of datasets")
    _check_count(image["datasets"], "multiscales[0].datasets")
    axes, units = _ngff_axes(image.get("axes"))
    levels = []
    for dataset in image["datasets"]:
        if not isinstance(dataset, Mapping) or not isinstance(dataset.get("path"), str):
            raise broken("multiscales[0].datasets", dataset, "objects with a path")
        grid = array_grid(dataset, is_n5)
        if grid is None and axes:
            grid = _transformed(axes, units, dataset, image)
        path = below(dataset["path"], "multiscales[0].datasets.path")
        levels.append(LevelPath(path, grid.axes if grid else axes, grid))
    if not levels:
        raise broken("multiscales[0].datasets", [], "at least one level")
    if is_n5 and all(level.grid is None for level in levels):
        factors = attributes.get("downsamplingFactors", attributes.get("scales"))
        if isinstance(factors, list) and len(factors) == len(levels):
            return _n5_levels(attributes, factors, [level.path for level in levels])
    _check_alignment(levels)
    return tuple(levels)


def _ngff_axes(value: object) -> tuple[tuple[str, ...] | None, tuple[str | None, ...]]:
    """Return names and units; 0.3 has bare names, 0.1 and 0.2 have none."""
    if value is None:
        return None, ()
    if not isinstance(value, list):
        raise broken("axes", value, "a list")
    entries = [{"name": axis} if isinstance(axis, str) else axis for axis in value]
    if not all(isinstance(axis, Mapping) and isinstance(axis.get("name"), str) for axis in entries):
        raise broken("axes", value, "objects with a name")
    names = tuple(axis["name"].lower() for axis in entries)
    return names, tuple(unit_name(axis.get("unit")) for axis in entries)


def _transformed(
    axes: tuple[str, ...],
    units: tuple[str | None, ...],
    dataset: Mapping[str, Any],
    image: Mapping[str, Any],
) -> Grid | None:
    """Return the grid after the level's own transformations and then the group's."""
    steps = [
        *_steps(dataset.get("coordinateTransformations")),
        *_steps(image.get("coordinateTransformations")),
    ]
    for step in steps:
        if step.get("type") not in ("scale", "translation", "identity"):
            raise broken("coordinateTransformations", step, "of type scale or translation")
    if not any(step.get("type") == "scale" for step in steps):
        return None
    scale, shift = [1.0] * len(axes), [0.0] * len(axes)
    for step in steps:
        if step.get("type") == "scale":
            by = finite_numbers(step.get("scale"), "scale", len(axes))
            _check_scale(by, "scale")
            scale = [a * b for a, b in zip(scale, by, strict=True)]
            shift = [a * b for a, b in zip(shift, by, strict=True)]
        elif step.get("type") == "translation":
            move = finite_numbers(step.get("translation"), "translation", len(axes))
            shift = [a + b for a, b in zip(shift, move, strict=True)]
    return Grid(axes, tuple(scale), units, tuple(shift))


def _steps(value: object) -> list[Mapping[str, Any]]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(step, Mapping) for step in value):
        raise broken("coordinateTransformations", value, "a list of objects")
    return value


def _check_alignment(levels: Sequence[LevelPath]) -> None:
    """Refuse levels that do not cover the same place.

    Positions are voxel centres in NGFF, so level k of a proper pyramid is shifted by
    (2^k - 1) / 2 fine voxels and all corners coincide; writers that leave the shift out are off
    by less than one coarse voxel. We line levels up by their corners, so both are right.
    """
    first = levels[0].grid
    for level in levels[1:]:
        grid = level.grid
        if not (first and grid and first.translation and grid.translation):
            continue
        for name, size, here, fine, there in zip(
            grid.axes, grid.scale, grid.translation, first.scale, first.translation, strict=True
        ):
            shift = (here - size / 2) - (there - fine / 2)
            if name in ("z", "y", "x") and abs(shift) > 1.001 * max(abs(size), abs(fine)):
                raise FormatError(
                    f"Level {level.path!r} lies {shift:g} along {name} from level "
                    f"{levels[0].path!r}, which is more than a voxel: they show "
                    "different places. Open one level alone by naming it as the dataset.",
                    ErrorKind.UNSUPPORTED_FORMAT,
                )


def _n5_levels(
    attributes: Mapping[str, Any], factors: Sequence[object], paths: Sequence[str] | None = None
) -> tuple[LevelPath, ...]:
    _check_count(factors, "scales")
    base = array_grid(attributes, is_n5=True)
    levels = []
    for index, factor in enumerate(factors):
        numbers = finite_numbers(factor, "scales", len(base.axes) if base else 3)[::-1]
        path = paths[index] if paths else f"s{index}"
        grid = None
        if base:
            grid = base.coarser(numbers)
        levels.append(LevelPath(path, base.axes if base else None, grid))
    return tuple(levels)


def array_grid(attributes: Mapping[str, Any], is_n5: bool) -> Grid | None:
    """Return the grid that an array's own attributes declare, or None.

    Reads CellMap's `transform` (which names its axes) and the N5 customs `pixelResolution` and
    `resolution` with `units` (x first in N5).
    """
    transform = attributes.get("transform")
    if isinstance(transform, Mapping) and isinstance(transform.get("axes"), list):
        axes = tuple(str(axis).lower() for axis in transform["axes"])
        scale = finite_numbers(transform.get("scale"), "transform.scale", len(axes))
        _check_scale(scale, "transform.scale")
        units = unit_names(transform.get("units"), len(axes))
        shift = transform.get("translate")
        moved = None if shift is None else finite_numbers(shift, "transform.translate", len(axes))
        grid = Grid(axes, scale, units, moved)
        # N5 tools write the names in either order; the array is always x first.
        return _reversed(grid) if is_n5 and axes[-1] == "z" else grid
    resolution, unit = _resolution(attributes)
    if resolution is None:
        return None
    scale = finite_numbers(resolution, "resolution", None)
    _check_scale(scale, "resolution")
    names = attributes.get("axes")
    if isinstance(names, list) and len(names) == len(scale):
        axes = tuple(str(name).lower() for name in names)
    else:
        axes = ("x", "y", "z", "c", "t")[: len(scale)] if is_n5 else ("z", "y", "x")[-len(scale) :]
    units = unit_names(unit, len(scale))
    grid = Grid(axes, scale, units, _offset(attributes, scale, is_n5))
    return _reversed(grid) if is_n5 else grid


def _offset(
    attributes: Mapping[str, Any], scale: tuple[float, ...], is_n5: bool
) -> tuple[float, ...] | None:
    """Return where the first voxel's middle lies, from the `offset` beside a `resolution`.

    Paintera, which writes N5, means the middle of the first voxel; funlib and daisy, which write
    zarr, its corner.
    """
    value = attributes.get("translate", attributes.get("offset"))
    if not isinstance(value, list) or len(value) != len(scale):
        return None
    shift = finite_numbers(value, "offset", len(scale))
    if is_n5:
        return shift
    return tuple(a + abs(edge) / 2 for a, edge in zip(shift, scale, strict=True))


def _check_scale(scale: Sequence[float], name: str) -> None:
    """Refuse what is no voxel edge; one below 0 means that the axis is stored in reverse."""
    if not all(_SMALLEST < abs(edge) < _LARGEST for edge in scale):
        raise broken(name, list(scale), "numbers other than 0")


def _reversed(grid: Grid) -> Grid:
    shift = grid.translation[::-1] if grid.translation else None
    return Grid(grid.axes[::-1], grid.scale[::-1], grid.units[::-1], shift)


def _resolution(attributes: Mapping[str, Any]) -> tuple[object, object]:
    pixel = attributes.get("pixelResolution")
    if isinstance(pixel, Mapping):
        return pixel.get("dimensions"), pixel.get("unit")
    units = attributes.get("units")
    return (pixel, units) if pixel is not None else (attributes.get("resolution"), units)


def precomputed_levels(info: Mapping[str, Any]) -> tuple[LevelPath, ...]:
    """Return the levels of a precomputed volume's `info`; resolutions are nm by definition."""
    scales = info.get("scales")
    if not isinstance(scales, list) or not scales:
        raise broken("scales", scales, "a list with one entry or more")
    _check_count(scales, "scales")
    axes = ("channel", "z", "y", "x")
    levels = []
    for index, scale in enumerate(scales):
        if not isinstance(scale, Mapping):
            raise broken("scales", scale, "a list of objects")
        # Without one, the key is made of the resolution.
        below(scale.get("key", "s"), "scales.key")
        edges = finite_numbers(scale.get("resolution"), "resolution", 3)[::-1]
        _check_scale(edges, "resolution")
        units = (None, "nanometer", "nanometer", "nanometer")
        grid = Grid(axes, (1.0, *edges), units, is_from_corner=True)
        levels.append(LevelPath(str(index), axes, grid))
    return tuple(levels)
