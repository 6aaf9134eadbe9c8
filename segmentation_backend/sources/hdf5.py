"""Image arrays in HDF5 files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import product
from math import prod
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from segmentation_backend.geometry import Coordinate, Roi, VoxelSize
from segmentation_backend.sources.bombs import MOST_DEFLATED, check_deflated
from segmentation_backend.sources.choosing import choose_array, spatial_sides
from segmentation_backend.sources.grids import Corner, pick_spatial_axes
from segmentation_backend.sources.stacks import Stack, declared_size

__all__ = ["open_hdf5"]

_MAX_CHUNK_BYTES = 2**30
_ROOM_BYTES = 2**28
"""What a chunk may unpack to beyond what it should, so that few need to be looked at."""


def open_hdf5(path: Path, dataset: str | None) -> Stack:
    """Open an array of an HDF5 file; errors of h5py pass through.

    Only arrays that lie in the file itself are read: links to other files, virtual arrays and
    external storage would let a file name any other on this machine.
    """
    with h5py.File(path, "r") as file:
        shapes: dict[str, tuple[int, ...]] = {}

        def note(name: str, item: object) -> None:
            if isinstance(item, h5py.Dataset) and item.dtype.kind in "biuf":
                shapes[name] = item.shape

        # Neither soft nor external links are followed, and nothing is visited twice.
        file.visititems(note)
        name = choose_array(shapes, dataset, path)
        array = file[name]
        if array.is_virtual or array.external:
            raise ValueError(f"{name} is kept in other files, which are not opened")
        order = pick_spatial_axes(None, array.shape, str(path))
        chunk = _chunk(array, order)
        shape = spatial_sides(array.shape, path)
        rank, dtype = array.ndim, array.dtype
        is_deflated = array.chunks is not None and array.compression == "gzip"
        size = _voxel_size(array.attrs)
        translation = _translation(array.attrs, size) if size else None

    def read(box: Roi) -> NDArray[np.generic]:
        places = dict(zip(order, box.slices(), strict=True))
        with h5py.File(path, "r") as again:
            if is_deflated:
                _check_chunks(again[name], [places.get(a, slice(0, 1)) for a in range(rank)])
            voxels: NDArray[np.generic] = again[name][tuple(places.get(a, 0) for a in range(rank))]
        # What is left of the axes is in the file's order.
        kept = sorted(order)
        return voxels.transpose([kept.index(axis) for axis in order])

    return Stack(shape, dtype, size, read, chunk, translation=translation)


def _chunk(array: h5py.Dataset, order: tuple[int, int, int]) -> Coordinate:
    """Return the file's own chunk; rows of the array where it has none."""
    stored = array.chunks or (1,) * (array.ndim - 3) + (16, 64, min(4096, array.shape[-1]))
    if prod(stored) * array.dtype.itemsize > _MAX_CHUNK_BYTES:
        raise ValueError(f"its chunks of {stored} are too large to be decoded")
    z, y, x = (max(1, min(int(stored[axis]), int(array.shape[axis]))) for axis in order)
    return (z, y, x)


def _check_chunks(array: h5py.Dataset, places: Sequence[slice]) -> None:
    """Raise ValueError when a chunk that a box meets unpacks to far more than a chunk.

    HDF5 itself unpacks to the end, wherever that is. Only chunks are looked at that could.
    """
    whole = prod(array.chunks) * array.dtype.itemsize
    sides = [
        range(place.start // side * side, place.stop, side)
        for place, side in zip(places, array.chunks, strict=True)
    ]
    for corner in product(*sides):
        stored = array.id.get_chunk_info_by_coord(corner).size or 0
        if stored > 2 * whole + _ROOM_BYTES:
            raise ValueError(f"the chunk at {corner} has {stored} bytes, far more than a chunk")
        if stored * MOST_DEFLATED > 2 * whole + _ROOM_BYTES:
            _, packed = array.id.read_direct_chunk(corner)
            check_deflated(packed, 2 * whole + _ROOM_BYTES)


def _voxel_size(attributes: Mapping[str, NDArray[np.float64]]) -> VoxelSize | None:
    """Return `element_size_um` (Fiji, z y x) or `resolution` (CREMI, nm) in nm."""
    for name, unit in (("element_size_um", "um"), ("resolution", "nm")):
        if name in attributes:
            return declared_size(partial(_floats, attributes[name]), [unit] * 3)
    return None


def _translation(attributes: Mapping[str, NDArray[np.float64]], size: VoxelSize) -> Corner | None:
    """Return the first voxel's middle from `offset` (CREMI: its corner, nm, z y x)."""
    if "offset" not in attributes or "resolution" not in attributes:
        return None
    values = _floats(attributes["offset"])
    if len(values) != 3 or not all(np.isfinite(values)):
        return None
    z, y, x = (value + edge / 2 for value, edge in zip(values, size, strict=True))
    return (z, y, x)


def _floats(values: NDArray[np.float64]) -> list[float]:
    return [float(value) for value in np.ravel(values)]
