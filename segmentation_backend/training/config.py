"""Everything that decides which weights come out of a training run, as one value."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

from segmentation_backend.errors import ErrorKind, InvalidInputError, NotFoundError
from segmentation_backend.models.mitonet import MitoNetConfig
from segmentation_backend.models.published import EMBEDDED
from segmentation_backend.training.augment import Augmentation
from segmentation_backend.training.losses import LossWeights

__all__ = [
    "SyntheticSet",
    "TrainingConfig",
    "TrainingVolume",
    "every_volume",
    "fibsem_volumes",
    "research_run",
]


@dataclass(frozen=True, slots=True)
class TrainingVolume:
    """An EM volume with labels in NPZ files, and which sections are for what."""

    name: str
    image: Path
    """NPZ with `em` (z, y, x)."""
    labels: Path | None
    """NPZ with `inst` (z, y, x; 0 = background) and perhaps `ignore` (1 = unknown), which may
    cover only the first sections; None where nobody has labelled it, and the teacher alone says
    what is there."""
    training: tuple[int, int]
    """First section and the one after the last; planes of all three axes are cut from this box."""
    validation: tuple[int, int] = (0, 0)
    weight: float = 1.0
    """How often it is drawn, relative to the other sources."""
    axes: tuple[int, ...] = (0, 1, 2)
    """The axes that planes are cut across; 0 alone where sections are far thicker than pixels."""
    trust: float = 0.0
    """How much the teacher's word counts beside the labels in what is foreground, 0 to 1."""

    def __post_init__(self) -> None:
        """Refuse what cannot be learned from."""
        if not 0 <= self.trust <= 1:
            raise InvalidInputError(
                f"trust must be at least 0 and at most 1, not {self.trust}.",
                ErrorKind.INVALID_PARAMETER,
            )
        if self.labels is None and (self.axes != (0,) or self.validation[1] > self.validation[0]):
            raise InvalidInputError(
                f"{self.name} has no labels: planes can be cut across axis 0 only, and no section "
                "can be held out.",
                ErrorKind.INVALID_PARAMETER,
            )

    @property
    def is_taught(self) -> bool:
        """Whether a teacher has a say in what is learned."""
        return self.labels is None or self.trust > 0


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
    start: Path | None = None
    """Weights to begin with, a file that `train` or the package holds; None for random ones."""
    teacher: Path | None = None
    """Weights of a network whose view of the sections is learned from, as `training.teaching`
    says, by each volume's `trust`; a file like `start`."""
    learning_rate: float = 3e-3
    warm_up: float = 0.3
    """Share of the iterations in which the learning rate rises; it falls in the others."""
    weight_decay: float = 0.02
    norm_momentum: float = 0.1
    """Share of each batch in the running statistics of the norms: less where sources differ. At 0
    the norms are held: batches are normalised as sections will be, by the statistics begun with."""
    heatmap_sigma: float = 8.0
    """Width of a centre's Gaussian, pixels."""
    favour_small: bool = False
    """Whether small mitochondria count as much as large ones, and clefts more than the rest."""
    checkpoint_every: int = 250
    threads: int = 2

    def __post_init__(self) -> None:
        """Refuse a run that cannot work; NotFoundError where weights are absent."""
        self._check_numbers()
        for file in (self.start, self.teacher):
            if file is not None and not file.is_file():
                raise NotFoundError(
                    f"There are no weights {file}; give a .pt file that `train` wrote, or one of "
                    "the package's.",
                    ErrorKind.PATH_NOT_FOUND,
                )
        taught = [volume.name for volume in self.volumes if volume.is_taught]
        if taught and self.teacher is None:
            raise InvalidInputError(
                f"{', '.join(taught)} shall be learned from as a teacher sees them; give the "
                "teacher's weights (--teacher).",
                ErrorKind.INVALID_PARAMETER,
            )
        if not self.volumes and self.synthetic is None:
            raise InvalidInputError(
                "There is nothing to train on; give volumes or a synthetic set.",
                ErrorKind.INVALID_PARAMETER,
            )

    def _check_numbers(self) -> None:
        if self.crop < 32 or self.crop % 16:
            raise InvalidInputError(
                f"crop must be a multiple of 16 and at least 32, not {self.crop}.",
                ErrorKind.INVALID_PARAMETER,
            )
        if not 0 <= self.norm_momentum <= 1:
            raise InvalidInputError(
                f"norm_momentum must be at least 0 and at most 1, not {self.norm_momentum}.",
                ErrorKind.INVALID_PARAMETER,
            )
        for name in ("iterations", "batch", "checkpoint_every", "threads"):
            if getattr(self, name) < 1:
                raise InvalidInputError(
                    f"{name} must be at least 1, not {getattr(self, name)}.",
                    ErrorKind.INVALID_PARAMETER,
                )
        if not (self.learning_rate > 0 and 0 < self.warm_up < 1):
            raise InvalidInputError(
                f"learning_rate must be above 0 and warm_up between 0 and 1, not "
                f"{self.learning_rate} and {self.warm_up}.",
                ErrorKind.INVALID_PARAMETER,
            )

    def to_json(self) -> dict[str, Any]:
        """Return the run as JSON, without the folders it happened to be in; weights by SHA-256."""
        value = asdict(self)
        del value["output"]
        for name in ("start", "teacher"):
            value[name] = None if value[name] is None else _sha256(value[name])
        for volume in value["volumes"]:
            volume["image"] = volume["image"].name
            volume["labels"] = volume["labels"] and volume["labels"].name
        return value


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


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


def every_volume(data: Path) -> tuple[TrainingVolume, ...]:
    """Return the labelled sets below `data`, those for non-commercial use included.

    Their last sections are held out. Weights that learn from them are for research only.
    """
    mouse = data / "sbem_mouse_cdeep3m" / "train_z010-039.npz"
    larva = data / "sstem_fly_vnc" / "train_z00-11.npz"
    return (
        *fibsem_volumes(data),
        # Slices z 010 to 039 of the stack; 036 to 039 are held out.
        TrainingVolume(
            "sbem_mouse_cdeep3m", mouse, mouse, (0, 26), (26, 30), weight=4.0, axes=(0,)
        ),
        TrainingVolume("sstem_fly_vnc", larva, larva, (0, 10), (10, 12), weight=3.0, axes=(0,)),
    )


def small_run(output: Path, data: Path | None) -> TrainingConfig:
    """Return the run of `mitoglance_small`, of the FIB-SEM sets below `data`, if it is given."""
    return TrainingConfig(output, () if data is None else fibsem_volumes(data))


def research_run(output: Path, data: Path | None) -> TrainingConfig:
    """Return the run of `mitoglance_research`, of every set below `data`.

    It begins with the weights of the embedded network. InvalidInputError without `data`.
    """
    if data is None:
        raise InvalidInputError(
            "The research network learns from labelled sets; give their folder with --data.",
            ErrorKind.INVALID_PARAMETER,
        )
    package = resources.files("segmentation_backend.models") / "weights_data"
    shares = {"fibsem_fly_fib25": 1.8}
    volumes = tuple(replace(v, weight=shares.get(v.name, v.weight)) for v in every_volume(data))
    return TrainingConfig(
        output=output,
        volumes=volumes,
        synthetic=SyntheticSet(weight=0.3),
        augmentation=Augmentation(scale=(0.7, 1.45), untouched=0.7),
        iterations=2600,
        favour_small=True,
        start=Path(str(package / EMBEDDED.file_name)),
        learning_rate=1.2e-3,
        warm_up=0.03,
        norm_momentum=0.03,
    )
