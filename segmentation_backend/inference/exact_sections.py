"""One section as empanada-napari 1.2.4 computes it: input, centres, grouping, panoptic ids, median.

Arithmetic is done in float32 and in the original's order, since labels are compared bit for bit.
The network is the caller's; see `exact` for what is reproduced and what is not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segmentation_backend.errors import ErrorKind, FormatError, InvalidInputError
from segmentation_backend.inference.exact_kernels import nearest_centres
from segmentation_backend.inference.exact_parameters import ExactModel, ExactParameters
from segmentation_backend.inference.exact_resize import shrink

__all__ = [
    "ExactNetwork",
    "Section",
    "components",
    "find_centres",
    "group_cells",
    "median_recursive",
    "merge_panoptic",
    "normalise_exact",
    "number_regions",
    "panoptic_section",
    "run_section",
]

Floats: TypeAlias = NDArray[np.float32]


class ExactNetwork(Protocol):
    """What runs the network on one padded, normalised section."""

    def __call__(
        self, section: Floats, render_steps: int, interpolate_ins: bool
    ) -> Mapping[str, NDArray[Any]]:
        """Return the maps of `section` (H, W) float32, with batch axes or without.

        Keys are the published models': `sem_logits` (C, H', W') with H' = H / 4 * 2**render_steps,
        `ctr_hmp` (h, w) and `offsets` (2, h, w), where h is H / 4, or H with `interpolate_ins`.
        `sem` (C, H', W'), their probabilities, is used where it is given: a network that applies
        the sigmoid itself leaves no doubt about the last bit.
        """


@dataclass(slots=True)
class Section:
    """What the network says about one section; `median_recursive` changes the probability."""

    probability: Floats
    """(C, H', W') at the image's resolution, padded."""
    cells: NDArray[np.int32]
    """(H', W'), the centre that each pixel belongs to, counted from 1; 0 where there is none."""
    size: tuple[int, int]
    """Sides of the section without padding."""


def normalise_exact(image: NDArray[Any], model: ExactModel) -> Floats:
    """Return grey values (H, W) as the published models expect them, float32.

    Whole numbers are shares of their type's largest value, whatever the range in use. Floats are
    shares of 255, and of 1 where no value of this very section is above 1.
    """
    if image.dtype.kind == "f":
        full = 255.0
        if image.size and image.max() <= 1.0:
            image = image * full
    elif image.dtype.kind in "iu":
        full = float(np.iinfo(image.dtype).max)
    else:
        raise InvalidInputError(
            f"Grey values of type {image.dtype} have no range; give whole numbers or floats.",
            ErrorKind.INVALID_PARAMETER,
        )
    mean = np.float32(model.mean) * np.float32(full)
    scale = np.float32(1) / (np.float32(model.std) * np.float32(full))
    normalised: Floats = (image.astype(np.float32) - mean) * scale
    return normalised


def run_section(
    image: NDArray[Any], network: ExactNetwork, model: ExactModel, parameters: ExactParameters
) -> Section:
    """Return what the network says about a section (H, W) of any numeric dtype."""
    if image.ndim != 2 or not image.size:
        raise InvalidInputError(
            f"A section has two sides (H, W), not the shape {image.shape}.",
            ErrorKind.INVALID_PARAMETER,
        )
    scale = parameters.downsampling
    small = normalise_exact(shrink(image, scale), model)
    factor = model.padding_factor
    margins = [(0, -side % factor) for side in small.shape]
    padded = np.pad(small, margins)
    output = network(padded, 1 + scale.bit_length(), parameters.fine_boundaries)
    full = (padded.shape[0] * scale, padded.shape[1] * scale)
    step = 1 if parameters.fine_boundaries else 4
    grid = (padded.shape[0] // step, padded.shape[1] // step)
    cells = group_cells(
        _map(output, "ctr_hmp", 1, grid)[0],
        _map(output, "offsets", 2, grid),
        parameters.center_confidence_thr,
        parameters.min_distance_object_centers,
        step,
    )
    enlarged = cells.repeat(step * scale, 0).repeat(step * scale, 1)
    height, width = image.shape
    return Section(_probability(output, full), enlarged, (height, width))


def _map(
    output: Mapping[str, NDArray[Any]], name: str, channels: int | None, sides: tuple[int, int]
) -> Floats:
    """Return a map (channels, *sides) of the output; FormatError where it is another."""
    found = np.asarray(output[name]) if name in output else np.zeros(0)
    shape: tuple[int, ...] = found.shape
    count = channels or (shape[-3] if len(shape) > 2 else 1)
    if found.size != count * sides[0] * sides[1] or shape[-2:] != sides:
        raise FormatError(
            f"The network gave {name} of shape {found.shape}; with this section it must be "
            f"({count}, {sides[0]}, {sides[1]}). Check padding factor and downsampling.",
            ErrorKind.MODEL_OUTPUT_INVALID,
        )
    return found.reshape(count, *sides).astype(np.float32, copy=False)


def _probability(output: Mapping[str, NDArray[Any]], sides: tuple[int, int]) -> Floats:
    if "sem" in output:
        return _map(output, "sem", None, sides)
    logits = _map(output, "sem_logits", None, sides)
    if len(logits) == 1:
        with np.errstate(over="ignore"):  # exp of a large logit is inf, and its share 0
            shares: Floats = np.float32(1) / (np.float32(1) + np.exp(-logits))
        return shares
    powers = np.exp(logits - logits.max(0))
    softmax: Floats = powers / powers.sum(0)
    return softmax


def find_centres(heatmap: Floats, threshold: float, window: int) -> NDArray[np.intp]:
    """Return (n, 2) y, x of the centres of a heatmap (h, w), row by row.

    A centre is above the threshold and nothing is higher in the window around it. All pixels of a
    plateau are centres. A window of an even side k reaches k / 2 back and k / 2 - 1 ahead.
    """
    high = np.where(heatmap > np.float32(threshold), heatmap, np.float32(-1))
    highest = ndimage.maximum_filter(high, window, mode="constant", cval=-np.inf)
    return np.argwhere((high == highest) & (high > 0))


def group_cells(
    heatmap: Floats, offsets: Floats, threshold: float, window: int, step: int
) -> NDArray[np.int32]:
    """Return (h, w) int32: for each pixel the nearest centre to where it points, from 1.

    `offsets` (2, h, w) are dy and dx in pixels `step` times finer than the grid. Of centres at the
    same distance (after rounding to float32) the first counts; without centres all is 0.
    """
    centres = find_centres(heatmap, threshold, window)
    if not len(centres):
        return np.zeros(heatmap.shape, np.int32)
    places = (centres * step).astype(np.float32)
    cells: NDArray[np.int32] = nearest_centres(np.ascontiguousarray(offsets), places, step)
    return cells


def merge_panoptic(
    classes: NDArray[np.intp],
    cells: NDArray[np.int32],
    things: tuple[int, ...],
    parameters: ExactParameters,
) -> NDArray[np.int64]:
    """Return panoptic ids (H, W): class * label_divisor + number of the object in its class.

    Things are the cells within the thing classes, each of the class that most of its pixels have
    (the smaller of two equals), numbered in the order of their centres. The other classes are one
    object each, numbered 0, where they have at least `stuff_area` pixels.
    """
    divisor = parameters.label_divisor
    is_thing = np.isin(classes, things)
    numbers = np.where(is_thing, cells, 0)
    count = int(classes.max(initial=0)) + 1
    votes = np.bincount((numbers * count + classes)[numbers > 0])
    votes = np.append(votes, np.zeros(-len(votes) % count, votes.dtype)).reshape(-1, count)
    winner = votes.argmax(1)
    ids = np.zeros(max(len(votes), int(numbers.max(initial=0)) + 1), np.int64)
    for kind in things:
        chosen = np.flatnonzero((winner == kind) & votes.any(1))
        ids[chosen] = kind * divisor + np.arange(1, len(chosen) + 1)
    merged: NDArray[np.int64] = ids[numbers]
    areas = np.bincount(classes.ravel(), minlength=count)
    for kind in range(1, count):
        if kind not in things and areas[kind] >= parameters.stuff_area:
            merged[classes == kind] = kind * divisor
    return merged


def panoptic_section(
    section: Section, things: tuple[int, ...], parameters: ExactParameters
) -> NDArray[np.int64]:
    """Return the panoptic ids of a section (H, W), without its padding."""
    if len(section.probability) > 1:
        classes = section.probability.argmax(0)
    else:
        threshold = np.float32(parameters.confidence_thr)
        classes = (section.probability[0] >= threshold).astype(np.intp)
    height, width = section.size
    merged = merge_panoptic(classes, section.cells, things, parameters)
    return np.ascontiguousarray(merged[:height, :width])


def components(panoptic: NDArray[Any], kind: int, divisor: int) -> NDArray[np.uint32]:
    """Return the 8-connected pieces (H, W) of a class's objects, numbered 1..n row by row."""
    own = _of_class(panoptic, kind, divisor)
    return np.asarray(cc3d.connected_components(own, connectivity=8), np.uint32)


def number_regions(
    panoptic: NDArray[Any], kind: int, divisor: int
) -> tuple[NDArray[np.uint32], list[int]]:
    """Return the ids of a class (H, W) as 1..n, connected or not, and the ids themselves."""
    own = _of_class(panoptic, kind, divisor)
    ids = np.unique(own[own > 0])
    numbered = np.searchsorted(ids, own) + 1
    return np.where(own > 0, numbered, 0).astype(np.uint32), ids.tolist()


def _of_class(panoptic: NDArray[Any], kind: int, divisor: int) -> NDArray[Any]:
    return np.where((panoptic >= kind * divisor) & (panoptic < (kind + 1) * divisor), panoptic, 0)


def median_recursive(sections: Iterable[Section], count: int) -> Iterator[Section]:
    """Yield sections with probabilities that are medians over `count` (odd) of them.

    A section's median replaces it where later medians look back, so the filter is recursive.
    The first and the last (count - 1) / 2 sections stay as they are. Stacks shorter than the
    filter make empanada fail; here they stay as they are, too.
    """
    middle = count // 2
    queue: deque[Section] = deque(maxlen=count)
    waiting = 0
    for section in sections:
        queue.append(section)
        waiting += 1
        if len(queue) <= middle:
            yield section
            waiting -= 1
        elif len(queue) == count:
            stacked = np.stack([item.probability for item in queue])
            queue[middle].probability = np.partition(stacked, middle, axis=0)[middle]
            yield queue[middle]
            waiting -= 1
    yield from list(queue)[len(queue) - waiting :]
