"""Networks as flat lists of operations, recorded from a run, ready to be rewritten.

A TorchScript file cannot be taken apart as Python; what it does with an input of one shape can. The
recording holds for that shape, number of render steps and resolution only.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, fx
from torch.func import functionalize
from torch.fx.experimental.proxy_tensor import make_fx

__all__ = ["constant", "convolutions", "fold_norms", "record", "tidy"]

_CONVOLUTION = torch.ops.aten.convolution.default
_NORM = torch.ops.aten.native_batch_norm.default


def record(network: Callable[..., Any], *arguments: Any) -> fx.GraphModule:  # noqa: ANN401
    """Return what `network` does with its first argument, a tensor; the others are constants.

    Batch norms are folded into the convolutions before them. The graph takes the tensor and returns
    what the network returns. Raises RuntimeError where the network decides by the values it sees.
    """
    first, *rest = arguments
    # Twice beforehand: TorchScript specialises itself during its first runs.
    with torch.no_grad():
        for _ in range(2):
            network(first, *rest)
        run = functionalize(lambda x: network(x, *rest), remove="mutations")
        graph = make_fx(run)(first)
    fold_norms(graph)
    return graph


def constant(graph: fx.GraphModule, node: object) -> Tensor | None:
    """Return the tensor that a node stands for, or None where it is computed."""
    if not isinstance(node, fx.Node) or node.op != "get_attr":
        return None
    value = getattr(graph, str(node.target))
    return value if isinstance(value, Tensor) else None


def convolutions(graph: fx.GraphModule) -> Iterator[fx.Node]:
    """Yield the convolutions whose weights are constant, in the order of the run."""
    for node in list(graph.graph.nodes):
        if node.target is _CONVOLUTION and constant(graph, node.args[1]) is not None:
            yield node


def fold_norms(graph: fx.GraphModule) -> None:
    """Scale the weights of convolutions by the batch norms that follow them, and drop those."""
    for norm in list(graph.graph.nodes):
        if norm.target is _NORM and _foldable(graph, norm):
            _fold(graph, norm)
    tidy(graph)


def tidy(graph: fx.GraphModule) -> None:
    """Forget what a rewritten recording does not use any more, constants above all."""
    graph.graph.eliminate_dead_code()
    graph.delete_all_unused_submodules()
    used = {str(node.target) for node in graph.graph.nodes if node.op == "get_attr"}
    kept = [name for name, value in vars(graph).items() if isinstance(value, Tensor)]
    for name in [*kept, *dict(graph.named_buffers(recurse=False))]:
        if name not in used:
            delattr(graph, name)
    graph.recompile()


def _foldable(graph: fx.GraphModule, norm: fx.Node) -> bool:
    before, *constants = norm.args[:5]
    return (
        isinstance(before, fx.Node)
        and before.target is _CONVOLUTION
        and len(before.users) == 1
        and not before.args[6]  # transposed: the channels stand on another axis
        and norm.args[5] is False
        and all(constant(graph, c) is not None for c in (*constants, before.args[1]))
        and all(u.target is operator.getitem and u.args[1] == 0 for u in norm.users if u.users)
    )


def _fold(graph: fx.GraphModule, norm: fx.Node) -> None:
    before = norm.args[0]
    assert isinstance(before, fx.Node)
    scale, shift, mean, variance = (_double(graph, a) for a in norm.args[1:5])
    epsilon = norm.args[7]
    assert isinstance(epsilon, float)
    weight = _double(graph, before.args[1])
    bias = constant(graph, before.args[2])
    factor = scale / (variance + epsilon).sqrt()
    shape = (-1, *[1] * (weight.dim() - 1))
    folded = (weight * factor.view(shape)).float()
    offset = (shift + ((0.0 if bias is None else bias.double()) - mean) * factor).float()
    with graph.graph.inserting_before(before):
        constants = [
            _new_constant(graph, f"{before.name}_{kind}", value)
            for kind, value in (("weight", folded), ("bias", offset))
        ]
    before.args = (before.args[0], *constants, *before.args[3:])
    for user in list(norm.users):
        if user.users:
            user.replace_all_uses_with(before)
        graph.graph.erase_node(user)
    graph.graph.erase_node(norm)


def _double(graph: fx.GraphModule, node: object) -> Tensor:
    value = constant(graph, node)
    assert value is not None
    return value.double()


def _new_constant(graph: fx.GraphModule, name: str, value: Tensor) -> fx.Node:
    graph.register_buffer(name, value, persistent=False)
    return graph.graph.get_attr(name)
