"""Make an image volume with a pyramid out of whatever a microscope or a colleague sent."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from math import prod
from pathlib import Path
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
from segmentation_backend.sources.contrast import StatedRange, as_omero
from segmentation_backend.sources.grids import ASSUMED_VOXEL_SIZE, Corner
from segmentation_backend.sources.journal import ImportJournal, identify
from segmentation_backend.sources.readers import is_stack, open_stack
from segmentation_backend.sources.specs import CloudSettings, locate
from segmentation_backend.sources.stacks import BoxReader, read_raw
from segmentation_backend.sources.stores import wait
from segmentation_backend.sources.volume import IMAGE_DTYPES, Volume, open_volume

__all__ = ["import_image"]

_CHUNK = 64
_SLAB_BYTES = 2**27
"""Read at a time; three such pieces may be in memory."""
_BLOCK: Coordinate = (64, 256, 512)
"""Voxels of a coarse level that are made at once: eight times as many fine ones are read."""

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class _Source:
    """What is imported."""

    shape: Coordinate
    dtype: np.dtype[np.generic]
    voxel_size: VoxelSize | None
    translation: Corner
    """Where the middle of the first voxel lies, nm."""
    read: BoxReader
    is_planar: bool
    """Whether part of a plane costs as much as all of it."""
    stated: StatedRange | None = None
    """How its metadata want it shown; a range where anything is said."""


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

    `path` is anything `open_volume` or `open_stack` opens; `dataset` chooses an array within.
    Memory stays bounded whatever the size. `progress` gets a fraction 0..1 and a sentence. The
    folder appears complete or not at all; an import that was killed, or whose source went away,
    goes on where it was when it is started again with the same source.

    The voxel size (nm, z, y, x) is the argument, else what the file says, else assumed; the
    last is noted in the result. How the source's metadata want it shown is kept (`omero`), so that
    the copy looks as its source looked; greys are not changed. Raises what `open_stack` and
    `open_volume` raise, ConflictError (NAME_TAKEN) when `destination` exists or is being written,
    and ResourceError (DISK_FULL).
    """
    if voxel_size is not None and not all(0 < edge < 1e9 for edge in voxel_size):
        raise InvalidInputError(
            f"The voxel size must be three positive lengths in nm, not {voxel_size}.",
            ErrorKind.INVALID_PARAMETER,
        )
    _refuse_existing(destination)
    report = progress or (lambda fraction, message: None)
    source = _open(path, dataset, cloud, voxel_size)
    _check(source, path)
    identity = identify(path, dataset, source.shape, source.dtype, voxel_size)
    folder = destination.with_name(f".{destination.name}.partial")
    is_kept = False
    try:
        with ImportJournal(folder, identity) as journal:
            _write(source, journal, voxel_size, destination.stem, report)
            _refuse_existing(destination)
            journal.finish(destination)
    except OSError as err:
        raise _write_error(err) from err
    except ConflictError:
        # Somebody else is writing there.
        is_kept = not destination.exists()
        raise
    except ResourceError as err:
        is_kept = err.kind is not ErrorKind.DISK_FULL
        raise
    finally:
        if not is_kept:
            shutil.rmtree(folder, ignore_errors=True)
    report(1.0, "Done.")
    return destination


def _refuse_existing(destination: Path) -> None:
    if destination.exists():
        raise ConflictError(
            f"{destination} exists already; choose another name or remove it first.",
            ErrorKind.NAME_TAKEN,
        )


def _open(
    path: str | Path, dataset: str | None, cloud: CloudSettings | None, wanted: VoxelSize | None
) -> _Source:
    local = locate(str(path), cloud).local_path
    if (
        local is not None
        and (is_stack(local, dataset) or not local.is_dir())
        and not _is_zip(local)
    ):
        stack = open_stack(local, dataset)
        origin = stack.translation or (0.0, 0.0, 0.0)
        is_planar = stack.is_sequential or stack.chunk[1:] == stack.shape[1:]
        return _Source(
            stack.shape, stack.dtype, stack.voxel_size, origin, stack.read, is_planar
        )  # fmt: skip
    volume = open_volume(str(path), dataset=dataset, voxel_size=wanted, cloud=cloud)
    size = volume.levels[0].voxel_size
    z, y, x = (corner + edge / 2 for corner, edge in zip(volume.origin, size, strict=True))
    known = None if volume.voxel_size_is_assumed else size
    return _Source(
        volume.bounds.shape,
        volume.dtype,
        known,
        (z, y, x),
        volume.read,
        is_planar=False,
        stated=_stated(volume),
    )


def _stated(volume: Volume) -> StatedRange | None:
    """Return how an image wants to be shown, with its percentiles where it only says "inverted"."""
    stated = volume.stated
    if stated is None or stated.low is not None:
        return stated
    contrast = volume.contrast()
    return StatedRange(contrast.low, contrast.high, stated.inverted)


def _is_zip(path: Path) -> bool:
    return path.suffix.lower() == ".zip"


def _check(source: _Source, path: str | Path) -> None:
    name = source.dtype.name
    if name not in (*IMAGE_DTYPES, "float64"):
        raise FormatError(
            f"{path} is of type {name}; an image is one of {', '.join(IMAGE_DTYPES)} or float64.",
            ErrorKind.UNSUPPORTED_DTYPE,
        )
    if min(source.shape) < 1:
        raise FormatError(
            f"{path} holds no voxel: its shape is {source.shape}.", ErrorKind.UNSUPPORTED_RANK
        )


def _write(
    source: _Source,
    journal: ImportJournal,
    wanted: VoxelSize | None,
    name: str,
    report: Progress,
) -> None:
    """Write level 0 from the source, each further level from the one before, then the metadata."""
    size = wanted or source.voxel_size
    levels = plan_levels(source.shape, size or ASSUMED_VOXEL_SIZE)
    dtype = np.dtype("float32") if source.dtype.name == "float64" else source.dtype
    arrays = [_create(journal.folder, level, dtype.newbyteorder("=")) for level in levels]
    total = sum(prod(level.shape) for level in levels)
    done = 0
    for block, what in _fill_first(source, arrays[0], journal):
        done += block.size
        report(done / total, what)
    for level in levels[1:]:
        for block in _halve(arrays, levels, level, journal):
            done += block.size
            report(done / total, f"Level {level.level} of {len(levels) - 1}.")
    document = _document(levels, name, source.translation, is_assumed=size is None)
    omero = None if source.stated is None else as_omero(source.stated, dtype)
    if omero is not None:
        document["attributes"]["ome"]["omero"] = omero
    (journal.folder / "zarr.json").write_text(json.dumps(document, indent=2))


def _fill_first(
    source: _Source, target: ts.TensorStore, journal: ImportJournal
) -> Iterator[tuple[Roi, str]]:
    """Write level 0 in blocks of whole chunks; yield each when it is written, with a sentence."""
    depth = source.shape[0]
    tasks = _first_blocks(source, journal)
    for block in _written(tasks, target, journal, 0):
        yield block, f"Plane {block.end[0]} of {depth}."


def _first_blocks(
    source: _Source, journal: ImportJournal
) -> Iterator[tuple[Roi, Callable[[], NDArray[np.generic]]]]:
    """Yield blocks with how to read them: slabs of a chunk's depth, cut into bands where large."""
    depth, height, width = source.shape
    row = _CHUNK * width * source.dtype.itemsize
    rows = max(1, _SLAB_BYTES // (row * _CHUNK)) * _CHUNK
    for begin in range(0, depth, _CHUNK):
        slab = Roi((begin, 0, 0), (min(_CHUNK, depth - begin), height, width))
        bands = [
            Roi((begin, top, 0), (slab.shape[0], min(rows, height - top), width))
            for top in range(0, height, rows)
        ]
        read = source.read
        if len(bands) > 1 and source.is_planar and not journal.has_done(0, len(bands)):
            read = _spooled(source, slab, journal.folder / "planes")
        for band in bands:
            yield band, partial(read, band)


def _spooled(source: _Source, slab: Roi, scratch: Path) -> BoxReader:
    """Return a reader of a slab whose planes were decoded once, into a file."""
    plane = prod(slab.shape[1:]) * source.dtype.itemsize
    count = max(1, _SLAB_BYTES // plane)
    with scratch.open("wb") as file:
        for begin in range(slab.offset[0], slab.end[0], count):
            planes = Roi((begin, 0, 0), (count, *slab.shape[1:])).intersect(slab)
            np.ascontiguousarray(source.read(planes)).tofile(file)
    read, _ = read_raw(scratch, 0, source.dtype, slab.shape)
    back = (-slab.offset[0], 0, 0)
    return lambda box: read(box.shift(back))


def _written(
    tasks: Iterator[tuple[Roi, Callable[[], NDArray[np.generic]]]],
    target: ts.TensorStore,
    journal: ImportJournal,
    level: int,
) -> Iterator[Roi]:
    """Write blocks, the next one being read meanwhile; yield each when it is there."""
    pending: tuple[Roi, ts.WriteFutures] | None = None
    for block, read in tasks:
        if journal.skips(level):
            yield block
            continue
        voxels = read()
        if pending:
            yield _finish(pending, journal, level)
        data = voxels.astype(target.dtype.numpy_dtype, copy=False)
        pending = block, target[block.slices()].write(data)
    if pending:
        yield _finish(pending, journal, level)


def _finish(pending: tuple[Roi, ts.WriteFutures], journal: ImportJournal, level: int) -> Roi:
    block, future = pending
    try:
        future.result()
    except ValueError as err:
        raise _write_error(err) from err
    journal.note(level)
    return block


def _create(folder: Path, level: ScaleLevel, dtype: np.dtype[np.generic]) -> ts.TensorStore:
    spec = {
        "driver": "zarr3",
        # The journal brings many chunks to the disk at once.
        "kvstore": {
            "driver": "file",
            "path": f"{folder / str(level.level)}/",
            "file_io_sync": False,
        },
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
    array: ts.TensorStore = wait(lambda: ts.open(spec, create=True, open=True), str(folder))
    return array


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
    arrays: list[ts.TensorStore],
    levels: tuple[ScaleLevel, ...],
    level: ScaleLevel,
    journal: ImportJournal,
) -> Iterator[Roi]:
    """Fill a level with means of the finer one, block by block; yield each when it is written."""
    finer = levels[level.level - 1].voxel_size
    factors = [round(a / b) for a, b in zip(level.voxel_size, finer, strict=True)]
    means = ts.downsample(arrays[level.level - 1], factors, "mean")
    bounds = Roi((0, 0, 0), level.shape)
    starts = (range(0, side, step) for side, step in zip(level.shape, _BLOCK, strict=True))
    blocks = (Roi((z, y, x), _BLOCK).intersect(bounds) for z, y, x in product(*starts))
    tasks = ((block, partial(_mean, means, block)) for block in blocks)
    return _written(tasks, arrays[level.level], journal, level.level)


def _mean(means: ts.TensorStore, block: Roi) -> NDArray[np.generic]:
    try:
        voxels: NDArray[np.generic] = means[block.slices()].read().result()
    except ValueError as err:
        raise _write_error(err) from err
    return voxels


def _document(
    levels: tuple[ScaleLevel, ...], name: str, first: Corner, *, is_assumed: bool
) -> dict[str, Any]:
    """Return the group's zarr.json; positions are voxel centres, so coarse levels are shifted."""
    base = levels[0].voxel_size
    datasets = []
    for level in levels:
        shift = [t + (a - b) / 2 for t, a, b in zip(first, level.voxel_size, base, strict=True)]
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
