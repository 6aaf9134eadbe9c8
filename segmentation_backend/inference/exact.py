"""`empanada-exact`: the labels that empanada-napari 1.2.4 gives, for comparison.

Everything after the network (Conrad & Narayan, Cell Systems 14, 2023) is computed anew from a
description, for CPU and without torch, and gives the same labels voxel for voxel, ids included:
`tests/unit/test_exact_beside_empanada.py` compares with arrays that the program itself produced
(numpy 2.4.6, torch 2.13.0 on a CPU, OpenCV 5.0.0, networkx 3.6.1, cc3d 4.1.1). What makes its
results worse than ours is kept: see `exact_sections`, `exact_matching`, `exact_objects` and
`exact_consensus`. Differences, all of them:

- A stack shorter than the median filter, but longer than half of it, makes empanada fail; here it
  is left unfiltered.
- Where nothing gets enough votes for a class without objects, empanada fails; here it is empty.
- Probabilities are the caller's where its network gives `sem`. Computed here from logits they may
  differ in the last bit from torch's.
- float64 images are shrunk to 1 part in 10^7; other dtypes to the last bit. What OpenCV cannot
  shrink is refused here too.
- NaN in the maps, and more than 2^31 labels, are not followed.
- Tiles of a section, several sections in one batch, eroding, dilating and filling of holes are not
  reproduced: the first scrambles objects, the last three fail or take from neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.inference.exact_consensus import consensus
from segmentation_backend.inference.exact_matching import Profiles, match_stack
from segmentation_backend.inference.exact_objects import (
    AXES,
    Plane,
    RunObject,
    Shape,
    fill,
    filtered,
    stack_objects,
    vote,
)
from segmentation_backend.inference.exact_parameters import ExactModel, ExactParameters
from segmentation_backend.inference.exact_sections import (
    ExactNetwork,
    Section,
    components,
    median_recursive,
    number_regions,
    panoptic_section,
    run_section,
)

__all__ = [
    "ExactModel",
    "ExactNetwork",
    "ExactParameters",
    "segment_orthoplane_exact",
    "segment_slice_exact",
    "segment_stack_exact",
]

OnProgress: TypeAlias = Callable[[int, int], None]
"""Is told the sections done and how many there are; what it raises ends the work."""
OnStack: TypeAlias = Callable[[Plane, int, NDArray[np.int32]], None]
"""Is given the labels (z, y, x) of a class in one plane's stack, before the vote."""
Objects: TypeAlias = list[RunObject]


def segment_slice_exact(
    image: NDArray[Any],
    network: ExactNetwork,
    model: ExactModel | None = None,
    parameters: ExactParameters | None = None,
) -> NDArray[np.int32]:
    """Return panoptic ids int32 (H, W) of a section (H, W): class * label_divisor + object."""
    model, parameters = model or ExactModel(), parameters or ExactParameters()
    things = _things(model, parameters)
    section = run_section(image, network, model, parameters)
    panoptic = panoptic_section(section, things, parameters).astype(np.int32)
    for kind in things:
        pieces = components(panoptic, kind, parameters.label_divisor).astype(np.int32)
        panoptic = np.where(pieces > 0, pieces + kind * parameters.label_divisor, panoptic)
    return panoptic


def segment_stack_exact(
    image: NDArray[Any],
    network: ExactNetwork,
    model: ExactModel | None = None,
    parameters: ExactParameters | None = None,
    plane: Plane = "xy",
    on_progress: OnProgress | None = None,
) -> dict[int, NDArray[np.int32]]:
    """Return the labels int32 (z, y, x) of each class, objects numbered 1..n, 0 = background.

    `image` (z, y, x) may be of any numeric dtype; its sections along `plane` are segmented one by
    one, whole, and matched.
    """
    model, parameters = model or ExactModel(), parameters or ExactParameters()
    shape = _shape(image)
    steps = _Steps(on_progress, image.shape[AXES[plane]])
    stacks = _stack(image, network, model, parameters, plane, steps)
    return {
        kind: fill(enumerate(objects, start=1), shape)
        for kind, objects in zip(model.labels, stacks, strict=True)
    }


def segment_orthoplane_exact(
    image: NDArray[Any],
    network: ExactNetwork,
    model: ExactModel | None = None,
    parameters: ExactParameters | None = None,
    on_progress: OnProgress | None = None,
    on_stack: OnStack | None = None,
) -> dict[int, NDArray[np.int32]]:
    """Return the labels int32 (z, y, x) of each class that stacks along xy, xz and yz agree on.

    Objects are numbered from 1; numbers of objects that the last filter drops are left out.
    """
    model, parameters = model or ExactModel(), parameters or ExactParameters()
    shape = _shape(image)
    steps = _Steps(on_progress, sum(shape))
    planes = [_stack(image, network, model, parameters, plane, steps) for plane in AXES]
    labels = {}
    for index, kind in enumerate(model.labels):
        stacks = [stack[index] for stack in planes]
        if on_stack is not None:
            for plane, objects in zip(AXES, stacks, strict=True):
                on_stack(plane, kind, fill(enumerate(objects, start=1), shape))
        if kind in model.thing_list:
            agreed = consensus(
                stacks,
                parameters.pixel_vote_thr,
                parameters.cluster_iou_thr,
                parameters.allow_one_view,
            )
            kept = filtered(enumerate(agreed, start=1), parameters.min_size, parameters.min_extent)
        else:
            whole = vote([item for stack in stacks for item in stack], parameters.pixel_vote_thr)
            kept = [] if whole is None else [(1, whole)]
        labels[kind] = fill(kept, shape)
    return labels


class _Steps:
    """Counts sections over all planes."""

    def __init__(self, listener: OnProgress | None, total: int) -> None:
        self._listener, self._total, self._done = listener, total, 0

    def one_more(self) -> None:
        self._done += 1
        if self._listener is not None:
            self._listener(self._done, self._total)


def _stack(
    image: NDArray[Any],
    network: ExactNetwork,
    model: ExactModel,
    parameters: ExactParameters,
    plane: Plane,
    steps: _Steps,
) -> list[Objects]:
    """Return the objects of each class that one plane shows, large enough to stay."""
    things = _things(model, parameters)
    sections = _sections(image, network, model, parameters, plane, steps)
    pieces: dict[int, list[NDArray[np.uint32]]] = {kind: [] for kind in model.labels}
    plain: dict[int, list[Profiles]] = {kind: [] for kind in model.labels}
    for section in median_recursive(sections, parameters.median_slices):
        panoptic = panoptic_section(section, things, parameters)
        for kind in model.labels:
            if kind in things:
                pieces[kind].append(components(panoptic, kind, parameters.label_divisor))
            else:
                numbered, ids = number_regions(panoptic, kind, parameters.label_divisor)
                pieces[kind].append(numbered)
                plain[kind].append({label: [n] for n, label in enumerate(ids, start=1)})
    found = []
    for kind in model.labels:
        profiles = plain[kind] or _matched(pieces[kind], kind, parameters)
        objects = stack_objects(pieces[kind], profiles, _shape(image), plane)
        kept = filtered(enumerate(objects), parameters.min_size, parameters.min_extent)
        found.append([item for _, item in kept])
    return found


def _sections(
    image: NDArray[Any],
    network: ExactNetwork,
    model: ExactModel,
    parameters: ExactParameters,
    plane: Plane,
    steps: _Steps,
) -> Iterator[Section]:
    for section in np.moveaxis(image, AXES[plane], 0):
        yield run_section(section, network, model, parameters)
        steps.one_more()


def _matched(
    pieces: list[NDArray[np.uint32]], kind: int, parameters: ExactParameters
) -> list[Profiles]:
    first = kind * parameters.label_divisor
    return match_stack(pieces, first, parameters.merge_iou_thr, parameters.merge_ioa_thr)


def _things(model: ExactModel, parameters: ExactParameters) -> tuple[int, ...]:
    return () if parameters.semantic_only else model.thing_list


def _shape(image: NDArray[Any]) -> Shape:
    if image.ndim != 3 or not image.size:
        raise InvalidInputError(
            f"A volume has three sides (z, y, x), none of them 0, not the shape {image.shape}.",
            ErrorKind.INVALID_PARAMETER,
        )
    z, y, x = image.shape
    return (z, y, x)
