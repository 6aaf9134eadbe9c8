"""Training of the networks, reproducible by config and seed, and scoring of what came out."""

from segmentation_backend.training.config import (
    SyntheticSet,
    TrainingConfig,
    TrainingVolume,
    fibsem_volumes,
)
from segmentation_backend.training.scoring import LabelledSections, known_sections, score
from segmentation_backend.training.train import Progress, train

__all__ = [
    "LabelledSections",
    "Progress",
    "SyntheticSet",
    "TrainingConfig",
    "TrainingVolume",
    "fibsem_volumes",
    "known_sections",
    "score",
    "train",
]
