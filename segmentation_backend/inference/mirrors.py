"""Test-time augmentation: the network sees each tile and its mirror images, and the maps' mean
counts.

What a network makes of an image should not depend on how the image lies; where it does, that is
error, and a mean of several views has less of it (Wang et al., Neurocomputing 338, 2019). Mirror
images, unlike turned ones, have the tile's own shape, so one compiled network serves all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from segmentation_backend.inference.panoptic import Maps

__all__ = ["VIEWS", "mean_of_views", "views_of"]

VIEWS: tuple[tuple[int, int], ...] = ((1, 1), (-1, 1), (1, -1), (-1, -1))
"""The views of a tile: in which direction, 1 or -1, its rows and its columns are read."""


def views_of(tiles: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    """Yield every view of each tile (H, W), in the order of `VIEWS`."""
    for tile in tiles:
        for down, across in VIEWS:
            yield np.ascontiguousarray(tile[::down, ::across])


def mean_of_views(maps: Iterable[Maps]) -> Iterator[Maps]:
    """Yield one tile's maps for the maps of all its views, which come in the order of `VIEWS`.

    Each view's maps are turned back first: offsets along a mirrored axis change their sign.
    """
    source = iter(maps)
    while views := list(islice(source, len(VIEWS))):
        parts = [_turned_back(maps, view) for maps, view in zip(views, VIEWS, strict=True)]
        means = (sum(rest, start=first) / len(VIEWS) for first, *rest in zip(*parts, strict=True))
        yield Maps(*means)


def _turned_back(
    maps: Maps, view: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    down, across = view
    sign = np.array(view, np.float32)[:, None, None]
    return (
        maps.probability[..., ::down, ::across],
        maps.centres[::down, ::across],
        maps.offsets[:, ::down, ::across] * sign,
    )
