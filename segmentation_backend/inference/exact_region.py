"""`empanada-exact` over a region: what empanada-napari 1.2.4 gives where it is shown just that.

Not made of blocks: whole sections go through the network, and what an object is depends on where
the region ends. For comparison with what others have; see `exact`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import fastremap
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from segmentation_backend.errors import ErrorKind, ResourceError
from segmentation_backend.inference.classes import Target
from segmentation_backend.inference.confidence import mean_probability
from segmentation_backend.inference.exact import (
    ExactModel,
    ExactParameters,
    segment_orthoplane_exact,
    segment_slice_exact,
    segment_stack_exact,
)
from segmentation_backend.inference.exact_objects import AXES, Plane
from segmentation_backend.inference.parameters import InferenceParameters
from segmentation_backend.inference.planes import is_out_of_memory, reason_of, unusable
from segmentation_backend.inference.stitching import RegionObjects
from segmentation_backend.models.specs import ModelSpec

__all__ = ["segment_exact"]

_MAPS = ("sem_logits", "ctr_hmp", "offsets")


def segment_exact(
    image: NDArray[Any],
    network: nn.Module,
    spec: ModelSpec,
    plane: str,
    mode: str,
    parameters: InferenceParameters,
    progress: Callable[[float, str], None],
    class_id: int | Sequence[int] | None = None,
    on_stack: Callable[[Plane, NDArray[np.uint32]], None] | None = None,
) -> RegionObjects:
    """Return the objects of an image (z, y, x) of any numeric dtype, and how sure they are.

    The labels are empanada's. `probability` is the mean of what the network itself says, before any
    median, `agreement` the mean share of the stacks that found something at an object's voxels.
    Grey values are taken as shares of their type's range, as empanada does. `progress` is told the
    share done and a sentence after each section; what it raises ends the work. Of several classes
    the objects of the first that is named are on top. `on_stack` is given the objects (z, y, x) of
    each of the three stacks of mode "orthoplane". FormatError (MODEL_OUTPUT_INVALID) where the
    network's answer cannot be used, ResourceError (OUT_OF_MEMORY) where a section does not fit.
    """
    asked = class_id if isinstance(class_id, Sequence) else [class_id]
    targets = [Target.of(spec, one) for one in dict.fromkeys(asked)]
    planes = tuple(AXES) if mode == "orthoplane" else (cast("Plane", plane),)
    run = _Network(network, _Shares(image.shape, planes, targets))
    gathered = _Gathered(targets, image.shape, on_stack if mode == "orthoplane" else None)
    labels = _labels(image, run, spec, mode, planes, parameters, progress, gathered)
    numbered, kinds = gathered.together(labels)
    probability = run.shares.of(numbered, kinds)
    return RegionObjects(numbered, probability, gathered.agreement(numbered, kinds), kinds)


def _labels(
    image: NDArray[Any],
    run: _Network,
    spec: ModelSpec,
    mode: str,
    planes: tuple[Plane, ...],
    parameters: InferenceParameters,
    progress: Callable[[float, str], None],
    gathered: _Gathered,
) -> dict[int, NDArray[Any]]:
    """Return what the original finds of each class, by channel."""
    classes = Target.of(spec).classes
    model = ExactModel(*spec.norms, spec.padding_factor, classes.ids, classes.things)
    exact = ExactParameters.of(parameters)

    def tell(done: int, total: int) -> None:
        progress(done / total, f"Section {done} of {total}")

    found: dict[int, NDArray[Any]] = {}
    if mode == "orthoplane":
        found |= segment_orthoplane_exact(image, run, model, exact, tell, gathered.take)
    elif mode == "stack":
        found |= segment_stack_exact(image, run, model, exact, planes[0], tell)
    else:
        axis = AXES[planes[0]]
        found |= {channel: np.zeros(image.shape, np.int64) for channel in classes.ids}
        for number, section in enumerate(np.moveaxis(image, axis, 0)):
            ids = segment_slice_exact(section, run, model, exact)
            for channel, labels in found.items():
                mine, _ = fastremap.renumber(
                    np.where(ids // exact.label_divisor == channel, ids, 0)
                )
                # Objects of different sections are different ones; no section has as many as
                # pixels.
                written = np.moveaxis(labels, axis, 0)
                written[number] = np.where(mine > 0, mine + number * section.size, 0)
            tell(number + 1, image.shape[axis])
    return found


class _Gathered:
    """What is found of the classes that are looked for, and of their stacks."""

    def __init__(
        self,
        targets: Sequence[Target],
        shape: tuple[int, ...],
        on_stack: Callable[[Plane, NDArray[np.uint32]], None] | None,
    ) -> None:
        self._channels = [target.channel for target in targets]
        self._votes = [np.zeros(shape, np.uint8) for _ in targets]
        self._planes = 0
        self._on_stack = on_stack
        self._stacks: dict[Plane, dict[int, NDArray[np.int32]]] = {}

    def take(self, plane: Plane, channel: int, labels: NDArray[np.int32]) -> None:
        """Take a class's stack; pass a plane's stacks on once all of them are there."""
        if channel not in self._channels:
            return
        self._votes[self._channels.index(channel)] += labels > 0
        if self._on_stack is None:
            return
        known = self._stacks.setdefault(plane, {})
        known[channel] = labels
        if len(known) == len(self._channels):
            self._on_stack(plane, self.together(self._stacks.pop(plane))[0])

    def together(
        self, labels: Mapping[int, NDArray[Any]]
    ) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """Return the classes' objects as one volume's, 1..n, and which class each is of."""
        numbered = np.zeros(self._votes[0].shape, np.uint32)
        kinds: list[int] = []
        for kind, channel in enumerate(self._channels):
            own = np.where(numbered == 0, labels[channel], 0)
            mine, _ = fastremap.renumber(np.ascontiguousarray(own))
            count = int(mine.max(initial=0))
            np.add(mine, len(kinds), out=numbered, where=mine > 0, casting="unsafe")
            kinds += [kind] * count
        return numbered, np.array(kinds, np.int64)

    def agreement(
        self, numbered: NDArray[np.uint32], kinds: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return the mean share of the stacks that found something at each object's voxels."""
        if not any(votes.any() for votes in self._votes):
            return np.ones(len(kinds), np.float32)
        means = [mean_probability(numbered, votes / np.float32(3)) for votes in self._votes]
        return _of_each(means, kinds)


class _Shares:
    """The network's probabilities of each class, section by section as they come."""

    def __init__(
        self, shape: tuple[int, ...], planes: tuple[Plane, ...], targets: Sequence[Target]
    ) -> None:
        self._sums = [np.zeros(shape, np.uint16) for _ in targets]
        self._targets, self._planes = targets, len(planes)
        self._places = iter([(AXES[p], at) for p in planes for at in range(shape[AXES[p]])])

    def take(self, probability: NDArray[np.float32]) -> None:
        """Take the probabilities (C, H, W) of the next section, which may be padded."""
        axis, at = next(self._places)
        for total, target in zip(self._sums, self._targets, strict=True):
            section = np.moveaxis(total, axis, 0)[at]
            own = probability[0 if target.channels == 1 else target.channel]
            section += np.rint(own[: section.shape[0], : section.shape[1]] * 255).astype(np.uint16)

    def of(self, numbered: NDArray[np.uint32], kinds: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the mean probability of each object, over its voxels and the planes."""
        scale = np.float32(1 / (255 * self._planes))
        means = [mean_probability(numbered, total * scale) for total in self._sums]
        return _of_each(means, kinds)


def _of_each(means: Sequence[NDArray[np.float32]], kinds: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return (n,) by object what is said of it for its class; `means` are (n + 1,) by class."""
    found: NDArray[np.float32] = np.stack(means)[kinds, np.arange(1, len(kinds) + 1)]
    return np.minimum(found, np.float32(1))


class _Network:
    """A network in PyTorch as `exact` wants to call it."""

    def __init__(self, network: nn.Module, shares: _Shares) -> None:
        self._network = network
        self.shares = shares
        self._device = next((p.device for p in network.parameters()), torch.device("cpu"))

    def __call__(
        self, section: NDArray[np.float32], render_steps: int, interpolate_ins: bool
    ) -> dict[str, NDArray[np.float32]]:
        x = torch.from_numpy(np.ascontiguousarray(section))[None, None].to(self._device)
        try:
            # In float32 throughout: a GPU would round to TF32.
            plain = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
            with torch.inference_mode(), plain:
                output = self._network(x, render_steps, interpolate_ins)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise unusable(f"it fails ({reason_of(error)})") from error
            raise ResourceError(
                f"A section of {section.shape[0]} × {section.shape[1]} pixels does not fit into "
                "memory as a whole, as empanada-exact needs it; choose a smaller region, or a "
                "larger voxel size.",
                ErrorKind.OUT_OF_MEMORY,
            ) from error
        maps = self._checked(output)
        logits = maps["sem_logits"]
        # PyTorch's own, for the last bit.
        maps["sem"] = logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(1)
        found = {name: value.float().cpu().numpy() for name, value in maps.items()}
        self.shares.take(found["sem"][0])
        return found

    def _checked(self, output: object) -> dict[str, Tensor]:
        found = output if isinstance(output, dict) else {}
        for name in _MAPS:
            value = found.get(name)
            if not isinstance(value, Tensor) or value.ndim != 4:
                reason = f"it does not answer with {name} (1, C, H, W)"
            elif not value.isfinite().all():
                reason = f"its {name} hold values that are not numbers"
            else:
                continue
            raise unusable(reason)
        return {name: found[name] for name in _MAPS}
