"""The fixed grid of tiles and blocks: where they lie depends on the volume, never on the region.

A *tile* is what the network sees at once, in 2D; a *block* is the unit of inference, in 3D. Along
an axis in which the network sees, the core of a block is the core of one tile. Both grids begin at
the first voxel of the level, so every region is made of the same blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal, TypeAlias, cast

from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.geometry import Coordinate, Roi
from segmentation_backend.inference.filters import Faces

__all__ = ["PLANES", "Axis", "Block", "BlockGrid", "Mode", "Plane", "Tiling", "tiling_for"]

Mode: TypeAlias = Literal["slice", "stack", "orthoplane", "cube"]
"""`cube` is what a 3D network sees, and is not asked for by name."""
Plane: TypeAlias = Literal["xy", "xz", "yz"]

PLANES: dict[Plane, int] = {"xy": 0, "xz": 1, "yz": 2}
"""The axis (of z, y, x) across each plane."""

_PHASE = 16
"""Tiles begin on multiples of the encoder's stride, so that all see the image in the same phase."""
_CORE = {"slice": 512, "stack": 512, "orthoplane": 256}
"""Side of a tile's core. PointRend costs the same for a tile of any size, so that large tiles are
cheap by the pixel; a cube of 512 would not fit into memory."""
_HALO = 64
"""Nearer to a tile's edge than this, probabilities visibly depend on where the edge is."""
_DEPTH = 32
_DEPTH_MARGIN = 8
_PLANE_MARGIN = 32
_CUBE_MARGIN = 16


@dataclass(frozen=True, slots=True)
class Axis:
    """How one axis of a level is cut; positions count from the level's first voxel."""

    length: int
    core: int
    slack: int = 0
    """The last cell takes a rest of at most this many voxels in, rather than leave a sliver."""
    whole: int = 0
    """An axis of at most this many voxels is one cell."""

    @property
    def count(self) -> int:
        """The number of cells."""
        if self.length <= self.whole:
            return 1
        return max(1, -(-(self.length - self.slack) // self.core))

    def span(self, index: int) -> tuple[int, int]:
        """Return the first voxel of a cell and the one after its last."""
        last = index == self.count - 1
        return index * self.core, self.length if last else (index + 1) * self.core

    def index_at(self, position: int) -> int:
        """Return the cell that a voxel belongs to."""
        return min(position // self.core, self.count - 1)


@dataclass(frozen=True, slots=True)
class Tiling:
    """How a section is cut for the network, in pixels; sides and halo are multiples of 16."""

    side: int = 640
    """Side of a tile, halo included; an axis that is shorter than that is one tile."""
    halo: int = 64
    """Pixels at a tile's edge that only give context."""
    padding_factor: int = 16
    """What the sides of the network's input must be multiples of."""

    @property
    def core(self) -> int:
        """Pixels of a tile that are its own."""
        return self.side - 2 * self.halo

    def axis(self, length: int) -> Axis:
        """Return the cores of the tiles along an axis."""
        return Axis(length, self.core, max(0, self.halo - _PHASE), self.side)

    def window(self, length: int, core_start: int) -> tuple[int, int]:
        """Return first pixel and length of the tile whose core begins at `core_start`.

        Windows move inwards at both ends of an axis rather than look at nothing; only less than
        the padding factor may lie past the end.
        """
        factor = self.padding_factor
        tile = min(self.side, -(-length // factor) * factor)
        last = -(-max(0, length - tile) // _PHASE) * _PHASE
        return min(max(0, core_start - self.halo), last), tile


def tiling_for(mode: Mode, padding_factor: int) -> Tiling:
    """Return the tiles of a mode for a network that wants multiples of `padding_factor`."""
    wanted = _CORE[mode]
    side = (wanted + 2 * _HALO) // padding_factor * padding_factor
    if side - 2 * _HALO < 0.75 * wanted:
        side += padding_factor
    core = min(wanted, side - 2 * _HALO)
    return Tiling(side, (side - core) // 2, padding_factor)


@dataclass(frozen=True, slots=True)
class Block:
    """One cell of the grid of a mode; all boxes are in voxels of the level."""

    mode: Mode
    plane: Plane
    """What the network sees; "xy" stands for all three in mode "orthoplane"."""
    index: Coordinate
    core: Roi
    """The voxels that this block decides; the cores of a grid cover the volume once."""
    box: Roi
    """Core and margin: where labels are made and neighbours compared."""
    tile: Roi
    """What the network is fed; its end may lie past the volume, filled with mean grey."""
    reach: Roi
    """What is read: all of the tile that lies in the volume."""
    open_faces: Faces
    """Whether the volume goes on past the box's first and last face of z, of y and of x."""

    @property
    def planes(self) -> tuple[Plane, ...]:
        """The planes that the network sees."""
        return tuple(PLANES) if self.mode == "orthoplane" else (self.plane,)

    @property
    def sections(self) -> int:
        """The number of sections that go through the network."""
        return sum(self.box.shape[PLANES[plane]] for plane in self.planes)

    def is_beside(self, other: Block) -> bool:
        """Whether two different blocks of a grid see some voxels both."""
        return self.index != other.index and not self.box.intersect(other.box).is_empty


@dataclass(frozen=True, slots=True)
class BlockGrid:
    """All blocks of a level for one mode and plane."""

    bounds: Roi
    """The level's extent; the grid begins at its first voxel."""
    mode: Mode
    plane: Plane
    tiling: Tiling

    @classmethod
    def plan(cls, bounds: Roi, mode: str, plane: str, padding_factor: int = 16) -> BlockGrid:
        """Return the grid of a level for a network; InvalidInputError where a word is unknown."""
        if plane not in PLANES:
            raise InvalidInputError(
                f"plane must be xy, xz or yz, not {plane!r}.", ErrorKind.INVALID_PARAMETER
            )
        if mode not in _CORE:
            raise InvalidInputError(
                f"mode must be slice, stack or orthoplane, not {mode!r}.",
                ErrorKind.INVALID_PARAMETER,
            )
        known = cast("Mode", mode)
        seen: Plane = "xy" if known == "orthoplane" else plane
        return cls(bounds, known, seen, tiling_for(known, padding_factor))

    def axis(self, axis: int) -> Axis:
        """Return how one axis (0 = z) is cut."""
        length = self.bounds.shape[axis]
        if self._is_seen(axis):
            tiles = self.tiling.axis(length)
            if self.mode != "orthoplane":
                return tiles
            # A cube of a whole tile's side would be three times as large in memory.
            return Axis(length, tiles.core, tiles.slack, tiles.core + tiles.slack)
        if self.mode == "slice":
            return Axis(length, 1)
        return Axis(length, _DEPTH, _DEPTH_MARGIN)

    def block(self, index: Sequence[int]) -> Block:
        """Return the block at a place (z, y, x) of the grid."""
        core = [self.axis(a).span(index[a]) for a in range(3)]
        ends = self.bounds.shape
        box = [
            (max(0, low - self._margin(a)), min(ends[a], high + self._margin(a)))
            for a, (low, high) in enumerate(core)
        ]
        tile, reach = list(box), list(box)
        for a in range(3):
            if self._is_seen(a):
                start, length = self.tiling.window(ends[a], core[a][0])
                tile[a], reach[a] = (start, start + length), (start, min(start + length, ends[a]))
        is_open = [v for a, (low, high) in enumerate(box) for v in (low > 0, high < ends[a])]
        z, y, x = index
        return Block(
            mode=self.mode,
            plane=self.plane,
            index=(z, y, x),
            core=self._roi(core),
            box=self._roi(box),
            tile=self._roi(tile),
            reach=self._roi(reach),
            open_faces=cast("Faces", tuple(is_open)),
        )

    @property
    def tile_shapes(self) -> list[tuple[int, int]]:
        """Rows and columns of the tiles that the network is fed: one shape for each plane."""
        block = self.block((0, 0, 0))
        shapes = []
        for plane in block.planes:
            rows, columns = (block.tile.shape[a] for a in range(3) if a != PLANES[plane])
            shapes.append((rows, columns))
        return sorted(set(shapes))

    def blocks(self, roi: Roi, centre: Sequence[float] | None = None) -> list[Block]:
        """Return the blocks that decide the voxels of a region, those nearest a point first.

        The point is (z, y, x) in voxels of the level, the region's own centre where not given.
        """
        inside = roi.intersect(self.bounds)
        if inside.is_empty:
            return []
        first, last = (
            [self.axis(a).index_at(v - o) for a, (v, o) in enumerate(zip(p, o3, strict=True))]
            for p, o3 in (
                (inside.offset, self.bounds.offset),
                ([end - 1 for end in inside.end], self.bounds.offset),
            )
        )
        ranges = [range(a, b + 1) for a, b in zip(first, last, strict=True)]
        blocks = [self.block(index) for index in product(*ranges)]
        point = centre or [o + s / 2 for o, s in zip(inside.offset, inside.shape, strict=True)]
        return sorted(blocks, key=lambda block: (_distance(block.core, point), block.index))

    def _is_seen(self, axis: int) -> bool:
        """Whether the network sees along an axis."""
        return self.mode == "orthoplane" or axis != PLANES[self.plane]

    def _margin(self, axis: int) -> int:
        if not self._is_seen(axis):
            return 0 if self.mode == "slice" else _DEPTH_MARGIN
        widest = _CUBE_MARGIN if self.mode == "orthoplane" else _PLANE_MARGIN
        return min(widest, self.tiling.halo // 2)

    def _roi(self, spans: Sequence[tuple[int, int]]) -> Roi:
        low, high = zip(*spans, strict=True)
        return Roi.from_bounds(low, high).shift(self.bounds.offset)


def _distance(box: Roi, point: Sequence[float]) -> float:
    """Return the squared distance of a point from the middle of a box."""
    middle = [o + s / 2 for o, s in zip(box.offset, box.shape, strict=True)]
    return float(sum((m - p) ** 2 for m, p in zip(middle, point, strict=True)))
