"""TIFF stacks, and the voxel size that Fiji or OME wrote."""

from __future__ import annotations

from math import prod
from pathlib import Path
from threading import Lock
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import tifffile
from numpy.typing import NDArray

from segmentation_backend.geometry import Coordinate, Roi, VoxelSize
from segmentation_backend.sources.bombs import inflate
from segmentation_backend.sources.choosing import refuse_dataset
from segmentation_backend.sources.grids import pick_spatial_axes
from segmentation_backend.sources.stacks import (
    Stack,
    check_plane,
    declared_size,
    plane_count,
    read_raw,
)

__all__ = ["TIFF_SUFFIXES", "open_tiff"]

TIFF_SUFFIXES = (".tif", ".tiff")

_DEFLATE = (8, 32946, 50013)
_MAX_STRIP_BYTES = 2**31
_ROOM_BYTES = 2**20


def _bounded(packed: bytes, /, *, out: object = None) -> bytes:
    """Unpack a strip or tile to no more than `out` bytes say, with room for a padded last one."""
    return inflate(packed, (2 * out if isinstance(out, int) else _MAX_STRIP_BYTES) + _ROOM_BYTES)


def _bound_deflate() -> None:
    """Have tifffile unpack with a bound, where it would use zlib, which has none."""
    codecs: Any = tifffile.TIFF.DECOMPRESSORS
    for number in _DEFLATE:
        if codecs[number].__module__ == "tifffile._imagecodecs":
            codecs._codecs[number] = _bounded


_bound_deflate()


def open_tiff(path: Path, dataset: str | None = None) -> Stack:
    """Open the first image series of a TIFF file; errors of tifffile pass through.

    An OME-TIFF may name other files for its planes; they are not opened, for it may name any.
    """
    refuse_dataset(dataset, path)
    with tifffile.TiffFile(path, _multifile=False) as file:
        series = file.series[0]
        _check_complete(file, series.size)
        sides = _sides(series.axes, series.shape, path)
        size = _voxel_size(file)
        if series.dataoffset is not None:
            dtype = series.dtype.newbyteorder(file.byteorder)
            read, chunk = read_raw(path, series.dataoffset, dtype, sides)
            return Stack(sides, series.dtype, size, read, chunk)
        pages = list(series.pages)
        plane = check_plane(sides, series.dtype)
        return Stack(
            sides, series.dtype, size, _Pages(pages).read, (plane_count(plane), *sides[1:])
        )


def _check_complete(file: tifffile.TiffFile, size: int) -> None:
    """Raise ValueError when the file announces more voxels than its pages hold.

    The pages of a TIFF are a chain, so a damaged file looks like a shorter one.
    """
    announced = [prod(entry["shape"]) for entry in file.shaped_metadata or () if "shape" in entry]
    images = (file.imagej_metadata or {}).get("images")
    if images:
        announced.append(int(images) * prod(file.pages.first.shape))
    pixels = _ome_pixels(file.ome_metadata) if file.ome_metadata else None
    if pixels is not None:
        announced.append(prod(int(pixels.get(f"Size{axis}", 1)) for axis in "XYZCT"))
    if announced and announced[0] != size:
        raise ValueError(f"it announces {announced[0]} voxels and holds {size}")


class _Pages:
    """The pages of a TIFF file, decoded when they are asked for; the file is open only then."""

    def __init__(self, pages: list[Any]) -> None:
        self._pages = pages
        # The pages share one file handle and its position.
        self._lock = Lock()

    def read(self, box: Roi) -> NDArray[np.generic]:
        """Return a box of planes."""
        wanted, rows, columns = box.slices()
        pages = self._pages[wanted]
        if any(page is None for page in pages):
            raise ValueError("a page is missing")
        for page in pages:
            _check_segments(page)
        with self._lock:
            file = pages[0].parent.filehandle
            file.open()
            try:
                return np.stack([_flat(page.asarray())[rows, columns] for page in pages])
            finally:
                file.close()


def _check_segments(page: tifffile.TiffPage | tifffile.TiffFrame) -> None:
    """Raise ValueError for strips or tiles far larger than the plane that they are of."""
    if prod(page.chunks) > 2 * page.size + _ROOM_BYTES:
        raise ValueError(f"its strips or tiles are {page.chunks}, of a plane of {page.shape}")


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


def _ome_pixels(document: str) -> ET.Element | None:
    return ET.fromstring(document).find(".//{*}Pixels")


def _ome_size(document: str) -> VoxelSize | None:
    pixels = _ome_pixels(document)
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
