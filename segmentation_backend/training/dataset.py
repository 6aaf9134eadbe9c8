"""Draws labelled crops from volumes, in all three planes; a draw depends on its number only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from segmentation_backend.errors import ErrorKind, FormatError, NotFoundError
from segmentation_backend.sources.synthetic import synthetic_em
from segmentation_backend.training.augment import LabelledSlice, augment
from segmentation_backend.training.config import SyntheticSet, TrainingConfig, TrainingVolume
from segmentation_backend.training.losses import Batch
from segmentation_backend.training.targets import Targets, make_targets

__all__ = [
    "LabelledVolume",
    "draw_batch",
    "load_validation",
    "load_volumes",
    "normalise",
    "read_image",
    "read_volume",
]


@dataclass(frozen=True, slots=True)
class LabelledVolume:
    """A box of a volume in memory; all arrays z, y, x and equally large."""

    name: str
    image: NDArray[np.float32]
    """Mean 0 and standard deviation 1 over the whole volume, as inference feeds it."""
    labels: NDArray[np.int32]
    ignore: NDArray[np.bool_]
    weight: float
    axes: tuple[int, ...] = (0, 1, 2)
    """The axes that planes are cut across."""
    foreground: NDArray[np.float32] | None = None
    """How likely each voxel is mitochondrion, where that is another than what the labels say."""

    def slice_at(self, axis: int, index: int) -> LabelledSlice:
        """Return the plane across `axis` (0 = xy, 1 = xz, 2 = yz)."""
        image, labels, ignore = (
            np.take(a, index, axis) for a in (self.image, self.labels, self.ignore)
        )
        likely = None if self.foreground is None else np.take(self.foreground, index, axis)
        return LabelledSlice(image, labels, ignore, likely)


def normalise(image: NDArray[Any]) -> NDArray[np.float32]:
    """Return the volume with mean 0 and standard deviation 1, float32."""
    x = image.astype(np.float32)
    mean, deviation = float(x.mean(dtype=np.float64)), float(x.std(dtype=np.float64))
    return (x - mean) / max(deviation, 1e-6)


def load_volumes(config: TrainingConfig) -> list[LabelledVolume]:
    """Return the training boxes of the volumes, then the synthetic volumes."""
    volumes = [_load_box(volume, volume.training) for volume in config.volumes]
    if config.synthetic is not None:
        volumes += [_make_synthetic(config.synthetic, seed) for seed in config.synthetic.seeds]
    return volumes


def load_validation(config: TrainingConfig) -> list[LabelledVolume]:
    """Return the held-out sections of the volumes that have some."""
    kept = [v for v in config.volumes if v.validation[1] > v.validation[0]]
    return [_load_box(volume, volume.validation) for volume in kept]


def draw_batch(volumes: Sequence[LabelledVolume], config: TrainingConfig, number: int) -> Batch:
    """Return the batch of iteration `number`; it depends on seed and number only."""
    chances = np.array([v.weight for v in volumes]) / sum(v.weight for v in volumes)
    images: list[NDArray[np.float32]] = []
    targets: list[Targets] = []
    for item in range(config.batch):
        rng = np.random.default_rng((config.seed, number, item))
        volume = volumes[int(rng.choice(len(volumes), p=chances))]
        axis = volume.axes[int(rng.integers(len(volume.axes)))]
        source = volume.slice_at(axis, int(rng.integers(volume.image.shape[axis])))
        crop = augment(source, config.crop, config.augmentation, rng)
        images.append(crop.image)
        targets.append(
            make_targets(
                crop.labels,
                crop.ignore,
                config.heatmap_sigma,
                config.favour_small,
                crop.foreground,
            )
        )
    return _collate(images, targets)


def _collate(images: list[NDArray[np.float32]], targets: list[Targets]) -> Batch:
    def stack(maps: list[NDArray[np.float32]]) -> torch.Tensor:
        tensor = torch.from_numpy(np.stack(maps))
        return tensor if tensor.ndim == 4 else tensor[:, None]

    return Batch(
        images=stack(images),
        foreground=stack([t.foreground for t in targets]),
        weight=stack([t.weight for t in targets]),
        heatmap=stack([t.heatmap for t in targets]),
        heatmap_weight=stack([t.heatmap_weight for t in targets]),
        offsets=stack([t.offsets for t in targets]),
        offsets_weight=stack([t.offsets_weight for t in targets]),
    )


def read_image(image: Path) -> NDArray[Any]:
    """Return the grey values (z, y, x) of an NPZ file; errors as `read_volume`."""
    return _read_required(image, "em")


def read_volume(image: Path, labels: Path) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_]]:
    """Return grey values, instances (0 = background) and what is unknown, each (z, y, x).

    NotFoundError where a file is absent, FormatError where it lacks `em` or `inst`.
    """
    em, inst = _read_required(image, "em"), _read_required(labels, "inst")
    ignore = _read_array(labels, "ignore")
    return em, inst, np.zeros(inst.shape, bool) if ignore is None else ignore > 0


def _load_box(volume: TrainingVolume, sections: tuple[int, int]) -> LabelledVolume:
    # Without labels the image is asked for them, and its name stands in the error.
    file = volume.labels or volume.image
    em, labels, ignore = read_volume(volume.image, file)
    first, end = sections
    if labels.shape[1:] != em.shape[1:] or end > len(labels):
        raise FormatError(
            f"{file.name} has labels of shape {labels.shape}, which do not cover sections "
            f"{first} to {end - 1} of an image of shape {em.shape}; choose other sections.",
            ErrorKind.UNSUPPORTED_FORMAT,
        )
    box = slice(first, end)
    likely = _read_array(file, "foreground")
    return LabelledVolume(
        volume.name,
        normalise(em)[box],
        labels[box].astype(np.int32),
        ignore[box],
        volume.weight,
        volume.axes,
        None if likely is None else likely[box].astype(np.float32) / np.float32(255),
    )


def _read_array(path: Path, key: str) -> NDArray[Any] | None:
    """Return an array of an NPZ file, or None where it has none of that name."""
    if not path.is_file():
        raise NotFoundError(
            f"There is no training file {path}; give the folder that holds it.",
            ErrorKind.PATH_NOT_FOUND,
        )
    with np.load(path) as archive:
        array: NDArray[Any] | None = archive.get(key)
        return array


def _read_required(path: Path, key: str) -> NDArray[Any]:
    array = _read_array(path, key)
    if array is None:
        raise FormatError(
            f"{path.name} has no array named {key!r}; training files hold em, inst and ignore.",
            ErrorKind.UNSUPPORTED_FORMAT,
        )
    return array


def _make_synthetic(synthetic: SyntheticSet, seed: int) -> LabelledVolume:
    volume = synthetic_em(synthetic.shape, seed=seed)
    return LabelledVolume(
        f"synthetic-{seed}",
        normalise(volume.em),
        volume.mitochondria.astype(np.int32),
        np.zeros(synthetic.shape, bool),
        synthetic.weight / len(synthetic.seeds),
    )
