"""Which pieces of a section are slivers, and whose, decided on pieces rather than on pixels."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from numba import njit

__all__ = ["absorb_slivers"]

Integers: TypeAlias = npt.NDArray[np.int64]

_SHARE = 0.25
"""A piece cut off from its group joins a neighbour of which it is at most this share."""
_PASSES = 4
"""A sliver may hang on a sliver; more than so many in a row are left alone."""


@njit(cache=True, nogil=True)
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
        joined = 0
        for piece in range(1, area.size):
            if wanted[piece] != piece:
                size[wanted[piece]] += size[piece]
                size[piece] = 0
                joined += 1
        if joined == 0:
            break
        for piece in range(1, area.size):
            hosts[piece] = wanted[hosts[piece]]
        for k in range(edges.shape[0]):
            a, b = wanted[edges[k, 0]], wanted[edges[k, 1]]
            edges[k, 0], edges[k, 1] = min(a, b), max(a, b)
        edges = _summed(edges, area.size)
    return hosts


@njit(cache=True, nogil=True)
def _summed(borders: Integers, count: int) -> Integers:
    """Return each pair of different pieces once, in order, with the sum of its borders."""
    codes = borders[:, 0] * count + borders[:, 1]
    order = np.argsort(codes)
    out = np.empty_like(borders)
    n = 0
    last = -1
    for k in order:
        if borders[k, 0] == borders[k, 1]:
            continue
        if codes[k] == last:
            out[n - 1, 2] += borders[k, 2]
            continue
        out[n] = borders[k]
        last = codes[k]
        n += 1
    return out[:n]


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
