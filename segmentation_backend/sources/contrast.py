"""Which grey values of an image are shown: measured, and as its metadata or a catalogue want it.

Nobody's word is taken for a range in which nothing can be seen: `choose_range` decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segmentation_backend.sources.catalogue import ShownRange

__all__ = ["Contrast", "StatedRange", "as_omero", "choose_range", "measure", "stated_range"]

_LARGEST_NUMBER = 1e12
_LONGEST_NUMBER = 40

_PADDING_SHARE = 0.2
"""A value that makes up more of a sample is padding wherever it lies."""

_FEWEST_GREYS = 1 / 8
"""Of a stated range that the image's greys must fill, or too little is seen of them."""

_FEWEST_GREYS_OF_ALL = 1 / 2
"""The same for all that a type can hold, which most writers put down without having looked."""

_DISPLAYS = ("displaySettings", "display_settings", "contrastAdjustment")
_LIMITS = ("contrastLimits", "contrast_limits", "contrast")
_ENDS = (("start", "end"), ("low", "high"), ("min", "max"))
_INVERTED = ("invertLUT", "invert_lut", "invertColormap", "inverted", "invert")


@dataclass(frozen=True)
class Contrast:
    """How grey an image is: what networks are normalised by, and the range to show."""

    mean: float
    std: float
    """Never 0, so that one may divide by it."""
    low: float
    """The 0.5 percentile."""
    high: float
    """The 99.5 percentile; greater than `low`."""


class StatedRange(NamedTuple):
    """How an image's own metadata want it shown; whether that makes sense is another question."""

    low: float | None
    high: float | None
    """Greater than `low`; both None where only `inverted` is said."""
    inverted: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return what is kept of it."""
        return self._asdict()


def measure(sample: NDArray[Any]) -> Contrast:
    """Return the statistics of voxels (n,), padding and what is not a number left out.

    Padding is 0, or an end of an integer type, where it makes up more than a fifth of the sample
    or lies farther from all other greys than these are spread.
    """
    values = sample[np.isfinite(sample)] if sample.dtype.kind == "f" else sample
    padding = {0}
    if values.dtype.kind != "f":
        limits = np.iinfo(values.dtype)
        padding |= {int(limits.min), int(limits.max)}
    for value in sorted(padding):
        rest = values[values != value]
        if 0 < rest.size < values.size and _is_padding(value, rest, values.size):
            values = rest
    if values.size == 0:
        return Contrast(0.0, 1.0, 0.0, 1.0)
    low, high = (float(v) for v in np.percentile(values, [0.5, 99.5]))
    std = float(values.std(dtype=np.float64))
    mean = float(values.mean(dtype=np.float64))
    return Contrast(mean, std or 1.0, low, high if high > low else low + 1.0)


def _is_padding(value: int, rest: NDArray[Any], of: int) -> bool:
    if rest.size < (1 - _PADDING_SHARE) * of:
        return True
    low, high = (float(v) for v in np.percentile(rest, [0.5, 99.5]))
    return 0 < high - low < max(low - value, value - high)


def stated_range(attributes: Mapping[str, Any]) -> StatedRange | None:
    """Return how the metadata of a group or an array want the image shown; None: not a word.

    Reads OME-NGFF's `omero` (the window and `inverted`, once `reverseIntensity`, of the first
    channel, the one that is opened; colour and curve are those of fluorescence) and, of N5 and
    CellMap, `displaySettings` as OpenOrganelle has them, `contrastAdjustment` and `contrast`.
    What cannot be understood is left out: an image is not refused because of it.
    """
    ome = attributes.get("ome")
    omero = (ome if isinstance(ome, Mapping) else attributes).get("omero")
    return _omero(omero) if isinstance(omero, Mapping) else _display(attributes)


def _omero(omero: Mapping[str, Any]) -> StatedRange | None:
    channels = omero.get("channels")
    channel = channels[0] if isinstance(channels, list) and channels else None
    if not isinstance(channel, Mapping):
        return None
    inverted = _flag(channel.get("inverted", channel.get("reverseIntensity")))
    ends = _ends(channel.get("window"))
    if ends is None or ends[0] >= ends[1]:
        # Unlike a site's, a window that runs backwards is a slip: inversion has its own member.
        return _said(None, None, inverted)
    return _said(*ends, inverted)


def _display(attributes: Mapping[str, Any]) -> StatedRange | None:
    own = [attributes[key] for key in _DISPLAYS if isinstance(attributes.get(key), Mapping)]
    holder = own[0] if own else attributes
    limits = [holder[key] for key in _LIMITS if key in holder] or own
    inverted = any(_flag(holder.get(key)) for key in _INVERTED)
    ends = _ends(limits[0]) if limits else None
    if ends is None or ends[0] == ends[1]:
        return _said(None, None, inverted)
    # A range that runs backwards is another way to say that it is inverted.
    return _said(min(ends), max(ends), inverted != (ends[0] > ends[1]))


def as_omero(stated: StatedRange, dtype: np.dtype[np.generic]) -> dict[str, Any] | None:
    """Return the `omero` of an image with one grey channel, or None without a range to state.

    `stated_range` reads it back; `min` and `max` of the window are what the type holds.
    """
    low, high, inverted = stated
    if low is None or high is None:
        return None
    least, most = low, high
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)  # type: ignore[type-var]
        least, most = int(limits.min), int(limits.max)
    window = {"min": least, "max": most, "start": low, "end": high}
    channel = {"active": True, "color": "FFFFFF", "inverted": inverted, "window": window}
    return {"channels": [channel]}


def _said(low: float | None, high: float | None, inverted: bool) -> StatedRange | None:
    return StatedRange(low, high, inverted) if low is not None or inverted else None


def _ends(window: object) -> tuple[float, float] | None:
    if isinstance(window, list) and len(window) == 2:
        pairs = [tuple(window)]
    elif isinstance(window, Mapping):
        pairs = [(window.get(low), window.get(high)) for low, high in _ENDS]
    else:
        return None
    for pair in pairs:
        low, high = map(_number, pair)
        if low is not None and high is not None:
            return low, high
    return None


def _number(value: object) -> float | None:
    """Return a number, which some write as text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value if not isinstance(value, str) else value[:_LONGEST_NUMBER])
    except (ValueError, OverflowError):
        return None
    return number if isfinite(number) and abs(number) <= _LARGEST_NUMBER else None


def _flag(value: object) -> bool:
    return value is True or value == 1 or (isinstance(value, str) and value.lower() == "true")


def choose_range(
    published: ShownRange | None,
    stated: StatedRange | None,
    contrast: Contrast,
    dtype: np.dtype[np.generic],
) -> tuple[ShownRange, str]:
    """Return the range to show, and who says so: `catalogue`, `metadata` or `percentiles`.

    Publishers are asked before the file, the file before the measured percentiles. A range that
    the type cannot hold is passed over, and so is one that is all it can hold where the image's
    greys fill less than half of it; a file's own also where it shows next to nothing of the
    image. Whether the image is inverted is said on its own, and holds all the same.
    """
    if published is not None and _may_be(published.low, published.high, contrast, dtype):
        return published, "catalogue"
    inverted = stated.inverted if stated is not None else False
    inverted = published.inverted if published is not None else inverted
    low, high = (None, None) if stated is None else stated[:2]
    if low is not None and high is not None:
        is_seen = low < contrast.high and high > contrast.low
        is_readable = contrast.high - contrast.low >= _FEWEST_GREYS * (high - low)
        if is_seen and is_readable and _may_be(low, high, contrast, dtype):
            return ShownRange(low, high, inverted), "metadata"
    low, high = contrast.low, contrast.high
    return ShownRange(low, high if high > low else low + 1, inverted), "percentiles"


def _may_be(low: float, high: float, contrast: Contrast, dtype: np.dtype[np.generic]) -> bool:
    if dtype.kind == "f":
        return True
    # Some writers count one more than there is.
    limits = np.iinfo(dtype)  # type: ignore[type-var]
    if low < int(limits.min) or high > int(limits.max) + 1:
        return False
    is_all = low <= int(limits.min) and high >= int(limits.max)
    greys = contrast.high - contrast.low
    return not is_all or greys >= _FEWEST_GREYS_OF_ALL * (high - low)
