"""A network teaches its successor: what it makes of sections, seen from all sides, as labels.

Labels drawn section by section differ by chance from one to the next, and a network's answer from
one way of looking at a section to another. The mean of all views has less of both, and who learns
from it needs but one view to know what it says (Hinton et al., arXiv 1503.02531; Radosavovic et
al., CVPR 2018). Sections that nobody has labelled are learned from in the same way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.inference.panoptic import segment_maps
from segmentation_backend.inference.parameters import InferenceParameters
from segmentation_backend.inference.planes import Tiling, predict_maps
from segmentation_backend.models.weights import read_network
from segmentation_backend.training.config import TrainingConfig, TrainingVolume
from segmentation_backend.training.dataset import normalise, read_image, read_volume

__all__ = ["mean_probability", "taught", "teach", "teach_unlabelled", "with_teacher"]

_STRIDE = 16
"""The network takes sections whose sides are multiples of this."""


def with_teacher(
    config: TrainingConfig, teacher: Path | None, trust: float, unlabelled: Sequence[Path] = ()
) -> TrainingConfig:
    """Return the run in which a network has its say about every labelled volume, by `trust`.

    `unlabelled` are NPZ files with `em` (z, y, x): sections to learn from as `teacher`, a file of
    weights, sees them. InvalidInputError for another `trust` than 0 to 1, without `teacher`, or
    with nothing that it could look at.
    """
    volumes = [replace(volume, trust=trust) for volume in config.volumes]
    for image in unlabelled:
        sections = (0, len(read_image(image)))
        volumes.append(TrainingVolume(image.stem, image, None, sections, axes=(0,)))
    if not volumes:
        raise InvalidInputError(
            "There is nothing that the teacher could look at; give --data or --unlabelled.",
            ErrorKind.INVALID_PARAMETER,
        )
    return replace(config, volumes=tuple(volumes), teacher=teacher)


def taught(config: TrainingConfig) -> TrainingConfig:
    """Return the run with labels in which the teacher has had its say, itself without one.

    They are written below `config.output` once; a run that goes on finds them there.
    """
    if config.teacher is None:
        return config
    word = config.teacher.read_bytes()
    network: nn.Module = read_network(word, config.teacher.name).eval()
    folder = config.output / "taught"
    folder.mkdir(parents=True, exist_ok=True)
    by = hashlib.sha256(word).hexdigest()[:12]

    def with_word(volume: TrainingVolume) -> TrainingVolume:
        if not volume.is_taught:
            return volume
        file = folder / f"{volume.name}-{by}-{volume.trust}.npz"
        if not file.is_file():
            if volume.labels is None:
                teach_unlabelled(volume.image, network, file)
            else:
                teach(volume.image, volume.labels, network, file, volume.trust)
        return replace(volume, labels=file, trust=0.0)

    return replace(config, volumes=tuple(map(with_word, config.volumes)), teacher=None)


def teach(image: Path, labels: Path, network: nn.Module, output: Path, trust: float) -> None:
    """Write the labels of a volume with a foreground that is partly the network's.

    `image` and `labels` are NPZ files as `TrainingVolume` names them. What is written to `output`,
    which can stand for `labels`, has their `inst` and `ignore`, and `foreground` (z, y, x) uint8:
    255 times the mean of the label, 0 or 1, and `mean_probability`, which counts `trust`, 0 to 1.
    NotFoundError and FormatError as `dataset.read_volume`.
    """
    em, inst, ignore = read_volume(image, labels)
    likely = np.stack([mean_probability(s, network) for s in normalise(em)[: len(inst)]])
    _write(output, inst, ignore, (1 - trust) * (inst > 0) + trust * likely)


def teach_unlabelled(image: Path, network: nn.Module, output: Path) -> None:
    """Write labels of a volume that has none: what the network makes of each section.

    As `teach` with a trust of 1. Objects (`inst`) are those of the mean of mirror images, numbered
    section by section: planes of the other two axes must not be cut from them.
    """
    sections = normalise(read_image(image))
    parameters = InferenceParameters(test_time_augmentation=True)
    objects = [
        segment_maps(predict_maps(s, network, parameters, Tiling()), parameters) for s in sections
    ]
    inst = np.stack(objects)
    likely = np.stack([mean_probability(section, network) for section in sections])
    _write(output, inst, np.zeros(inst.shape, bool), likely)


def mean_probability(section: NDArray[np.float32], network: nn.Module) -> NDArray[np.float32]:
    """Return how likely each pixel of a normalised section (H, W) is mitochondrion.

    It is the mean over the section's eight views: turned by quarters, and mirrored.
    """
    device = next(network.parameters()).device
    total = np.zeros(section.shape, np.float32)
    for turns in range(4):
        for is_mirrored in (False, True):
            view = np.rot90(section, turns)
            view = view[:, ::-1] if is_mirrored else view
            height, width = view.shape
            tensor = torch.from_numpy(np.ascontiguousarray(view))[None, None].to(device)
            padded = nn.functional.pad(tensor, (0, -width % _STRIDE, 0, -height % _STRIDE))
            with torch.inference_mode():
                logits = network(padded)["sem_logits"][0, 0, :height, :width]
            seen = logits.float().sigmoid().cpu().numpy()
            total += np.rot90(seen[:, ::-1] if is_mirrored else seen, -turns)
    return total / np.float32(8)


def _write(
    output: Path, inst: NDArray[Any], ignore: NDArray[np.bool_], foreground: NDArray[Any]
) -> None:
    """Write the file whole or not at all."""
    part = output.with_suffix(".part")
    with part.open("wb") as file:
        np.savez_compressed(
            file,
            inst=inst,
            ignore=ignore.astype(np.uint8),
            foreground=np.rint(255 * foreground).astype(np.uint8),
        )
    part.replace(output)
