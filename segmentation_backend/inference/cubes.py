"""3D networks: blocks are cubes, fed with as much around them as the network looks at.

A network may answer with less than it is fed. How much less is found out once, by asking; the cubes
it is fed have one size, also at the volume's edge, past which there is mean grey.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from segmentation_backend.errors import ErrorKind, ResourceError
from segmentation_backend.geometry import Coordinate, Roi, VoxelSize
from segmentation_backend.inference.affinities import AffinityParameters, segment_affinities
from segmentation_backend.inference.confidence import mean_probability
from segmentation_backend.inference.filters import Faces, drop_small_objects
from segmentation_backend.inference.grid import Axis, Block, BlockGrid, Tiling
from segmentation_backend.inference.parameters import InferenceParameters
from segmentation_backend.inference.planes import (
    GreyScale,
    is_out_of_memory,
    normalise,
    reason_of,
    unusable,
)
from segmentation_backend.inference.results import BlockMaps, BlockResult

__all__ = ["CubeGrid", "segment_cube"]

_SIDE = 128
"""Side of the cubes that a network is fed, where that leaves it a core worth the work."""
_SMALLEST_CORE = 64
_MARGIN = 8
"""Voxels around a core in which neighbours are compared."""


@dataclass(frozen=True, slots=True)
class CubeGrid(BlockGrid):
    """All blocks of a level for a 3D network."""

    context: Coordinate = (0, 0, 0)
    """Voxels (z, y, x) by which the network's answer is smaller than a cube, on each side."""

    @classmethod
    def of(cls, bounds: Roi, network: nn.Module, padding_factor: int) -> CubeGrid:
        """Return the grid of a level for a network; errors as of its calls."""
        side = -(-_SIDE // padding_factor) * padding_factor
        context = _context(network, side)
        needed = _SMALLEST_CORE + 2 * (_MARGIN + max(context))
        if side < needed:
            side = -(-needed // padding_factor) * padding_factor
            context = _context(network, side)
        return cls(bounds, "cube", "xy", Tiling(side, 0, padding_factor), context)

    def axis(self, axis: int) -> Axis:
        """Return how one axis (0 = z) is cut."""
        core = self.tiling.side - 2 * (_MARGIN + self.context[axis])
        return Axis(self.bounds.shape[axis], core)

    def block(self, index: Sequence[int]) -> Block:
        """Return the block at a place (z, y, x) of the grid."""
        z, y, x = index
        core = Roi.from_bounds(*zip(*(self.axis(a).span(index[a]) for a in range(3)), strict=True))
        core = core.shift(self.bounds.offset)
        box = core.grow((_MARGIN, _MARGIN, _MARGIN)).intersect(self.bounds)
        start = [c - _MARGIN - o for c, o in zip(core.offset, self.context, strict=True)]
        side = self.tiling.side
        tile = Roi((start[0], start[1], start[2]), (side, side, side))
        ends = zip(box.offset, self.bounds.offset, box.end, self.bounds.end, strict=True)
        is_open = tuple(v for low, first, high, last in ends for v in (low > first, high < last))
        return Block(
            mode="cube",
            plane="xy",
            index=(z, y, x),
            core=core,
            box=box,
            tile=tile,
            reach=tile.intersect(self.bounds),
            open_faces=cast("Faces", is_open),
        )


def segment_cube(
    image: NDArray[Any],
    block: Block,
    network: nn.Module,
    contrast: GreyScale,
    parameters: InferenceParameters,
    voxel_size: VoxelSize,
    keep_maps: bool = False,
) -> BlockResult:
    """Return the objects of a block of the image (z, y, x) in its reach; `voxel_size` is in nm.

    Of the parameters, `confidence_thr` is the threshold of affinities (or of a boundary map's
    inside) and `min_distance_object_centers` the reach of a seed.
    """
    cube = np.zeros(block.tile.shape, np.float32)
    cube[block.reach.slices(block.tile.offset)] = normalise(image, contrast)
    found = _call(network, cube)
    margins = [(s - f) // 2 for s, f in zip(cube.shape, found.shape[1:], strict=True)]
    inside = block.box.shift([-t - m for t, m in zip(block.tile.offset, margins, strict=True)])
    affinities = np.ascontiguousarray(found[:, *inside.slices()])
    rules = AffinityParameters(
        inside_thr=parameters.confidence_thr,
        join_thr=parameters.confidence_thr,
        seed_radius=parameters.min_distance_object_centers,
        min_size=0,
    )
    labels = drop_small_objects(
        segment_affinities(affinities, voxel_size, rules),
        parameters.min_size,
        parameters.min_extent,
        block.open_faces,
    )
    shares = np.rint(affinities.mean(0) * 255).astype(np.uint8)
    probability = mean_probability(labels, shares)[1:]
    core = np.ascontiguousarray(shares[block.core.slices(block.box.offset)])
    maps = BlockMaps(core, np.zeros_like(core)) if keep_maps else None
    return BlockResult(block, labels, probability, np.ones(len(probability), np.float32), maps)


@lru_cache(maxsize=4)
def _context(network: nn.Module, side: int) -> Coordinate:
    """Return by how many voxels an answer is smaller than a cube of a side, on each side."""
    found = _call(network, np.zeros((side, side, side), np.float32))
    z, y, x = ((side - length) // 2 for length in found.shape[1:])
    return (z, y, x)


def _call(network: nn.Module, cube: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (C, d, h, w) of a normalised cube (z, y, x)."""
    try:
        with torch.inference_mode():
            found = network(torch.from_numpy(cube)[None, None])[0]
    except (MemoryError, RuntimeError) as error:
        side = cube.shape[0]
        if is_out_of_memory(error):
            raise ResourceError(
                f"A cube of {side}³ voxels does not fit into this machine's memory with this "
                "network; wait until others have left it, or choose a smaller model.",
                ErrorKind.OUT_OF_MEMORY,
            ) from error
        raise unusable(f"it fails on cubes of {side}³ voxels ({reason_of(error)})") from error
    values: NDArray[np.float32] = found.numpy()
    return values
