"""From the network's maps to objects of one section, in time proportional to its pixels.

Panoptic-DeepLab's grouping (Cheng et al., CVPR 2020) asks every pixel for the nearest of all
centres. Here one distance transform tells the nearest centre of every place, and a pixel looks up
the place that it points to; the number of objects does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import fastremap
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segmentation_backend.inference.parameters import InferenceParameters

__all__ = ["Maps", "find_centres", "group_pixels", "join_fragments", "segment_maps"]

Labels = NDArray[np.int32]

_FRAGMENT_SHARE = 0.25
"""A piece cut off from its object joins a neighbour at least this many times (1/x) its size."""


@dataclass(frozen=True, slots=True)
class Maps:
    """What the network says about one section of H x W pixels."""

    probability: NDArray[np.float32]
    """(H, W), 0..1"""
    centres: NDArray[np.float32]
    """(h, w), about 1 at a centre; h is H or H/4"""
    offsets: NDArray[np.float32]
    """(2, h, w), dy and dx to the centre, in full-resolution pixels"""

    @property
    def stride(self) -> int:
        """Full-resolution pixels for each pixel of centres and offsets."""
        fine, coarse = int(self.probability.shape[0]), int(self.centres.shape[0])
        return -(-fine // coarse)


def segment_maps(maps: Maps, parameters: InferenceParameters) -> Labels:
    """Return the objects (H, W) int32, numbered 1..n without gaps, each 8-connected."""
    foreground = maps.probability >= parameters.confidence_thr
    groups = foreground.astype(np.int32)
    if not parameters.semantic_only:
        centres = find_centres(
            maps.centres, parameters.center_confidence_thr, parameters.min_distance_object_centers
        )
        groups *= np.maximum(_enlarge(group_pixels(centres, maps.offsets, maps.stride), maps), 1)
    objects = join_fragments(groups, parameters.min_area)
    return _drop_small(objects, parameters.min_area)


def find_centres(heatmap: NDArray[np.float32], threshold: float, window: int) -> NDArray[np.intp]:
    """Return (n, 2) y, x of the peaks at or above `threshold`, one for each plateau.

    A peak is the highest pixel of the `window` x `window` pixels around it (an even window counts
    as one less, as in empanada).
    """
    size = max(1, window - (1 - window % 2))
    peaks = (heatmap >= threshold) & (heatmap == ndimage.maximum_filter(heatmap, size))
    plateaus = cc3d.connected_components(peaks, connectivity=8)
    y, x = np.nonzero(plateaus)
    _, first = np.unique(plateaus[y, x], return_index=True)
    return np.stack([y[first], x[first]], 1)


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
    numbers = np.zeros((height, width), np.int32)
    numbers[centres[:, 0], centres[:, 1]] = np.arange(1, len(centres) + 1)
    nearest_y, nearest_x = ndimage.distance_transform_edt(
        numbers == 0, return_distances=False, return_indices=True
    )
    territory = numbers[nearest_y, nearest_x]
    votes = []
    for axis, limit in enumerate((height, width)):
        shape = (-1, 1) if axis == 0 else (1, -1)
        place = np.arange(limit, dtype=np.float32).reshape(shape) + offsets[axis] / stride
        votes.append(np.clip(np.rint(place), 0, limit - 1).astype(np.intp))
    grouped: Labels = territory[votes[0], votes[1]]
    return grouped


def join_fragments(groups: Labels, min_area: int) -> Labels:
    """Return connected objects (H, W) of groups (0 = background) that may be in pieces.

    Each piece of a group is an object, except that slivers join the neighbour with which they
    share the longest border: pieces below `min_area`, and pieces other than a group's largest
    that are small beside that neighbour.
    """
    pieces = _pieces(groups)
    for _ in range(4):  # a sliver may hang on a sliver
        wanted = _wanted_neighbours(pieces, groups, min_area)
        if (wanted == np.arange(len(wanted))).all():
            break
        pieces = _pieces(wanted[pieces])
    return pieces


def _pieces(groups: Labels) -> Labels:
    pieces: Labels = cc3d.connected_components(groups, connectivity=8).astype(np.int32)
    return pieces


def _wanted_neighbours(pieces: Labels, groups: Labels, min_area: int) -> NDArray[np.int32]:
    """Return for each piece the piece it shall belong to, itself unless it is a sliver."""
    count = int(pieces.max(initial=0))
    area = np.bincount(pieces.ravel(), minlength=count + 1)
    group = np.zeros(count + 1, np.int64)
    group[pieces.ravel()] = groups.ravel()
    largest = np.zeros(int(group.max(initial=0)) + 1, np.int64)
    np.maximum.at(largest, group, area)
    is_main = area == largest[group]
    wanted = np.arange(count + 1, dtype=np.int32)
    first, second, border = _borders(pieces, count)
    big_enough = area[second] > area[first]
    dwarfed = ~is_main[first] & (area[first] < _FRAGMENT_SHARE * area[second])
    joins = big_enough & ((area[first] < min_area) | dwarfed)
    # In order of border length, so that the longest border is written last.
    order = np.argsort(border[joins], kind="stable")
    wanted[first[joins][order]] = second[joins][order]
    return _follow(wanted)


def _follow(wanted: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return where each chain of joins ends; every join goes to a larger piece, so chains end."""
    while True:
        further = wanted[wanted]
        if (further == wanted).all():
            return wanted
        wanted = further


def _borders(
    pieces: Labels, count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return every ordered pair of touching pieces and how many pixel pairs touch."""
    codes = []
    for a, b in (
        (pieces[:-1], pieces[1:]),
        (pieces[:, :-1], pieces[:, 1:]),
        (pieces[:-1, :-1], pieces[1:, 1:]),
        (pieces[:-1, 1:], pieces[1:, :-1]),
    ):
        touching = (a != b) & (a > 0) & (b > 0)
        one, other = a[touching].astype(np.int64), b[touching].astype(np.int64)
        codes += [one * (count + 1) + other, other * (count + 1) + one]
    pairs, border = np.unique(np.concatenate(codes), return_counts=True)
    return pairs // (count + 1), pairs % (count + 1), border


def _enlarge(groups: Labels, maps: Maps) -> Labels:
    """Return groups at the resolution of the probabilities."""
    if maps.stride == 1:
        return groups
    height, width = maps.probability.shape
    tall = np.repeat(groups, maps.stride, 0)[:height]
    return np.repeat(tall, maps.stride, 1)[:, :width]


def _drop_small(objects: Labels, min_area: int) -> Labels:
    """Return the objects of at least `min_area` pixels, renumbered without gaps."""
    area = np.bincount(objects.ravel())
    kept = area >= min_area
    kept[0] = False
    renumbered, _ = fastremap.renumber(np.where(kept[objects], objects, 0), in_place=True)
    return np.asarray(renumbered, dtype=np.int32)
