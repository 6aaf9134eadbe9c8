"""What pages read from its source themselves, and how the addresses of it are written.

States are kept with our own addresses, `{origin}/image/<name>` of an image and
`{origin}/beside/<name>/<labels>` of published labels. On the way to a page such an address becomes
that of the description for direct reading, `{origin}/direct/` and the same, where that works now,
and on the way back it becomes ours again: a link does not depend on where the data are, nor on who
can reach them.
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
from segmentation_backend.sources.direct import DirectLayer, direct_layer
from segmentation_backend.sources.direct_formats import LayerKind
from segmentation_backend.sources.openness import Openness, check_openness
from segmentation_backend.sources.secrets import without_secrets
from segmentation_backend.workspace import Workspace

__all__ = ["DirectReading", "Verdict"]

_NEVER = "never"

_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}"
_OWN = rf"(?P<own>image/{_NAME}|beside/{_NAME}/{_NAME})"
_STORED = re.compile(
    rf"(?:precomputed://)?{re.escape(ORIGIN)}/{_OWN}/?(?:\|neuroglancer-precomputed:/?)?"
)
_SHOWN = re.compile(
    rf"(?:(?:zarr2|zarr3|n5|precomputed)://)?{re.escape(ORIGIN)}/direct/{_OWN}/?"
    r"(?:\|(?:zarr2|zarr3|n5|neuroglancer-precomputed):/?)?"
)

_OUR_AXES = "xyz"
"""The order in which the viewer has them where the server sends the voxels."""


class _Found(NamedTuple):
    """An address that a layer reads from."""

    text: str
    own: str
    is_moved: bool
    """Whether somebody has made a transform for it."""
    is_seen: bool
    """Whether the layer is switched on."""


class _Source(NamedTuple):
    """What a layer reads from instead."""

    address: str
    order: tuple[int, ...] = ()
    """Which axis of before each axis is, for transforms that somebody has made; none: the same."""


_Rewrite: TypeAlias = Callable[[_Found], _Source]

_PAGE_WAITS_S = 2.0
"""How long a state waits to know of what is seen; the page reads the rest through the server."""
_THREADS = 4
_OPEN_FOR_S, _CLOSED_FOR_S = 3600.0, 120.0
"""How long an answer is believed."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether pages read an image, or labels, themselves."""

    layer: DirectLayer | None
    openness: Openness

    @property
    def is_open(self) -> bool:
        """Whether they do."""
        return self.layer is not None and self.openness.reason is None

    def to_json(self) -> dict[str, Any]:
        """Return where the chunks of each level are, or why they come from this server."""
        if self.layer is None or self.openness.reason is not None:
            return {"levels": None, "reason": self.openness.reason}
        levels = [
            {
                "prefix": level.place.prefix,
                "suffix": level.place.suffix,
                "is_quoted": level.place.is_quoted,
                "mark": level.mark,
                "offset": list(level.offset),
            }
            for level in self.layer.levels
        ]
        return {"levels": levels, "missing": self.openness.missing}


class DirectReading:
    """Remembers, per own address and page's origin, whether pages may read what is there.

    An own address is `image/<volume>`, or `beside/<volume>/<labels>`.
    """

    def __init__(self, workspace: Workspace, setting: str) -> None:
        """Ask nobody yet; threads are made with the first question."""
        self._workspace = workspace
        self._is_on = setting != _NEVER
        self._asked: dict[tuple[str, str], tuple[float, Future[Verdict]]] = {}
        self._described: dict[str, DirectLayer | str] = {}
        self._lock = threading.Lock()
        self._threads: ThreadPoolExecutor | None = None

    def begin(self, view_state: str, origin: str) -> None:
        """Begin to find out about all that a stored state shows, unless it is known."""
        for own in dict.fromkeys(found["own"] for found in _STORED.finditer(view_state)):
            self._begin(own, origin)

    def _begin(self, own: str, origin: str) -> Future[Verdict] | None:
        """Return what is found out, begun now or before; None where nothing is read directly."""
        if not self._is_on:
            return None
        with self._lock:
            until, known = self._asked.get((own, origin), (0.0, None))
            if known is not None and (not known.done() or time.monotonic() < until):
                return known
            if self._threads is None:
                self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="direct-reading")
            asked = self._threads.submit(self._find_out, own, origin)
            self._asked[own, origin] = (time.monotonic() + _OPEN_FOR_S, asked)
            return asked

    def verdict(self, own: str, origin: str, within_s: float) -> Verdict:
        """Return what is known, waiting a moment where nothing is."""
        asked = self._begin(own, origin)
        if asked is None:
            return Verdict(None, Openness("the setting direct_reading is never"))
        try:
            return asked.result(within_s)
        except FutureTimeoutError:
            return Verdict(None, Openness("it has not answered yet"))

    def description(self, own: str) -> DirectLayer | None:
        """Return how a viewer is told of it, whether or not pages read it now."""
        found = self._describe(own)
        return found if isinstance(found, DirectLayer) else None

    def to_page(self, view_state: str, origin: str) -> str:
        """Return a stored state as a page of `origin` gets it, `{origin}` not yet filled in."""
        if not self._is_on:
            return view_state
        self.begin(view_state, origin)
        end = time.monotonic() + _PAGE_WAITS_S

        def rewrite(found: _Found) -> _Source:
            # The first view does not wait for what is not in it.
            left_s = end - time.monotonic() if found.is_seen else 0.0
            verdict = self.verdict(found.own, origin, max(0.0, left_s))
            if verdict.layer is None or not verdict.is_open:
                return _Source(found.text)
            address = f"{verdict.layer.format}://{ORIGIN}/direct/{found.own}"
            return _Source(address, tuple(_OUR_AXES.index(a) for a in verdict.layer.axes))

        return _rewritten(view_state, _STORED, rewrite)

    def to_stored(self, view_state: str) -> str:
        """Return a page's state, with `{origin}`, as it is kept: with our own addresses."""

        def rewrite(found: _Found) -> _Source:
            address = f"precomputed://{ORIGIN}/{found.own}"
            # Looked at only where the axes matter: states come with every move.
            layer = self.description(found.own) if found.is_moved else None
            return _Source(address, tuple(layer.axes.index(a) for a in _OUR_AXES) if layer else ())

        return _rewritten(view_state, _SHOWN, rewrite)

    def _find_out(self, own: str, origin: str) -> Verdict:
        try:
            found = self._describe(own)
        except SegmentationError as err:
            found = without_secrets(err.message)
        if isinstance(found, str):
            verdict = Verdict(None, Openness(found))
        else:
            verdict = Verdict(found, check_openness(found, origin))
        if not verdict.is_open:
            with self._lock:
                known = self._asked[own, origin][1]
                self._asked[own, origin] = (time.monotonic() + _CLOSED_FOR_S, known)
        return verdict

    def _describe(self, own: str) -> DirectLayer | str:
        known = self._described.get(own)
        if known is None:
            known = self._described[own] = self._read_description(own)
        return known

    def _read_description(self, own: str) -> DirectLayer | str:
        route, volume, *labels = own.split("/")
        if route == "beside":
            return self._workspace.beside_direct(volume, *labels)
        image = self._workspace.image(volume)
        return direct_layer(image.levels, image.stored, LayerKind.IMAGE)


def _rewritten(view_state: str, pattern: re.Pattern[str], rewrite: _Rewrite) -> str:
    """Return a state whose layers read from elsewhere; nothing else of it is touched."""
    if not pattern.search(view_state):
        return view_state
    document = json.loads(view_state)
    layers = document.get("layers")
    for layer in layers if isinstance(layers, list) else []:
        if isinstance(layer, dict) and "source" in layer:
            is_seen = layer.get("visible") is not False
            layer["source"] = _with_addresses(layer["source"], pattern, rewrite, is_seen)
    return json.dumps(document)


def _with_addresses(
    source: object, pattern: re.Pattern[str], rewrite: _Rewrite, is_seen: bool
) -> object:
    if isinstance(source, list):
        return [_with_addresses(one, pattern, rewrite, is_seen) for one in source]
    url = source.get("url") if isinstance(source, dict) else source
    found = pattern.fullmatch(url) if isinstance(url, str) else None
    if found is None:
        return source
    is_moved = isinstance(source, dict) and "transform" in source
    wanted = rewrite(_Found(found[0], found["own"], is_moved, is_seen))
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
