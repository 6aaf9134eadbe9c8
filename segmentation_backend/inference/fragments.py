"""Which pieces of a section are slivers, and whose, decided on pieces rather than on pixels."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from segmentation_backend.compiled import njit

__all__ = ["absorb_slivers"]

Integers: TypeAlias = npt.NDArray[np.int64]

_SHARE = 0.25
"""A piece cut off from its group joins a neighbour of which it is at most this share."""
_PASSES = 4
"""A sliver may hang on a sliver; more than so many in a row are left alone."""


def absorb_slivers(area: Integers, group: Integers, borders: Integers, min_area: int) -> Integers:
    """Return for each piece the piece that it belongs to, itself unless it is a sliver.

    `area` and `group` are (n + 1,), by piece, 0 unused; `borders` (m, 3) as `collect_borders`
    gives them. A sliver joins the larger neighbour with which it shares the longest border (among
    equals the larger, then the lower number). Slivers are pieces below `min_area`, and pieces
    other than their group's largest that are small beside that neighbour.
    """
    hosts = np.arange(area.size)
    size = area.copy()
    edges = _summed(borders, area.size)
    for _ in range(_PASSES):
        wanted = _wanted_hosts(size, group, edges, min_area)
        joining = np.flatnonzero(wanted != np.arange(area.size))
        if joining.size == 0:
            break
        # Hosts stay, so it does not matter who joins them first.
        np.add.at(size, wanted[joining], size[joining])
        size[joining] = 0
        hosts = wanted[hosts]
        edges[:, :2] = np.sort(wanted[edges[:, :2]], axis=1)
        edges = _summed(edges, area.size)
    return hosts


def _summed(borders: Integers, count: int) -> Integers:
    """Return each pair of different pieces once, in order, with the sum of its borders."""
    between = borders[borders[:, 0] != borders[:, 1]]
    # Sorted by numpy: that in numba takes seconds to compile.
    codes, place = np.unique(between[:, 0] * count + between[:, 1], return_inverse=True)
    sums = np.zeros(codes.size, np.int64)
    np.add.at(sums, place, between[:, 2])
    return np.stack([codes // count, codes % count, sums], 1)


@njit(cache=True, nogil=True)
def _wanted_hosts(size: Integers, group: Integers, edges: Integers, min_area: int) -> Integers:
    """Return where each piece goes in one pass, chains of joins followed to their ends."""
    largest = np.zeros(group.max() + 1, np.int64)
    for piece in range(1, size.size):
        largest[group[piece]] = max(largest[group[piece]], size[piece])
    wanted = np.arange(size.size)
    longest = np.zeros(size.size, np.int64)
    for k in range(edges.shape[0]):
        a, b = edges[k, 0], edges[k, 1]
        sliver, host = (a, b) if size[a] < size[b] else (b, a)
        dwarfed = size[sliver] < largest[group[sliver]] and size[sliver] < _SHARE * size[host]
        if size[sliver] == size[host] or not (dwarfed or size[sliver] < min_area):
            continue
        border = edges[k, 2]
        larger = border == longest[sliver] and size[host] > size[wanted[sliver]]
        if border > longest[sliver] or larger:
            longest[sliver] = border
            wanted[sliver] = host
    for piece in range(1, size.size):
        # Every join goes to a larger piece, so chains end.
        while wanted[piece] != wanted[wanted[piece]]:
            wanted[piece] = wanted[wanted[piece]]
    return wanted
