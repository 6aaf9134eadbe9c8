"""Segments a region of a volume: reads it with a margin, runs the network, returns only labels.

Nothing is written anywhere, so a run that is cancelled (an error raised by `progress`) leaves
nothing behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeAlias

import fastremap
import numpy as np
from numpy.typing import NDArray
from torch import nn

from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.geometry import Coordinate, Roi
from segmentation_backend.inference.panoptic import Maps, segment_maps
from segmentation_backend.inference.parameters import InferenceParameters
from segmentation_backend.inference.planes import GreyScale, Tiling, normalise, predict_maps
from segmentation_backend.inference.stack import (
    drop_small_objects,
    link_sections,
    median_sections,
)
from segmentation_backend.models.registry import ModelSpec

__all__ = ["Mode", "Plane", "Progress", "Reader", "segment_region"]

Plane: TypeAlias = Literal["xy", "xz", "yz"]
Mode: TypeAlias = Literal["slice", "stack"]
Reader: TypeAlias = Callable[[Roi], NDArray[Any]]
Progress: TypeAlias = Callable[[float, str], None]

_AXES: dict[str, int] = {"xy": 0, "xz": 1, "yz": 2}
_MARGIN = 32
"""Pixels read around the region in its plane, so that the network sees what its edge belongs to."""
_GRID = 16
"""Sections begin on multiples of the encoder's stride, wherever the region begins."""
_SLAB = 32
"""Sections read at a time: about half a chunk, few enough to hold."""


def segment_region(
    read: Reader,
    roi: Roi,
    network: nn.Module,
    spec: ModelSpec,
    contrast: GreyScale,
    plane: Plane,
    mode: Mode,
    parameters: InferenceParameters,
    progress: Progress,
    bounds: Roi | None = None,
) -> NDArray[np.uint32]:
    """Return the objects in `roi`: uint32 (z, y, x) of its shape, numbered 1..n, 0 = background.

    `read` returns the grey values (z, y, x) of a box of the same level; boxes lie within `bounds`
    (`roi` itself where not given: then there is no margin). `plane` is the plane of the sections
    that the 2D network sees. In mode "slice" no object goes on from one section to the next; in
    mode "stack" they are linked to 3D objects. `progress` is told the share done and a sentence
    after each section.
    """
    axis = _check(roi, plane, mode)
    limits = roi if bounds is None else bounds
    box = _with_margin(roi, axis, mode, parameters, limits)
    tiling = Tiling(padding_factor=spec.padding_factor)
    count = box.shape[axis]
    sections = _sections(read, box, axis)
    maps = (predict_maps(normalise(s, contrast), network, parameters, tiling) for s in sections)
    counted = _reported(maps, count, progress)
    shape = tuple(np.delete(box.shape, axis))
    if mode == "stack":
        smooth = median_sections(counted, parameters.median_slices)
        flat = link_sections(
            (segment_maps(m, parameters) for m in smooth), (count, *shape), parameters
        )
        flat = drop_small_objects(flat, parameters.min_size, parameters.min_extent)
    else:
        flat = _separate(counted, (count, *shape), parameters)
    cut = np.moveaxis(flat, 0, axis)[roi.slices(box.offset)]
    smallest = 1 if mode == "stack" else parameters.min_area
    return _renumber(np.ascontiguousarray(cut), smallest)


def _check(roi: Roi, plane: str, mode: str) -> int:
    """Return the axis across the plane."""
    if roi.is_empty:
        raise InvalidInputError(
            f"The region {roi} holds no voxel; choose one that lies in the volume.",
            ErrorKind.ROI_EMPTY,
        )
    if plane not in _AXES:
        raise InvalidInputError(
            f"plane must be xy, xz or yz, not {plane!r}.", ErrorKind.INVALID_PARAMETER
        )
    if mode not in ("slice", "stack"):
        raise InvalidInputError(
            f"mode must be slice or stack, not {mode!r}.", ErrorKind.INVALID_PARAMETER
        )
    return _AXES[plane]


def _with_margin(
    roi: Roi, axis: int, mode: str, parameters: InferenceParameters, limits: Roi
) -> Roi:
    """Return the box to read: a margin in the plane, and the median's reach across it."""
    margin = [_MARGIN] * 3
    margin[axis] = parameters.median_slices // 2 if mode == "stack" else 0
    grid = [_GRID] * 3
    grid[axis] = 1
    return roi.grow(margin).snap_out(grid).intersect(limits)


def _sections(read: Reader, box: Roi, axis: int) -> Iterator[NDArray[Any]]:
    """Yield the sections (H, W) of a box, read some at a time."""
    for first in range(0, box.shape[axis], _SLAB):
        offset, shape = list(box.offset), list(box.shape)
        offset[axis] += first
        shape[axis] = min(_SLAB, box.shape[axis] - first)
        yield from np.moveaxis(read(Roi(_triple(offset), _triple(shape))), axis, 0)


def _triple(values: list[int]) -> Coordinate:
    z, y, x = values
    return (z, y, x)


def _reported(maps: Iterator[Maps], count: int, progress: Progress) -> Iterator[Maps]:
    for number, item in enumerate(maps, start=1):
        yield item
        progress(number / count, f"Section {number} of {count}")


def _separate(
    maps: Iterator[Maps], shape: tuple[int, ...], parameters: InferenceParameters
) -> NDArray[np.uint32]:
    """Return each section's own objects, all numbers different."""
    labels = np.zeros(shape, np.uint32)
    used = 0
    for index, item in enumerate(maps):
        section = segment_maps(item, parameters)
        labels[index][section > 0] = section[section > 0] + used
        used += int(section.max(initial=0))
    return labels


def _renumber(labels: NDArray[np.uint32], smallest: int) -> NDArray[np.uint32]:
    """Return the objects of at least `smallest` voxels, 1..n: a cut may have left slivers."""
    sizes = np.bincount(labels.ravel())
    kept = sizes >= smallest
    kept[0] = False
    remaining, _ = fastremap.renumber(np.where(kept[labels], labels, 0), in_place=True)
    return np.asarray(remaining, dtype=np.uint32)
