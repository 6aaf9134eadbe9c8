"""The network's maps of a run's blocks, kept for the viewer: probability and centre heat map.

One file per block and map, named by the SHA-256 of what it holds, in a folder of bounded size
beside the cache of blocks; and for each run a list of its blocks. Nothing relies on either: what
was removed for room is not known any more, and shown as such.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from segmentation_backend.errors import ErrorKind, NotFoundError
from segmentation_backend.geometry import Roi

if TYPE_CHECKING:
    from segmentation_backend.inference.results import BlockMaps

__all__ = ["MAP_KINDS", "HeatMaps", "MapKind", "map_in"]

MapKind: TypeAlias = Literal["probability", "centres"]
MAP_KINDS: tuple[MapKind, ...] = get_args(MapKind)

Bytes: TypeAlias = npt.NDArray[np.uint8]

_MAX_BYTES = 2**30
_MOST_RUNS = 2000
"""Lists of runs that are kept, a line per block."""
_DECODED = 4
"""Maps of blocks that are kept in memory, of at most 17 MB each: neighbouring chunks want them."""
_RUN_ID = re.compile("[0-9a-zA-Z-]{1,64}")


class HeatMaps:
    """Keeps the maps of one run as its blocks are finished."""

    def __init__(self, data_dir: Path, run_id: str, max_bytes: int = _MAX_BYTES) -> None:
        """Keep maps in a data directory, under the name of a run."""
        from segmentation_backend.inference.cache import ByteCache

        self.blocks = 0
        """How many are there."""
        self._list = _list(data_dir, run_id)
        self._files = ByteCache(_folder(data_dir), max_bytes)

    def add(self, maps: BlockMaps, core: Roi) -> None:
        """Take the maps of a block's core, voxels of the level that was read."""
        from segmentation_backend.inference.results import pack

        names = {}
        for kind in MAP_KINDS:
            content = pack({kind: getattr(maps, kind)})
            names[kind] = hashlib.sha256(content).hexdigest()
            self._files.keep_bytes(names[kind], content)
        line = json.dumps({"core": core.to_json(), **names})
        with suppress(OSError):  # a full disk costs the maps, not the run
            if not self._list.exists():
                _make_room(self._list.parent)
            with self._list.open("a", encoding="utf-8") as file:
                file.write(f"{line}\n")
            self.blocks += 1


def map_in(data_dir: Path, run_id: str, kind: str, roi: Roi) -> Bytes:
    """Return one map of a run in a box of the level that it read, uint8 (z, y, x).

    0: not known. 1 to 255 stand for 0 to 1, in steps of 1/254: enough for the eye.
    """
    found = np.zeros(roi.shape, np.uint8)
    if kind not in MAP_KINDS:
        raise NotFoundError(
            f"There is no map {kind[:64]!r}; there are {' and '.join(MAP_KINDS)}.",
            ErrorKind.ROUTE_NOT_FOUND,
        )
    for core, name in _blocks(_list(data_dir, run_id), kind):
        inside = core.intersect(roi)
        if not inside.is_empty:
            # Removed for room since, or damaged: as if it had never been.
            with suppress(LookupError):
                values = _decoded(_folder(data_dir), name, kind)[inside.slices(core.offset)]
                scaled = (values.astype(np.uint16) * 254 + 127) // 255 + 1
                found[inside.slices(roi.offset)] = scaled
    return found


def _blocks(path: Path, kind: str) -> Iterator[tuple[Roi, str]]:
    with suppress(OSError):
        status = path.stat()
        for entry in _entries(path, status.st_mtime_ns, status.st_size):
            yield Roi.from_json(entry["core"]), entry[kind]


@lru_cache(maxsize=32)
def _entries(path: Path, _changed: int, _size: int) -> list[dict[str, Any]]:
    entries = []
    for line in path.read_text(encoding="utf-8").splitlines():
        # The last line may be half written.
        with suppress(ValueError):
            entries.append(json.loads(line))
    return entries


@lru_cache(maxsize=_DECODED)
def _decoded(folder: Path, name: str, kind: str) -> Bytes:
    from segmentation_backend.inference.cache import ByteCache
    from segmentation_backend.inference.results import unpack

    content = ByteCache(folder).find_bytes(name)
    if content is None:
        raise LookupError(name)
    values: Bytes = unpack(content)[kind]
    return values


def _folder(data_dir: Path) -> Path:
    return data_dir / "caches" / "maps"


def _list(data_dir: Path, run_id: str) -> Path:
    if not _RUN_ID.fullmatch(run_id):
        raise NotFoundError(f"{run_id[:64]!r} is not the name of a run.", ErrorKind.JOB_NOT_FOUND)
    return data_dir / "caches" / "runs-with-maps" / f"{run_id}.jsonl"


def _make_room(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lists = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    for path in lists[: len(lists) - _MOST_RUNS + 1] if len(lists) >= _MOST_RUNS else ():
        path.unlink(missing_ok=True)
