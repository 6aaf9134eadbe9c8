"""Which images pages read from their source themselves, and how their addresses are written.

States are kept with our own address of an image, `{origin}/image/<name>`. On the way to a page it
becomes that of the image's description for direct reading where that works now, and on the way back
it becomes ours again: a link does not depend on where the data are, nor on who can reach them.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from app.viewer import ORIGIN
from segmentation_backend.errors import SegmentationError
from segmentation_backend.sources.direct import DirectImage, direct_image
from segmentation_backend.sources.openness import Openness, check_openness
from segmentation_backend.workspace import Workspace

__all__ = ["DirectReading", "Verdict"]

_NEVER = "never"

_NAME = r"(?P<name>[A-Za-z0-9][A-Za-z0-9_.-]{0,63})"
_STORED = re.compile(
    rf"(?:precomputed://)?{re.escape(ORIGIN)}/image/{_NAME}/?(?:\|neuroglancer-precomputed:/?)?"
)
_SHOWN = re.compile(
    rf"(?:(?:zarr2|zarr3|n5|precomputed)://)?{re.escape(ORIGIN)}/direct/{_NAME}/?"
    r"(?:\|(?:zarr2|zarr3|n5|neuroglancer-precomputed):/?)?"
)

_OUR_AXES = "xyz"
"""The order in which the viewer has them where the server sends the image."""


class _Source(NamedTuple):
    """What a layer reads from instead."""

    address: str
    order: tuple[int, ...] = ()
    """Which axis of before each axis is, for transforms that somebody has made; none: the same."""


_Rewrite: TypeAlias = Callable[[re.Match[str], bool], _Source]
"""Gets the address and whether somebody has made a transform for it."""

_PAGE_WAITS_S = 2.0
"""How long a state waits to know; after that its page reads through the server."""
_OPEN_FOR_S, _CLOSED_FOR_S = 3600.0, 120.0
"""How long an answer is believed."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether pages read an image themselves."""

    image: DirectImage | None
    openness: Openness

    @property
    def is_open(self) -> bool:
        """Whether they do."""
        return self.image is not None and self.openness.reason is None

    def to_json(self) -> dict[str, Any]:
        """Return where the chunks of each level are, or why they come from this server."""
        if self.image is None or self.openness.reason is not None:
            return {"levels": None, "reason": self.openness.reason}
        levels = [
            {
                "prefix": level.place.prefix,
                "suffix": level.place.suffix,
                "is_quoted": level.place.is_quoted,
                "mark": level.mark,
                "offset": list(level.offset),
            }
            for level in self.image.levels
        ]
        return {"levels": levels, "missing": self.openness.missing}


class DirectReading:
    """Remembers, per image and page's origin, whether pages may read it themselves."""

    def __init__(self, workspace: Workspace, setting: str) -> None:
        """Ask nobody yet; threads are made with the first question."""
        self._workspace = workspace
        self._is_on = setting != _NEVER
        self._asked: dict[tuple[str, str], tuple[float, Future[Verdict]]] = {}
        self._described: dict[str, DirectImage | str] = {}
        self._lock = threading.Lock()
        self._threads: ThreadPoolExecutor | None = None

    def begin(self, name: str, origin: str) -> Future[Verdict] | None:
        """Begin to find out, unless it is known; None where nothing is read directly."""
        if not self._is_on:
            return None
        with self._lock:
            until, known = self._asked.get((name, origin), (0.0, None))
            if known is not None and (not known.done() or time.monotonic() < until):
                return known
            if self._threads is None:
                self._threads = ThreadPoolExecutor(2, thread_name_prefix="direct-reading")
            asked = self._threads.submit(self._find_out, name, origin)
            self._asked[name, origin] = (time.monotonic() + _OPEN_FOR_S, asked)
            return asked

    def verdict(self, name: str, origin: str, within_s: float = _PAGE_WAITS_S) -> Verdict:
        """Return what is known of an image, waiting a moment where nothing is."""
        asked = self.begin(name, origin)
        if asked is None:
            return Verdict(None, Openness("the setting direct_reading is never"))
        try:
            return asked.result(within_s)
        except FutureTimeoutError:
            return Verdict(None, Openness("it has not answered yet"))

    def description(self, name: str) -> DirectImage | None:
        """Return how a viewer is told of an image, whether or not pages read it now."""
        found = self._describe(name)
        return found if isinstance(found, DirectImage) else None

    def to_page(self, view_state: str, origin: str) -> str:
        """Return a stored state as a page of `origin` gets it, `{origin}` not yet filled in."""

        def rewrite(found: re.Match[str], is_moved: bool) -> _Source:
            del is_moved
            verdict = self.verdict(found["name"], origin)
            if verdict.image is None or not verdict.is_open:
                return _Source(found[0])
            address = f"{verdict.image.format}://{ORIGIN}/direct/{found['name']}"
            return _Source(address, tuple(_OUR_AXES.index(a) for a in verdict.image.axes))

        return _rewritten(view_state, _STORED, rewrite) if self._is_on else view_state

    def to_stored(self, view_state: str) -> str:
        """Return a page's state, with `{origin}`, as it is kept: with our own addresses."""

        def rewrite(found: re.Match[str], is_moved: bool) -> _Source:
            address = f"precomputed://{ORIGIN}/image/{found['name']}"
            # The image is looked at only where its axes matter: states come with every move.
            image = self.description(found["name"]) if is_moved else None
            return _Source(address, tuple(image.axes.index(a) for a in _OUR_AXES) if image else ())

        return _rewritten(view_state, _SHOWN, rewrite)

    def _find_out(self, name: str, origin: str) -> Verdict:
        try:
            found = self._describe(name)
        except SegmentationError as err:
            found = err.message
        if isinstance(found, str):
            verdict = Verdict(None, Openness(found))
        else:
            verdict = Verdict(found, check_openness(found, origin))
        if not verdict.is_open:
            with self._lock:
                known = self._asked[name, origin][1]
                self._asked[name, origin] = (time.monotonic() + _CLOSED_FOR_S, known)
        return verdict

    def _describe(self, name: str) -> DirectImage | str:
        known = self._described.get(name)
        if known is None:
            known = self._described[name] = direct_image(self._workspace.image(name))
        return known


def _rewritten(view_state: str, pattern: re.Pattern[str], rewrite: _Rewrite) -> str:
    """Return a state whose layers read from elsewhere; nothing else of it is touched."""
    if not pattern.search(view_state):
        return view_state
    document = json.loads(view_state)
    layers = document.get("layers")
    for layer in layers if isinstance(layers, list) else []:
        if isinstance(layer, dict) and "source" in layer:
            layer["source"] = _with_addresses(layer["source"], pattern, rewrite)
    return json.dumps(document)


def _with_addresses(source: object, pattern: re.Pattern[str], rewrite: _Rewrite) -> object:
    if isinstance(source, list):
        return [_with_addresses(one, pattern, rewrite) for one in source]
    url = source.get("url") if isinstance(source, dict) else source
    found = pattern.fullmatch(url) if isinstance(url, str) else None
    if found is None:
        return source
    is_moved = isinstance(source, dict) and "transform" in source
    wanted = rewrite(found, is_moved)
    if not isinstance(source, dict):
        return wanted.address
    changed = {**source, "url": wanted.address}
    if is_moved and wanted.order:
        changed["transform"] = _reordered(source["transform"], wanted.order)
    return changed


def _reordered(transform: object, order: tuple[int, ...]) -> object:
    """Return a layer's transform for a source that has its axes in another order."""
    if not isinstance(transform, dict):
        return transform
    changed = dict(transform)
    matrix, names = transform.get("matrix"), transform.get("inputDimensions")
    if isinstance(matrix, list) and all(isinstance(row, list) and len(row) == 4 for row in matrix):
        changed["matrix"] = [[*(row[axis] for axis in order), row[3]] for row in matrix]
    if isinstance(names, dict) and len(names) == 3:
        items = list(names.items())
        changed["inputDimensions"] = dict(items[axis] for axis in order)
    return changed
