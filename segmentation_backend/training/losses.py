"""What the network is punished for: wrong pixels, wrong centres, wrong offsets, wrong borders."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["Batch", "LossWeights", "losses"]


@dataclass(frozen=True, slots=True)
class LossWeights:
    """The share of each loss in the sum.

    Empanada's parts (1, 200, 0.01, 1) in another balance: the Gaussians are wider here, so their
    squared error is larger, and offsets are to be right after thousands of iterations, not
    hundreds of thousands.
    """

    semantic: float = 1.0
    heatmap: float = 50.0
    offsets: float = 0.03
    points: float = 1.0
    hardest: float = 0.2
    """Share of the pixels, the worst ones, that the semantic loss looks at."""
    overlap: float = 0.0
    """Of one minus the overlap (intersection over union) of the foreground, as a part of the
    semantic loss."""


@dataclass(frozen=True, slots=True)
class Batch:
    """N crops with their targets; see `targets.Targets` for the maps."""

    images: Tensor
    """(N, 1, H, W)"""
    foreground: Tensor
    """(N, 1, H, W)"""
    weight: Tensor
    """(N, 1, H, W)"""
    heatmap: Tensor
    """(N, 1, H/4, W/4)"""
    heatmap_weight: Tensor
    """(N, 1, H/4, W/4)"""
    offsets: Tensor
    """(N, 2, H/4, W/4)"""
    offsets_weight: Tensor
    """(N, 1, H/4, W/4)"""


def losses(output: dict[str, Tensor], batch: Batch, weights: LossWeights) -> dict[str, Tensor]:
    """Return the weighted losses by name, and their sum as `total`, of a training-mode output."""
    parts = {
        "semantic": weights.semantic * _semantic(output["sem_logits"], batch, weights),
        "heatmap": weights.heatmap * _heatmap(output["ctr_hmp"], batch),
        "offsets": weights.offsets * _offsets(output["offsets"], batch),
        "points": weights.points * _points(output["sem_points"], output["point_coords"], batch),
    }
    parts["total"] = torch.stack(list(parts.values())).sum()
    return parts


def _semantic(coarse: Tensor, batch: Batch, weights: LossWeights) -> Tensor:
    """Return the mean cross entropy of the hardest pixels of the batch (bootstrapping).

    With `weights.overlap` the Jaccard metric loss is added (Wang et al., NeurIPS 2023), which is
    one minus the overlap where the foreground is certain, and is least at the foreground's own
    probabilities where it is not.
    """
    logits = functional.interpolate(
        coarse, size=batch.foreground.shape[2:], mode="bilinear", align_corners=False
    )
    each = functional.binary_cross_entropy_with_logits(
        logits, batch.foreground, weight=batch.weight, reduction="none"
    )
    hardest = each.flatten().topk(max(1, int(weights.hardest * each.numel()))).values.mean()
    if weights.overlap == 0:
        return hardest
    found, truth = logits.sigmoid() * batch.weight, batch.foreground * batch.weight
    apart = (found - truth).abs().sum()
    both = found.sum() + truth.sum()
    return hardest + weights.overlap * 2 * apart / (both + apart).clamp(min=1)


def _heatmap(centres: Tensor, batch: Batch) -> Tensor:
    squared = (centres - batch.heatmap) ** 2 * batch.heatmap_weight
    return squared.sum() / batch.heatmap_weight.sum().clamp(min=1)


def _offsets(offsets: Tensor, batch: Batch) -> Tensor:
    absolute = (offsets - batch.offsets).abs() * batch.offsets_weight
    return absolute.sum() / (2 * batch.offsets_weight.sum()).clamp(min=1)


def _points(logits: Tensor, points: Tensor, batch: Batch) -> Tensor:
    """Return the cross entropy at PointRend's points."""
    grid = 2.0 * points.unsqueeze(1) - 1.0
    maps = torch.cat([batch.foreground, batch.weight], 1)
    wanted = functional.grid_sample(maps, grid, mode="nearest", align_corners=False).squeeze(2)
    each = functional.binary_cross_entropy_with_logits(
        logits, wanted[:, :1], weight=wanted[:, 1:], reduction="none"
    )
    return each.sum() / wanted[:, 1:].sum().clamp(min=1)
