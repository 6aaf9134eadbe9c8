"""From affinities or a boundary map of a block to its objects.

1. A voxel is inside where, of its two affinities along each axis, the higher ones reach a threshold
   in the mean; in a boundary map, where its value does. A face is open where its affinity reaches
   a threshold.
2. Seeds are the places farthest from the outside and from closed faces; a watershed from them over
   that distance (Meyer 1992), which passes through open faces only, makes pieces, more than there
   are objects.
3. Pieces whose common faces have a mean affinity that reaches the threshold are one object: where
   the network saw a boundary they stay apart, where the shape alone made the cut they do not.

No rule depends on an order of objects, so that equal blocks give equal objects.
"""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import edt
import fastremap
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.geometry import VoxelSize
from segmentation_backend.inference.affinity_kernels import flood

__all__ = ["AffinityParameters", "segment_affinities"]

Mask = NDArray[np.bool_]
Pieces = NDArray[np.uint32]

_LEVELS = 4
"""Steps of the flooded landscape for each shortest voxel side."""


@dataclass(frozen=True, slots=True)
class AffinityParameters:
    """How affinities become objects."""

    inside_thr: float = 0.5
    """Mean affinity from which a voxel is inside of an object."""
    join_thr: float = 0.5
    """Affinity from which two voxels, or in the mean two pieces, are of one object."""
    seed_radius: int = 3
    """Voxels around a seed (a cube) in which nothing is deeper."""
    min_size: int = 500
    """Voxels an object needs, unless it touches the block's outside."""

    def __post_init__(self) -> None:
        """Refuse values outside of their ranges."""
        for name in ("inside_thr", "join_thr"):
            if not 0 < getattr(self, name) < 1:
                raise InvalidInputError(
                    f"{name} must be above 0 and below 1, not {getattr(self, name)!r}.",
                    ErrorKind.INVALID_PARAMETER,
                )
        if not 1 <= self.seed_radius <= 50 or self.min_size < 0:
            raise InvalidInputError(
                f"seed_radius must be from 1 to 50 and min_size at least 0, not {self.seed_radius} "
                f"and {self.min_size}.",
                ErrorKind.INVALID_PARAMETER,
            )


def segment_affinities(
    affinities: NDArray[np.float32], voxel_size: VoxelSize, parameters: AffinityParameters
) -> Pieces:
    """Return the objects of a block: uint32 (z, y, x), 1..n without gaps, 0 = background.

    `affinities` (C, z, y, x), 0..1: three channels say whether a voxel and the one before it along
    z, y, x are of one object, one channel whether it is inside rather than on a boundary.
    `voxel_size` is in nm. InvalidInputError for another number of axes or channels.
    """
    if affinities.ndim != 4 or affinities.shape[0] not in (1, 3):
        raise InvalidInputError(
            f"Affinities must be (1 or 3, z, y, x), not {affinities.shape}.",
            ErrorKind.INVALID_PARAMETER,
        )
    faces = np.stack([_face_values(affinities, axis) for axis in range(3)])
    inside = _inside(affinities, faces, parameters.inside_thr)
    if not inside.any():
        return np.zeros(inside.shape, np.uint32)
    is_open = faces >= parameters.join_thr
    pieces = _pieces(inside, is_open, voxel_size, parameters.seed_radius)
    return _without_small(_joined(pieces, faces, parameters.join_thr), parameters.min_size)


def _face_values(affinities: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Return the affinity across each voxel's face before it along an axis.

    Of a boundary map it is the lower value of the two. The block's outermost faces have their own
    voxel's value.
    """
    if len(affinities) == 3:
        own: NDArray[np.float32] = affinities[axis]
        return own
    lower: NDArray[np.float32] = affinities[0].copy()
    here, before = _here(axis), _before(axis)
    np.minimum(lower[here], affinities[0][before], out=lower[here])
    return lower


def _here(axis: int) -> tuple[slice, ...]:
    return tuple(slice(1, None) if a == axis else slice(None) for a in range(3))


def _before(axis: int) -> tuple[slice, ...]:
    return tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))


def _inside(affinities: NDArray[np.float32], faces: NDArray[np.float32], threshold: float) -> Mask:
    if len(affinities) == 1:
        boundary: Mask = affinities[0] >= threshold
        return boundary
    total = np.zeros(faces.shape[1:], np.float32)
    for axis, values in enumerate(faces):
        higher = values.copy()
        # An object's first voxel has its affinity on the side of the next one only.
        np.maximum(higher[_before(axis)], values[_here(axis)], out=higher[_before(axis)])
        total += higher
    inside: Mask = total >= 3 * threshold
    return inside


def _pieces(inside: Mask, is_open: NDArray[np.bool_], voxel_size: VoxelSize, radius: int) -> Pieces:
    """Return the watershed of the distance to the outside and to closed faces, uint32."""
    core = inside.copy()
    for axis in range(3):
        closed = ~is_open[axis]
        core[_here(axis)] &= ~closed[_here(axis)]
        core[_before(axis)] &= ~closed[_here(axis)]
    sides = [side / min(voxel_size) for side in voxel_size]
    distance = np.asarray(edt.edt(core, anisotropy=sides, black_border=False), np.float32)
    # A block without any outside has no distances to it.
    distance[~np.isfinite(distance)] = 0
    levels = np.minimum(np.rint(distance * _LEVELS), 2**16 - 1).astype(np.uint16)
    highest = ndimage.maximum_filter(levels, 2 * radius + 1, mode="constant")
    seeds = cc3d.connected_components((levels == highest) & core, connectivity=6)
    pieces = flood(np.asarray(seeds, np.uint32), levels, inside, is_open)
    return _with_the_rest(pieces, inside, is_open)


def _with_the_rest(pieces: Pieces, inside: Mask, is_open: NDArray[np.bool_]) -> Pieces:
    """Return pieces and, as further ones, what no seed could reach: it is thin or walled in."""
    rest = inside & (pieces == 0)
    count = int(rest.sum())
    if count == 0:
        return pieces
    number = np.zeros(inside.shape, np.int64)
    number[rest] = np.arange(count)
    edges = []
    for axis in range(3):
        here, before = _here(axis), _before(axis)
        where = rest[here] & rest[before] & is_open[axis][here]
        edges.append(np.stack([number[before][where], number[here][where]]))
    groups = _components(np.concatenate(edges, axis=1), count)
    pieces[rest] = groups + 1 + int(pieces.max(initial=0))
    return pieces


def _components(edges: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return the group of each of 0..`count` - 1 that edges (2, n) join, numbered from 0."""
    graph = sparse.coo_array((np.ones(edges.shape[1], np.bool_), tuple(edges)), (count, count))
    _, groups = sparse.csgraph.connected_components(graph, directed=False)
    return np.asarray(groups, np.int64)


def _joined(pieces: Pieces, faces: NDArray[np.float32], threshold: float) -> Pieces:
    """Return the pieces with those joined that a mean affinity holds together."""
    count = int(pieces.max(initial=0)) + 1
    crossed = [_crossed(pieces, faces[axis], axis, count) for axis in range(3)]
    pairs, place = np.unique(np.concatenate([p for p, _ in crossed]), return_inverse=True)
    values = np.concatenate([v for _, v in crossed]).astype(np.float64)
    sums = np.bincount(place, values, len(pairs))
    held = pairs[sums >= threshold * np.bincount(place, minlength=len(pairs))]
    # The background touches nothing, so it is a group of its own: the first.
    groups = _components(np.stack([held // count, held % count]), count)
    joined: Pieces = groups.astype(np.uint32)[pieces]
    return joined


def _crossed(
    pieces: Pieces, faces: NDArray[np.float32], axis: int, count: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the pairs a * `count` + b, a < b, that touch along an axis, and their affinities."""
    a, b = pieces[_here(axis)], pieces[_before(axis)]
    where = (a != b) & (a != 0) & (b != 0)
    first, second = a[where].astype(np.int64), b[where].astype(np.int64)
    pairs = np.minimum(first, second) * count + np.maximum(first, second)
    return pairs, faces[_here(axis)][where]


def _without_small(objects: Pieces, min_size: int) -> Pieces:
    sizes = np.bincount(objects.ravel())
    kept = sizes >= min_size
    for axis in range(3):
        for end in (0, -1):
            kept[np.unique(np.take(objects, end, axis))] = True
    kept[0] = False
    remaining, _ = fastremap.renumber(np.where(kept[objects], objects, 0), in_place=True)
    return np.asarray(remaining, np.uint32)
