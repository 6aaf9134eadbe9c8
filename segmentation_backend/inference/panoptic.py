"""From the network's maps to objects of one section, in time proportional to its pixels.

Panoptic-DeepLab's grouping (Cheng et al., CVPR 2020) asks every pixel for the nearest of all
centres. Here the plane is divided among the centres once, and a pixel looks up the place that it
points to; the number of objects does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmentation_backend.errors import ErrorKind, FormatError, InvalidInputError
from segmentation_backend.inference.fragments import absorb_slivers
from segmentation_backend.inference.kernels import (
    collect_borders,
    find_runs,
    group_by_votes,
    join_runs,
    nearest_centre,
    paint_runs,
    window_maximum,
)
from segmentation_backend.inference.parameters import InferenceParameters

__all__ = [
    "Labels",
    "Maps",
    "find_centres",
    "group_pixels",
    "group_section",
    "join_fragments",
    "label_groups",
    "segment_maps",
]

Labels = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Maps:
    """What the network says about one section of H x W pixels."""

    probability: NDArray[np.float32]
    """(H, W), 0..1; of a network with several classes (C, H, W), background first"""
    centres: NDArray[np.float32]
    """(h, w), about 1 at a centre; h is H or H/4"""
    offsets: NDArray[np.float32]
    """(2, h, w), dy and dx to the centre, in full-resolution pixels"""

    @property
    def stride(self) -> int:
        """Full-resolution pixels for each pixel of centres and offsets."""
        # Not by division: 6 pixels have 2 at a quarter, and 6 / 2 is not 4.
        return 1 if self.centres.shape == self.probability.shape[-2:] else 4


def segment_maps(maps: Maps, parameters: InferenceParameters) -> Labels:
    """Return the objects (H, W) int32 of a network with one class, numbered 1..n without gaps.

    Each object is 8-connected. Of more than `maximum_objects_per_class` the largest are kept.
    """
    if maps.probability.ndim != 2:
        raise InvalidInputError(
            f"segment_maps takes the probability (H, W) of one class, not an array of shape "
            f"{maps.probability.shape}; use segment_classes.",
            ErrorKind.INVALID_PARAMETER,
        )
    foreground = maps.probability >= parameters.confidence_thr
    return label_groups(foreground, *group_section(maps, parameters), parameters)


def group_section(maps: Maps, parameters: InferenceParameters) -> tuple[Labels, int]:
    """Return the group (h, w) of every pixel, 1..n, and the pixels' stride in a section.

    Where the network sees no centre, and for `semantic_only`, all is one group.
    """
    _check_shapes(maps)
    if not parameters.semantic_only:
        centres = find_centres(
            maps.centres, parameters.center_confidence_thr, parameters.min_distance_object_centers
        )
        if len(centres):
            return group_pixels(centres, maps.offsets, maps.stride), maps.stride
    return np.ones((1, 1), np.int32), max(maps.probability.shape[-2:])


def _check_shapes(maps: Maps) -> None:
    """Refuse maps that do not cover the same section: a pixel without a group has no meaning."""
    fine, coarse = maps.probability.shape[-2:], maps.centres.shape
    covered = all(c * maps.stride >= f for f, c in zip(fine, coarse, strict=True) if f)
    if maps.offsets.shape != (2, *coarse) or not covered:
        raise FormatError(
            f"Maps of one section must cover the same pixels; probability {fine}, centres {coarse} "
            f"and offsets {maps.offsets.shape} do not. Check the model's outputs.",
            ErrorKind.MODEL_OUTPUT_INVALID,
        )


def label_groups(
    foreground: NDArray[np.bool_], groups: Labels, stride: int, parameters: InferenceParameters
) -> Labels:
    """Return the objects (H, W) of a foreground (H, W) whose pixels have groups, slivers joined."""
    runs, pieces, areas = _pieces(foreground, groups, stride, parameters.min_area)
    kept = areas >= max(parameters.min_area, 1)
    kept[0] = False
    excess = int(kept.sum()) - parameters.maximum_objects_per_class
    if excess > 0:
        candidates = np.flatnonzero(kept)
        # The stable order of sizes: among equals those further down are given up.
        order = np.argsort(-areas[candidates], kind="stable")
        kept[candidates[order[-excess:]]] = False
    numbers = np.where(kept, np.cumsum(kept), 0)
    return _painted(runs, numbers[pieces], foreground)


def find_centres(heatmap: NDArray[np.float32], threshold: float, window: int) -> NDArray[np.intp]:
    """Return (n, 2) y, x of the peaks at or above `threshold`, one for each plateau.

    A peak is the highest pixel of the `window` x `window` pixels around it (an even window counts
    as one less, as in empanada).
    """
    reach = (max(1, window) - 1) // 2
    heat = np.ascontiguousarray(heatmap, dtype=np.float32)
    peaks = (heat >= threshold) & (heat == window_maximum(heat, reach))
    runs, rows = find_runs(peaks, np.ones((1, 1), np.int32), max(1, *heat.shape))
    plateaus, _ = join_runs(runs, rows)
    _, first = np.unique(plateaus, return_index=True)
    return runs[first, :2].astype(np.intp)


def group_pixels(
    centres: NDArray[np.intp], offsets: NDArray[np.float32], stride: int = 1
) -> Labels:
    """Return (h, w) int32: for each pixel 1 + the number of the centre nearest to where it points.

    `centres` (n, 2) and the grid of `offsets` (2, h, w) are in pixels of that grid, the offsets'
    values in pixels `stride` times finer. Votes are rounded to pixels of the grid and clipped to
    it. Without centres the result is 0 everywhere.
    """
    _, height, width = offsets.shape
    if len(centres) == 0:
        return np.zeros((height, width), np.int32)
    territory = nearest_centre(np.ascontiguousarray(centres, dtype=np.int64), (height, width))
    grouped: Labels = group_by_votes(
        territory, np.ascontiguousarray(offsets, dtype=np.float32), stride
    )
    return grouped


def join_fragments(groups: Labels, min_area: int) -> Labels:
    """Return connected objects (H, W) of groups (0 = background) that may be in pieces.

    Each piece of a group is an object, except that slivers join the neighbour with which they
    share the longest border: pieces below `min_area`, and pieces other than a group's largest
    that are small beside that neighbour.
    """
    foreground = groups > 0
    runs, pieces, areas = _pieces(foreground, groups, 1, min_area)
    present = areas > 0
    return _painted(runs, np.where(present, np.cumsum(present), 0)[pieces], foreground)


def _pieces(
    foreground: NDArray[np.bool_], groups: Labels, stride: int, min_area: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return runs, the object of each run, and the area of each object.

    Objects are pieces of one group with the slivers that joined them; numbers may have gaps.
    """
    runs, rows = find_runs(
        np.ascontiguousarray(foreground), np.ascontiguousarray(groups, dtype=np.int32), stride
    )
    pieces, count = join_runs(runs, rows)
    lengths = runs[:, 2] - runs[:, 1]
    areas = np.bincount(pieces, lengths, count + 1).astype(np.int64)
    group = np.zeros(count + 1, np.int64)
    group[pieces] = runs[:, 3]
    hosts = absorb_slivers(areas, group, collect_borders(runs, rows, pieces), min_area)
    objects = hosts[pieces]
    return runs, objects, np.bincount(objects, lengths, count + 1).astype(np.int64)


def _painted(
    runs: NDArray[np.int64], labels: NDArray[np.int64], foreground: NDArray[np.bool_]
) -> Labels:
    height, width = foreground.shape
    painted: Labels = paint_runs(runs, labels, (height, width))
    return painted
