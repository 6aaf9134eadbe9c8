"""`njit`, which keeps what it has compiled for later processes, wherever that is possible.

Numba keeps it beside the sources, in the user's cache folder or where NUMBA_CACHE_DIR says, and
refuses to work where none of them can be written to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

__all__ = ["njit"]

Loop = TypeVar("Loop", bound=Callable[..., Any])


def _nothing() -> None:
    """Do nothing; what can be kept of this can be kept of anything."""


def _can_keep() -> bool:
    try:
        numba.njit(cache=True)(_nothing)
    except RuntimeError:
        return False
    return True


_KEEPS = _can_keep()


def njit(*, cache: bool, nogil: bool = False) -> Callable[[Loop], Loop]:
    """Return numba's decorator; without a place to keep it, each process compiles for itself."""
    decorator: Any = numba.njit(cache=cache and _KEEPS, nogil=nogil)
    return decorator  # type: ignore[no-any-return]
