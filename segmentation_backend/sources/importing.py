"""Make an image volume with a pyramid out of whatever a microscope or a colleague sent."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from math import prod
from pathlib import Path
from secrets import token_hex
from typing import Any

import numpy as np
import tensorstore as ts
from numpy.typing import NDArray

from segmentation_backend.errors import (
    ConflictError,
    ErrorKind,
    FormatError,
    InvalidInputError,
    ResourceError,
)
from segmentation_backend.geometry import Coordinate, Roi, ScaleLevel, VoxelSize, plan_levels
from segmentation_backend.sources.grids import ASSUMED_VOXEL_SIZE
from segmentation_backend.sources.readers import FILE_SUFFIXES, open_stack
from segmentation_backend.sources.specs import CloudSettings, locate
from segmentation_backend.sources.stacks import Stack
from segmentation_backend.sources.stores import wait
from segmentation_backend.sources.tiff import TIFF_SUFFIXES
from segmentation_backend.sources.volume import IMAGE_DTYPES, open_volume

__all__ = ["import_image"]

_CHUNK = 64
_SLAB_BYTES = 2**28
_BLOCK: Coordinate = (64, 256, 512)
"""Voxels of a coarse level that are made at once: eight times as many fine ones are read."""

Progress = Callable[[float, str], None]


def import_image(
    path: str | Path,
    destination: Path,
    *,
    dataset: str | None = None,
    voxel_size: VoxelSize | None = None,
    progress: Progress | None = None,
    cloud: CloudSettings | None = None,
) -> Path:
    """Write an image to `destination` as OME-NGFF 0.5 (zarr v3) with a pyramid of area means.

    `path` is a NPZ, NPY, TIFF or HDF5 file, a folder of TIFF files, or anything `open_volume`
    opens; `dataset` chooses an array within. Memory stays bounded whatever the size. `progress`
    gets a fraction 0..1 and a sentence. The folder appears complete or not at all.

    The voxel size (nm, z, y, x) is the argument, else what the file says, else assumed; the
    last is noted in the result. Raises what `open_stack` and `open_volume` raise, ConflictError
    (NAME_TAKEN) when `destination` exists and ResourceError (DISK_FULL).
    """
    if voxel_size is not None and not all(0 < edge < 1e9 for edge in voxel_size):
        raise InvalidInputError(
            f"The voxel size must be three positive lengths in nm, not {voxel_size}.",
            ErrorKind.INVALID_PARAMETER,
        )
    _refuse_existing(destination)
    report = progress or (lambda fraction, message: None)
    with _open(path, dataset, cloud) as stack:
        _check(stack, path)
        partial = destination.with_name(f".{destination.name}.{token_hex(4)}.partial")
        try:
            partial.mkdir(parents=True)
            _write(stack, partial, voxel_size, destination.stem, report)
            _refuse_existing(destination)
            os.rename(partial, destination)
        except OSError as err:
            raise _write_error(err) from err
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    report(1.0, "Done.")
    return destination


def _refuse_existing(destination: Path) -> None:
    if destination.exists():
        raise ConflictError(
            f"{destination} exists already; choose another name or remove it first.",
            ErrorKind.NAME_TAKEN,
        )


@contextmanager
def _open(path: str | Path, dataset: str | None, cloud: CloudSettings | None) -> Iterator[Stack]:
    local = locate(str(path), cloud).local_path
    is_store = local is None or (local.is_dir() and not _has_tiff(local, dataset))
    if local is not None and (not is_store or local.suffix.lower() in FILE_SUFFIXES):
        with open_stack(local, dataset) as stack:
            yield stack
        return
    volume = open_volume(str(path), dataset=dataset, cloud=cloud)
    _, height, width = volume.levels[0].shape

    def slabs(depth: int) -> Iterator[NDArray[np.generic]]:
        for begin in range(0, volume.bounds.shape[0], depth):
            box = Roi((begin, 0, 0), (depth, height, width)).intersect(volume.bounds)
            yield volume.read(box)

    known = None if volume.voxel_size_is_assumed else volume.levels[0].voxel_size
    yield Stack(volume.bounds.shape, volume.dtype, known, slabs)


def _has_tiff(folder: Path, dataset: str | None) -> bool:
    inside = folder / dataset if dataset else folder
    return inside.is_dir() and any(
        file.suffix.lower() in TIFF_SUFFIXES for file in inside.iterdir()
    )


def _check(stack: Stack, path: str | Path) -> None:
    name = stack.dtype.name
    if name not in (*IMAGE_DTYPES, "float64"):
        raise FormatError(
            f"{path} is of type {name}; an image is one of {', '.join(IMAGE_DTYPES)} or float64.",
            ErrorKind.UNSUPPORTED_DTYPE,
        )
    if min(stack.shape) < 1:
        raise FormatError(
            f"{path} holds no voxel: its shape is {stack.shape}.", ErrorKind.UNSUPPORTED_RANK
        )


def _write(
    stack: Stack, folder: Path, wanted: VoxelSize | None, name: str, report: Progress
) -> None:
    """Write level 0 from the stack, each further level from the one before, then the metadata."""
    size = wanted or stack.voxel_size
    levels = plan_levels(stack.shape, size or ASSUMED_VOXEL_SIZE)
    dtype = np.dtype("float32") if stack.dtype.name == "float64" else stack.dtype
    arrays = [_create(folder, level, dtype.newbyteorder("=")) for level in levels]
    total = sum(prod(level.shape) for level in levels)
    done = 0
    for slab, begin in _counted(stack):
        part = slab.astype(arrays[0].dtype.numpy_dtype, copy=False)
        _fill(arrays[0][begin : begin + len(part)], part)
        done += part.size
        report(done / total, f"Plane {begin + len(part)} of {stack.shape[0]}.")
    for level in levels[1:]:
        for voxels in _halve(arrays[level.level - 1], arrays[level.level], levels, level):
            done += voxels
            report(done / total, f"Level {level.level} of {len(levels) - 1}.")
    document = _document(levels, name, is_assumed=size is None)
    (folder / "zarr.json").write_text(json.dumps(document, indent=2))


def _counted(stack: Stack) -> Iterator[tuple[NDArray[np.generic], int]]:
    """Yield slabs with their first plane, as deep as a chunk where memory allows."""
    plane = prod(stack.shape[1:]) * stack.dtype.itemsize
    depth = _CHUNK
    while depth > 1 and depth * plane > _SLAB_BYTES:
        depth //= 2
    begin = 0
    for slab in stack.slabs(depth):
        yield slab, begin
        begin += len(slab)


def _create(folder: Path, level: ScaleLevel, dtype: np.dtype[np.generic]) -> ts.TensorStore:
    spec = {
        "driver": "zarr3",
        "kvstore": {"driver": "file", "path": f"{folder / str(level.level)}/"},
        "metadata": {
            "shape": list(level.shape),
            "data_type": dtype.name,
            "chunk_grid": {
                "name": "regular",
                "configuration": {"chunk_shape": [_CHUNK] * 3},
            },
            "codecs": [
                {"name": "bytes", "configuration": {"endian": "little"}},
                {"name": "zstd", "configuration": {"level": 1}},
            ],
            "fill_value": 0,
            "dimension_names": ["z", "y", "x"],
        },
    }
    array: ts.TensorStore = wait(lambda: ts.open(spec, create=True), str(folder))
    return array


def _fill(target: ts.TensorStore, voxels: NDArray[np.generic] | ts.TensorStore) -> None:
    try:
        target.write(voxels).result()
    except ValueError as err:
        raise _write_error(err) from err


def _write_error(error: Exception) -> ResourceError:
    if getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error):
        return ResourceError(
            "The disk is full: the import was taken back. Free some space and try again.",
            ErrorKind.DISK_FULL,
        )
    return ResourceError(
        f"The import cannot be written and was taken back: {error}. Check that the data "
        "directory exists and may be written.",
        ErrorKind.SOURCE_UNAVAILABLE,
    )


def _halve(
    fine: ts.TensorStore,
    coarse: ts.TensorStore,
    levels: tuple[ScaleLevel, ...],
    level: ScaleLevel,
) -> Iterator[int]:
    """Fill a level with means of the finer one, block by block; yield the voxels written."""
    finer = levels[level.level - 1].voxel_size
    factors = [round(a / b) for a, b in zip(level.voxel_size, finer, strict=True)]
    means = ts.downsample(fine, factors, "mean")
    bounds = Roi((0, 0, 0), level.shape)
    starts = (range(0, side, step) for side, step in zip(level.shape, _BLOCK, strict=True))
    for z, y, x in product(*starts):
        block = Roi((z, y, x), _BLOCK).intersect(bounds)
        box = block.slices()
        _fill(coarse[box], means[box])
        yield block.size


def _document(levels: tuple[ScaleLevel, ...], name: str, *, is_assumed: bool) -> dict[str, Any]:
    """Return the group's zarr.json; positions are voxel centres, so coarse levels are shifted."""
    base = levels[0].voxel_size
    datasets = []
    for level in levels:
        shift = [(a - b) / 2 for a, b in zip(level.voxel_size, base, strict=True)]
        transformations = [
            {"type": "scale", "scale": list(level.voxel_size)},
            {"type": "translation", "translation": shift},
        ]
        datasets.append({"path": str(level.level), "coordinateTransformations": transformations})
    axes = [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "zyx"]
    multiscale = {"name": name, "type": "mean", "axes": axes, "datasets": datasets}
    return {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": {
            "ome": {"version": "0.5", "multiscales": [multiscale]},
            "mitoglance": {"voxel_size_is_assumed": is_assumed},
        },
    }
