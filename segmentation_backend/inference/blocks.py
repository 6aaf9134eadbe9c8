"""From an image to the objects of one block, and block after block over a region.

What a block comes to depends on the image in its reach, the network, the contrast and the
parameters, and on nothing else; so a region is segmented in any order, or only in part, and what is
known already is not computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import nn

from segmentation_backend.geometry import VoxelSize
from segmentation_backend.inference.cache import RunCache
from segmentation_backend.inference.classes import Classes, Target, segment_classes
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
from segmentation_backend.inference.stack import link_classes, link_sections, median_sections

__all__ = ["Product", "Recipe", "segment_block", "segment_blocks", "segment_products"]

OnSection: TypeAlias = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Product:
    """One of the things that are made of what the network says of a block."""

    target: Target | None = None
    """The class that is looked for; of networks with one class there is nothing to choose."""
    stack: Plane | None = None
    """Of mode "orthoplane": the objects of this plane's sections alone, before any vote."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything but the image that decides what a block comes to."""

    network: nn.Module
    contrast: GreyScale
    parameters: InferenceParameters = field(default_factory=InferenceParameters)
    keep_maps: bool = False
    """Whether results hold the network's maps, for display."""
    products: tuple[Product, ...] = (Product(),)
    """What is to be made; the network sees each tile once, however many they are."""
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
    return _compute(read(block.reach), block, recipe, on_section)[0]


def segment_blocks(
    read: Reader,
    blocks: Sequence[Block],
    recipe: Recipe,
    cache: RunCache | None = None,
    on_section: Callable[[int, int], None] | None = None,
) -> Generator[BlockResult, None, None]:
    """Yield the results of blocks of a recipe with one product; see `segment_products`."""
    caches = None if cache is None else [cache]
    with closing(segment_products(read, blocks, recipe, caches, on_section)) as found:
        for (result,) in found:
            yield result


def segment_products(
    read: Reader,
    blocks: Sequence[Block],
    recipe: Recipe,
    caches: Sequence[RunCache] | None = None,
    on_section: Callable[[int, int], None] | None = None,
) -> Generator[tuple[BlockResult, ...], None, None]:
    """Yield the results of blocks in their order, one for each product of the recipe.

    They come from the caches, one for each product, where these have them. While one block is
    computed a thread reads the next one's image, or takes its results out of the caches.
    `on_section` is told the place of a block in `blocks` and how many of its sections went through
    the network, after each; an error that it raises ends the work and leaves nothing behind but
    the finished blocks in the caches.
    """

    def load(block: Block) -> tuple[list[BlockResult | None], NDArray[Any] | None]:
        found = [None] * len(recipe.products) if caches is None else [c.find(block) for c in caches]
        known = [k if k and (k.maps is not None or not recipe.keep_maps) else None for k in found]
        return known, None if all(known) else read(block.reach)

    # Closed, not left to the collector: the reading ends with the run, however that ends.
    with closing(look_ahead(blocks, load)) as items:
        for place, (block, (known, image)) in enumerate(items):
            missing = [number for number, result in enumerate(known) if result is None]
            if image is not None:
                tell = None if on_section is None else partial(on_section, place)
                wanted = replace(recipe, products=tuple(recipe.products[n] for n in missing))
                made = _compute(image, block, wanted, tell)
                for number, result in zip(missing, made, strict=True):
                    known[number] = result
                    if caches is not None:
                        caches[number].keep(result)
            yield tuple(result for result in known if result is not None)


def _compute(
    image: NDArray[Any], block: Block, recipe: Recipe, on_section: OnSection | None
) -> list[BlockResult]:
    """Return what a recipe makes of a block of the image in its reach."""
    if block.mode == "cube":
        how = (recipe.parameters, recipe.voxel_size, recipe.keep_maps)
        return [segment_cube(image, block, recipe.network, recipe.contrast, *how)]
    targets = tuple(dict.fromkeys(product.target for product in recipe.products))
    canvas = _Canvas(block, recipe.keep_maps, targets)
    counter = _Counter(on_section)
    planes = [_segment_plane(image, block, p, recipe, canvas, counter) for p in block.planes]
    results = []
    for product in recipe.products:
        stacks = [plane[product.target] for plane in planes]
        if product.stack is not None:
            stacks = [stacks[block.planes.index(product.stack)]]
        labels, agreement = _decided(stacks, block, product, recipe.parameters)
        shares = canvas.probability(product.target)
        probability = mean_probability(labels, shares)[1:]
        sure = np.ones(len(probability), np.float32) if agreement is None else agreement[1:]
        maps = canvas.maps(shares)
        results.append(BlockResult(block, labels, probability, sure, maps))
    return results


def _decided(
    stacks: list[NDArray[Any]], block: Block, product: Product, parameters: InferenceParameters
) -> tuple[NDArray[np.uint32], NDArray[np.float32] | None]:
    """Return the objects of one stack or three, and how far the three agree."""
    if product.target is not None and product.target.is_stuff:
        return _voted(stacks, parameters)
    if len(stacks) > 1:
        found = merge_stacks(stacks, parameters, block.open_faces)
        return found.labels, found.agreement
    labels = np.ascontiguousarray(stacks[0], np.uint32)
    if block.mode != "slice":
        least = (parameters.min_size, parameters.min_extent)
        labels = drop_small_objects(labels, *least, block.open_faces)
    return labels, None


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

    def __init__(self, block: Block, keep_maps: bool, targets: tuple[Target | None, ...]) -> None:
        self._block = block
        shape = block.box.shape
        dtype = np.uint8 if len(block.planes) == 1 else np.uint16
        self._sums = {target: np.zeros(shape, dtype) for target in targets}
        self._centres = np.zeros(shape, np.uint8) if keep_maps else None

    @property
    def targets(self) -> tuple[Target | None, ...]:
        """The classes that are looked for."""
        return tuple(self._sums)

    def record(self, maps: Iterable[Maps], axis: int) -> Iterator[Maps]:
        """Pass the maps of one plane's sections on, and keep what they say."""
        totals = {target: np.moveaxis(total, axis, 0) for target, total in self._sums.items()}
        heat = None if self._centres is None else np.moveaxis(self._centres, axis, 0)
        for number, item in enumerate(maps):
            for target, total in totals.items():
                seen = item.probability if target is None else target.probability(item)
                total[number] += _as_bytes(seen)
            if heat is not None:
                height, width = item.probability.shape[-2:]
                fine = np.repeat(np.repeat(_as_bytes(item.centres), item.stride, 0), item.stride, 1)
                np.maximum(heat[number], fine[:height, :width], out=heat[number])
            yield item

    def probability(self, target: Target | None) -> NDArray[np.uint8]:
        """Return the mean probability of all planes in the box, 255 for 1; all are recorded."""
        total, planes = self._sums[target], len(self._block.planes)
        if total.dtype != np.uint8:
            total = self._sums[target] = ((total + planes // 2) // planes).astype(np.uint8)
        return total

    def maps(self, shares: NDArray[np.uint8]) -> BlockMaps | None:
        """Return the maps of the core, where they are wanted, with such probabilities."""
        if self._centres is None:
            return None
        core = self._block.core.slices(self._block.box.offset)
        return BlockMaps(*(np.ascontiguousarray(m[core]) for m in (shares, self._centres)))


def _segment_plane(
    image: NDArray[Any],
    block: Block,
    plane: Plane,
    recipe: Recipe,
    canvas: _Canvas,
    counter: _Counter,
) -> dict[Target | None, NDArray[Any]]:
    """Return the objects (z, y, x) of the box that sections of one plane give, unfiltered."""
    axis, parameters, targets = PLANES[plane], recipe.parameters, canvas.targets
    one = targets[0]
    tiles = predict_tiles(
        _tiles(image, block, axis, recipe.contrast),
        recipe.network,
        parameters,
        # By the block, not by how many tiles there are to be done: see `predict_tiles`.
        batch_size(recipe.network, block.box.shape[axis]),
        recipe.on_notice,
        None if one is None else one.channels,
    )
    rows, columns = _slices_in_plane(block, axis)
    maps = counter(crop_maps(tile, rows, columns) for tile in tiles)
    shape = (block.box.shape[axis], rows.stop - rows.start, columns.stop - columns.start)
    if block.mode != "slice":
        maps = median_sections(maps, parameters.median_slices)
    seen = canvas.record(maps, axis)
    flat: dict[Target | None, NDArray[np.uint32]]
    if one is None:
        found = (segment_maps(m, parameters) for m in seen)
        stacked = block.mode == "slice"
        flat = {one: _stacked(found) if stacked else link_sections(found, shape, parameters)}
    else:
        flat = _segment_targets(seen, shape, [t for t in targets if t], block, parameters)
    # Two bytes for each voxel are enough while the other planes are waited for.
    is_voted = block.mode == "orthoplane"
    return {t: np.moveaxis(narrow(f) if is_voted else f, 0, axis) for t, f in flat.items()}


def _stacked(sections: Iterable[NDArray[np.int32]]) -> NDArray[np.uint32]:
    return np.stack(list(sections)).astype(np.uint32)


def _segment_targets(
    maps: Iterable[Maps],
    shape: tuple[int, int, int],
    targets: Sequence[Target],
    block: Block,
    parameters: InferenceParameters,
) -> dict[Target | None, NDArray[np.uint32]]:
    """Return the objects (sections, H, W) of each of a network's classes that are looked for."""
    wanted = tuple(target.channel for target in targets)
    known = targets[0].classes
    sections = (segment_classes(m, known, parameters, wanted) for m in maps)
    if block.mode == "slice":
        each = list(sections)
        return {t: _stacked(section[t.channel] for section in each) for t in targets}
    things = tuple(channel for channel in wanted if channel in known.things)
    linked = link_classes(sections, shape, Classes(wanted, things), parameters)
    return {target: linked[target.channel] for target in targets}


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
