"""Scores a network on labelled sections, through the same inference as the program's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch import nn

from segmentation_backend.geometry import Roi
from segmentation_backend.inference.parameters import InferenceParameters
from segmentation_backend.inference.planes import segment_slice
from segmentation_backend.inference.runner import segment_region
from segmentation_backend.metrics.matching import Scores, evaluate
from segmentation_backend.models.specs import ModelSpec
from segmentation_backend.training.dataset import read_volume

__all__ = [
    "MICROSCOPES",
    "LabelledSections",
    "Perturbation",
    "known_sections",
    "perturbed",
    "research_sections",
    "score",
    "score_box",
]


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
    step: int = 1
    """From one section that is scored to the next."""


@dataclass(frozen=True, slots=True)
class Perturbation:
    """How another microscope's image of the same tissue differs; the defaults change nothing."""

    name: str
    noise: float = 0.0
    """Standard deviation of white noise, in standard deviations of the image."""
    blur: float = 0.0
    """Sigma of a Gaussian in the plane, pixels."""
    gamma: float = 1.0
    """Exponent of the grey values between their percentiles 0.1 and 99.9."""
    clipped: float = 0.0
    """Percent of the grey values that are cut off at either end."""
    zoom: float = 1.0
    """Pixels along a side for every one before."""


MICROSCOPES = (
    Perturbation("noise", noise=0.4),
    Perturbation("blur", blur=1.0),
    Perturbation("darker middle", gamma=1.4),
    Perturbation("brighter middle", gamma=0.7),
    Perturbation("range cut off", clipped=2.0),
    Perturbation("smaller pixels", zoom=1.4),
    Perturbation("larger pixels", zoom=0.71),
    Perturbation("all a little", noise=0.25, blur=0.7, gamma=1.2, zoom=0.85),
)
"""What the network has to bear. The program takes the level of the pyramid that is nearest to the
network's voxel size, so that pixels are wrong by the square root of 2 at most."""


@dataclass(frozen=True, slots=True)
class _Grey:
    mean: float
    std: float

    @classmethod
    def of(cls, image: NDArray[Any]) -> _Grey:
        return cls(float(image.mean(dtype=np.float64)), float(image.std(dtype=np.float64)))


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


def research_sections(data: Path) -> list[LabelledSections]:
    """Return what `config.every_volume` holds out of the sets below `data`, as present."""
    held_out = {"sbem_mouse_cdeep3m": (26, 30), "sstem_fly_vnc": (10, 12)}
    return [
        replace(s, sections=held_out[s.name], note="held out, instances derived")
        if s.name in held_out
        else s
        for s in known_sections(data)
    ]


def perturbed(
    image: NDArray[Any],
    inst: NDArray[Any],
    ignore: NDArray[np.bool_],
    change: Perturbation,
    seed: int = 0,
) -> tuple[NDArray[np.float32], NDArray[Any], NDArray[np.bool_]]:
    """Return sections (z, y, x), labels and what is unknown, as another microscope would give them.

    Pixels change their size first, then come blur, the grey values' curve, and noise at the end.
    Labels follow with the nearest pixel. The same seed gives the same noise.
    """
    x: NDArray[Any] = image.astype(np.float32)
    if change.zoom != 1:
        if change.zoom < 1:
            # Averages before pixels are skipped, as a larger pixel does.
            soften = 0.45 * float(np.sqrt(1 / change.zoom**2 - 1))
            x = ndimage.gaussian_filter(x, (0, soften, soften))
        x = _zoomed(x, change.zoom, 1)
        inst, ignore = _zoomed(inst, change.zoom, 0), _zoomed(ignore, change.zoom, 0)
    if change.blur > 0:
        x = ndimage.gaussian_filter(x, (0, change.blur, change.blur))
    if change.clipped > 0:
        x = np.clip(x, *np.percentile(x, (change.clipped, 100 - change.clipped)))
    if change.gamma != 1:
        low, high = np.percentile(x, (0.1, 99.9))
        unit = ((x - low) / max(float(high - low), 1e-6)).clip(0, 1)
        x = unit**change.gamma
    if change.noise > 0:
        rng = np.random.default_rng(seed)
        x = x + rng.normal(0, change.noise * float(x.std()), x.shape)
    return x.astype(np.float32), inst, ignore


def score(
    labelled: LabelledSections,
    network: nn.Module,
    parameters: InferenceParameters,
    on_progress: Callable[[int, int], None] | None = None,
    min_area: int | None = None,
    change: Perturbation | None = None,
) -> Scores:
    """Return the 2D scores of a network on sections that it segments one by one.

    Grey values are normalised over the whole volume; `change` makes the sections those of another
    microscope, and what is known of the volume is changed as theirs are. True profiles below
    `min_area` pixels (`parameters.min_area` where not given) are left out, as the program leaves
    out such objects. `on_progress` is told how many of how many sections are done.
    """
    em, inst, ignore = read_volume(labelled.image, labelled.labels)
    contrast = _Grey.of(em)
    box = slice(*labelled.sections, labelled.step)
    em, inst, ignore = em[box], inst[box], ignore[box]
    if change is not None:
        before = _Grey.of(em)
        em, inst, ignore = perturbed(em, inst, ignore, change)
        contrast = _shifted(contrast, before, _Grey.of(em))

    def predictions() -> Iterator[NDArray[np.int32]]:
        for number, section in enumerate(em, start=1):
            yield segment_slice(section, network, contrast, parameters)
            if on_progress is not None:
                on_progress(number, len(em))

    least = parameters.min_area if min_area is None else min_area
    return evaluate(np.stack(list(predictions())), inst, ignore, min_area=least)


def score_box(
    labelled: LabelledSections,
    network: nn.Module,
    spec: ModelSpec,
    parameters: InferenceParameters,
    mode: Literal["stack", "orthoplane"],
) -> Scores:
    """Return the 3D scores of the objects in the box of all the sections, at an IoU of 0.5.

    The box is segmented as the program does, with what the image shows around it. True objects
    below `parameters.min_size` voxels are left out.
    """
    em, inst, ignore = read_volume(labelled.image, labelled.labels)
    first, end = labelled.sections
    box = Roi.from_bounds((first, 0, 0), (end, *em.shape[1:]))
    bounds = Roi.from_bounds((0, 0, 0), em.shape)
    found = segment_region(
        lambda roi: em[roi.slices()],
        box,
        network,
        spec,
        _Grey.of(em),
        "xy",
        mode,
        parameters,
        lambda _share, _text: None,
        bounds,
    )
    least = parameters.min_size
    truth, unknown = inst[first:end], ignore[first:end]
    return evaluate(found.labels, truth, unknown, per_slice=False, min_area=least)


def _zoomed(sections: NDArray[Any], zoom: float, order: Literal[0, 1]) -> NDArray[Any]:
    """Return sections with other pixels; their outer edges stay where they are."""
    steps = np.array([1.0, zoom, zoom])
    resized: NDArray[Any] = ndimage.zoom(
        sections, steps, order=order, mode="nearest", grid_mode=True
    )
    return resized


def _shifted(volume: _Grey, before: _Grey, after: _Grey) -> _Grey:
    """Return the grey values of a volume of which a part went from `before` to `after`."""
    slope = after.std / max(before.std, 1e-6)
    return _Grey(after.mean + slope * (volume.mean - before.mean), slope * volume.std)
