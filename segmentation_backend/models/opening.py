"""From the description of a model to a network that can be called; for workers, since torch."""

from __future__ import annotations

from pathlib import Path

import torch

from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.models import openvino
from segmentation_backend.models.affinity import load_affinity
from segmentation_backend.models.engines import Engine, EngineReport, FastNetwork, measure
from segmentation_backend.models.networks import AffinityNetwork
from segmentation_backend.models.specs import ENGINES, ModelKind, ModelSpec
from segmentation_backend.models.weights import load

__all__ = ["ENGINES", "engine_reports", "open_affinity", "open_panoptic"]

_MEMORY = "engines.json"


def open_panoptic(
    spec: ModelSpec, models_dir: Path, engine: str = "exact", device: str = "cpu"
) -> FastNetwork:
    """Return a 2D network on a device (`cpu`, `cuda`), to be run by an engine.

    `quantized` is the model's own 8-bit file, `int8` the same made here of any model; both are for
    CPUs. InvalidInputError for an unknown engine or the wrong kind of model; errors of
    `weights.load`.
    """
    _check(spec, ModelKind.PANOPTIC)
    if engine not in ENGINES:
        raise InvalidInputError(
            f"engine must be one of {', '.join(ENGINES)}, not {engine!r}.",
            ErrorKind.INVALID_PARAMETER,
        )
    if engine == "quantized":
        # What its bytes were packed for; chosen before it is loaded, since loading packs them.
        engines = torch.backends.quantized.supported_engines
        torch.backends.quantized.engine = "fbgemm" if "fbgemm" in engines else "qnnpack"
        return FastNetwork(load(spec.quantized(), models_dir), "eager")
    network = load(spec, models_dir).to(device)
    chosen: Engine = engine  # type: ignore[assignment]
    return FastNetwork(network, chosen, models_dir / _MEMORY, _key(spec, models_dir))


def open_affinity(spec: ModelSpec, models_dir: Path) -> AffinityNetwork:
    """Return a 3D network, on the CPU; InvalidInputError for another kind of model."""
    _check(spec, ModelKind.AFFINITY)
    return load_affinity(spec, models_dir)


def _check(spec: ModelSpec, kind: ModelKind) -> None:
    if spec.kind is not kind:
        raise InvalidInputError(
            f"The model {spec.name} is of the kind {spec.kind.value}, not {kind.value}; choose "
            "another model, or another mode.",
            ErrorKind.INVALID_PARAMETER,
        )


def _key(spec: ModelSpec, models_dir: Path) -> str:
    """Return what identifies the weights: the beginning of their SHA-256."""
    if spec.sha256 is not None:
        return spec.sha256[:16]
    return (models_dir / f"{spec.file_name}.sha256").read_text()[:16]


def engine_reports(spec: ModelSpec, models_dir: Path, side: int) -> list[EngineReport]:
    """Return how every engine that can run a model does on tiles of `side` x `side` pixels."""
    _check(spec, ModelKind.PANOPTIC)
    engines = ["fused", *(["openvino"] if openvino.is_installed() else []), "int8"]
    return measure(load(spec, models_dir), engines, side)
