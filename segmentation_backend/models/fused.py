"""Recorded networks made faster without changing what they compute, for CPUs.

Convolutions take along the sum and the rectification after them and read channels last; large ones
of 3 x 3 pixels go Winograd's way where that takes less work. The choice depends on shapes only, so
that it is the same on every machine.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from segmentation_backend.models.recording import constant, convolutions, tidy
from segmentation_backend.models.winograd import (
    TileProducts,
    TileValues,
    best_tile,
    prepare,
    tile_count,
)

__all__ = ["Prepared", "Site", "fuse", "put", "sites"]

_RELU = torch.ops.aten.relu.default
_ADD = torch.ops.aten.add.Tensor

Prepared = dict[tuple[Any, ...], Tensor]
"""Weights made ready, by the plain ones' digest and what for; shared by recordings."""


@dataclass(frozen=True)
class Site:
    """A convolution of a recording, and what comes with it."""

    node: fx.Node
    weight: Tensor
    bias: Tensor | None
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    add: fx.Node | None
    """The sum of its result and an earlier one, where nothing else uses that result."""
    relu: fx.Node | None
    """The rectification at the end, where nothing else uses what it rectifies."""
    size: tuple[int, int]
    """Height and width of its result."""
    read: tuple[int, ...]
    """Shape of what it reads."""

    @property
    def digest(self) -> bytes:
        """What tells its weights from others; each recording has copies of its own."""
        values = self.weight.detach().contiguous().numpy()
        return hashlib.sha256(values.data).digest()

    @property
    def source(self) -> fx.Node:
        """What it reads, also where that was rewritten meanwhile."""
        source = self.node.args[0]
        assert isinstance(source, fx.Node)
        return source

    @property
    def other(self) -> fx.Node | None:
        """What is added to its result."""
        if self.add is None:
            return None
        (other,) = (a for a in self.add.args if a is not self.node)
        assert isinstance(other, fx.Node)
        return other

    @property
    def last(self) -> fx.Node:
        """The node whose value the site computes."""
        return self.relu or self.add or self.node


def sites(graph: fx.GraphModule) -> list[Site]:
    """Return the plain 2D convolutions of a recording, in order."""
    order = {node: position for position, node in enumerate(graph.graph.nodes)}
    found = (_site(graph, node, order) for node in convolutions(graph))
    return [site for site in found if site is not None]


def _site(graph: fx.GraphModule, node: fx.Node, order: dict[fx.Node, int]) -> Site | None:
    source, weight_node, bias_node, stride, padding, dilation, transposed, _, groups = node.args
    weight, bias = constant(graph, weight_node), constant(graph, bias_node)
    if weight is None or (bias is None and bias_node is not None):
        return None
    if weight.dim() != 4 or transposed or not isinstance(source, fx.Node):
        return None
    add = _follower(node, _ADD)
    if add is not None and not _is_sum(add, node, order):
        add = None
    relu = _follower(add or node, _RELU)
    return Site(
        node=node,
        weight=weight,
        bias=bias,
        stride=_integers(stride),
        padding=_integers(padding),
        dilation=_integers(dilation),
        groups=_integers([groups])[0],
        add=add,
        relu=relu,
        size=_shape(node)[2:],
        read=_shape(source),
    )


def _follower(node: fx.Node, target: object) -> fx.Node | None:
    """Return the only user of a node, where it is of a kind."""
    users = list(node.users)
    return users[0] if len(users) == 1 and users[0].target is target else None


def _is_sum(add: fx.Node, node: fx.Node, order: dict[fx.Node, int]) -> bool:
    """Whether a sum is of a convolution and an equally large earlier value."""
    others = [a for a in add.args if a is not node]
    return (
        len(add.args) == 2
        and not add.kwargs
        and len(others) == 1
        and isinstance(others[0], fx.Node)
        and order[others[0]] < order[node]
        and _shape(others[0]) == _shape(node)
    )


def _integers(values: object) -> tuple[int, ...]:
    assert isinstance(values, list | tuple)
    return tuple(int(v) for v in values)


def _shape(node: fx.Node) -> Any:  # noqa: ANN401  (a tuple of its own length)
    return tuple(node.meta["val"].shape)


def put(graph: fx.GraphModule, site: Site, module: nn.Module, *inputs: fx.Node) -> fx.Node:
    """Let `module`, called with `inputs`, do a site's work; return the call."""
    name = f"step_{site.node.name}"
    graph.add_module(name, module)
    with graph.graph.inserting_before(site.node):
        call = graph.graph.call_module(name, inputs)
    call.meta = dict(site.last.meta)
    site.last.replace_all_uses_with(call)
    for node in (site.relu, site.add, site.node):
        if node is not None:
            graph.graph.erase_node(node)
    return call


def fuse(graph: fx.GraphModule, prepared: Prepared) -> None:
    """Rewrite a recording in place; `prepared` keeps weights for other recordings of a network."""
    values: dict[tuple[fx.Node, int, int], fx.Node] = {}
    for site in sites(graph):
        side = _tile_side(site)
        if side:
            _put_winograd(graph, site, side, values, prepared)
        else:
            _put_plain(graph, site, prepared)
    tidy(graph)


def _tile_side(site: Site) -> int:
    """Return the side of Winograd's tiles for a convolution, 0 where it is to be done plainly."""
    outputs, inputs, *kernel = site.weight.shape
    regular = kernel == [3, 3] and site.groups == 1 and site.stride == (1, 1)
    if not regular or site.padding != site.dilation or len(set(site.dilation)) != 1:
        return 0
    height, width = site.size
    gap = site.dilation[0]
    # Taps that lie outside of the image are skipped: two of three rows have some.
    border = 1 - (1 - 2 / 3 * min(1.0, gap / height)) * (1 - 2 / 3 * min(1.0, gap / width))
    return best_tile((inputs, outputs), (height, width), gap, border)


def _put_winograd(
    graph: fx.GraphModule,
    site: Site,
    side: int,
    values: dict[tuple[fx.Node, int, int], fx.Node],
    prepared: Prepared,
) -> None:
    gap = site.dilation[0]
    key = (site.source, side, gap)
    if key not in values:
        name = f"tiles_{site.node.name}"
        graph.add_module(name, TileValues(side, gap))
        with graph.graph.inserting_after(site.source):
            values[key] = graph.graph.call_module(name, (site.source,))
    tiles = tile_count(site.size, side, gap)
    kept = (site.digest, side, tiles)
    if kept not in prepared:
        prepared[kept] = prepare(site.weight, side, tiles)
    rectify = site.relu is not None
    module = TileProducts(prepared[kept], site.bias, side, gap, site.size, rectify)
    others = [] if site.other is None else [site.other]
    put(graph, site, module, values[key], *others)


def _put_plain(graph: fx.GraphModule, site: Site, prepared: Prepared) -> None:
    kept = (site.digest, site.read)
    if kept not in prepared:
        prepared[kept] = _packed(site)
    module = _Convolution(site, prepared[kept])
    put(graph, site, module, site.source, *([] if site.other is None else [site.other]))


def _packed(site: Site) -> Tensor:
    weight = site.weight.detach().contiguous(memory_format=torch.channels_last)
    packed: Tensor = torch.ops.mkldnn._reorder_convolution_weight(
        weight, site.padding, site.stride, site.dilation, site.groups, site.read
    )
    return packed


class _Convolution(nn.Module):
    """A convolution with channels last; sums and rectifies its result on the way out."""

    def __init__(self, site: Site, weight: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = weight, site.bias
        self.layout = (site.padding, site.stride, site.dilation, site.groups)
        self.relu = site.relu is not None

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """Return (N, O, H, W) of (N, I, H, W) and of what is to be added to it."""
        run = torch.ops.mkldnn._convolution_pointwise
        x = x.contiguous(memory_format=torch.channels_last)
        arguments = (self.weight, self.bias, *self.layout)
        result: Tensor
        if other is None:
            result = run.default(x, *arguments, "relu" if self.relu else "none", [], "")
        else:
            other = other.contiguous(memory_format=torch.channels_last)
            after = "relu" if self.relu else None
            result = run.binary(x, other, *arguments, "add", 1.0, after, [], None)
        # One channel is first and last at once, and would go on as if it were first.
        return result.contiguous(memory_format=torch.channels_last)
