"""Scores a network on labelled sections, through the same inference as the program's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from segmentation_backend.inference.parameters import InferenceParameters
from segmentation_backend.inference.planes import segment_slice
from segmentation_backend.metrics.matching import Scores, evaluate
from segmentation_backend.training.dataset import read_volume

__all__ = ["LabelledSections", "known_sections", "score"]


@dataclass(frozen=True, slots=True)
class LabelledSections:
    """Sections of a volume in NPZ files, with the labels they are scored against."""

    name: str
    image: Path
    """NPZ with `em` (z, y, x)."""
    labels: Path
    """NPZ with `inst` (z, y, x) and perhaps `ignore`; may be the same file."""
    sections: tuple[int, int]
    """First section and the one after the last."""
    note: str = ""
    """What a reader of the score must know."""


@dataclass(frozen=True, slots=True)
class _Grey:
    mean: float
    std: float


def known_sections(data: Path) -> list[LabelledSections]:
    """Return the held-out FIB-SEM sections and the two zero-shot sets below `data`, as present."""
    first, second = data / "fibsem_fly_fib25", data / "fibsem_fly_fib25_b"
    mouse = data / "sbem_mouse_cdeep3m" / "train_z010-039.npz"
    larva = data / "sstem_fly_vnc" / "train_z00-11.npz"
    every = [
        LabelledSections(
            "fibsem_fly_fib25",
            first / "volume_250.npz",
            first / "mito_labels_z000-119.npz",
            (100, 120),
            "held out",
        ),
        LabelledSections(
            "fibsem_fly_fib25_b",
            second / "volume_250.npz",
            second / "mito_labels.npz",
            (210, 250),
            "held out",
        ),
        LabelledSections(
            "sbem_mouse_cdeep3m", mouse, mouse, (0, 30), "zero-shot, instances derived"
        ),
        LabelledSections("sstem_fly_vnc", larva, larva, (0, 12), "zero-shot, instances derived"),
    ]
    return [s for s in every if s.image.is_file() and s.labels.is_file()]


def score(
    labelled: LabelledSections,
    network: nn.Module,
    parameters: InferenceParameters,
    on_progress: Callable[[int, int], None] | None = None,
    min_area: int | None = None,
) -> Scores:
    """Return the 2D scores of a network on sections that it segments one by one.

    Grey values are normalised over the whole volume. True profiles below `min_area` pixels
    (`parameters.min_area` where not given) are left out, as the program leaves out such objects.
    `on_progress` is told how many of how many sections are done.
    """
    em, inst, ignore = read_volume(labelled.image, labelled.labels)
    contrast = _Grey(float(em.mean(dtype=np.float64)), float(em.std(dtype=np.float64)))
    first, end = labelled.sections
    box = slice(first, end)

    def predictions() -> Iterator[np.ndarray[tuple[int, ...], np.dtype[np.int32]]]:
        for number, section in enumerate(em[box], start=1):
            yield segment_slice(section, network, contrast, parameters)
            if on_progress is not None:
                on_progress(number, end - first)

    return evaluate(
        np.stack(list(predictions())),
        inst[box],
        ignore[box],
        min_area=parameters.min_area if min_area is None else min_area,
    )
