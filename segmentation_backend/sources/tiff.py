"""TIFF stacks, in one file or one plane a file, and the voxel size that Fiji or OME wrote."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import tifffile
from numpy.typing import NDArray

from segmentation_backend.errors import ErrorKind, FormatError
from segmentation_backend.geometry import Coordinate, VoxelSize
from segmentation_backend.sources.grids import pick_spatial_axes
from segmentation_backend.sources.stacks import Stack, cut_slabs, declared_size

__all__ = ["TIFF_SUFFIXES", "open_tiff", "open_tiff_folder"]

TIFF_SUFFIXES = (".tif", ".tiff")


@contextmanager
def open_tiff(path: Path) -> Iterator[Stack]:
    """Open the first image series of a TIFF file; errors of tifffile pass through."""
    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        _check_complete(file, series.size)
        sides = _sides(series.axes, series.shape, path)
        size = _voxel_size(file)
        if series.dataoffset is not None:
            dtype = series.dtype.newbyteorder(file.byteorder)
            array = np.memmap(path, dtype, "r", series.dataoffset, shape=sides)
            yield Stack(sides, series.dtype, size, cut_slabs(array, sides[0]))
        else:
            pages = _Pages(list(series.pages))
            yield Stack(sides, series.dtype, size, cut_slabs(pages, sides[0]))


def _check_complete(file: tifffile.TiffFile, size: int) -> None:
    """Raise ValueError when the file announces more voxels than its pages hold.

    The pages of a TIFF are a chain, so a damaged file looks like a shorter one.
    """
    announced = [prod(entry["shape"]) for entry in file.shaped_metadata or () if "shape" in entry]
    images = (file.imagej_metadata or {}).get("images")
    if images:
        announced.append(int(images) * prod(file.pages.first.shape))
    if announced and announced[0] != size:
        raise ValueError(f"it announces {announced[0]} voxels and holds {size}")


class _Pages:
    """Pages of a TIFF file, sliced like an array of z, y, x."""

    def __init__(self, pages: list[Any]) -> None:
        self._pages = pages

    def __getitem__(self, wanted: slice) -> NDArray[np.generic]:
        planes = []
        for page in self._pages[wanted]:
            if page is None:
                raise ValueError("a page is missing")
            planes.append(_flat(page.asarray()))
        return np.stack(planes)


def _flat(plane: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return y, x of a plane that may have further axes of one entry."""
    while plane.ndim > 2:
        plane = np.squeeze(plane, axis=plane.shape.index(1))
    return plane


def _sides(axes: str, shape: tuple[int, ...], path: Path) -> Coordinate:
    """Return z, y, x of a series; Z, I (images), Q (unknown) or T may be the planes."""
    names = list(axes.lower())
    if "z" not in names or shape[names.index("z")] == 1:
        names = ["?" if name == "z" else name for name in names]
        planes = [i for i, name in enumerate(names) if name in "iqt" and shape[i] > 1]
        if planes:
            names[planes[0]] = "z"
    if "z" not in names:
        names, shape = ["z", *names], (1, *shape)
    z, y, x = (int(shape[axis]) for axis in pick_spatial_axes(names, shape, str(path)))
    return (z, y, x)


def _voxel_size(file: tifffile.TiffFile) -> VoxelSize | None:
    return _ome_size(file.ome_metadata) if file.ome_metadata else _imagej_size(file)


def _ome_size(document: str) -> VoxelSize | None:
    pixels = ET.fromstring(document).find(".//{*}Pixels")
    if pixels is None:
        return None
    edges = [pixels.get(f"PhysicalSize{axis}") for axis in "ZYX"]
    units = [pixels.get(f"PhysicalSize{axis}Unit", "um") for axis in "ZYX"]
    return declared_size(lambda: [float(edge or "nan") for edge in edges], units)


def _imagej_size(file: tifffile.TiffFile) -> VoxelSize | None:
    metadata = file.imagej_metadata or {}
    if "spacing" not in metadata or "unit" not in metadata:
        return None
    # TIFF counts pixels per unit, as a fraction.
    fractions = [file.pages.first.tags.valueof(f"{axis}Resolution") for axis in "YX"]
    # Fiji writes the micro sign as an escape of six characters.
    unit = str(metadata["unit"]).replace("\\u00B5", "u")
    return declared_size(
        lambda: [float(metadata["spacing"]), *(n[1] / n[0] for n in fractions)], [unit] * 3
    )


@contextmanager
def open_tiff_folder(folder: Path) -> Iterator[Stack]:
    """Open a folder of TIFF files of one plane each; plane 10 comes after plane 9.

    Raises FormatError (UNSUPPORTED_FORMAT) without any, and while reading for planes that
    differ.
    """
    files = sorted(
        (file for file in folder.iterdir() if file.suffix.lower() in TIFF_SUFFIXES), key=_natural
    )
    if not files:
        raise FormatError(
            f"{folder} holds no TIFF files, zarr or N5 array to import.",
            ErrorKind.UNSUPPORTED_FORMAT,
        )
    with open_tiff(files[0]) as first:
        dtype, size, (depth, height, width) = first.dtype, first.voxel_size, first.shape
    if depth != 1:
        raise FormatError(
            f"{files[0]} is a stack of {depth} planes; a folder must hold one plane a file. "
            "Give the file itself instead.",
            ErrorKind.UNSUPPORTED_RANK,
        )

    def slabs(depth: int) -> Iterator[NDArray[np.generic]]:
        for begin in range(0, len(files), depth):
            batch = files[begin : begin + depth]
            yield np.stack([_plane(file, (height, width), dtype) for file in batch])

    yield Stack((len(files), height, width), dtype, size, slabs)


def _plane(file: Path, sides: tuple[int, int], dtype: np.dtype[Any]) -> NDArray[np.generic]:
    plane = np.squeeze(tifffile.imread(file))
    if plane.size == sides[0] * sides[1] and 1 in sides:
        plane = plane.reshape(sides)
    if plane.shape != sides or plane.dtype != dtype:
        raise FormatError(
            f"{file} is {plane.shape} of {plane.dtype}, but the first plane of its folder is "
            f"{sides} of {dtype}; all planes of a stack must be alike.",
            ErrorKind.UNSUPPORTED_FORMAT,
        )
    return plane


def _natural(path: Path) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", path.name.lower())
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
