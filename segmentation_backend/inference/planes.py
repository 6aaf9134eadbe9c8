"""Runs a network over one section of any size: fixed tiles with a halo, stitched by their cores.

Stitching happens on the maps, before objects exist, so objects that cross tiles need no repair.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from segmentation_backend.inference.panoptic import Labels, Maps, segment_maps
from segmentation_backend.inference.parameters import InferenceParameters

__all__ = ["GreyScale", "Tiling", "normalise", "predict_maps", "segment_slice"]

_GRID = 16
"""Tiles begin on multiples of the encoder's stride, so that all see the image in the same phase."""


class GreyScale(Protocol):
    """The grey values of a whole volume; `sources.volume.Contrast` is one."""

    @property
    def mean(self) -> float:
        """The mean grey value."""

    @property
    def std(self) -> float:
        """The standard deviation of the grey values."""


@dataclass(frozen=True, slots=True)
class Tiling:
    """How a section is cut for the network, in pixels, multiples of 16."""

    side: int = 768
    """Side of a tile, halo included; a smaller section is one tile of its own size."""
    halo: int = 64
    """Pixels at a tile's edge that only give context."""
    padding_factor: int = 16
    """What the sides of the network's input must be multiples of."""


@dataclass(frozen=True, slots=True)
class _Span:
    """A tile along one axis: it reads from `start`, and owns `core_start` to `core_end`."""

    start: int
    core_start: int
    core_end: int


def normalise(image: NDArray[Any], contrast: GreyScale) -> NDArray[np.float32]:
    """Return grey values as standard deviations from the volume's mean, float32."""
    scale = max(float(contrast.std), 1e-6)
    return ((image.astype(np.float32) - float(contrast.mean)) / scale).astype(np.float32)


def segment_slice(
    image: NDArray[Any],
    network: nn.Module,
    contrast: GreyScale,
    parameters: InferenceParameters,
    tiling: Tiling | None = None,
) -> Labels:
    """Return the objects of a section (H, W) of any dtype: int32, 1..n, 0 = background."""
    section = normalise(image, contrast)
    maps = predict_maps(section, network, parameters, tiling or Tiling())
    return segment_maps(maps, parameters)


def predict_maps(
    section: NDArray[np.float32],
    network: nn.Module,
    parameters: InferenceParameters,
    tiling: Tiling,
) -> Maps:
    """Return the network's maps of a normalised section (H, W).

    Where the section ends the network sees zeros, which is mean grey.
    """
    height, width = section.shape
    stride = 1 if parameters.fine_boundaries else 4
    grid = (-(-height // stride), -(-width // stride))
    maps = Maps(
        probability=np.zeros((height, width), np.float32),
        centres=np.zeros(grid, np.float32),
        offsets=np.zeros((2, *grid), np.float32),
    )
    for row in _spans(height, tiling):
        for column in _spans(width, tiling):
            tile = _cut(section, row, column, tiling)
            output = _run(network, tile, parameters.fine_boundaries)
            _paste(maps.probability, output["sem_logits"][0, 0], row, column, 1)
            _paste(maps.centres, output["ctr_hmp"][0, 0], row, column, stride)
            _paste(maps.offsets, output["offsets"][0], row, column, stride)
    return maps


def _spans(length: int, tiling: Tiling) -> list[_Span]:
    """Return the tiles along an axis; their cores cover it once."""
    if length <= tiling.side:
        return [_Span(0, 0, length)]
    step = tiling.side - 2 * tiling.halo
    last = -(-(length - tiling.side) // _GRID) * _GRID
    starts = [*range(0, last, step), last]
    # A core ends in the middle of two tiles' overlap, on the grid of the quarter resolution.
    cuts = [(b + a + tiling.side) // 2 // 4 * 4 for a, b in pairwise(starts)]
    return [_Span(*span) for span in zip(starts, [0, *cuts], [*cuts, length], strict=True)]


def _tile_length(length: int, tiling: Tiling) -> int:
    factor = tiling.padding_factor
    return -(-min(length, tiling.side) // factor) * factor


def _cut(
    section: NDArray[np.float32], row: _Span, column: _Span, tiling: Tiling
) -> NDArray[np.float32]:
    """Return the tile of a section, filled with zeros past its end."""
    height, width = (_tile_length(n, tiling) for n in section.shape)
    tile = np.zeros((height, width), np.float32)
    seen = section[row.start : row.start + height, column.start : column.start + width]
    tile[: seen.shape[0], : seen.shape[1]] = seen
    return tile


def _run(network: nn.Module, tile: NDArray[np.float32], fine: bool) -> dict[str, NDArray[Any]]:
    """Return the maps of a tile, with probabilities in the place of logits."""
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    with torch.inference_mode():
        x = torch.from_numpy(tile)[None, None].to(device)
        output: dict[str, Tensor] = network(x, 2, fine)
        output["sem_logits"] = output["sem_logits"].sigmoid()
        return {name: value.float().cpu().numpy() for name, value in output.items()}


def _paste(
    target: NDArray[np.float32], tile: NDArray[np.float32], row: _Span, column: _Span, stride: int
) -> None:
    """Write a tile's core into the map of the section; both end with axes y, x."""
    ends = target.shape[-2:]
    places, sources = [], []
    for span, end in zip((row, column), ends, strict=True):
        first, after = span.core_start // stride, min(-(-span.core_end // stride), end)
        places.append(slice(first, after))
        sources.append(slice(first - span.start // stride, after - span.start // stride))
    target[..., places[0], places[1]] = tile[..., sources[0], sources[1]]
