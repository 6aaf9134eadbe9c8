"""Networks, their weights, and the list of those one can choose; importing it needs no torch."""

from segmentation_backend.models.registry import (
    ModelKind,
    ModelSpec,
    Origin,
    default_model,
    find_model,
    list_models,
)

__all__ = ["ModelKind", "ModelSpec", "Origin", "default_model", "find_model", "list_models"]
