"""Everything that decides which weights come out of a training run, as one value."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.models.mitonet import MitoNetConfig
from segmentation_backend.training.augment import Augmentation
from segmentation_backend.training.losses import LossWeights

__all__ = ["SyntheticSet", "TrainingConfig", "TrainingVolume", "fibsem_volumes"]


@dataclass(frozen=True, slots=True)
class TrainingVolume:
    """An EM volume with labels in NPZ files, and which sections are for what."""

    name: str
    image: Path
    """NPZ with `em` (z, y, x)."""
    labels: Path
    """NPZ with `inst` (z, y, x; 0 = background) and perhaps `ignore` (1 = unknown), which may
    cover only the first sections."""
    training: tuple[int, int]
    """First section and the one after the last; planes of all three axes are cut from this box."""
    validation: tuple[int, int] = (0, 0)
    weight: float = 1.0
    """How often it is drawn, relative to the other sources."""


@dataclass(frozen=True, slots=True)
class SyntheticSet:
    """Volumes made by `sources.synthetic`, one for each seed."""

    seeds: tuple[int, ...] = (101, 102, 103, 104)
    shape: tuple[int, int, int] = (96, 256, 256)
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """A training run; the same value gives the same weights on the same machine."""

    output: Path
    """Folder for checkpoints, the curve and the weights."""
    volumes: tuple[TrainingVolume, ...]
    synthetic: SyntheticSet | None = field(default_factory=SyntheticSet)
    network: MitoNetConfig = field(default_factory=MitoNetConfig)
    augmentation: Augmentation = field(default_factory=Augmentation)
    loss_weights: LossWeights = field(default_factory=LossWeights)
    seed: int = 0
    iterations: int = 4500
    batch: int = 6
    crop: int = 192
    """Side of a crop in pixels, a multiple of 16."""
    learning_rate: float = 3e-3
    weight_decay: float = 0.02
    heatmap_sigma: float = 8.0
    """Width of a centre's Gaussian, pixels."""
    checkpoint_every: int = 250
    threads: int = 2

    def __post_init__(self) -> None:
        """Refuse a run that cannot work."""
        if self.crop < 32 or self.crop % 16:
            raise InvalidInputError(
                f"crop must be a multiple of 16 and at least 32, not {self.crop}.",
                ErrorKind.INVALID_PARAMETER,
            )
        for name in ("iterations", "batch", "checkpoint_every", "threads"):
            if getattr(self, name) < 1:
                raise InvalidInputError(
                    f"{name} must be at least 1, not {getattr(self, name)}.",
                    ErrorKind.INVALID_PARAMETER,
                )
        if not self.volumes and self.synthetic is None:
            raise InvalidInputError(
                "There is nothing to train on; give volumes or a synthetic set.",
                ErrorKind.INVALID_PARAMETER,
            )

    def to_json(self) -> dict[str, Any]:
        """Return the run as JSON, without the folders it happened to be in."""
        value = asdict(self)
        del value["output"]
        for volume in value["volumes"]:
            volume["image"] = volume["image"].name
            volume["labels"] = volume["labels"].name
        return value


def fibsem_volumes(data: Path) -> tuple[TrainingVolume, ...]:
    """Return the two labelled fly FIB-SEM cubes (CC BY) below `data`, last sections held out."""
    first, second = data / "fibsem_fly_fib25", data / "fibsem_fly_fib25_b"
    return (
        TrainingVolume(
            "fibsem_fly_fib25",
            first / "volume_250.npz",
            first / "mito_labels_z000-119.npz",
            training=(0, 100),
            validation=(100, 120),
        ),
        TrainingVolume(
            "fibsem_fly_fib25_b",
            second / "volume_250.npz",
            second / "mito_labels.npz",
            training=(0, 210),
            validation=(210, 250),
            weight=1.5,
        ),
    )
