"""Image files that must be imported before they can be viewed, read plane by plane."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from math import prod
from pathlib import Path
from typing import IO
from xml.etree import ElementTree as ET

import h5py
import numpy as np
import tifffile
from numpy.typing import NDArray

from segmentation_backend.errors import (
    ErrorKind,
    FormatError,
    InvalidInputError,
    NotFoundError,
    SegmentationError,
)
from segmentation_backend.geometry import Coordinate, VoxelSize
from segmentation_backend.sources.grids import pick_spatial_axes
from segmentation_backend.sources.stacks import Stack, cut_slabs, declared_size
from segmentation_backend.sources.tiff import TIFF_SUFFIXES, open_tiff, open_tiff_folder

__all__ = ["FILE_SUFFIXES", "open_stack"]

FILE_SUFFIXES = (".npz", ".npy", ".tif", ".tiff", ".h5", ".hdf5", ".hdf")
"""What `open_stack` reads, beside folders of TIFF files."""

_SHOWN = 20
_DAMAGE = (
    OSError,
    ValueError,
    KeyError,
    IndexError,
    EOFError,
    RuntimeError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
    tifffile.TiffFileError,
    ET.ParseError,
)


@contextmanager
def open_stack(path: Path, dataset: str | None = None) -> Iterator[Stack]:
    """Open a NPZ, NPY, TIFF or HDF5 file or a folder of TIFF files.

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
    with ExitStack() as files:
        with _damage_explained(path):
            stack = files.enter_context(_opener(path)(path, dataset))

        def slabs(depth: int) -> Iterator[NDArray[np.generic]]:
            with _damage_explained(path):
                yield from stack.slabs(depth)

        yield Stack(stack.shape, stack.dtype, stack.voxel_size, slabs)


@contextmanager
def _damage_explained(path: Path) -> Iterator[None]:
    try:
        yield
    except SegmentationError:
        raise
    except _DAMAGE as err:
        raise FormatError(
            f"{path} cannot be read as {path.suffix or 'a folder of TIFF files'}: {err}. The "
            "file is damaged or of another kind.",
            ErrorKind.UNSUPPORTED_FORMAT,
        ) from err


def _opener(path: Path) -> Callable[[Path, str | None], AbstractContextManager[Stack]]:
    suffix = path.suffix.lower()
    if path.is_dir():
        return _tiff_folder
    if suffix == ".npz":
        return _npz
    if suffix == ".npy":
        return _npy
    if suffix in TIFF_SUFFIXES:
        return _tiff
    if suffix in (".h5", ".hdf5", ".hdf"):
        return _hdf5
    raise FormatError(
        f"{path} is none of the files that can be imported ({', '.join(FILE_SUFFIXES)}, or a "
        "folder of TIFF files, zarr or N5).",
        ErrorKind.UNSUPPORTED_FORMAT,
    )


def _choose(shapes: Mapping[str, tuple[int, ...]], dataset: str | None, path: Path) -> str:
    """Return the array that is named, or the only one that may be an image."""
    listed = ", ".join(f"{name} {shape}" for name, shape in list(shapes.items())[:_SHOWN])
    if dataset is not None:
        name = dataset.strip("/")
        if name in shapes:
            return name
        raise NotFoundError(
            f"{path} has no dataset {dataset!r}; it holds {listed or 'no arrays'}.",
            ErrorKind.PATH_NOT_FOUND,
        )
    images = [name for name, shape in shapes.items() if len(shape) >= 3]
    if len(images) == 1:
        return images[0]
    if images:
        raise InvalidInputError(
            f"{path} holds {len(images)} arrays that may be an image: {listed}. Choose one by "
            "naming it as the dataset.",
            ErrorKind.INVALID_PARAMETER,
        )
    raise FormatError(
        f"{path} holds no array with the three axes z, y, x; it holds {listed or 'nothing'}.",
        ErrorKind.UNSUPPORTED_RANK,
    )


def _no_dataset(dataset: str | None, path: Path) -> None:
    if dataset is not None:
        raise InvalidInputError(
            f"{path} holds one image only; leave out the dataset {dataset!r}.",
            ErrorKind.INVALID_PARAMETER,
        )


def _sides(shape: tuple[int, ...], path: Path) -> Coordinate:
    """Return the shape without axes of one entry, where there are more than three."""
    z, y, x = (int(shape[axis]) for axis in pick_spatial_axes(None, shape, str(path)))
    return (z, y, x)


@contextmanager
def _npy(path: Path, dataset: str | None) -> Iterator[Stack]:
    _no_dataset(dataset, path)
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    shape = _sides(array.shape, path)
    yield Stack(shape, array.dtype, None, cut_slabs(array.reshape(shape), shape[0]))


@contextmanager
def _npz(path: Path, dataset: str | None) -> Iterator[Stack]:
    with zipfile.ZipFile(path) as archive:
        headers = {}
        for member in archive.namelist():
            if member.endswith(".npy"):
                with archive.open(member) as file:
                    headers[member[:-4]] = _npy_header(file)
        name = _choose({key: head[0] for key, head in headers.items()}, dataset, path)
        full, is_fortran, dtype = headers[name]
        shape = _sides(full, path)

        def slabs(depth: int) -> Iterator[NDArray[np.generic]]:
            if is_fortran:
                # Planes of z are scattered all over the member: no way but to load it.
                whole = np.load(path, allow_pickle=False)[name].reshape(shape)
                yield from cut_slabs(whole, shape[0])(depth)
                return
            with archive.open(f"{name}.npy") as file:
                _npy_header(file)
                for begin in range(0, shape[0], depth):
                    slab = (min(depth, shape[0] - begin), *shape[1:])
                    data = _read_exactly(file, prod(slab) * dtype.itemsize)
                    yield np.frombuffer(data, dtype).reshape(slab)

        yield Stack(shape, dtype, None, slabs)


def _npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    version = np.lib.format.read_magic(file)
    read = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    shape, is_fortran, dtype = read(file)
    if dtype.hasobject:
        raise ValueError("arrays of Python objects are not read")
    return shape, is_fortran, dtype


def _read_exactly(file: IO[bytes], count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        part = file.read(count - len(data))
        if not part:
            raise EOFError(f"the array ends {count - len(data)} bytes early")
        data += part
    return bytes(data)


@contextmanager
def _hdf5(path: Path, dataset: str | None) -> Iterator[Stack]:
    with h5py.File(path, "r") as file:
        shapes: dict[str, tuple[int, ...]] = {}

        def note(name: str, item: object) -> None:
            if isinstance(item, h5py.Dataset) and item.dtype.kind in "biuf":
                shapes[name] = item.shape

        file.visititems(note)
        array = file[_choose(shapes, dataset, path)]
        order = pick_spatial_axes(None, array.shape, str(path))
        shape = _sides(array.shape, path)

        def slabs(depth: int) -> Iterator[NDArray[np.generic]]:
            for begin in range(0, shape[0], depth):
                wanted = slice(begin, min(begin + depth, shape[0]))
                index = tuple(
                    wanted if axis == order[0] else slice(None) if axis in order else 0
                    for axis in range(array.ndim)
                )
                yield array[index]

        yield Stack(shape, array.dtype, _hdf5_voxel_size(array.attrs), slabs)


def _hdf5_voxel_size(attributes: Mapping[str, NDArray[np.float64]]) -> VoxelSize | None:
    """Return `element_size_um` (Fiji, z y x) or `resolution` (CREMI, nm) in nm."""
    for name, unit in (("element_size_um", "um"), ("resolution", "nm")):
        if name in attributes:
            values = np.ravel(attributes[name])
            return declared_size(partial(_floats, values), [unit] * 3)
    return None


def _floats(values: NDArray[np.float64]) -> list[float]:
    return [float(value) for value in values]


@contextmanager
def _tiff(path: Path, dataset: str | None) -> Iterator[Stack]:
    _no_dataset(dataset, path)
    with open_tiff(path) as stack:
        yield stack


@contextmanager
def _tiff_folder(path: Path, dataset: str | None) -> Iterator[Stack]:
    with open_tiff_folder(path / dataset if dataset else path) as stack:
        yield stack
