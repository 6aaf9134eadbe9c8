"""Training of the networks, reproducible by config and seed, and scoring of what came out."""

from segmentation_backend.training.config import (
    SyntheticSet,
    TrainingConfig,
    TrainingVolume,
    every_volume,
    fibsem_volumes,
    research_run,
    small_run,
)
from segmentation_backend.training.scoring import (
    MICROSCOPES,
    LabelledSections,
    Perturbation,
    known_sections,
    perturbed,
    research_sections,
    score,
    score_box,
)
from segmentation_backend.training.teaching import with_teacher
from segmentation_backend.training.train import Progress, train

__all__ = [
    "MICROSCOPES",
    "LabelledSections",
    "Perturbation",
    "Progress",
    "SyntheticSet",
    "TrainingConfig",
    "TrainingVolume",
    "every_volume",
    "fibsem_volumes",
    "known_sections",
    "perturbed",
    "research_run",
    "research_sections",
    "score",
    "score_box",
    "small_run",
    "train",
    "with_teacher",
]
