"""From sections to 3D objects: probabilities smoothed across sections, profiles linked.

A 2D network sees one section at a time. Its probabilities are median-filtered over neighbouring
sections; then profiles of consecutive sections are linked where each is the other's best overlap,
which makes tracks; then loose ends of tracks are joined by `linking.join_ends`.

Sections are taken one by one and let go, so what is held at a time is a few sections' maps and the
labels themselves.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from segmentation_backend.inference.classes import Classes
from segmentation_backend.inference.filters import drop_small_objects, keep_largest
from segmentation_backend.inference.kernels import median_of
from segmentation_backend.inference.linking import LinkRules, ProfileStack, join_ends
from segmentation_backend.inference.panoptic import Maps, segment_maps
from segmentation_backend.inference.parameters import InferenceParameters

__all__ = [
    "drop_small_objects",
    "keep_largest",
    "link_classes",
    "link_sections",
    "median_sections",
    "segment_stack",
]


def segment_stack(
    maps: Iterable[Maps],
    shape: tuple[int, ...],
    parameters: InferenceParameters,
    on_progress: Callable[[int], None] | None = None,
) -> NDArray[np.uint32]:
    """Return the 3D objects (sections, H, W) of the maps of a stack's sections: uint32, 1..n.

    `on_progress` is told the number of finished sections after each; an error that it raises
    ends the work. Objects are filtered by `min_size` and `min_extent`.
    """
    smooth = median_sections(maps, parameters.median_slices)
    sections = (segment_maps(m, parameters) for m in smooth)
    labels = link_sections(_counted(sections, on_progress), shape, parameters)
    return drop_small_objects(labels, parameters.min_size, parameters.min_extent)


def median_sections(maps: Iterable[Maps], count: int) -> Iterator[Maps]:
    """Yield each section's maps, its probability the median over `count` sections around it.

    `count` is odd. Centres and offsets stay the section's own. Near both ends of the stack fewer
    sections are looked at, as many before as after. It is always the sections' own probabilities
    that are looked at, never medians found before. Of several classes each channel has its own.
    """
    reach = count // 2
    window: deque[Maps] = deque(maxlen=reach + 1)  # sections that have not been yielded
    seen = _Window(count)
    yielded = 0
    for item in maps:
        window.append(item)
        seen.add(item.probability)
        if seen.added > reach:
            first = window.popleft()
            yield replace(first, probability=seen.median(yielded)) if count > 1 else first
            yielded += 1
    while window:
        yield replace(window.popleft(), probability=seen.median(yielded))
        yielded += 1


def link_sections(
    sections: Iterable[NDArray[np.int32]],
    shape: tuple[int, ...],
    parameters: InferenceParameters,
) -> NDArray[np.uint32]:
    """Return 3D labels uint32 (sections, H, W), 1..n, of the sections' own labels (H, W)."""
    stack = ProfileStack(shape)
    for section in sections:
        stack.add(section, parameters.match_iou_thr)
    return _finish(stack, parameters)


def link_classes(
    sections: Iterable[Mapping[int, NDArray[np.int32]]],
    shape: tuple[int, ...],
    classes: Classes,
    parameters: InferenceParameters,
) -> dict[int, NDArray[np.uint32]]:
    """Return the 3D labels of each class, as `link_sections` does, of what `segment_classes` gives.

    Stuff has label 1 throughout. The numbers of different classes have nothing to do with each
    other: each class counts its own objects, however many they are.
    """
    stacks = {c: ProfileStack(shape) for c in classes.things}
    masks = {c: np.zeros(shape, np.uint32) for c in classes.ids if c not in classes.things}
    for index, section in enumerate(sections):
        for c, stack in stacks.items():
            stack.add(section[c], parameters.match_iou_thr)
        for c, mask in masks.items():
            mask[index] = section[c]
    linked = {c: _finish(stack, parameters) for c, stack in stacks.items()}
    return {c: linked[c] if c in linked else masks[c] for c in classes.ids}


def _finish(stack: ProfileStack, parameters: InferenceParameters) -> NDArray[np.uint32]:
    join_ends(stack, LinkRules(parameters.match_iou_thr, parameters.match_ioa_thr))
    return stack.labels(in_place=True)


class _Window:
    """The probabilities of the last sections, each in a row of one array that is used again."""

    def __init__(self, count: int) -> None:
        self.added = 0
        self._count = count
        self._rows = np.zeros((0, 0), np.float32)
        self._shape: tuple[int, ...] = ()

    def add(self, probability: NDArray[np.float32]) -> None:
        if self.added == 0:
            self._shape = probability.shape
            self._rows = np.empty((self._count, probability.size), np.float32)
        if self._count > 1:
            self._rows[self.added % self._count] = probability.reshape(-1)
        self.added += 1

    def median(self, section: int) -> NDArray[np.float32]:
        """Return the median around a section, which is in the middle of those looked at."""
        reach = min(section, self.added - 1 - section, self._count // 2)
        chosen = np.arange(section - reach, section + reach + 1) % self._count
        values: NDArray[np.float32] = median_of(self._rows, chosen).reshape(self._shape)
        return values


def _counted(
    sections: Iterable[NDArray[np.int32]], on_progress: Callable[[int], None] | None
) -> Iterator[NDArray[np.int32]]:
    for number, section in enumerate(sections, start=1):
        yield section
        if on_progress is not None:
            on_progress(number)
