"""From an image to the objects of one block, and block after block over a region.

What a block comes to depends on the image in its reach, the network, the contrast and the
parameters, and on nothing else; so a region is segmented in any order, or only in part, and what is
known already is not computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import nn

from segmentation_backend.geometry import VoxelSize
from segmentation_backend.inference.cache import RunCache
from segmentation_backend.inference.classes import Target
from segmentation_backend.inference.confidence import mean_probability
from segmentation_backend.inference.consensus import merge_stacks, narrow
from segmentation_backend.inference.cubes import segment_cube
from segmentation_backend.inference.filters import drop_small_objects
from segmentation_backend.inference.grid import PLANES, Block, Plane
from segmentation_backend.inference.panoptic import Maps, segment_maps
from segmentation_backend.inference.parameters import InferenceParameters
from segmentation_backend.inference.planes import (
    GreyScale,
    batch_size,
    crop_maps,
    cut_tile,
    normalise,
    predict_tiles,
)
from segmentation_backend.inference.reading import Reader, look_ahead
from segmentation_backend.inference.results import BlockMaps, BlockResult
from segmentation_backend.inference.stack import link_sections, median_sections

__all__ = ["Recipe", "segment_block", "segment_blocks"]

OnSection: TypeAlias = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything but the image that decides what a block comes to."""

    network: nn.Module
    contrast: GreyScale
    parameters: InferenceParameters = field(default_factory=InferenceParameters)
    keep_maps: bool = False
    """Whether results hold the network's maps, for display."""
    target: Target | None = None
    """The class that is looked for; of networks with one class there is nothing to choose."""
    voxel_size: VoxelSize = (1.0, 1.0, 1.0)
    """Of the level, nm, (z, y, x); 3D networks' objects depend on its proportions."""
    on_notice: Callable[[str], None] | None = None
    """Is told in a few words of what the user should know and what changes no result."""


def segment_block(
    read: Reader, block: Block, recipe: Recipe, on_section: OnSection | None = None
) -> BlockResult:
    """Return the objects of a block; reads `block.reach`, once, and nothing else.

    `on_section` is told the number of sections that went through the network after each, of
    `block.sections`; an error that it raises ends the work.
    """
    return _compute(read(block.reach), block, recipe, on_section)


def segment_blocks(
    read: Reader,
    blocks: Sequence[Block],
    recipe: Recipe,
    cache: RunCache | None = None,
    on_section: Callable[[int, int], None] | None = None,
) -> Generator[BlockResult, None, None]:
    """Yield the results of blocks in their order, from the cache where it has them.

    While one block is computed a thread reads the next one's image, or takes its result out of
    the cache. `on_section` is told the place of a block in `blocks` and how many of its sections
    went through the network, after each; an error that it raises ends the work and leaves nothing
    behind but the finished blocks in the cache.
    """

    def load(block: Block) -> BlockResult | NDArray[Any]:
        known = None if cache is None else cache.find(block)
        if known is not None and (known.maps is not None or not recipe.keep_maps):
            return known
        return read(block.reach)

    # Closed, not left to the collector: the reading ends with the run, however that ends.
    with closing(look_ahead(blocks, load)) as items:
        for place, (block, loaded) in enumerate(items):
            if isinstance(loaded, BlockResult):
                yield loaded
                continue
            tell = None if on_section is None else partial(on_section, place)
            result = _compute(loaded, block, recipe, tell)
            if cache is not None:
                cache.keep(result)
            yield result


def _compute(
    image: NDArray[Any], block: Block, recipe: Recipe, on_section: OnSection | None
) -> BlockResult:
    """Return the objects of a block of the image in its reach."""
    parameters = recipe.parameters
    if block.mode == "cube":
        size = recipe.voxel_size
        how = (recipe.network, recipe.contrast, parameters, size, recipe.keep_maps)
        return segment_cube(image, block, *how)
    canvas = _Canvas(block, recipe.keep_maps, recipe.target)
    counter = _Counter(on_section)
    stacks = [_segment_plane(image, block, p, recipe, canvas, counter) for p in block.planes]
    agreement = None
    if recipe.target is not None and recipe.target.is_stuff:
        labels, agreement = _voted(stacks, parameters)
    elif block.mode == "orthoplane":
        found = merge_stacks(stacks, parameters, block.open_faces)
        labels, agreement = found.labels, found.agreement
    elif block.mode == "stack":
        labels = drop_small_objects(
            np.ascontiguousarray(stacks[0], np.uint32),
            parameters.min_size,
            parameters.min_extent,
            block.open_faces,
        )
    else:
        labels = np.ascontiguousarray(stacks[0], np.uint32)
    probability = mean_probability(labels, canvas.probability())[1:]
    agreement = np.ones(len(probability), np.float32) if agreement is None else agreement[1:]
    return BlockResult(block, labels, probability, agreement, canvas.maps())


def _voted(
    stacks: list[NDArray[Any]], parameters: InferenceParameters
) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    """Return the one object of a class without single ones, and how much of it is agreed on."""
    votes = np.add.reduce([(stack > 0).astype(np.uint8) for stack in stacks])
    labels = (votes >= (parameters.pixel_vote_thr if len(stacks) > 1 else 1)).astype(np.uint32)
    inside = votes[labels > 0]
    shares = [inside.mean() / len(stacks)] if len(inside) else []
    return labels, np.array([0.0, *shares], np.float32)


@dataclass(slots=True)
class _Counter:
    """Counts sections over the planes of a block."""

    tell: OnSection | None
    done: int = 0

    def __call__(self, maps: Iterable[Maps]) -> Iterator[Maps]:
        for item in maps:
            yield item
            self.done += 1
            if self.tell is not None:
                self.tell(self.done)


class _Canvas:
    """The maps of a block, as bytes, gathered plane by plane."""

    def __init__(self, block: Block, keep_maps: bool, target: Target | None = None) -> None:
        self._block = block
        self._target = target
        shape = block.box.shape
        self._sum = np.zeros(shape, np.uint8 if len(block.planes) == 1 else np.uint16)
        self._centres = np.zeros(shape, np.uint8) if keep_maps else None

    def record(self, maps: Iterable[Maps], axis: int) -> Iterator[Maps]:
        """Pass the maps of one plane's sections on, and keep what they say."""
        total = np.moveaxis(self._sum, axis, 0)
        heat = None if self._centres is None else np.moveaxis(self._centres, axis, 0)
        for number, item in enumerate(maps):
            seen = item.probability if self._target is None else self._target.probability(item)
            total[number] += _as_bytes(seen)
            if heat is not None:
                height, width = seen.shape
                fine = np.repeat(np.repeat(_as_bytes(item.centres), item.stride, 0), item.stride, 1)
                np.maximum(heat[number], fine[:height, :width], out=heat[number])
            yield item

    def probability(self) -> NDArray[np.uint8]:
        """Return the mean probability of all planes in the box, 255 for 1."""
        planes = len(self._block.planes)
        if planes > 1:
            self._sum = ((self._sum + planes // 2) // planes).astype(np.uint8)
        return self._sum

    def maps(self) -> BlockMaps | None:
        """Return the maps of the core, where they are wanted; `probability` was asked for first."""
        if self._centres is None:
            return None
        core = self._block.core.slices(self._block.box.offset)
        return BlockMaps(*(np.ascontiguousarray(m[core]) for m in (self._sum, self._centres)))


def _segment_plane(
    image: NDArray[Any],
    block: Block,
    plane: Plane,
    recipe: Recipe,
    canvas: _Canvas,
    counter: _Counter,
) -> NDArray[Any]:
    """Return the objects (z, y, x) of the box that sections of one plane give, unfiltered."""
    axis, parameters = PLANES[plane], recipe.parameters
    tiles = predict_tiles(
        _tiles(image, block, axis, recipe.contrast),
        recipe.network,
        parameters,
        # By the block, not by how many tiles there are to be done: see `predict_tiles`.
        batch_size(recipe.network, block.box.shape[axis]),
        recipe.on_notice,
        None if recipe.target is None else recipe.target.channels,
    )
    segment = segment_maps if recipe.target is None else recipe.target.segment
    rows, columns = _slices_in_plane(block, axis)
    maps = counter(crop_maps(tile, rows, columns) for tile in tiles)
    shape = (block.box.shape[axis], rows.stop - rows.start, columns.stop - columns.start)
    if block.mode == "slice":
        sections = [segment(m, parameters) for m in canvas.record(maps, axis)]
        flat = np.stack(sections).astype(np.uint32)
    else:
        smooth = canvas.record(median_sections(maps, parameters.median_slices), axis)
        found = (segment(m, parameters) for m in smooth)
        if recipe.target is not None and recipe.target.is_stuff:
            flat = np.stack(list(found)).astype(np.uint32)
        else:
            flat = link_sections(found, shape, parameters)
    # Two bytes for each voxel are enough while the other planes are waited for.
    return np.moveaxis(narrow(flat) if block.mode == "orthoplane" else flat, 0, axis)


def _tiles(
    image: NDArray[Any], block: Block, axis: int, contrast: GreyScale
) -> Iterator[NDArray[np.float32]]:
    """Yield what the network is fed: the normalised tile of each section of the box."""
    first = block.box.offset[axis] - block.reach.offset[axis]
    side, other = (a for a in range(3) if a != axis)
    sections = np.moveaxis(image, axis, 0)[first : first + block.box.shape[axis]]
    for section in sections:
        tile = normalise(section, contrast)
        yield cut_tile(tile, (0, block.tile.shape[side]), (0, block.tile.shape[other]))


def _slices_in_plane(block: Block, axis: int) -> tuple[slice, slice]:
    """Return where the box lies in its tile: rows and columns of the plane across `axis`."""
    inside = block.box.slices(block.tile.offset)
    side, other = (a for a in range(3) if a != axis)
    return inside[side], inside[other]


def _as_bytes(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return values of 0 to 1 (others are clipped) as 0 to 255."""
    scaled: NDArray[np.float32] = np.rint(np.clip(values, 0, 1) * np.float32(255))
    return scaled.astype(np.uint8)
