"""Small networks with the published ones' interface, scripted afresh: those cannot be had here."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from segmentation_backend.models.mitonet import MitoNet, MitoNetConfig

__all__ = ["BoundaryNetwork", "Bright", "save_affinity", "save_panoptic", "tiny_network"]


def tiny_network(classes: int = 1, seed: int = 0, width: int = 32, **layout: object) -> MitoNet:
    """Return a network wide enough for every engine to have something to do."""
    torch.manual_seed(seed)
    config = MitoNetConfig(
        stem_width=width,
        stage_widths=(width, 2 * width, 2 * width, 2 * width),
        stage_blocks=(1, 1, 1, 2),
        semantic_width=width,
        instance_width=width,
        semantic_skip_widths=(16, 16),
        instance_skip_widths=(16, 16),
        point_width=16,
        render_points=64,
        classes=classes,
        **layout,  # type: ignore[arg-type]
    )
    network = MitoNet(config).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return network


def save_panoptic(path: Path, classes: int = 1, seed: int = 0, width: int = 8) -> MitoNet:
    """Write a TorchScript file with MitoNet's call; return the network in it."""
    network = tiny_network(classes, seed, width)
    torch.jit.script(network).save(str(path))
    return network


class Bright(nn.Module):
    """Bright pixels are of class 1; of two classes dark ones are of class 2.

    There is a centre in the middle of a bright square of 16 pixels.

    With `spoilt` it answers as no panoptic network does.
    """

    def __init__(self, classes: int = 1, spoilt: str = "") -> None:
        super().__init__()
        self.classes, self.spoilt = classes, spoilt
        # Something to be moved to a GPU, quantised or recorded.
        self.keep = nn.Conv2d(1, 1, 1)
        with torch.no_grad():
            self.keep.weight.fill_(1)
            self.keep.bias.fill_(0)

    def forward(
        self, x: Tensor, render_steps: int = 2, interpolate_ins: bool = True
    ) -> dict[str, Tensor]:
        x = self.keep(x)
        logits = 8 * (x - 1)
        if self.classes > 1:
            logits = torch.cat([torch.zeros_like(x), logits, 8 * (-1 - x)], 1)
        heat = nn.functional.avg_pool2d(x.clamp(0), 17, 1, 8)
        heat = heat if interpolate_ins else heat[..., ::4, ::4]
        coarse = torch.zeros_like(heat)
        if self.spoilt == "key":
            return {"logits": logits, "ctr_hmp": heat}
        if self.spoilt == "shape":
            coarse = coarse[..., 1:]
        if self.spoilt == "nan":
            logits = logits / 0 * 0
        return {"sem_logits": logits, "ctr_hmp": heat, "offsets": torch.cat([coarse, coarse], 1)}


class BoundaryNetwork(nn.Module):
    """Affinities as CellMap's networks give them: valid convolutions, so a smaller result."""

    def __init__(self, channels: int = 3, logits: bool = False) -> None:
        super().__init__()
        self.logits = logits
        self.smooth = nn.Conv3d(1, channels, 3, bias=True)
        with torch.no_grad():
            self.smooth.weight.fill_(1 / 27)
            self.smooth.bias.fill_(0)

    def forward(self, block: Tensor) -> Tensor:
        found = self.smooth(block)
        return 8 * (found - 0.5) if self.logits else (8 * (found - 0.5)).sigmoid()


def save_affinity(path: Path, channels: int = 3, logits: bool = False) -> None:
    """Write a TorchScript file that takes blocks."""
    torch.jit.script(BoundaryNetwork(channels, logits).eval()).save(str(path))
