"""The models folder, for its owner's commands: what the web may not do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.models.library import Additions, ModelLibrary
from segmentation_backend.models.registry import ModelSpec, default_model, list_models

__all__ = ["Additions", "ModelLibrary", "ModelSpec", "chosen_first", "measure_engines"]


def chosen_first(models_dir: Path) -> list[ModelSpec]:
    """Return the models that can be chosen, the default first."""
    default = default_model(models_dir)
    return [default, *(m for m in list_models(models_dir) if m.name != default.name)]


def measure_engines(spec: ModelSpec, models_dir: Path, side: int = 512) -> list[dict[str, Any]]:
    """Return each engine's speed on a tile of `side` x `side` pixels, and what it loses.

    Loads torch, and runs the model's code. InvalidInputError for a side that the model cannot be
    fed; errors of `weights.load`.
    """
    if side % spec.padding_factor or not 64 <= side <= 4096:
        raise InvalidInputError(
            f"side must be from 64 to 4096 and a multiple of {spec.padding_factor}, not {side}.",
            ErrorKind.INVALID_PARAMETER,
        )
    from segmentation_backend.models.opening import engine_reports

    return [report.to_json() for report in engine_reports(spec, models_dir, side)]
