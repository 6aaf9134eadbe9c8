"""How this process gives memory back that it no longer needs."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["give_large_blocks_back"]

_M_MMAP_THRESHOLD = -3
_LARGE = 256 * 2**10
"""Bytes: a chunk of 64³ voxels, and whatever is larger."""


def give_large_blocks_back() -> bool:
    """Have glibc map each large block on its own, so that freeing it always returns it.

    By itself it raises the size from which it does so, and small things that are kept between freed
    chunks then hold on to those: some hundred bytes for each chunk ever read. Returns whether there
    was something to set.
    """
    if sys.platform != "linux":
        return False
    try:
        return bool(ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE))
    except AttributeError:  # another C library
        return False
