"""Image files that are no chunk stores, read by box where their kind allows it."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from segmentation_backend.errors import ErrorKind, FormatError, NotFoundError, SegmentationError
from segmentation_backend.geometry import Roi
from segmentation_backend.sources.hdf5 import open_hdf5
from segmentation_backend.sources.mrc import MRC_SUFFIXES, open_mrc
from segmentation_backend.sources.numpy_files import open_npy, open_npz
from segmentation_backend.sources.pictures import (
    PICTURE_SUFFIXES,
    is_picture_folder,
    open_picture,
    open_picture_folder,
)
from segmentation_backend.sources.stacks import Stack
from segmentation_backend.sources.tiff import TIFF_SUFFIXES, open_tiff

__all__ = ["FILE_SUFFIXES", "is_stack", "open_stack"]

_OPENERS: dict[tuple[str, ...], Callable[[Path, str | None], Stack]] = {
    (".npz",): open_npz,
    (".npy",): open_npy,
    TIFF_SUFFIXES: open_tiff,
    (".h5", ".hdf5", ".hdf"): open_hdf5,
    MRC_SUFFIXES: open_mrc,
    PICTURE_SUFFIXES: open_picture,
}
FILE_SUFFIXES = tuple(suffix for suffixes in _OPENERS for suffix in suffixes)
"""What `open_stack` reads, beside folders of pictures."""

_DAMAGE = (
    OSError,
    ValueError,
    KeyError,
    IndexError,
    EOFError,
    OverflowError,
    RuntimeError,
    SyntaxError,
    MemoryError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
    tifffile.TiffFileError,
    ET.ParseError,
    Image.DecompressionBombError,
)


def is_stack(path: Path, dataset: str | None = None) -> bool:
    """Whether a path is for `open_stack`: one of its files, or a folder of pictures."""
    if path.is_dir():
        return is_picture_folder(path / dataset if dataset else path)
    return path.suffix.lower() in FILE_SUFFIXES


def open_stack(path: Path, dataset: str | None = None) -> Stack:
    """Open a NPZ, NPY, TIFF, HDF5, MRC or picture file or a folder of pictures.

    Raises NotFoundError (PATH_NOT_FOUND), InvalidInputError (INVALID_PARAMETER) listing the
    arrays when there are several and none is named, FormatError (UNSUPPORTED_FORMAT) for a file
    that is damaged or of another kind and FormatError (UNSUPPORTED_RANK).
    """
    if not path.exists():
        above = next(parent for parent in path.absolute().parents if parent.exists())
        raise NotFoundError(
            f"There is no file at {path}. The nearest folder that exists is {above}.",
            ErrorKind.PATH_NOT_FOUND,
        )
    with _damage_explained(path):
        stack = _opener(path)(path, dataset)

    def read(box: Roi) -> NDArray[np.generic]:
        with _damage_explained(path):
            return stack.read(box)

    return replace(stack, read=read)


@contextmanager
def _damage_explained(path: Path) -> Iterator[None]:
    try:
        yield
    except SegmentationError:
        raise
    except _DAMAGE as err:
        raise FormatError(
            f"{path} cannot be read as {path.suffix or 'a folder of pictures'}: {err}. The "
            "file is damaged or of another kind.",
            ErrorKind.UNSUPPORTED_FORMAT,
        ) from err


def _opener(path: Path) -> Callable[[Path, str | None], Stack]:
    if path.is_dir():
        return open_picture_folder
    for suffixes, opener in _OPENERS.items():
        if path.suffix.lower() in suffixes:
            return opener
    raise FormatError(
        f"{path} is none of the files that can be read ({', '.join(FILE_SUFFIXES)}, or a "
        "folder of pictures, zarr or N5).",
        ErrorKind.UNSUPPORTED_FORMAT,
    )
