"""3D networks that say which neighbouring voxels belong together, as TorchScript or ONNX."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from segmentation_backend.errors import ErrorKind, FormatError, ResourceError
from segmentation_backend.models.networks import AffinityNetwork
from segmentation_backend.models.specs import ModelSpec
from segmentation_backend.models.weights import load, read_content

__all__ = ["load_affinity"]


def load_affinity(spec: ModelSpec, models_dir: Path) -> AffinityNetwork:
    """Return a model of the kind `affinity3d`, ready to be called.

    Errors as of `weights.load`; ResourceError (MODEL_UNAVAILABLE) for an ONNX graph where the
    `onnx` extra is not installed. A call raises FormatError (MODEL_OUTPUT_INVALID) where the
    network returns anything but what `AffinityNetwork` says.
    """
    if spec.is_onnx:
        return _Affinities(_OnnxGraph(read_content(spec, models_dir), spec.name), spec)
    return _Affinities(load(spec, models_dir), spec)


_ONNX_ERRORS = ("Fail", "InvalidProtobuf", "InvalidGraph", "InvalidArgument", "NotImplemented")


class _Affinities(nn.Module):
    """A network whose results are checked, and brought to 0..1."""

    def __init__(self, network: nn.Module, spec: ModelSpec) -> None:
        super().__init__()
        self.network = network
        self._name, self._activation = spec.name, spec.activation

    def forward(self, block: Tensor) -> Tensor:
        """Return (N, C, d, h, w), 0..1, of blocks (N, 1, D, H, W)."""
        with torch.no_grad():
            found = self.network(block)
        self._check(found, block)
        result: Tensor = found.float()
        if self._activation == "sigmoid":
            return result.sigmoid()
        low, high = (edge.item() for edge in result.aminmax())
        if low < -1e-3 or high > 1 + 1e-3:
            raise self._refusal(
                f"values from {low:.3g} to {high:.3g}, not 0 to 1; if it gives "
                "logits, add it again with --activation sigmoid"
            )
        return result.clamp(0, 1)

    def _check(self, found: object, block: Tensor) -> None:
        if not isinstance(found, Tensor) or found.dim() != 5:
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise self._refusal(f"{shape}, not one array (N, C, d, h, w)")
        if found.shape[0] != block.shape[0] or found.shape[1] not in (1, 3):
            raise self._refusal(
                f"{tuple(found.shape)} of {tuple(block.shape)}, not one or three "
                "channels for each block"
            )
        margins = [b - f for b, f in zip(block.shape[2:], found.shape[2:], strict=True)]
        if any(margin < 0 or margin % 2 for margin in margins):
            raise self._refusal(
                f"{tuple(found.shape)} of {tuple(block.shape)}, whose margins are "
                "not equal on both sides"
            )
        if not found.isfinite().all():
            raise self._refusal("values that are not numbers (NaN or infinite)")

    def _refusal(self, what: str) -> FormatError:
        return FormatError(
            f"The network {self._name} returned {what}. Nothing was changed; use another model.",
            ErrorKind.MODEL_OUTPUT_INVALID,
        )


class _OnnxGraph(nn.Module):
    """An ONNX graph with one input and one output, run by ONNX Runtime on the CPU."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__()
        if find_spec("onnxruntime") is None:
            raise ResourceError(
                f"The model {name} is an ONNX graph, and ONNX Runtime is not installed here; "
                "install it with `pip install 'mitoglance[onnx]'`.",
                ErrorKind.MODEL_UNAVAILABLE,
            )
        import onnxruntime

        self._errors = errors = _onnx_errors()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            # Content, not a path: a graph in memory cannot name other files to be read.
            self._session: Any = onnxruntime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
        except errors as error:
            raise FormatError(
                f"The model {name} is not an ONNX graph that can be run "
                f"({str(error).splitlines()[0]}); remove it and add the right file.",
                ErrorKind.WEIGHTS_UNREADABLE,
            ) from error
        self._input = self._session.get_inputs()[0].name

    def forward(self, block: Tensor) -> Tensor:
        """Return the graph's first output."""
        array = np.ascontiguousarray(block.cpu().numpy(), dtype=np.float32)
        try:
            found = self._session.run(None, {self._input: array})[0]
        except self._errors as error:
            # As PyTorch fails, so that callers need not know what runs.
            raise RuntimeError(str(error)) from error
        return torch.from_numpy(np.asarray(found))


def _onnx_errors() -> tuple[type[Exception], ...]:
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    # They have no class in common but `Exception`.
    kinds = (getattr(state, name, ValueError) for name in _ONNX_ERRORS)
    return (RuntimeError, ValueError, *kinds)
