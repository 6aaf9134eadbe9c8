"""What lies at a location: an array, a pyramid, or a container of several images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import tensorstore as ts

from segmentation_backend.errors import ErrorKind, FormatError, InvalidInputError, NotFoundError
from segmentation_backend.sources.contrast import StatedRange, stated_range
from segmentation_backend.sources.folders import Folder, inspect_folder, list_folders
from segmentation_backend.sources.grids import Grid, finite_numbers
from segmentation_backend.sources.metadata import (
    LevelPath,
    array_grid,
    group_levels,
    precomputed_levels,
)
from segmentation_backend.sources.specs import Location
from segmentation_backend.sources.stores import check_archive

__all__ = ["ImageSource", "LevelSource", "find_image"]

_MAX_LEVELS = 12
_SHOWN = 20


@dataclass(frozen=True)
class LevelSource:
    """An array to open: its place, tensorstore's driver and what is known of its grid."""

    location: Location
    driver: str
    level: LevelPath
    extra: Mapping[str, Any]
    """Further members of the tensorstore specification."""

    @property
    def is_transposed(self) -> bool:
        """Whether tensorstore gives the axes in Fortran order, x first."""
        return self.driver in ("n5", "neuroglancer_precomputed")


@dataclass(frozen=True)
class ImageSource:
    """The arrays of one image, finest first."""

    location: Location
    levels: tuple[LevelSource, ...]
    is_size_assumed: bool = False
    """Whether the voxel size in the metadata is itself a guess (of our own import)."""
    stated: StatedRange | None = None
    """How the metadata of the image want it shown."""


def find_image(location: Location, context: ts.Context) -> ImageSource:
    """Return the image at a location.

    Raises NotFoundError (PATH_NOT_FOUND) naming the nearest parent that exists, FormatError
    (UNSUPPORTED_FORMAT) for what is no array store, and InvalidInputError (INVALID_PARAMETER)
    listing the candidates when a container holds several images.
    """
    local = location.local_path
    if local and local.is_file():
        raise FormatError(
            f"{location.url} is a file, not a zarr, N5 or precomputed folder, and none of the "
            "image files that are read (NPZ, NPY, TIFF, HDF5, MRC, PNG, JPEG, BMP, zip).",
            ErrorKind.UNSUPPORTED_FORMAT,
        )
    if location.archive is not None:
        check_archive(location, context)
    folder = inspect_folder(location, context)
    image = _image_of(location, folder, context)
    if image is not None:
        return image
    return _only_image_within(location, folder, context)


def _image_of(location: Location, folder: Folder | None, context: ts.Context) -> ImageSource | None:
    """Return the image that a folder is, or None for a container."""
    if folder is None:
        # N5 groups need no metadata of their own.
        return _numbered_levels(location, context)
    if folder.driver == "neuroglancer_precomputed":
        levels = tuple(
            LevelSource(location, folder.driver, level, {"scale_index": index})
            for index, level in enumerate(precomputed_levels(folder.attributes))
        )
        return ImageSource(location, levels)
    if folder.is_array:
        return _single(location, folder, context)
    declared = group_levels(folder.attributes, folder.driver == "n5")
    if declared is None:
        return _numbered_levels(location, context, folder)
    levels = tuple(
        LevelSource(location.child(level.path), folder.driver, level, {}) for level in declared
    )
    ours = folder.attributes.get("mitoglance")
    assumed = isinstance(ours, Mapping) and ours.get("voxel_size_is_assumed") is True
    return ImageSource(location, levels, assumed, stated_range(folder.attributes))


def _single(location: Location, folder: Folder, context: ts.Context) -> ImageSource:
    """Return an array alone; where it says nothing of its grid, the group above may."""
    level = _level_of_array(location.name, folder)
    stated = stated_range(folder.attributes)
    if level.grid is None and location.parent is not None:
        above = inspect_folder(location.parent, context)
        declared = group_levels(above.attributes, above.driver == "n5") if above else None
        level = next((d for d in declared or () if d.path == location.name), level)
        stated = stated or (stated_range(above.attributes) if above and declared else None)
    return ImageSource(location, (LevelSource(location, folder.driver, level, {}),), stated=stated)


def _level_of_array(path: str, folder: Folder) -> LevelPath:
    is_n5 = folder.driver == "n5"
    grid = array_grid(folder.attributes, is_n5)
    axes = grid.axes if grid else None
    names = folder.attributes.get("axes", folder.attributes.get("_ARRAY_DIMENSIONS"))
    if axes is None and isinstance(names, list):
        axes = tuple(str(name).lower() for name in names)
        axes = axes[::-1] if is_n5 else axes
    return LevelPath(path, axes, grid)


def _numbered_levels(
    location: Location, context: ts.Context, group: Folder | None = None
) -> ImageSource | None:
    """Return the pyramid of arrays called s0, s1, ... (BigDataViewer, Paintera), if it is one.

    The attributes of the `group` say how large a voxel is where the arrays do not.
    """
    levels: list[LevelSource] = []
    base: Grid | None = None
    stated = stated_range(group.attributes) if group else None
    for index in range(_MAX_LEVELS):
        place = location.child(f"s{index}")
        folder = inspect_folder(place, context)
        if folder is None or not folder.is_array:
            break
        level = _level_of_array(f"s{index}", folder)
        if not levels:
            above = array_grid(group.attributes, group.driver == "n5") if group else None
            base = level.grid or above
            stated = stated or stated_range(folder.attributes)
        levels.append(LevelSource(place, folder.driver, _scaled(level, folder, base), {}))
    return ImageSource(location, tuple(levels), stated=stated) if levels else None


def _scaled(level: LevelPath, folder: Folder, base: Grid | None) -> LevelPath:
    """Apply downsampling factors where a level says nothing, or repeats the finest resolution."""
    factors = folder.attributes.get("downsamplingFactors")
    if base is None or (level.grid is not None and level.grid.scale != base.scale):
        return level
    if not isinstance(factors, list) or len(factors) != len(base.scale):
        # Without factors only the finest level is known to be of this size.
        return replace(level, grid=level.grid or (base if level.path == "s0" else None))
    by = finite_numbers(factors, "downsamplingFactors", len(base.scale))
    by = by[::-1] if folder.driver == "n5" else by
    return replace(level, axes=level.axes or base.axes, grid=base.coarser(by))


def _only_image_within(
    location: Location, folder: Folder | None, context: ts.Context
) -> ImageSource:
    """Return the one image below a container, or say which there are."""
    found: list[ImageSource] = []
    paths = list_folders(location, folder, context)
    complete = paths is not None
    for path in paths or ():
        place = location.child(path)
        if any(f"{place.path}/".startswith(f"{known.location.path}/") for known in found):
            continue
        image = _openable(place, context)
        if image:
            found.append(image)
    if len(found) == 1:
        return found[0]
    if found:
        raise _ambiguous(location, found)
    exists = folder is not None or (location.local_path and location.local_path.is_dir())
    if not exists and not paths:
        raise _missing(location, context)
    hint = "" if complete else " Its contents cannot be listed from here."
    raise FormatError(
        f"{location.url} holds no image that can be opened: no zarr, N5 or precomputed array of "
        f"three axes was found.{hint} Name the array as the dataset, for example "
        "recon-1/em/fibsem-uint8.",
        ErrorKind.UNSUPPORTED_FORMAT,
    )


def _openable(place: Location, context: ts.Context) -> ImageSource | None:
    try:
        folder = inspect_folder(place, context)
        if folder is not None and folder.is_array and folder.rank < 3:
            return None
        return _image_of(place, folder, context)
    except FormatError:
        # A broken neighbour is no reason to hide the images that are fine.
        return None


def _ambiguous(location: Location, found: list[ImageSource]) -> InvalidInputError:
    start = len(location.path) + 1 if location.path else 0
    names = sorted(image.location.path[start:] for image in found)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return InvalidInputError(
        f"{location.url} holds {len(names)} images: {', '.join(names[:_SHOWN])}{more}. Choose "
        "one by naming it as the dataset.",
        ErrorKind.INVALID_PARAMETER,
    )


def _missing(location: Location, context: ts.Context) -> NotFoundError:
    """Say what is not there, and how far up something is."""
    above = location.parent
    while above is not None:
        local = above.local_path
        if local.exists() if local else inspect_folder(above, context) is not None:
            break
        above = above.parent
    hint = f"The nearest folder that exists is {above.url}." if above else "Check the address."
    return NotFoundError(f"There is no image at {location.url}. {hint}", ErrorKind.PATH_NOT_FOUND)
