"""Reads the image for block after block: each chunk once, and the next block while one computes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import product
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from segmentation_backend.geometry import Coordinate, Roi

__all__ = ["Reader", "RegionCache", "look_ahead"]

Reader: TypeAlias = Callable[[Roi], NDArray[Any]]
"""Returns the grey values (z, y, x) of a box of one level, which lies inside the volume."""

_CACHE_BYTES = 256 * 2**20

_Item = TypeVar("_Item")
_Loaded = TypeVar("_Loaded")


class RegionCache:
    """A reader that asks another one for whole chunks, keeps them, and asks for none twice.

    Twice is possible only where more than `max_bytes` were read in between. Not for use by
    several threads at a time.
    """

    def __init__(
        self, read: Reader, bounds: Roi, chunk: Coordinate, max_bytes: int = _CACHE_BYTES
    ) -> None:
        """Read through `read`; chunks are counted from the first voxel of `bounds`."""
        self._read = read
        self._bounds = bounds
        self._chunk = chunk
        self._max_bytes = max_bytes
        self._kept: OrderedDict[Coordinate, NDArray[Any]] = OrderedDict()
        self._bytes = 0

    def read(self, roi: Roi) -> NDArray[Any]:
        """Return the grey values (z, y, x) of a box inside the bounds, owned by the caller."""
        cells = roi.shift([-o for o in self._bounds.offset]).snap_out(self._chunk)
        first = [o // c for o, c in zip(cells.offset, self._chunk, strict=True)]
        counts = [s // c for s, c in zip(cells.shape, self._chunk, strict=True)]
        last = [f + n for f, n in zip(first, counts, strict=True)]
        places = list(map(_triple, product(*map(range, first, last))))
        missing = np.array([place not in self._kept for place in places], bool)
        for low, high in _solid_boxes(missing.reshape(counts)):
            self._fetch(
                [f + v for f, v in zip(first, low, strict=True)],
                [f + v for f, v in zip(first, high, strict=True)],
            )
        result = np.empty(roi.shape, self._kept[places[0]].dtype)
        for place in places:
            self._kept.move_to_end(place)
            cell = self._cell(place)
            common = cell.intersect(roi)
            result[common.slices(roi.offset)] = self._kept[place][common.slices(cell.offset)]
        while self._bytes > self._max_bytes:
            _, voxels = self._kept.popitem(last=False)
            self._bytes -= voxels.nbytes
        return result

    def _cell(self, place: Coordinate) -> Roi:
        """Return the box of a chunk, cut off where the volume ends."""
        low = [p * c for p, c in zip(place, self._chunk, strict=True)]
        high = [(p + 1) * c for p, c in zip(place, self._chunk, strict=True)]
        return Roi.from_bounds(low, high).shift(self._bounds.offset).intersect(self._bounds)

    def _fetch(self, low: list[int], high: list[int]) -> None:
        """Read a box of chunks, given by places, in one go: a store fetches them side by side."""
        corner, opposite = _triple(low), _triple([v - 1 for v in high])
        box = self._cell(corner).union(self._cell(opposite))
        voxels = self._read(box)
        for place in product(*map(range, low, high)):
            part = voxels[self._cell(_triple(place)).slices(box.offset)].copy()
            self._kept[_triple(place)] = part
            self._bytes += part.nbytes


def look_ahead(
    items: Iterable[_Item], load: Callable[[_Item], _Loaded]
) -> Generator[tuple[_Item, _Loaded], None, None]:
    """Yield each item with what `load` returns for it, loading one item ahead in a thread.

    An error of `load` is raised where its item would have come. A caller that stops early does
    not wait for what is being loaded.
    """
    executor = ThreadPoolExecutor(1, "look-ahead")
    try:
        waiting: tuple[_Item, Future[_Loaded]] | None = None
        for item in items:
            following = (item, executor.submit(load, item))
            if waiting is not None:
                yield waiting[0], waiting[1].result()
            waiting = following
        if waiting is not None:
            yield waiting[0], waiting[1].result()
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def _solid_boxes(wanted: NDArray[np.bool_]) -> Iterator[tuple[list[int], list[int]]]:
    """Yield boxes (low, high), in cells, that cover what is wanted once and nothing else."""
    left = wanted.copy()
    while left.any():
        low = [int(v) for v in np.argwhere(left)[0]]
        high = [v + 1 for v in low]
        for axis in (2, 1, 0):
            while high[axis] < left.shape[axis]:
                layer = [slice(a, b) for a, b in zip(low, high, strict=True)]
                layer[axis] = slice(high[axis], high[axis] + 1)
                if not left[tuple(layer)].all():
                    break
                high[axis] += 1
        left[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = False
        yield low, high


def _triple(values: Iterable[int]) -> Coordinate:
    z, y, x = values
    return (z, y, x)
