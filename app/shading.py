"""How the image layer is drawn: its shader, and the controls that stand beside it."""

from __future__ import annotations

from typing import Any

import numpy as np

from segmentation_backend.workspace import VolumeInfo

__all__ = ["SHADER", "shader_controls"]

SHADER = """#uicontrol invlerp contrast
#uicontrol bool invert checkbox
#uicontrol float gamma slider(min=0.2, max=5, default=1)
void main() {
  float grey = contrast();
  if (invert) grey = 1.0 - grey;
  emitGrayscale(pow(grey, gamma));
}
"""
"""`contrast`: what is black and what white; `invert`: the other way round; `gamma`: above 1 for
darker greys. Views that were stored before there were the last two have a range that runs
backwards where the image is inverted, and go on saying so."""


def shader_controls(info: VolumeInfo) -> dict[str, Any]:
    """Return the first state of the controls: the range to show, within one wide enough to drag."""
    low, high, inverted = info.shown
    window = _window(info, low, high)
    dtype = np.dtype(info.dtype)
    if dtype.kind != "f":
        # The viewer has whole numbers only: outwards, so that black and white stay apart.
        low, high = np.floor(low), np.ceil(high)
    contrast = {"range": [float(low), float(high)], "window": window}
    return {"contrast": contrast, "invert": inverted}


def _window(info: VolumeInfo, low: float, high: float) -> list[float]:
    """Return the range as wide again on both sides, within what the type can hold.

    All that a 16-bit type can hold would leave most images a few pixels of the control.
    """
    dtype = np.dtype(info.dtype)
    first = min(2 * low - high, info.contrast.low)
    last = max(2 * high - low, info.contrast.high)
    if dtype.kind == "f":
        return [first, last]
    limits = np.iinfo(dtype)
    if dtype.itemsize == 1:
        return [float(limits.min), float(limits.max)]
    return [
        float(max(np.floor(first), int(limits.min))),
        float(min(np.ceil(last), int(limits.max))),
    ]
