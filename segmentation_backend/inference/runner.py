"""Segments a region of a volume, block by block, and returns only labels.

Nothing is written anywhere but finished blocks into the cache, so a run that is cancelled (an
error raised by `progress`) leaves nothing else behind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeAlias, cast

import fastremap
import numpy as np
from numpy.typing import NDArray
from torch import nn

from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.geometry import Coordinate, Roi, VoxelSize
from segmentation_backend.inference.blocks import Product, Recipe, segment_products
from segmentation_backend.inference.cache import BlockCache, RunCache
from segmentation_backend.inference.classes import Target
from segmentation_backend.inference.cubes import CubeGrid
from segmentation_backend.inference.grid import PLANES, Block, BlockGrid, Mode, Plane
from segmentation_backend.inference.parameters import InferenceParameters
from segmentation_backend.inference.planes import GreyScale, predict_tiles
from segmentation_backend.inference.reading import Reader, RegionCache
from segmentation_backend.inference.results import BlockResult
from segmentation_backend.inference.shaping import shape_objects, shape_reach
from segmentation_backend.inference.stitching import RegionLabels, RegionObjects, StitchRules
from segmentation_backend.models.registry import ModelKind, ModelSpec

__all__ = [
    "BlockOptions",
    "Mode",
    "Plane",
    "Progress",
    "Reader",
    "plan_grid",
    "region_around",
    "segment_region",
    "warm_up",
]

Progress: TypeAlias = Callable[[float, str], None]

_PLANES: tuple[Plane, ...] = tuple(PLANES)


@dataclass(frozen=True, slots=True)
class BlockOptions:
    """What a caller may add to a run; none of it changes what the objects are."""

    cache: BlockCache | None = None
    """Where finished blocks are looked for and kept."""
    identity: Mapping[str, Any] | None = None
    """JSON that names the image, its level, its contents' version and the network's weights
    (SHA-256); needed with a cache. Contrast, parameters and place are added to it."""
    centre: Sequence[float] | None = None
    """(z, y, x) of the level: the blocks nearest to it are first; the region's middle where not
    given."""
    on_block: Callable[[Sequence[BlockResult]], None] | None = None
    """Is given each block as soon as it is there, a result for each class, before `progress` hears
    of it."""
    on_stack: Callable[[Plane, NDArray[np.uint32]], None] | None = None
    """Mode "orthoplane": is given, at the end, the objects that each of the three stacks has in the
    region before any vote: stitched, as numbered objects (z, y, x), neither filled nor eroded nor
    dilated."""
    chunk: Coordinate | None = None
    """The image's chunks at this level, (z, y, x) voxels. Where given, each is read whole, and
    once; otherwise just what a block needs is read, which suits an image that is at hand."""
    keep_maps: bool = False
    """Whether block results hold the network's maps."""
    voxel_size: VoxelSize = (1.0, 1.0, 1.0)
    """Of the level, nm, (z, y, x): 3D networks go by its proportions. It is the image's."""
    around: Roi | None = None
    """A larger region to return the objects of: outside of `roi` as far as blocks are cached."""


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
    options: BlockOptions | None = None,
    class_id: int | Sequence[int] | None = None,
) -> RegionObjects:
    """Return the objects in `roi`: labels (z, y, x) of its shape, and how sure the network is.

    With `options.around`, of that region's shape, complete inside `roi` only.

    `read` returns the grey values (z, y, x) of a box of the same level; boxes lie within `bounds`,
    the level's extent (`roi` itself where not given). The objects are those of the whole level's
    blocks: another region gives the same ones where it overlaps this one, cut by its faces.
    A 3D network sees cubes, and a slice of it is a cut through 3D objects. Otherwise `plane` is the
    plane of the sections that the network sees; mode "orthoplane" sees all
    three and takes what they agree on. In mode "slice" no object goes on from one section to the
    next; in the others they are 3D objects. Of a model with several classes it is the objects of
    one, `class_id`, or the first thing, or of several: `kinds` says which of them each object is
    of, and where two classes' objects meet the first one has the voxel. Of a class without single
    objects there is one object at most. `progress` is told the share done and a sentence after
    each section and each block. Objects are filled, eroded and dilated once their blocks are
    stitched, for which blocks further around may be computed. InvalidInputError
    (TOO_MANY_OBJECTS) where the region has more than `maximum_objects_per_class`.
    """
    if roi.is_empty:
        raise InvalidInputError(
            f"The region {roi} holds no voxel; choose one that lies in the volume.",
            ErrorKind.ROI_EMPTY,
        )
    more = options or BlockOptions()
    limits = roi if bounds is None else bounds
    grid = plan_grid(limits, mode, plane, network, spec)
    whole = more.around or roi
    blocks = grid.blocks(region_around(grid, roi, plane, parameters), more.centre)
    if more.chunk is not None:
        read = RegionCache(read, limits, more.chunk).read
    report = _Report(blocks, progress)
    products = _products(_targets(spec, class_id), grid, more)
    how = (more.keep_maps, products, more.voxel_size, report.notice)
    recipe = Recipe(network, contrast, parameters.of_blocks(), *how)
    caches = _run_caches(more, recipe)
    there = whole.union(region_around(grid, whole, plane, parameters))
    known = _known_around(grid, there, blocks, caches)
    regions = _Regions(there, [*blocks, *known], recipe)
    regions.add_known(known, caches or [])
    with closing(segment_products(read, blocks, recipe, caches, report.section)) as found:
        for place, results in enumerate(found):
            regions.add(results)
            if more.on_block is not None:
                more.on_block(regions.of_classes(results))
            report.block(place)
    for stack, region in regions.stacks.items():
        if more.on_stack is not None:
            more.on_stack(stack, region.finish().labels[roi.slices(there.offset)])
    how_cut = (_section_axis(grid, plane), grid.mode == "slice")
    objects = _shaped(regions.main.finish(), there, whole, parameters, how_cut)
    _check_count(objects, roi.slices(whole.offset), parameters, roi)
    return objects


class _Regions:
    """The objects of all classes, stitched together, and those of each stack beside them."""

    def __init__(self, there: Roi, planned: Sequence[Block], recipe: Recipe) -> None:
        targets = [p.target for p in recipe.products if p.stack is None]
        rules = [
            replace(StitchRules.of(recipe.parameters), is_one=t is not None and t.is_stuff)
            for t in targets
        ]
        self._products = recipe.products
        self._kinds = {target: kind for kind, target in enumerate(targets)}
        self.main = RegionLabels(there, planned, rules)
        """What is asked for."""
        planes = dict.fromkeys(p.stack for p in recipe.products if p.stack is not None)
        self.stacks = {stack: RegionLabels(there, planned, rules) for stack in planes}
        """What the sections of each plane show by themselves, where that is kept."""

    def add(self, results: Sequence[BlockResult]) -> None:
        """Take what was made of a block."""
        for product, result in zip(self._products, results, strict=True):
            region = self.main if product.stack is None else self.stacks[product.stack]
            region.add(result, self._kinds[product.target])

    def of_classes(self, results: Sequence[BlockResult]) -> Sequence[BlockResult]:
        """Return the results that are no stacks, one for each class."""
        return results[: len(self._kinds)]

    def add_known(self, known: Sequence[Block], caches: Sequence[RunCache]) -> None:
        """Take blocks out of the caches, where they are still there."""
        for block in known:
            # One at a time: there may be many, and each is large.
            found = [result for cache in caches if (result := cache.find(block)) is not None]
            if len(found) == len(self._products):
                self.add(found)


def region_around(grid: BlockGrid, roi: Roi, plane: str, parameters: InferenceParameters) -> Roi:
    """Return the region whose blocks decide the labels of `roi`: itself, or a larger one.

    Where objects are filled, eroded or dilated, what lies beside the region has a part in it.
    """
    reach = shape_reach(parameters, _section_axis(grid, plane), is_flat=grid.mode == "slice")
    return roi.grow(reach).intersect(grid.bounds)


def _section_axis(grid: BlockGrid, plane: str) -> int:
    """Return the axis across the sections in which holes are filled."""
    return 0 if grid.mode == "orthoplane" else PLANES[cast("Plane", plane)]


def _shaped(
    found: RegionObjects,
    there: Roi,
    wanted: Roi,
    parameters: InferenceParameters,
    sections: tuple[int, bool],
) -> RegionObjects:
    """Return the objects of a region in the part that is wanted, filled, eroded and dilated.

    `sections` says across which axis they lie, and whether each is for itself.
    """
    axis, is_flat = sections
    labels = shape_objects(found.labels, parameters, axis, is_flat=is_flat)
    if labels is found.labels and there == wanted:
        return found
    return found.renumbered(np.array(labels[wanted.slices(there.offset)], order="C"))


def _check_count(
    objects: RegionObjects,
    inside: tuple[slice, ...],
    parameters: InferenceParameters,
    roi: Roi,
) -> None:
    """Refuse more objects of a class than a run may find: none is dropped without a word."""
    most = parameters.maximum_objects_per_class
    if np.bincount(objects.kinds, minlength=1).max() <= most:
        return
    ids = fastremap.unique(np.ascontiguousarray(objects.labels[inside]))
    count = int(np.bincount(objects.kinds[ids[ids > 0] - 1], minlength=1).max())
    if count > most:
        raise InvalidInputError(
            f"There are {count:,} objects in {roi}, and maximum_objects_per_class is {most:,}; "
            "raise it (what was computed is kept), ask for larger objects with min_size or "
            "min_area, or segment a smaller region.",
            ErrorKind.TOO_MANY_OBJECTS,
        )


def plan_grid(bounds: Roi, mode: str, plane: str, network: nn.Module, spec: ModelSpec) -> BlockGrid:
    """Return the blocks of a level for a network: those of a mode, or cubes for a 3D one.

    InvalidInputError for a mode that there is not, or that a 3D network cannot do.
    """
    grid = BlockGrid.plan(bounds, mode, plane, spec.padding_factor)
    if spec.kind is ModelKind.PANOPTIC:
        return grid
    spec.check_mode(mode)
    return CubeGrid.of(bounds, network, spec.padding_factor)


def _targets(spec: ModelSpec, class_id: int | Sequence[int] | None) -> list[Target | None]:
    """Return what is looked for; [None] where the network has one class of single objects."""
    asked = class_id if isinstance(class_id, Sequence) else [class_id]
    targets = [Target.of(spec, one) for one in dict.fromkeys(asked)]
    return [target if spec.has_classes or target.is_stuff else None for target in targets]


def _products(
    targets: Sequence[Target | None], grid: BlockGrid, options: BlockOptions
) -> tuple[Product, ...]:
    """Return what is made of each block: the classes first, then the stacks where they are kept."""
    planes = _PLANES if options.on_stack is not None and grid.mode == "orthoplane" else ()
    return tuple(Product(target, stack) for stack in (None, *planes) for target in targets)


def _known_around(
    grid: BlockGrid, whole: Roi, blocks: Sequence[Block], caches: Sequence[RunCache] | None
) -> list[Block]:
    """Return further blocks of a larger region that need no computing."""
    if caches is None:
        return []
    planned = {block.index for block in blocks}
    others = [block for block in grid.blocks(whole) if block.index not in planned]
    return [block for block in others if all(cache.holds(block) for cache in caches)]


def warm_up(
    network: nn.Module, spec: ModelSpec, mode: Mode = "slice", bounds: Roi | None = None
) -> None:
    """Run a network on empty tiles of a mode's shapes: its first two answers are slow.

    Tiles of a level with these `bounds`, in xy; of a large one where not given.
    """
    level = bounds or Roi((0, 0, 0), (2**16, 2**16, 2**16))
    for shape in BlockGrid.plan(level, mode, "xy", spec.padding_factor).tile_shapes:
        empty = np.zeros(shape, np.float32)
        for _ in predict_tiles([empty, empty], network, InferenceParameters(), batch=1):
            pass


def _run_caches(options: BlockOptions, recipe: Recipe) -> list[RunCache] | None:
    """Return the cache of each product of this run, named by all that its blocks depend on."""
    if options.cache is None:
        return None
    if options.identity is None:
        raise InvalidInputError(
            "A cache of blocks needs the identity of image and weights; give both or neither.",
            ErrorKind.INVALID_PARAMETER,
        )
    same = {
        "source": dict(options.identity),
        "contrast": {"mean": float(recipe.contrast.mean), "std": float(recipe.contrast.std)},
        "parameters": recipe.parameters.to_json(),
    }
    return [options.cache.run({**same, **_named(product)}) for product in recipe.products]


def _named(product: Product) -> dict[str, Any]:
    target = {} if product.target is None else {"target": asdict(product.target)}
    return target if product.stack is None else {**target, "stack": product.stack}


class _Report:
    """Tells how far a run is, in sections within blocks."""

    def __init__(self, blocks: Sequence[Block], progress: Progress) -> None:
        self._blocks = blocks
        self._progress = progress
        self._notice = ""

    def notice(self, words: str) -> None:
        """Say something from now on beside how far the run is."""
        self._notice = f" ({words})"

    def section(self, place: int, done: int) -> None:
        """Tell that so many sections of a block went through the network."""
        count, sections = len(self._blocks), self._blocks[place].sections
        if sections > 1:  # else the block itself is about to be told
            share = (place + done / (sections + 1)) / count
            where = f"block {place + 1} of {count}, " if count > 1 else ""
            sentence = f"{where}section {done} of {sections}".capitalize()
            self._progress(share, sentence + self._notice)

    def block(self, place: int) -> None:
        """Tell that a block is finished."""
        count = len(self._blocks)
        self._progress((place + 1) / count, f"Block {place + 1} of {count}{self._notice}")
