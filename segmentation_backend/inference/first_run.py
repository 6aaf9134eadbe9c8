"""A run over a few voxels of nothing, which calls the loops that every run of its mode calls.

Numba compiles a loop when it is first called and keeps the result on the disk. In a new environment
that takes longer than the segmentation, so it is done before somebody waits; later it takes no
time. Whoever changes a mode so that it calls something else need not know of this: a test compares.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from segmentation_backend.geometry import Roi
from segmentation_backend.inference.grid import Mode
from segmentation_backend.inference.parameters import InferenceParameters
from segmentation_backend.inference.runner import segment_region
from segmentation_backend.models.registry import ModelSpec

__all__ = ["SCRATCH", "first_run"]

SCRATCH = Roi((0, 0, 0), (16, 32, 32))
"""As few voxels as show two neighbours, a gap, an end and a hole."""

_PARAMETERS = InferenceParameters(min_size=1, min_extent=1)
_SHAPED = replace(_PARAMETERS, fill_holes_in_segmentation=True, label_erosion=1, label_dilation=1)


@dataclass(frozen=True, slots=True)
class _Plain:
    """Grey values that are their own contrast."""

    mean: float = 0.0
    std: float = 1.0


class _Lumps(nn.Module):
    """Bright pixels are inside of objects, and what lies around many of them is a centre."""

    def forward(
        self, x: Tensor, render_steps: int = 2, interpolate_ins: bool = True
    ) -> dict[str, Tensor]:
        heat = nn.functional.avg_pool2d(x.clamp(0), 9, 1, 4)
        heat = heat if interpolate_ins else heat[..., ::4, ::4]
        still = torch.zeros_like(heat)
        return {"sem_logits": 8 * x, "ctr_hmp": heat, "offsets": torch.cat([still, still], 1)}


def first_run(mode: Mode, spec: ModelSpec, *, is_shaped: bool = False) -> NDArray[np.uint32]:
    """Return what a run of a mode finds in an image of boxes: objects (z, y, x) of `SCRATCH`.

    With `is_shaped` they are filled, eroded and dilated. No network of a user's runs, and nothing
    is read or kept.
    """
    image = _image()
    roi = Roi((0, 0, 0), (1, *SCRATCH.shape[1:])) if mode == "slice" else SCRATCH
    return segment_region(
        lambda box: image[box.slices()],
        roi,
        _Lumps(),
        spec,
        _Plain(),
        "xy",
        mode,
        _SHAPED if is_shaped else _PARAMETERS,
        lambda share, sentence: None,
        bounds=SCRATCH,
    ).labels


def _image() -> NDArray[np.float32]:
    """Return grey (z, y, x) with boxes: a hollow one, one with a gap, and one that begins later."""
    image = np.full(SCRATCH.shape, -1, np.float32)
    image[:, 3:14, 3:14] = image[:, 3:14, 15:27] = image[5:12, 17:29, 3:14] = 1
    image[:, 8, 8] = image[7, :, 15:27] = -1
    return image
