"""`empanada-exact` over a region: what empanada-napari 1.2.4 gives where it is shown just that.

Not made of blocks: whole sections go through the network, and what an object is depends on where
the region ends. For comparison with what others have; see `exact`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import fastremap
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from segmentation_backend.errors import ErrorKind, ResourceError
from segmentation_backend.inference.classes import Target
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
    class_id: int | None = None,
) -> NDArray[np.uint32]:
    """Return the objects of an image (z, y, x) of any numeric dtype: uint32, 1..n, 0 = background.

    Grey values are taken as shares of their type's range, as empanada does. `progress` is told the
    share done and a sentence after each section; what it raises ends the work. FormatError
    (MODEL_OUTPUT_INVALID) where the network's answer cannot be used, ResourceError (OUT_OF_MEMORY)
    where a section does not fit.
    """
    target = Target.of(spec, class_id)
    mean, std = spec.norms
    classes = target.classes
    model = ExactModel(mean, std, spec.padding_factor, classes.ids, classes.things)
    exact = ExactParameters.of(parameters)
    run = _Network(network)

    def tell(done: int, total: int) -> None:
        progress(done / total, f"Section {done} of {total}")

    if mode == "orthoplane":
        labels = segment_orthoplane_exact(image, run, model, exact, tell)[target.channel]
    elif mode == "stack":
        known = cast("Plane", plane)
        labels = segment_stack_exact(image, run, model, exact, known, tell)[target.channel]
    else:
        axis = AXES[cast("Plane", plane)]
        labels = np.zeros(image.shape, np.int64)
        written = np.moveaxis(labels, axis, 0)
        for number, section in enumerate(np.moveaxis(image, axis, 0)):
            ids = segment_slice_exact(section, run, model, exact)
            mine = np.where(ids // exact.label_divisor == target.channel, ids, 0)
            found, _ = fastremap.renumber(mine)
            # Objects of different sections are different ones; no section has as many as pixels.
            written[number] = np.where(found > 0, found + number * section.size, 0)
            tell(number + 1, len(written))
    numbered, _ = fastremap.renumber(labels)
    return np.asarray(numbered, np.uint32)


class _Network:
    """A network in PyTorch as `exact` wants to call it."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._device = next((p.device for p in network.parameters()), torch.device("cpu"))

    def __call__(
        self, section: NDArray[np.float32], render_steps: int, interpolate_ins: bool
    ) -> dict[str, NDArray[np.float32]]:
        x = torch.from_numpy(np.ascontiguousarray(section))[None, None].to(self._device)
        try:
            with torch.inference_mode():
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
        return {name: value.float().cpu().numpy() for name, value in maps.items()}

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
