"""Recorded networks whose convolutions multiply 8-bit integers, for CPUs: faster, not exact.

Static post-training quantisation: activations as unsigned bytes with one scale for each tensor,
measured on calibration images; weights as signed bytes with one scale for each output channel
(Jacob et al., CVPR 2018). The stem, depthwise convolutions, heads of few channels and PointRend
stay in float32: little work, and the ones that errors show in.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from segmentation_backend.models.fused import Prepared, Site, fuse, put, sites

__all__ = ["calibration_images", "quantise"]

_FEWEST_CHANNELS = 16


@dataclass(frozen=True)
class _Steps:
    """How a tensor's values become bytes: value = scale * (byte - zero)."""

    scale: float
    zero: int


def calibration_images(side: int, count: int = 3) -> list[Tensor]:
    """Return (1, 1, side, side) images of mean 0 and deviation 1 with structure at every scale.

    They stand for EM: noise summed over octaves, dark bodies with outlines, different strengths of
    fine noise. The same ones every time, since results must not depend on what was seen before.
    """
    return [torch.from_numpy(_image(side, number))[None, None] for number in range(count)]


def _image(side: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    image = np.zeros((side, side), np.float32)
    for octave in range(1, 7):
        cells = rng.standard_normal((-(-side // 2**octave) + 1,) * 2)
        large = np.kron(cells, np.ones((2**octave,) * 2))
        image += (0.5 + seed % 2) * large[:side, :side]
    y, x = np.mgrid[:side, :side]
    for _ in range(max(4, (side // 64) ** 2)):
        centre, radii = rng.uniform(0, side, 2), rng.uniform(8, 40, 2)
        inside = ((y - centre[0]) / radii[0]) ** 2 + ((x - centre[1]) / radii[1]) ** 2
        image[inside < 1] = -3 + 0.3 * image[inside < 1]
        image[abs(inside - 1) < 0.15] = -6
    image += (0.3 + 0.5 * seed) * rng.standard_normal((side, side))
    normal: np.ndarray = ((image - image.mean()) / image.std()).astype(np.float32)
    return normal


def quantise(graph: fx.GraphModule, images: Iterable[Tensor], prepared: Prepared) -> None:
    """Rewrite a recording in place; ranges are measured on `images` of its shape.

    What stays in float32 is made faster as by `fuse`.
    """
    chosen = [site for site in sites(graph) if _worthwhile(site)]
    steps = _measure(graph, {site.source for site in chosen}, images)
    sources = {site.node: site.source for site in chosen}
    bytes_of: dict[fx.Node, fx.Node] = {}
    for site in chosen:
        read, written = steps[sources[site.node]], None
        if site.add is None and all(user in sources for user in site.last.users):
            written = steps.get(site.last)
        module = _Convolution(site, read, written)
        others = [] if site.other is None else [site.other]
        call = put(graph, site, module, _as_bytes(graph, site.source, read, bytes_of), *others)
        if written is not None:
            bytes_of[call] = call
    fuse(graph, prepared)


def _worthwhile(site: Site) -> bool:
    outputs, inputs = site.weight.shape[:2]
    return site.groups == 1 and min(inputs, outputs) >= _FEWEST_CHANNELS


def _measure(
    graph: fx.GraphModule, nodes: set[fx.Node], images: Iterable[Tensor]
) -> dict[fx.Node, _Steps]:
    observer = _Observer(graph, nodes)
    with torch.no_grad():
        for image in images:
            observer.run(image)
    return {node: _steps(low, high) for node, (low, high) in observer.ranges.items()}


def _steps(low: float, high: float) -> _Steps:
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max((high - low) / 255, 1e-8)
    return _Steps(scale, round(-low / scale))


class _Observer(fx.Interpreter):
    """Runs a recording and keeps the range of some nodes' values."""

    def __init__(self, graph: fx.GraphModule, nodes: set[fx.Node]) -> None:
        super().__init__(graph)
        self._nodes = nodes
        self.ranges: dict[fx.Node, tuple[float, float]] = {}

    def run_node(self, n: fx.Node) -> Any:  # noqa: ANN401  (as in the base class)
        """Run a node, and look at its value."""
        value = super().run_node(n)
        if n in self._nodes:
            low, high = (edge.item() for edge in value.aminmax())
            before = self.ranges.get(n, (low, high))
            self.ranges[n] = (min(low, before[0]), max(high, before[1]))
        return value


def _as_bytes(
    graph: fx.GraphModule, source: fx.Node, steps: _Steps, known: dict[fx.Node, fx.Node]
) -> fx.Node:
    if source not in known:
        name = f"bytes_{source.name}"
        graph.add_module(name, _Bytes(steps))
        with graph.graph.inserting_after(source):
            known[source] = graph.graph.call_module(name, (source,))
    return known[source]


class _Bytes(nn.Module):
    """From float32 to bytes, channels last."""

    def __init__(self, steps: _Steps) -> None:
        super().__init__()
        self.steps = steps
        self.first = torch.tensor(steps.zero + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Return uint8 of the same shape."""
        x = x.contiguous(memory_format=torch.channels_last)
        # Half a step more, since the last conversion cuts off what follows the point.
        steps = torch.add(self.first, x, alpha=1 / self.steps.scale)
        return steps.clamp_(0, 255.5).to(torch.uint8)


class _Convolution(nn.Module):
    """A convolution of bytes; its result is float32, or bytes for the next one."""

    def __init__(self, site: Site, read: _Steps, written: _Steps | None) -> None:
        super().__init__()
        weight = site.weight.detach()
        flat = weight.flatten(1).abs().amax(1).clamp_min(1e-12)
        self.weight_scale = flat / 127
        self.weight_zero = torch.zeros(len(flat), dtype=torch.long)
        shape = (-1, 1, 1, 1)
        rounded = (weight / self.weight_scale.view(shape)).round().clamp(-127, 127).to(torch.int8)
        self.layout = (site.stride, site.padding, site.dilation, site.groups)
        self.read, self.written = read, written
        self.packed = torch.ops.onednn.qconv_prepack(
            rounded, self.weight_scale, read.scale, read.zero, *self.layout, site.read
        )
        self.bias = site.bias
        self.is_sum = site.add is not None
        self.relu = site.relu is not None

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """Return (N, O, H, W) of bytes (N, I, H, W) and of what is to be added to it."""
        scale, zero, kind = 1.0, 0, torch.float32
        if self.written is not None:
            scale, zero, kind = self.written.scale, self.written.zero, torch.uint8
        after = "relu" if self.relu and not self.is_sum else "none"
        result: Tensor = torch.ops.onednn.qconv2d_pointwise.default(
            x,
            self.read.scale,
            self.read.zero,
            self.packed,
            self.weight_scale,
            self.weight_zero,
            self.bias,
            *self.layout,
            scale,
            zero,
            kind,
            after,
            [],
            "",
        )
        if other is not None:
            result += other
            if self.relu:
                result.relu_()
        return result
