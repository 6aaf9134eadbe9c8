"""Image files read where they are, by box, as if they were chunk stores."""

from __future__ import annotations

import numpy as np
import tensorstore as ts
from numpy.typing import NDArray

from segmentation_backend.errors import ErrorKind, FormatError
from segmentation_backend.geometry import Roi
from segmentation_backend.sources.grids import Grid
from segmentation_backend.sources.pyramids import OpenLevel
from segmentation_backend.sources.stacks import Stack

__all__ = ["stack_level"]

_AXES = ("z", "y", "x")
_MAX_CHUNK_BYTES = 2**26


def stack_level(stack: Stack, what: str, context: ts.Context) -> OpenLevel:
    """Return a file as a level whose chunks are read when they are asked for, and cached.

    Raises FormatError (UNSUPPORTED_FORMAT) for a file of which a part costs as much as the whole,
    and what Stack.read raises when it is read.
    """
    size = int(np.prod(stack.chunk)) * stack.dtype.itemsize
    if stack.is_sequential or size > _MAX_CHUNK_BYTES:
        raise FormatError(
            f"{what} is compressed in pieces that are too large to be read in place "
            f"({'a stream' if stack.is_sequential else stack.chunk}). Import it first: "
            "mitoglance import makes a volume with a pyramid of it.",
            ErrorKind.UNSUPPORTED_FORMAT,
        )
    if 0 in stack.shape:
        raise FormatError(
            f"{what} holds no voxel: its shape is {stack.shape}.", ErrorKind.UNSUPPORTED_RANK
        )
    dtype = stack.dtype.newbyteorder("=")

    def read(
        domain: ts.IndexDomain, chunk: NDArray[np.generic], _: ts.VirtualChunkedReadParameters
    ) -> None:
        box = Roi.from_bounds(domain.inclusive_min, domain.exclusive_max)
        chunk[...] = stack.read(box)

    array = ts.virtual_chunked(
        read,
        dtype=_ts_dtype(dtype, what),
        shape=list(stack.shape),
        chunk_layout=ts.ChunkLayout(read_chunk_shape=list(stack.chunk)),
        context=context,
    )
    grid = None
    if stack.voxel_size is not None:
        grid = Grid(_AXES, stack.voxel_size, ("nanometer",) * 3, stack.translation)
    return OpenLevel(array[ts.d[:].mark_bounds_implicit[False]], (0, 0, 0), grid)


def _ts_dtype(dtype: np.dtype[np.generic], what: str) -> ts.dtype:
    try:
        return ts.dtype(dtype)
    except (TypeError, ValueError) as err:
        raise FormatError(
            f"{what} is of type {dtype}, which is no kind of number.", ErrorKind.UNSUPPORTED_DTYPE
        ) from err
