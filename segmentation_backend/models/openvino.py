"""Recorded networks compiled by OpenVINO, where that optional library is installed."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, fx, nn

__all__ = ["compile_recording", "is_installed"]


def is_installed() -> bool:
    """Whether the `openvino` extra is there."""
    return find_spec("openvino") is not None


class _Listed(nn.Module):
    """A recording that returns its maps as a tuple, in the order of `names`."""

    def __init__(self, graph: fx.GraphModule, names: list[str]) -> None:
        super().__init__()
        self.graph, self.names = graph, names

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the maps of an image."""
        found = self.graph(x)
        return tuple(found[name] for name in self.names)


def compile_recording(
    graph: fx.GraphModule, example: Tensor, threads: int
) -> Callable[[Tensor], dict[str, Tensor]]:
    """Return a function that does what a recording does, for inputs of the example's shape.

    RuntimeError where OpenVINO does not know an operation.
    """
    import openvino

    failure = (openvino.frontend.OpConversionFailure, openvino.frontend.GeneralFailure)
    try:
        request, names = _request(graph, example, threads)
    except failure as error:
        # Derived from nothing that could be told from other errors.
        raise RuntimeError(str(error)) from error

    def run(x: Tensor) -> dict[str, Tensor]:
        found = request.infer({0: x.contiguous().numpy()})
        # Copied: the request uses its buffers again.
        return {name: torch.from_numpy(found[place].copy()) for place, name in enumerate(names)}

    return run


def _request(graph: fx.GraphModule, example: Tensor, threads: int) -> tuple[Any, list[str]]:
    """Return OpenVINO's runner of a recording, and the names of its maps in their order."""
    import openvino

    with torch.no_grad():
        names = list(graph(example))
        _rename(graph)
        # Frozen, since OpenVINO does not find the constants of a graph module by their names.
        traced = torch.jit.freeze(_traced(_Listed(graph, names).eval(), example))
        model = openvino.convert_model(traced, example_input=example)
    model.reshape(list(example.shape))
    # Left alone it computes in bfloat16 on processors that have it, which is not exact.
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
    }
    return openvino.compile_model(model, "CPU", settings).create_infer_request(), names


def _traced(network: nn.Module, example: Tensor) -> torch.jit.ScriptModule:
    traced: torch.jit.ScriptModule = torch.jit.trace(network, example)  # type: ignore[no-untyped-call]
    return traced


def _rename(graph: fx.GraphModule) -> None:
    """Name a recording's operations as OpenVINO knows them; they are the same ones."""
    aten = torch.ops.aten
    for node in graph.graph.nodes:
        if node.target is aten.grid_sampler_2d.default:
            node.target = aten.grid_sampler.default
        elif node.target is aten._to_copy.default:
            node.target = aten.to.dtype
            node.args, node.kwargs = (node.args[0], node.kwargs["dtype"]), {}
    graph.recompile()
