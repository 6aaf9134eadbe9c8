"""The networks that jobs run: opened once for each process, by the engine that a plan asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from segmentation_backend.errors import ErrorKind, FormatError, InvalidInputError
from segmentation_backend.geometry import Roi, nearest_level
from segmentation_backend.inference.exact_parameters import EXACT_DEFAULTS, ExactParameters
from segmentation_backend.inference.parameters import InferenceParameters
from segmentation_backend.models.registry import ModelSpec, find_model
from segmentation_backend.models.specs import ENGINES, EXACT_ENGINES, ModelKind
from segmentation_backend.workspace.catalog import VolumeInfo
from segmentation_backend.workspace.planning import EMPANADA_EXACT, check_choice

if TYPE_CHECKING:
    from torch import nn

    from segmentation_backend.inference.grid import BlockGrid
    from segmentation_backend.models.engines import FastNetwork

__all__ = ["OpenedNetwork", "check_engine", "chosen_parameters", "open_network", "warm_up"]

_WORTH_IT = 2**24
"""Voxels of a level from which it pays to make an engine for its tiles, which takes seconds: a
smaller one is done sooner as PyTorch runs it. It goes by the level, not by what is asked for, so
that every region of it is computed in the same way."""

_SHAPES_WARMED = 2


@dataclass(frozen=True)
class OpenedNetwork:
    """A network on its device, and what is to be recorded of it."""

    network: nn.Module
    """A `FastNetwork`, or an affinity network, as the model's kind is."""
    spec: ModelSpec
    """The file that is run, which may be the quantised one."""
    digest: str
    """SHA-256 of that file."""
    engine: str
    device: str
    """`cpu` or `cuda`."""

    @property
    def is_exact(self) -> bool:
        """Whether the maps are those of the reference, the network on a CPU, but for rounding."""
        return self.device == "cpu" and self.engine in EXACT_ENGINES

    @property
    def identity(self) -> dict[str, str]:
        """What the contents of a block depend on."""
        weights = {"weights_sha256": self.digest}
        return weights if self.is_exact else {**weights, "engine": self.engine, "on": self.device}

    def provenance(self, grid: BlockGrid, fine: bool) -> dict[str, Any]:
        """Return what ran, after it ran; `exact` where every block was known and nothing did."""
        known = {
            "weights_sha256": self.digest,
            "device": self.device,
            "engine_used": self.engine,
        }
        if self.spec.kind is not ModelKind.PANOPTIC or self.engine == "quantized":
            return known
        network = cast("FastNetwork", self.network)
        made = {network.made_for(shape, fine) for shape in grid.tile_shapes}
        ran = ", ".join(sorted(name for name in made if name is not None))
        loss = {} if network.loss is None else {"engine_loss": asdict(network.loss)}
        return {**known, "engine_used": ran or self.engine, **loss}


def check_engine(engine: str, spec: ModelSpec) -> None:
    """Refuse an engine that there is not, or that the model has no file for."""
    if engine not in ENGINES:
        raise InvalidInputError(
            f"engine must be one of {', '.join(ENGINES)}, not {engine!r}.",
            ErrorKind.INVALID_PARAMETER,
        )
    if engine == "quantized":
        spec.quantized()
    if spec.kind is not ModelKind.PANOPTIC and engine != "exact":
        raise InvalidInputError(
            f"The model {spec.name} is of the kind {spec.kind.value}, which only the engine exact "
            f"runs, not {engine}; leave engine out.",
            ErrorKind.INVALID_PARAMETER,
        )


def chosen_parameters(
    given: Mapping[str, Any], preset: str | None, spec: ModelSpec, others_given: bool
) -> InferenceParameters:
    """Return the parameters of a run, those that are not given as the preset has them.

    Without a preset, as the model does best. FormatError where its description names parameters
    that there are not. InvalidInputError for a preset that there is not, or that cannot be
    followed: with a 3D network, or where engine or contrast (`others_given`) are not its own.
    """
    if preset is None:
        return InferenceParameters.from_json({**_usual_parameters(spec), **given})
    check_choice("preset", preset, (EMPANADA_EXACT,))
    if spec.kind is not ModelKind.PANOPTIC or others_given:
        raise InvalidInputError(
            f"The preset {preset} is for 2D networks, with neither grey_range nor engine: it has "
            "its own contrast and runs the network as it is. Leave them out.",
            ErrorKind.INVALID_PARAMETER,
        )
    chosen = InferenceParameters.from_json({**EXACT_DEFAULTS, **given})
    ExactParameters.of(chosen)
    return chosen


def _usual_parameters(spec: ModelSpec) -> Mapping[str, Any]:
    """Return what the model's description says, so that nobody is blamed for it but the file."""
    try:
        InferenceParameters.from_json(spec.parameters)
    except InvalidInputError as error:
        raise FormatError(
            f"The description of the model {spec.name} has parameters that cannot be: {error} "
            "Correct the file, or choose another model.",
            ErrorKind.UNSUPPORTED_FORMAT,
        ) from error
    return spec.parameters


def open_network(name: str, engine: str, level: Roi, models_dir: Path) -> OpenedNetwork:
    """Return a model's network for a level of this extent; kept until its file changes.

    The fastest exact engine is made for levels that are worth it. Errors as of `open_panoptic`.
    """
    import torch

    known = find_model(name, models_dir)
    check_engine(engine, known)
    spec = known.quantized() if engine == "quantized" else known
    is_2d = known.kind is ModelKind.PANOPTIC
    on_gpu = is_2d and engine in ("exact", "eager") and torch.cuda.is_available()
    if is_2d and engine == "exact" and not on_gpu and level.size < _WORTH_IT:
        engine = "eager"
    path = models_dir / spec.file_name
    changed = path.stat().st_mtime_ns if path.exists() else 0
    device = "cuda" if on_gpu else "cpu"
    network = _opened(name, engine, device, models_dir, changed)
    return OpenedNetwork(network, spec, _digest(spec, models_dir), engine, device)


# One may be there twice, as it is and made faster, and making it faster takes seconds.
@lru_cache(maxsize=3)
def _opened(name: str, engine: str, device: str, models_dir: Path, _changed: int) -> nn.Module:
    from segmentation_backend.models.opening import open_affinity, open_panoptic

    spec = find_model(name, models_dir)
    if spec.kind is ModelKind.AFFINITY:
        return cast("nn.Module", open_affinity(spec, models_dir))
    return open_panoptic(spec, models_dir, engine, device)


def _digest(spec: ModelSpec, models_dir: Path) -> str:
    record = models_dir / f"{spec.file_name}.sha256"
    return spec.sha256 or record.read_text().split()[0]


def warm_up(spec: ModelSpec, models_dir: Path, volumes: list[VolumeInfo]) -> None:
    """Run a model on empty tiles as sections of volumes are cut into: all is ready then.

    Without volumes, on one of a large section, as PyTorch runs it: which engine is the fastest is
    found out when there is something to run it on.
    """
    from segmentation_backend.inference import runner

    if spec.kind is not ModelKind.PANOPTIC:
        return
    levels = [nearest_level(info.levels, spec.voxel_size_nm) for info in volumes]
    bounds = dict.fromkeys(Roi((0, 0, 0), level.shape) for level in levels)
    for level in list(bounds)[:_SHAPES_WARMED]:
        opened = open_network(spec.name, "exact", level, models_dir)
        runner.warm_up(opened.network, spec, bounds=level)
    if not bounds:
        eager = open_network(spec.name, "eager", Roi((0, 0, 0), (1, 1, 1)), models_dir)
        runner.warm_up(eager.network, spec)
