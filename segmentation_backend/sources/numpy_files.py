"""NPY files, and arrays in NPZ files."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Sequence
from math import prod
from pathlib import Path
from threading import Lock
from typing import IO

import numpy as np
from numpy.typing import NDArray

from segmentation_backend.geometry import Coordinate, Roi
from segmentation_backend.sources.choosing import choose_array, refuse_dataset, spatial_sides
from segmentation_backend.sources.stacks import Stack, check_plane, read_raw

__all__ = ["open_npy", "open_npz"]

_LOCAL_HEADER = struct.Struct("<4s22xHH")
_DEPTH = 64
_MAX_WHOLE_BYTES = 2**32


def open_npy(path: Path, dataset: str | None) -> Stack:
    """Open a NPY file; arrays of Python objects are refused (ValueError)."""
    refuse_dataset(dataset, path)
    with path.open("rb") as file:
        shape, is_fortran, dtype = _read_header(file)
        begin = file.tell()
    return _plain(path, begin, shape, is_fortran, dtype)


def open_npz(path: Path, dataset: str | None) -> Stack:
    """Open an array of a NPZ file: where it is not compressed by box, else as a stream."""
    with zipfile.ZipFile(path) as archive:
        headers = {}
        for member in archive.namelist():
            if member.endswith(".npy"):
                with archive.open(member) as file:
                    headers[member[:-4]] = (*_read_header(file), file.tell())
        name = choose_array({key: head[0] for key, head in headers.items()}, dataset, path)
        shape, is_fortran, dtype, begin = headers[name]
        member_info = archive.getinfo(f"{name}.npy")
    if member_info.compress_type == zipfile.ZIP_STORED and not member_info.flag_bits & 1:
        begin += _member_begin(path, member_info.header_offset)
        return _plain(path, begin, shape, is_fortran, dtype)
    sides = spatial_sides(shape, path)
    _check_stream(sides, dtype, member_info.file_size - begin, is_fortran=is_fortran)
    stream = _Stream(path, f"{name}.npy", sides, dtype, is_fortran=is_fortran)
    depth = min(_DEPTH, sides[0])
    return Stack(sides, dtype, None, stream.read, (depth, *sides[1:]), is_sequential=True)


def _member_begin(path: Path, header: int) -> int:
    """Return where the bytes of a member begin: its own header has fields of any length."""
    with path.open("rb") as file:
        file.seek(header)
        magic, name, extra = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    if magic != b"PK\x03\x04":
        raise zipfile.BadZipFile("a member has no header")
    return int(header + _LOCAL_HEADER.size + name + extra)


def _plain(
    path: Path,
    begin: int,
    shape: tuple[int, ...],
    is_fortran: bool,
    dtype: np.dtype[np.generic],
) -> Stack:
    sides = spatial_sides(shape, path)
    stored: Sequence[int] = sides[::-1] if is_fortran else sides
    read, chunk = read_raw(path, begin, dtype, stored, (2, 1, 0) if is_fortran else (0, 1, 2))
    return Stack(sides, dtype, None, read, chunk)


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    version = np.lib.format.read_magic(file)
    read = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    shape, is_fortran, dtype = read(file)
    if dtype.hasobject:
        raise ValueError("arrays of Python objects are not read")
    if any(side < 0 for side in shape):
        raise ValueError(f"its shape {shape} is not one")
    return shape, is_fortran, dtype


def _check_stream(
    sides: Coordinate, dtype: np.dtype[np.generic], size: int, *, is_fortran: bool
) -> None:
    """Raise ValueError for an array that is not all there, or whose parts fill the memory."""
    needed = prod(sides) * dtype.itemsize
    if size < needed:
        raise ValueError(f"it ends {needed - size} bytes early")
    check_plane(sides, dtype)
    if is_fortran and needed > _MAX_WHOLE_BYTES:
        raise ValueError(
            f"{needed} bytes in Fortran order, compressed, have to be read whole, at most "
            f"{_MAX_WHOLE_BYTES}; write it in C order, or without compression"
        )


class _Stream:
    """A compressed member, read from front to back; going back starts it again."""

    def __init__(
        self,
        path: Path,
        member: str,
        sides: Coordinate,
        dtype: np.dtype[np.generic],
        *,
        is_fortran: bool,
    ) -> None:
        self._path, self._member = path, member
        self._sides, self._dtype = sides, dtype
        self._whole: NDArray[np.generic] | None = None
        self._is_fortran = is_fortran
        self._file: IO[bytes] | None = None
        self._plane = 0
        self._lock = Lock()

    def read(self, box: Roi) -> NDArray[np.generic]:
        """Return the voxels of a box."""
        with self._lock:
            if self._is_fortran:
                # Planes of z are scattered all over the member: no way but to load it.
                if self._whole is None:
                    with np.load(self._path, allow_pickle=False) as arrays:
                        self._whole = arrays[self._member[:-4]].reshape(self._sides)
                return self._whole[box.slices()]
            planes = self._planes(box.offset[0], box.shape[0])
        _, rows, columns = box.slices()
        return planes[:, rows, columns]

    def _planes(self, begin: int, count: int) -> NDArray[np.generic]:
        if self._file is None or begin < self._plane:
            self._rewind()
        assert self._file is not None
        size = prod(self._sides[1:]) * self._dtype.itemsize
        while self._plane < begin:
            _read_exactly(self._file, size)
            self._plane += 1
        data = _read_exactly(self._file, count * size)
        self._plane += count
        return np.frombuffer(data, self._dtype).reshape(count, *self._sides[1:])

    def _rewind(self) -> None:
        if self._file is not None:
            self._file.close()
        with zipfile.ZipFile(self._path) as archive:
            # The member keeps the archive's file open by itself.
            self._file = archive.open(self._member)
        _read_header(self._file)
        self._plane = 0


def _read_exactly(file: IO[bytes], count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        part = file.read(count - len(data))
        if not part:
            raise EOFError(f"the array ends {count - len(data)} bytes early")
        data += part
    return bytes(data)
