"""A cheap network with the panoptic interface, and images with objects that cross every border.

It finds what is bright after a blur. It is nasty on purpose: like networks with global pooling it
looks at the mean of the whole tile, so a pixel's answer changes with the tile it is seen in.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import nn


class Blobs(nn.Module):
    """Foreground, centres and offsets from the image itself; counts the tiles that it sees."""

    def __init__(self, tile_share=0.3):
        super().__init__()
        self.tile_share = tile_share
        self.shapes = []

    def forward(self, x, render_steps=2, interpolate_ins=True):
        self.shapes.append(tuple(x.shape))
        blurred = nn.functional.avg_pool2d(x, 5, 1, 2)
        near = nn.functional.avg_pool2d(blurred, 4)
        wide = nn.functional.avg_pool2d(near, 5, 1, 2)
        dy, dx = torch.gradient(wide, dim=(2, 3))
        centres, offsets = torch.sigmoid(3 * wide - 1), 30 * torch.cat([dy, dx], 1)
        if interpolate_ins:
            size = x.shape[2:]
            centres = nn.functional.interpolate(centres, size=size, mode="bilinear")
            offsets = nn.functional.interpolate(offsets, size=size, mode="bilinear")
        mean = self.tile_share * x.mean((2, 3), keepdim=True)
        return {
            "sem_logits": 4 * blurred - 2 + mean, "ctr_hmp": centres, "offsets": offsets,
        }  # fmt: skip


@dataclass(frozen=True)
class Grey:
    mean: float = 128.0
    std: float = 40.0


def cloudy(shape, seed=0, size=5.0):
    """Return uint8 (z, y, x) clouds about `size` voxels wide, bright on dark."""
    noise = np.random.default_rng(seed).normal(size=shape)
    smooth = ndimage.gaussian_filter(noise, np.minimum(size, np.array(shape) / 2))
    return np.clip(128 + 40 * smooth / max(smooth.std(), 1e-9), 0, 255).astype(np.uint8)


class Source:
    """A volume that remembers what was read, and refuses what lies outside."""

    def __init__(self, array, bounds):
        self.array = array
        self.bounds = bounds
        self.boxes = []

    def read(self, roi):
        assert self.bounds.encloses(roi)
        assert not roi.is_empty
        self.boxes.append(roi)
        return self.array[roi.slices(self.bounds.offset)]
