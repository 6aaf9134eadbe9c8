"""Where in a volume there may be labels, so that nobody needs to ask for chunks that are empty."""

from __future__ import annotations

from segmentation_backend.geometry import Coordinate
from segmentation_backend.labels import LabelRepository
from segmentation_backend.labels.chunks import CHUNK_SIDE

__all__ = ["occupied_chunks"]

_MOST_WRITES = 20_000
"""Beyond, an answer would be a large document; chunks are then asked for one by one."""


def occupied_chunks(
    labels: LabelRepository, version: int | None, chunk: Coordinate
) -> tuple[int, list[set[Coordinate]] | None]:
    """Return the version looked at, and by level the chunks that may hold labels.

    Chunks (z, y, x) are counted on a grid of `chunk` voxels, each side a multiple of the stored
    chunks'. All others hold none at that version (None: the newest). None in place of the levels:
    it is not known, each chunk has to be asked for. NotFoundError VERSION_NOT_FOUND.
    """
    view = labels.at(labels.head if version is None else version)
    written = view.written_chunks(_MOST_WRITES)
    if written is None:
        return view.version, None
    z, y, x = (side // CHUNK_SIDE for side in chunk)
    levels: list[set[Coordinate]] = [set() for _ in view.levels]
    for key in written:
        levels[key.level].add((key.z // z, key.y // y, key.x // x))
    return view.version, levels
