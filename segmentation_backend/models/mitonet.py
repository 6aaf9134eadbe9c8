"""The network: Panoptic-DeepLab with PointRend, MitoNet's architecture family, in plain PyTorch.

Three answers per pixel: is it a mitochondrion (`sem_logits`), is it near a centre (`ctr_hmp`),
and where is the centre of the mitochondrion it belongs to (`offsets`). One class, two sizes: the
full one has MitoNet's layout (ResNet-50, output stride 16, two decoders), the small one has the
same parts at a width that two CPU cores carry. Both are scriptable with MitoNet's exact call.

Cheng et al., Panoptic-DeepLab, CVPR 2020; Kirillov et al., PointRend, CVPR 2020; Conrad and
Narayan, MitoNet, Cell Systems 14(1), 2023.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["MitoNet", "MitoNetConfig", "full_config", "small_config"]


@dataclass(frozen=True, slots=True)
class MitoNetConfig:
    """The layout of a network; every number is a channel count unless said otherwise."""

    stem_width: int = 24
    stem_kernel: int = 3
    """Kernel size, pixels."""
    stage_widths: tuple[int, int, int, int] = (32, 64, 128, 160)
    """Output channels of the four encoder stages, at 1/4, 1/8, 1/16 and (dilated) 1/16."""
    stage_blocks: tuple[int, int, int, int] = (2, 2, 2, 2)
    """Residual blocks in each stage."""
    bottleneck: bool = False
    """ResNet-50 blocks (1x1, 3x3, 1x1) rather than ResNet-18 blocks (3x3, 3x3)."""
    aspp_rates: tuple[int, ...] = (2, 4, 6)
    """Dilations of the atrous pyramid, in pixels of the 1/16 grid."""
    global_pooling: bool = False
    """Whether the pyramid also sees the mean of the whole tile; then tiles depend on their size."""
    dropout: float = 0.1
    semantic_width: int = 96
    instance_width: int = 96
    skip_stages: tuple[int, ...] = (1, 0)
    """Encoder stages (0 = the one at 1/4) joined by the decoders, coarse to fine; ends with 0."""
    semantic_skip_widths: tuple[int, ...] = (48, 32)
    instance_skip_widths: tuple[int, ...] = (32, 16)
    point_width: int = 96
    point_layers: int = 3
    render_points: int = 8192
    """Pixels refined at each doubling of the resolution."""
    training_points: int = 1024
    offset_unit: float = 32.0
    """What an offset of 1 in the last layer means, in full-resolution pixels."""
    classes: int = 1


def small_config() -> MitoNetConfig:
    """Return the layout of the embedded network (about 2.5 million parameters)."""
    return MitoNetConfig()


def full_config() -> MitoNetConfig:
    """Return MitoNet's layout: ResNet-50, two 256-channel decoders (55 million parameters)."""
    return MitoNetConfig(
        stem_width=64,
        stem_kernel=7,
        stage_widths=(256, 512, 1024, 2048),
        stage_blocks=(3, 4, 6, 3),
        bottleneck=True,
        global_pooling=True,
        dropout=0.5,
        semantic_width=256,
        instance_width=256,
        skip_stages=(0,),
        semantic_skip_widths=(32,),
        instance_skip_widths=(16,),
        point_width=256,
        offset_unit=1.0,
    )


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, rate: int = 1) -> nn.Sequential:
    """Return convolution, batch norm and ReLU; the size shrinks by the stride only."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2 * rate, rate, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _separable(inputs: int, outputs: int) -> nn.Sequential:
    """Return a 5x5 depthwise-separable convolution with batch norm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 5, padding=2, groups=inputs, bias=False),
        nn.BatchNorm2d(inputs),
        nn.ReLU(inplace=True),
        *_conv(inputs, outputs, 1),
    )


class _Block(nn.Module):
    """A residual block: two 3x3 convolutions, or 1x1, 3x3, 1x1 with a quarter of the width."""

    def __init__(self, inputs: int, outputs: int, stride: int, rate: int, bottleneck: bool) -> None:
        super().__init__()
        if bottleneck:
            width = outputs // 4
            layers = [*_conv(inputs, width, 1), *_conv(width, width, 3, stride, rate)]
            last = nn.Conv2d(width, outputs, 1, bias=False)
        else:
            layers = [*_conv(inputs, outputs, 3, stride, rate)]
            last = nn.Conv2d(outputs, outputs, 3, padding=rate, dilation=rate, bias=False)
        self.path = nn.Sequential(*layers, last, nn.BatchNorm2d(outputs))
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of path and shortcut, rectified."""
        return functional.relu(self.path(x) + self.shortcut(x))


class _Encoder(nn.Module):
    """A residual network of output stride 16 that returns all four stages."""

    def __init__(self, config: MitoNetConfig) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            *_conv(1, config.stem_width, config.stem_kernel, 2), nn.MaxPool2d(3, 2, 1)
        )
        stages: list[nn.Module] = []
        inputs = config.stem_width
        layout = zip(
            config.stage_widths, config.stage_blocks, (1, 2, 2, 1), (1, 1, 1, 2), strict=True
        )
        for width, blocks, stride, rate in layout:
            first = _Block(inputs, width, stride, rate, config.bottleneck)
            rest = [_Block(width, width, 1, rate, config.bottleneck) for _ in range(blocks - 1)]
            stages.append(nn.Sequential(first, *rest))
            inputs = width
        self.stages = nn.ModuleList(stages)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the stages' feature maps of (N, 1, H, W), at 1/4, 1/8, 1/16 and 1/16."""
        x = self.stem(x)
        maps: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


class _Pyramid(nn.Module):
    """Atrous spatial pyramid pooling: the same map seen at several dilations."""

    def __init__(self, inputs: int, outputs: int, config: MitoNetConfig) -> None:
        super().__init__()
        branches = [_conv(inputs, outputs, 1)]
        branches += [_conv(inputs, outputs, 3, 1, rate) for rate in config.aspp_rates]
        self.branches = nn.ModuleList(branches)
        self.sees_tile = config.global_pooling
        # No batch norm here: the pooled map has one pixel, too few to have statistics.
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(inputs, outputs, 1), nn.ReLU())
        count = len(branches) + 1 if config.global_pooling else len(branches)
        self.project = nn.Sequential(_conv(outputs * count, outputs, 1), nn.Dropout(config.dropout))
        if not config.global_pooling:
            self.pool = nn.Sequential()

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, outputs, h, w) of (N, inputs, h, w)."""
        seen = [branch(x) for branch in self.branches]
        if self.sees_tile:
            seen.append(self.pool(x).expand(-1, -1, x.shape[2], x.shape[3]))
        result: Tensor = self.project(torch.cat(seen, 1))
        return result


class _Decoder(nn.Module):
    """Pyramid, then up to 1/4 of the image by way of the encoder's skips."""

    def __init__(self, config: MitoNetConfig, width: int, skip_widths: tuple[int, ...]) -> None:
        super().__init__()
        self.pyramid = _Pyramid(config.stage_widths[3], width, config)
        self.skip_stages: list[int] = list(config.skip_stages)
        skips = zip(config.skip_stages, skip_widths, strict=True)
        self.project = nn.ModuleList(_conv(config.stage_widths[s], w, 1) for s, w in skips)
        self.fuse = nn.ModuleList(_separable(width + w, width) for w in skip_widths)

    def forward(self, stages: list[Tensor]) -> Tensor:
        """Return (N, width, H/4, W/4)."""
        x = self.pyramid(stages[3])
        for i, (project, fuse) in enumerate(zip(self.project, self.fuse)):  # noqa: B905
            skip = project(stages[self.skip_stages[i]])
            x = functional.interpolate(x, size=skip.shape[2:], mode="bilinear", align_corners=False)
            x = fuse(torch.cat([x, skip], 1))
        result: Tensor = x
        return result


def _sample(maps: Tensor, points: Tensor) -> Tensor:
    """Return (N, C, P): `maps` (N, C, h, w) at points (N, P, 2), x and y in 0..1 of the image."""
    grid = 2.0 * points.unsqueeze(1) - 1.0
    sampled: Tensor = functional.grid_sample(maps, grid, mode="bilinear", align_corners=False)
    return sampled.squeeze(2)


def _uncertainty(logits: Tensor) -> Tensor:
    """Return (N, P), greatest where the decision is closest, of logits (N, C, P)."""
    if logits.shape[1] == 1:
        return -logits[:, 0].abs()
    best = logits.topk(2, dim=1).values
    return best[:, 1] - best[:, 0]


class _PointHead(nn.Module):
    """Decides single points from fine features and the coarse logits, repeated at each layer."""

    def __init__(self, config: MitoNetConfig) -> None:
        super().__init__()
        inputs = [config.semantic_width] + [config.point_width] * (config.point_layers - 1)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Conv1d(i + config.classes, config.point_width, 1), nn.ReLU())
            for i in inputs
        )
        self.last = nn.Conv1d(config.point_width + config.classes, config.classes, 1)

    def forward(self, features: Tensor, coarse: Tensor) -> Tensor:
        """Return logits (N, classes, P) of features (N, C, P) and coarse logits (N, classes, P)."""
        x = features
        for layer in self.layers:
            x = layer(torch.cat([x, coarse], 1))
        result: Tensor = self.last(torch.cat([x, coarse], 1))
        return result


class MitoNet(nn.Module):
    """Panoptic-DeepLab with PointRend; height and width of the input are multiples of 16."""

    def __init__(self, config: MitoNetConfig) -> None:
        """Build the layers with PyTorch's own random initial weights."""
        super().__init__()
        self.encoder = _Encoder(config)
        self.semantic_decoder = _Decoder(config, config.semantic_width, config.semantic_skip_widths)
        self.instance_decoder = _Decoder(config, config.instance_width, config.instance_skip_widths)
        narrow = config.instance_width // 2
        self.semantic_head = nn.Sequential(
            _separable(config.semantic_width, config.semantic_width),
            nn.Conv2d(config.semantic_width, config.classes, 1),
        )
        self.centre_head = nn.Sequential(
            _separable(config.instance_width, narrow), nn.Conv2d(narrow, 1, 1)
        )
        self.offset_head = nn.Sequential(
            _separable(config.instance_width, narrow), nn.Conv2d(narrow, 2, 1)
        )
        self.point_head = _PointHead(config)
        self.offset_unit: float = config.offset_unit
        self.render_points: int = config.render_points
        self.training_points: int = config.training_points

    def forward(
        self, x: Tensor, render_steps: int = 2, interpolate_ins: bool = True
    ) -> dict[str, Tensor]:
        """Return the raw maps of normalised images `x` (N, 1, H, W), float32.

        `sem_logits` (N, C, h, w) with h = H/4 * 2**render_steps; `ctr_hmp` (N, 1, h, w) and
        `offsets` (N, 2, h, w), dy and dx in full-resolution pixels, at the full resolution with
        `interpolate_ins`, else at H/4. In training all three are at H/4 and `sem_points`
        (N, C, P) at `point_coords` (N, P, 2), x and y in 0..1, come with them.
        """
        stages = self.encoder(x)
        features = self.semantic_decoder(stages)
        coarse = self.semantic_head(features)
        instance = self.instance_decoder(stages)
        centres = self.centre_head(instance)
        offsets = self.offset_head(instance) * self.offset_unit
        if self.training:
            points = self._training_points(coarse)
            rendered = self.point_head(_sample(features, points), _sample(coarse, points))
            return {
                "sem_logits": coarse,
                "ctr_hmp": centres,
                "offsets": offsets,
                "sem_points": rendered,
                "point_coords": points,
            }
        if interpolate_ins:
            size = x.shape[2:]
            centres = functional.interpolate(
                centres, size=size, mode="bilinear", align_corners=False
            )
            offsets = functional.interpolate(
                offsets, size=size, mode="bilinear", align_corners=False
            )
        return {
            "sem_logits": self._render(coarse, features, render_steps),
            "ctr_hmp": centres,
            "offsets": offsets,
        }

    def _training_points(self, coarse: Tensor) -> Tensor:
        """Return (N, P, 2) random points, three quarters of them where the map is undecided."""
        count = coarse.shape[0]
        uncertain = self.training_points * 3 // 4
        with torch.no_grad():
            tried = torch.rand(count, 3 * self.training_points, 2, device=coarse.device)
            doubt = _uncertainty(_sample(coarse, tried))
            best = doubt.topk(uncertain, dim=1).indices
            chosen = tried.gather(1, best.unsqueeze(2).expand(-1, -1, 2))
            spread = torch.rand(count, self.training_points - uncertain, 2, device=coarse.device)
            return torch.cat([chosen, spread], 1)

    def _render(self, coarse: Tensor, features: Tensor, steps: int) -> Tensor:
        """Double the resolution `steps` times, deciding the least certain pixels anew."""
        logits = coarse
        for _ in range(steps):
            logits = functional.interpolate(
                logits, scale_factor=2.0, mode="bilinear", align_corners=False
            )
            n, c, h, w = logits.shape
            flat = logits.reshape(n, c, h * w)
            index = _uncertainty(flat).topk(min(self.render_points, h * w), dim=1).indices
            # Places in float32 whatever the maps are: float16 is off by a third of a pixel here.
            column = (index % w).float()
            row = torch.div(index, w, rounding_mode="floor").float()
            points = torch.stack([(column + 0.5) / w, (row + 0.5) / h], 2)
            decided = self.point_head(_sample(features, points), _sample(coarse, points))
            decided = decided.to(flat.dtype)
            flat = flat.scatter(2, index.unsqueeze(1).expand(-1, c, -1), decided)
            logits = flat.reshape(n, c, h, w)
        return logits
