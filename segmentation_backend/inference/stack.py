"""From sections to 3D objects: probabilities smoothed across sections, profiles linked.

A 2D network sees one section at a time. Its probabilities are median-filtered over neighbouring
sections; then profiles of consecutive sections are linked where each is the other's best overlap,
which makes tracks; then loose ends of tracks are joined by `linking.join_ends`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import cc3d
import fastremap
import numpy as np
from numpy.typing import NDArray
from torch import nn

from segmentation_backend.inference.linking import LinkRules, ProfileStack, join_ends
from segmentation_backend.inference.panoptic import Maps, segment_maps
from segmentation_backend.inference.parameters import InferenceParameters
from segmentation_backend.inference.planes import GreyScale, Tiling, normalise, predict_maps

__all__ = ["drop_small_objects", "link_sections", "median_sections", "segment_stack"]


def segment_stack(
    image: NDArray[Any],
    network: nn.Module,
    contrast: GreyScale,
    parameters: InferenceParameters,
    on_progress: Callable[[int], None] | None = None,
    tiling: Tiling | None = None,
) -> NDArray[np.uint32]:
    """Return the 3D objects of a stack (sections, H, W) of any dtype: uint32, 1..n.

    `on_progress` is told the number of finished sections after each; an error that it raises
    ends the work. Objects are filtered by `min_size` and `min_extent`.
    """
    tiles = tiling or Tiling()
    maps = (predict_maps(normalise(s, contrast), network, parameters, tiles) for s in image)
    smooth = median_sections(maps, parameters.median_slices)
    sections = (segment_maps(m, parameters) for m in smooth)
    labels = link_sections(_counted(sections, on_progress), image.shape, parameters)
    return drop_small_objects(labels, parameters.min_size, parameters.min_extent)


def median_sections(maps: Iterable[Maps], count: int) -> Iterator[Maps]:
    """Yield each section's maps, its probability the median over `count` sections around it.

    `count` is odd. Centres and offsets stay the section's own. Near both ends of the stack fewer
    sections are looked at, as many before as after.
    """
    reach = count // 2
    window: deque[Maps] = deque(maxlen=count)
    waiting = 0  # sections at the end of the window that have not been yielded
    for item in maps:
        window.append(item)
        waiting += 1
        if waiting > reach:
            yield _median_at(window, len(window) - waiting)
            waiting -= 1
    for rest in range(waiting, 0, -1):
        yield _median_at(window, len(window) - rest)


def link_sections(
    sections: Iterable[NDArray[np.int32]],
    shape: tuple[int, ...],
    parameters: InferenceParameters,
) -> NDArray[np.uint32]:
    """Return 3D labels uint32 (sections, H, W), 1..n, of the sections' own labels (H, W)."""
    stack = ProfileStack(shape)
    for section in sections:
        stack.add(section, parameters.match_iou_thr)
    join_ends(stack, LinkRules(parameters.match_iou_thr, parameters.match_ioa_thr))
    return stack.labels()


def drop_small_objects(
    labels: NDArray[np.uint32], min_size: int, min_extent: int
) -> NDArray[np.uint32]:
    """Return the objects with enough voxels and a long enough box, renumbered 1..n.

    A side of the box that reaches a face of the array is not held against an object: its rest may
    lie outside.
    """
    found = cc3d.statistics(labels)
    kept = np.asarray(found["voxel_counts"]) >= max(min_size, 1)
    for index, box in enumerate(found["bounding_boxes"]):
        if index and kept[index]:
            kept[index] = all(
                side.stop - side.start >= min_extent or side.start == 0 or side.stop == length
                for side, length in zip(box, labels.shape, strict=True)
            )
    kept[0] = False
    remaining, _ = fastremap.renumber(np.where(kept[labels], labels, 0), in_place=True)
    return np.asarray(remaining, dtype=np.uint32)


def _median_at(window: deque[Maps], at: int) -> Maps:
    reach = min(at, len(window) - 1 - at)
    if reach == 0:
        return window[at]
    chosen = np.stack([window[i].probability for i in range(at - reach, at + reach + 1)])
    return replace(window[at], probability=np.median(chosen, axis=0))


def _counted(
    sections: Iterable[NDArray[np.int32]], on_progress: Callable[[int], None] | None
) -> Iterator[NDArray[np.int32]]:
    for number, section in enumerate(sections, start=1):
        yield section
        if on_progress is not None:
            on_progress(number)
