"""Single pictures, and folders of them: one plane a file (TIFF, PNG, JPEG, BMP)."""

from __future__ import annotations

import re
from functools import partial
from math import prod
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from segmentation_backend.errors import ErrorKind, FormatError
from segmentation_backend.geometry import Roi
from segmentation_backend.sources.choosing import refuse_dataset
from segmentation_backend.sources.stacks import Stack, check_plane, plane_count
from segmentation_backend.sources.tiff import TIFF_SUFFIXES, open_tiff

__all__ = [
    "PICTURE_SUFFIXES",
    "is_picture_folder",
    "open_picture",
    "open_picture_folder",
]

# Planes of EM are larger than what Pillow takes for an attack; `check_plane` has our own limit, and
# every picture of a folder must be of the first one's size.
Image.MAX_IMAGE_PIXELS = None

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")

_ARRAYS = ("zarr.json", ".zgroup", ".zarray", ".zattrs", "attributes.json")
_GREY = ("L", "I;16", "I;16B", "I;16L", "I", "F")


def is_picture_folder(folder: Path) -> bool:
    """Whether a folder is a stack of pictures, and no array store that has a picture beside it."""
    if not folder.is_dir() or any((folder / name).exists() for name in _ARRAYS):
        return False
    entries = list(folder.iterdir())
    suffixes = {entry.suffix.lower() for entry in entries}
    if suffixes.intersection(TIFF_SUFFIXES):
        return True
    return bool(suffixes.intersection(PICTURE_SUFFIXES)) and not any(e.is_dir() for e in entries)


def open_picture(path: Path, dataset: str | None) -> Stack:
    """Open a picture as a stack of one plane."""
    refuse_dataset(dataset, path)
    return _stack([path])


def open_picture_folder(path: Path, dataset: str | None) -> Stack:
    """Open a folder of pictures of one plane each; plane 10 comes after plane 9.

    Raises FormatError (UNSUPPORTED_FORMAT) without any, and while reading for planes that differ.
    """
    folder = path / dataset if dataset else path
    files = sorted(folder.iterdir(), key=_natural)
    # TIFF files win over previews that lie beside them.
    tiffs = [file for file in files if file.suffix.lower() in TIFF_SUFFIXES]
    pictures = tiffs or [file for file in files if file.suffix.lower() in PICTURE_SUFFIXES]
    if not pictures:
        raise FormatError(
            f"{folder} holds no pictures (TIFF, PNG, JPEG, BMP), zarr or N5 array.",
            ErrorKind.UNSUPPORTED_FORMAT,
        )
    return _stack(pictures)


def _stack(files: list[Path]) -> Stack:
    if files[0].suffix.lower() in TIFF_SUFFIXES:
        first = open_tiff(files[0])
        size, dtype, (depth, height, width) = first.voxel_size, first.dtype, first.shape
        if depth != 1:
            raise FormatError(
                f"{files[0]} is a stack of {depth} planes; a folder must hold one plane a file. "
                "Give the file itself instead.",
                ErrorKind.UNSUPPORTED_RANK,
            )
    else:
        size = None
        with Image.open(files[0]) as picture:
            width, height = picture.size
            dtype = _picture_dtype(picture, files[0])
    sides = (len(files), height, width)
    count = min(len(files), plane_count(check_plane(sides, dtype)))
    read = partial(_read, files, (height, width), dtype)
    return Stack(sides, dtype, size, read, (count, height, width))


def _read(
    files: list[Path], sides: tuple[int, int], dtype: np.dtype[np.generic], box: Roi
) -> NDArray[np.generic]:
    wanted, rows, columns = box.slices()
    return np.stack([_plane(file, sides, dtype)[rows, columns] for file in files[wanted]])


def _plane(file: Path, sides: tuple[int, int], dtype: np.dtype[np.generic]) -> NDArray[np.generic]:
    plane = (
        _tiff_plane(file, sides) if file.suffix.lower() in TIFF_SUFFIXES else _picture(file, sides)
    )
    if plane.shape != sides or plane.dtype != dtype:
        raise FormatError(
            f"{file} is {plane.shape} of {plane.dtype}, but the first plane of its folder is "
            f"{sides} of {dtype}; all planes of a stack must be alike.",
            ErrorKind.UNSUPPORTED_FORMAT,
        )
    return plane


def _tiff_plane(file: Path, sides: tuple[int, int]) -> NDArray[np.generic]:
    with tifffile.TiffFile(file, _multifile=False) as opened:
        series = opened.series[0]
        if series.size != prod(sides):
            # Not decoded: it may be larger than memory.
            return np.broadcast_to(np.zeros((), series.dtype), tuple(map(int, series.shape)))
        plane: NDArray[np.generic] = np.squeeze(series.asarray())
    return plane.reshape(sides) if plane.size == prod(sides) and 1 in sides else plane


def _picture(file: Path, sides: tuple[int, int]) -> NDArray[np.generic]:
    with Image.open(file) as picture:
        dtype = _picture_dtype(picture, file)
        if picture.size != sides[::-1]:
            # Not decoded: it may be larger than memory.
            return np.broadcast_to(np.zeros((), dtype), picture.size[::-1])
        voxels: NDArray[np.generic] = np.asarray(
            picture if picture.mode in _GREY else picture.convert("RGB")
        )
    if voxels.ndim == 3:
        if (voxels[..., 0] != voxels[..., 1]).any() or (voxels[..., 0] != voxels[..., 2]).any():
            raise FormatError(
                f"{file} is a picture in colour; EM is grey. Write one channel of it.",
                ErrorKind.UNSUPPORTED_RANK,
            )
        voxels = voxels[..., 0]
    return voxels.astype(dtype, copy=False)


def _picture_dtype(picture: Image.Image, file: Path) -> np.dtype[np.generic]:
    """Return the type of a picture's pixels; colours are looked at when they are read."""
    if picture.mode == "F":
        return np.dtype("float32")
    if picture.mode == "I":
        return np.dtype("int32")
    return np.dtype("uint16" if picture.mode.startswith("I;16") else "uint8")


def _natural(path: Path) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", path.name.lower())
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
