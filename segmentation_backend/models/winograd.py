"""Convolutions of 3 x 3 pixels with fewer multiplications: Winograd's minimal filtering.

Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016. Each tile of m x m
results comes from (m + 2)² products for each pair of channels instead of 9 m²: a quarter of them
for m = 4. A dilated convolution is as many plain ones as it has phases. The sums are the same, in
another order: in float32 results differ by about 1e-5 of their largest (m = 4), 3e-6 (m = 3).
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["TileProducts", "TileValues", "best_tile", "prepare", "tile_count"]

_POINTS = (0.0, 1.0, -1.0, 0.5, -0.5)
"""Where the polynomials are evaluated, besides infinity: small numbers lose the fewest digits."""
_OVERHEAD = 190.0
"""What moving and transforming a tile's value of one channel costs, in products of two channels."""

_TOGETHER = 16


def best_tile(
    channels: tuple[int, int], size: tuple[int, int], dilation: int, border: float
) -> int:
    """Return the tile side, 3 or 4, that takes the least work, or 0 where the plain way does.

    `channels` are those read and written, `size` the height and width in pixels; `border` is the
    share of its products that the plain way saves because they lie outside of the image.
    """
    inputs, outputs = channels
    plain = 9 * size[0] * size[1] * (1 - border) * inputs * outputs
    work = {0: plain}
    for side in (3, 4):
        values = (side + 2) ** 2 * tile_count(size, side, dilation)
        work[side] = float(values * (inputs * outputs + _OVERHEAD * (inputs + outputs)))
    best = min(work, key=work.__getitem__)
    return best if work[best] < 0.95 * plain else 0


def prepare(weight: Tensor, side: int, tiles: int) -> Tensor:
    """Return weights (O, I, 3, 3) packed for `TileProducts` of so many tiles."""
    _, kernel, _ = _transforms(side)
    outputs, inputs = weight.shape[:2]
    products = (side + 2) ** 2
    pairs = torch.from_numpy(np.kron(kernel, kernel))
    moved = torch.empty(products, outputs, inputs)
    # Some channels at a time: in float64 all of them would take more memory than the network.
    for first in range(0, outputs, _TOGETHER):
        part = weight[first : first + _TOGETHER].detach().double()
        moved[:, first : first + _TOGETHER] = (pairs @ part.reshape(-1, 9).T).reshape(
            products, len(part), inputs
        )
    packed: Tensor = torch.ops.mkldnn._reorder_convolution_weight(
        moved.reshape(products * outputs, inputs, 1, 1),
        (0, 0),
        (1, 1),
        (1, 1),
        products,
        (1, products * inputs, 1, tiles),
    )
    return packed


def tile_count(size: tuple[int, int], side: int, dilation: int) -> int:
    """Return the tiles of an image of `size` (height, width) pixels."""
    rows, columns = (-(-n // (side * dilation)) * dilation for n in size)
    return rows * columns


class TileValues(nn.Module):
    """From an image to the values of its tiles; several convolutions of an image share them."""

    def __init__(self, side: int, dilation: int) -> None:
        """Make tiles of `side` x `side` results, of pixels `dilation` apart."""
        super().__init__()
        self.side, self.dilation = side, dilation
        self.matrix = _pairs(_transforms(side)[2])

    def forward(self, x: Tensor) -> Tensor:
        """Return (N·tiles, p, C), p = (side + 2)² values, of an image (N, C, H, W)."""
        side, gap = self.side, self.dilation
        count, channels, height, width = x.shape
        rows, columns = (-(-n // (side * gap)) for n in (height, width))
        below = gap + rows * side * gap - height
        right = gap + columns * side * gap - width
        image = functional.pad(x.permute(0, 2, 3, 1), (0, 0, gap, right, gap, below))
        image = image.contiguous()
        n, y, x_, c = image.stride()
        # Axes: image; tile and phase down; tile and phase across; row and column in the tile.
        tiles = image.as_strided(
            (count, rows, gap, columns, gap, side + 2, side + 2, channels),
            (n, side * gap * y, y, side * gap * x_, x_, gap * y, gap * x_, c),
        ).reshape(-1, (side + 2) ** 2, channels)
        return torch.bmm(self.matrix.expand(len(tiles), -1, -1), tiles)


class TileProducts(nn.Module):
    """From the values of tiles to the convolved image."""

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        side: int,
        dilation: int,
        size: tuple[int, int],
        rectify: bool,
    ) -> None:
        """Take a weight made by `prepare` for `side`; results are `size` (height, width) pixels."""
        super().__init__()
        self.side, self.dilation, self.size, self.rectify = side, dilation, size, rectify
        self.weight, self.bias = weight, bias
        self.matrix = _pairs(_transforms(side)[0])

    def forward(self, values: Tensor, other: Tensor | None = None) -> Tensor:
        """Return (N, O, H, W), channels last, with `other` added before the rectification."""
        side, gap = self.side, self.dilation
        height, width = self.size
        rows, columns = (-(-n // (side * gap)) for n in (height, width))
        products = self._products(values)
        pixels = torch.bmm(self.matrix.expand(len(products), -1, -1), products)
        tiles = pixels.view(-1, rows, gap, columns, gap, side, side, products.shape[2])
        image = tiles.permute(0, 1, 5, 2, 3, 6, 4, 7).reshape(
            -1, rows * side * gap, columns * side * gap, products.shape[2]
        )
        if image.shape[1:3] != self.size:
            image = image[:, :height, :width].contiguous()
        if self.bias is not None:
            image += self.bias
        if other is not None:
            image += other.permute(0, 2, 3, 1)
        if self.rectify:
            image.relu_()
        return image.permute(0, 3, 1, 2)

    def _products(self, values: Tensor) -> Tensor:
        """Return (tiles, p, O) of (tiles, p, I): for each of the p values a matrix of its own.

        As one grouped convolution of 1 x 1 pixels, the fastest of the ways to do that on a CPU.
        """
        tiles, products, inputs = values.shape
        image = values.view(1, 1, tiles, products * inputs).permute(0, 3, 1, 2)
        layout = ((0, 0), (1, 1), (1, 1), products)
        run = torch.ops.mkldnn._convolution_pointwise.default
        found: Tensor = run(image, self.weight, None, *layout, "none", [], "")
        return found.permute(0, 2, 3, 1).reshape(tiles, products, -1)


def _pairs(matrix: np.ndarray) -> Tensor:
    """Return a transform of rows as one of rows and columns together, float32."""
    return torch.from_numpy(np.kron(matrix, matrix)).float()


@cache
def _transforms(side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the matrices of results (m, n), kernel (n, 3) and image (n, n), n = m + 2, float64.

    Toom and Cook: a kernel and an image are polynomials, multiplied at n - 1 points and infinity;
    correlation is the transpose of that product.
    """
    count = side + 2
    points = np.array(_POINTS[: count - 1])

    def powers(columns: int) -> np.ndarray:
        infinity = np.eye(columns)[-1:]
        return np.concatenate([points[:, None] ** np.arange(columns), infinity])

    kernel, results = powers(3), powers(side)
    image = np.linalg.inv(powers(count)).T
    # Rows of about equal size keep the rounding errors small.
    scale = np.abs(image).max(axis=1, keepdims=True)
    return results.T, kernel * scale, image / scale
