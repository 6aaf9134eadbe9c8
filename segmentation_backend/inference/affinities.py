"""From affinities or a boundary map of a block to its objects.

1. A voxel is inside where the mean of its channels reaches a threshold.
2. Seeds are the places deepest inside; a watershed from them over the distance to the outside
   (Meyer 1992) cuts the inside at its necks, into more pieces than there are objects.
3. Pieces whose common face is crossed by a mean affinity that reaches a threshold are one object:
   where the network saw a boundary they stay apart, where the shape alone made the cut they do not.

All three are exact rules without an order of objects, so that equal blocks give equal objects.
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

_LEVELS = 4
"""Steps of the flooded landscape for each shortest voxel side."""


@dataclass(frozen=True, slots=True)
class AffinityParameters:
    """How affinities become objects."""

    inside_thr: float = 0.5
    """Mean of the channels from which a voxel is inside of an object."""
    join_thr: float = 0.5
    """Mean affinity across a common face from which two pieces are one object."""
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
) -> NDArray[np.uint32]:
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
    inside = affinities.mean(axis=0) >= parameters.inside_thr
    if not inside.any():
        return np.zeros(inside.shape, np.uint32)
    distance = edt.edt(
        inside, anisotropy=tuple(v / min(voxel_size) for v in voxel_size), black_border=False
    )
    pieces = _pieces(inside, np.asarray(distance, np.float32), parameters.seed_radius)
    objects = _joined(pieces, affinities, parameters.join_thr)
    return _without_small(objects, parameters.min_size)


def _pieces(
    inside: NDArray[np.bool_], distance: NDArray[np.float32], radius: int
) -> NDArray[np.uint32]:
    """Return the watershed of the distance from its highest places, uint32."""
    # A block without any outside has no distances to it.
    finite = np.where(np.isfinite(distance), distance, np.float32(0))
    levels = np.minimum(np.rint(finite * _LEVELS), 2**16 - 1).astype(np.uint16)
    highest = ndimage.maximum_filter(levels, 2 * radius + 1, mode="constant")
    seeds = cc3d.connected_components((levels == highest) & inside, connectivity=26)
    return flood(np.asarray(seeds, np.uint32), levels, inside)


def _joined(
    pieces: NDArray[np.uint32], affinities: NDArray[np.float32], threshold: float
) -> NDArray[np.uint32]:
    """Return the pieces with those joined that a mean affinity holds together."""
    count = int(pieces.max(initial=0)) + 1
    crossed = [_faces(pieces, affinities, axis, count) for axis in range(3)]
    pairs, place = np.unique(np.concatenate([p for p, _ in crossed]), return_inverse=True)
    values = np.concatenate([v for _, v in crossed])
    sums = np.bincount(place, values.astype(np.float64), len(pairs))
    held = pairs[sums >= threshold * np.bincount(place, minlength=len(pairs))]
    edges = sparse.coo_array(
        (np.ones(len(held), np.bool_), (held // count, held % count)), (count, count)
    )
    _, objects = sparse.csgraph.connected_components(edges, directed=False)
    # The background touches nothing, so it is an object of its own: the first.
    joined: NDArray[np.uint32] = objects.astype(np.uint32)[pieces]
    return joined


def _faces(
    pieces: NDArray[np.uint32], affinities: NDArray[np.float32], axis: int, count: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the pairs a * `count` + b, a < b, that touch along an axis, and the affinities there.

    With three channels the affinity across a face is that of its axis, with one the lower of the
    two voxels' values.
    """
    upper, lower = [slice(None)] * 3, [slice(None)] * 3
    upper[axis], lower[axis] = slice(1, None), slice(None, -1)
    here, before = tuple(upper), tuple(lower)
    a, b = pieces[here], pieces[before]
    where = (a != b) & (a != 0) & (b != 0)
    first, second = a[where].astype(np.int64), b[where].astype(np.int64)
    if len(affinities) == 3:
        values = affinities[axis][here][where]
    else:
        values = np.minimum(affinities[0][here][where], affinities[0][before][where])
    return np.minimum(first, second) * count + np.maximum(first, second), values


def _without_small(objects: NDArray[np.uint32], min_size: int) -> NDArray[np.uint32]:
    sizes = np.bincount(objects.ravel())
    kept = sizes >= min_size
    for axis in range(3):
        for end in (0, -1):
            kept[np.unique(np.take(objects, end, axis))] = True
    kept[0] = False
    remaining, _ = fastremap.renumber(np.where(kept[objects], objects, 0), in_place=True)
    return np.asarray(remaining, np.uint32)
