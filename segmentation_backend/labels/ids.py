"""Ids of supervoxels, roots and operations, and the one check of ids that come from outside."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import numpy as np

from segmentation_backend.errors import ErrorKind, InvalidInputError

__all__ = ["LARGEST_STORED_ID", "OperationId", "RootId", "SupervoxelId", "check_id", "check_ids"]

SupervoxelId: TypeAlias = int
"""What a voxel stores: 0 is background; ids from the allocator start at 1."""

RootId: TypeAlias = int
"""The smallest supervoxel id of an object; names the object at one version."""

OperationId: TypeAlias = int
"""Consecutive per volume from 1; equals the version it makes."""

LARGEST_STORED_ID = 2**63 - 1
"""SQL integers are signed: larger ids are valid names in a request, but no object has them."""


def check_id(value: object) -> int:
    """Return an id that was given from outside; only 1 to 2**64 - 1 (and 0, background) pass.

    The caller decides what background means to it. Raises InvalidInputError INVALID_ID.
    """
    is_integer = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not is_integer or not 0 <= int(value) < 2**64:  # type: ignore[call-overload]
        raise InvalidInputError(
            f"{value!r} is not an id: ids are whole numbers from 1 to 2**64 - 1.",
            ErrorKind.INVALID_ID,
        )
    return int(value)  # type: ignore[call-overload, no-any-return]


def check_ids(values: Iterable[object]) -> list[int]:
    """Return several ids from outside, in the order given; see `check_id`."""
    return [check_id(value) for value in values]
