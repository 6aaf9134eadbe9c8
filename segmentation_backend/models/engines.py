"""The ways to run a network, and which of them is the fastest that is exact on this machine.

- `eager`: as PyTorch runs it.
- `fused`: recorded for a tile's shape and rewritten (`fused`, `winograd`); the same sums in another
  order.
- `openvino`: the recording compiled by OpenVINO, where the extra is installed.
- `int8`: the recording with 8-bit convolutions (`int8`); asked for by name only, since it is not
  exact. What it loses is measured when it is made.

Exact means: beside `eager`, on an image made for it, no centre or offset differs by more than 1e-4
of the map's largest value, and of the logits at most one in a thousand does. (PointRend decides the
8192 least certain pixels anew; a rounding error may exchange some that are equally uncertain.)
An engine that fails this, or cannot be made, is not used.

On a GPU networks run as they are, under autocast. CPUs compute in float32 or int8, never bfloat16.
"""

from __future__ import annotations

import ctypes
import logging
import platform
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.models import openvino
from segmentation_backend.models.engine_memory import recall, remember
from segmentation_backend.models.fused import Prepared, fuse
from segmentation_backend.models.int8 import calibration_images, quantise
from segmentation_backend.models.recording import record

__all__ = ["Engine", "EngineReport", "FastNetwork", "Loss", "is_exact", "loss_of", "measure"]

Engine: TypeAlias = Literal["exact", "eager", "fused", "openvino", "int8"]
Maps: TypeAlias = dict[str, Tensor]
Program: TypeAlias = Callable[[Tensor], Maps]

_TOLERANCE = 1e-4
_EXCHANGED = 1e-3
_PROGRAMS_KEPT = 4
"""Tile shapes (times two, for fine boundaries) that are kept ready."""
_ROUNDS = 3
_WORTH_IT = 0.95
"""An engine replaces a simpler one where it takes at most this share of its time."""

_UNUSABLE = (RuntimeError, ImportError, TypeError, ValueError, AttributeError)
"""Each is somebody's file or somebody's library: the eager way is always there."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loss:
    """How far an engine's maps are from the eager ones."""

    foreground_iou: float
    """Of the pixels with probability >= 0.5 (or the likeliest class not being the background)."""
    probability: float
    """Mean absolute difference."""
    centre: float
    """Root mean square difference of the heatmap, whose peaks are 1."""
    offset: float
    """Root mean square difference, in pixels, where there is foreground."""


@dataclass(frozen=True)
class EngineReport:
    """One engine on one machine."""

    engine: str
    milliseconds: float
    """For one tile, the best of some rounds."""
    is_exact: bool
    loss: Loss

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


class FastNetwork(nn.Module):
    """A network that is called like the one it was made of, and answers sooner.

    On the CPU the first call with a new tile shape records and, once per machine, compares and
    times; calls with several images run them one by one, which is as fast there. A result depends
    on the image and on the engine alone. Elsewhere the network itself is run, under autocast.
    """

    def __init__(
        self,
        network: nn.Module,
        engine: Engine = "exact",
        memory: Path | None = None,
        key: str = "",
    ) -> None:
        """Take a network in eval mode.

        `memory` is the file in which the choice for this machine is kept, under `key`: what
        identifies the weights. InvalidInputError for an engine that there is not.
        """
        super().__init__()
        known = ("exact", "eager", "fused", "openvino", "int8")
        if engine not in known:
            raise InvalidInputError(
                f"engine must be one of {', '.join(known)}, not {engine!r}.",
                ErrorKind.INVALID_PARAMETER,
            )
        self.network = network.eval()
        self.engine = engine
        self._memory, self._key = memory, key
        self._programs: OrderedDict[tuple[Any, ...], tuple[str, Program]] = OrderedDict()
        self._prepared: Prepared = {}
        self.loss: Loss | None = None
        """What int8 lost, since it was made."""

    def forward(self, x: Tensor, render_steps: int = 2, interpolate_ins: bool = True) -> Maps:
        """Return the raw maps, as `PanopticNetwork` says."""
        if x.device.type != "cpu":
            with torch.autocast(x.device.type):
                found: Maps = self.network(x, render_steps, interpolate_ins)
            return {name: value.float() for name, value in found.items()}
        program = self.program(tuple(x.shape[2:]), render_steps, interpolate_ins)[1]
        parts = [program(image) for image in torch.split(x.float(), 1)]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def program(
        self, shape: tuple[int, ...], render_steps: int = 2, interpolate_ins: bool = True
    ) -> tuple[str, Program]:
        """Return the engine used for images of a shape, and the function that runs one."""
        key = (shape, render_steps, interpolate_ins)
        if key not in self._programs:
            # What is recorded in inference mode is taken apart further than anything can use.
            with torch.inference_mode(False):
                self._programs[key] = self._choose(*key)
            _return_memory()
            while len(self._programs) > 2 * _PROGRAMS_KEPT:
                self._programs.popitem(last=False)
        self._programs.move_to_end(key)
        return self._programs[key]

    def made_for(self, shape: tuple[int, ...], fine: bool) -> str | None:
        """Return the engine that images of a shape were run by, or None where none were yet."""
        made = self._programs.get((shape, 2, fine))
        return None if made is None else made[0]

    def _choose(self, shape: tuple[int, ...], steps: int, fine: bool) -> tuple[str, Program]:
        maker = _Maker(self.network, self._prepared, shape, steps, fine)
        if self.engine == "int8":
            program = maker.make("int8")
            self.loss = loss_of(maker.expected, program(maker.example))
            _log.warning("int8 instead of float32 loses: %s", self.loss)
            return "int8", program
        if self.engine != "exact":
            return self.engine, maker.make(self.engine)
        place = f"{self._key} {machine()} {'x'.join(map(str, shape))} {steps} {int(fine)}"
        known = recall(self._memory, place)
        # It was compared when it was remembered, with these weights and this version of torch.
        recalled = None if known is None else maker.makes(known)
        if known is not None and recalled is not None:
            return known, recalled
        name, program, times = maker.fastest()
        remember(self._memory, place, name, times)
        return name, program


class _Maker:
    """Makes and compares the programs for one shape."""

    def __init__(
        self, network: nn.Module, prepared: Prepared, shape: tuple[int, ...], steps: int, fine: bool
    ) -> None:
        self._network, self._prepared = network, prepared
        self._steps, self._fine = steps, fine
        self._shape = shape

    @cached_property
    def example(self) -> Tensor:
        """The image that programs are compared on."""
        return _cropped(calibration_images(max(self._shape), 1), self._shape)[0]

    @cached_property
    def expected(self) -> Maps:
        """What the network itself says of it."""
        return self._eager(self.example)

    def _eager(self, x: Tensor) -> Maps:
        with torch.no_grad():
            found: Maps = self._network(x, self._steps, self._fine)
        return found

    def make(self, engine: str) -> Program:
        """Return the program of an engine; RuntimeError where it cannot be made."""
        if engine == "eager":
            return self._eager
        # Another input than the one that results are compared on.
        image = torch.randn(1, 1, *self._shape, generator=torch.Generator().manual_seed(0))
        graph = record(self._network, image, self._steps, self._fine)
        if engine == "openvino":
            return openvino.compile_recording(graph, image, torch.get_num_threads())
        if engine == "int8":
            images = _cropped(calibration_images(max(self._shape)), self._shape)
            quantise(graph, images, self._prepared)
        else:
            fuse(graph, self._prepared)
        return torch.no_grad()(graph)

    def makes(self, engine: str) -> Program | None:
        """Return the program of an engine, or None where it cannot be made."""
        try:
            return self.make(engine)
        except _UNUSABLE as error:
            _log.info("no %s engine: %s", engine, str(error).splitlines()[:1])
            return None

    def exact(self, engine: str) -> Program | None:
        """Return the program of an engine, or None where it cannot be made or is not exact."""
        try:
            program = self.make(engine)
            found = program(self.example)
        except _UNUSABLE as error:
            _log.info("no %s engine: %s", engine, str(error).splitlines()[:1])
            return None
        if is_exact(self.expected, found):
            return program
        _log.warning("the %s engine is not exact here and is not used", engine)
        return None

    def fastest(self) -> tuple[str, Program, dict[str, float]]:
        """Return the engine that takes the least time, its program, and all times in ms."""
        candidates = ["eager", "fused", *(["openvino"] if openvino.is_installed() else [])]
        programs = {name: p for name in candidates if (p := self.exact(name)) is not None}
        times = timed(programs, self.example)
        best = "eager"
        for name, milliseconds in times.items():
            if milliseconds < _WORTH_IT * times[best]:
                best = name
        return best, programs[best], times


def timed(programs: dict[str, Program], image: Tensor) -> dict[str, float]:
    """Return the milliseconds of each program, taking turns, the best of some rounds."""
    times = dict.fromkeys(programs, float("inf"))
    for _ in range(_ROUNDS):
        for name, program in programs.items():
            start = time.perf_counter()
            program(image)
            times[name] = min(times[name], 1000 * (time.perf_counter() - start))
    return times


def measure(
    network: nn.Module, engines: Sequence[str], side: int = 512, images: Sequence[Tensor] = ()
) -> list[EngineReport]:
    """Return speed and loss of engines on tiles of `side` x `side` pixels, the eager one first.

    `images` (1, 1, side, side), normalised, are what losses are measured on; without them, images
    made for it. Engines that cannot be made are left out.
    """
    maker = _Maker(network.eval(), {}, (side, side), 2, False)
    programs: dict[str, Program] = {}
    for name in ("eager", *engines):
        try:
            programs[name] = maker.make(name)
        except (RuntimeError, ImportError) as error:
            _log.warning("no %s engine: %s", name, str(error).splitlines()[:1])
    tests = list(images) or calibration_images(side)
    times = timed(programs, tests[0])
    expected = _stacked(programs["eager"], tests)
    reports = []
    for name, program in programs.items():
        found = _stacked(program, tests)
        exact, loss = is_exact(expected, found), loss_of(expected, found)
        reports.append(EngineReport(name, times[name], exact, loss))
    return reports


def _stacked(program: Program, images: Sequence[Tensor]) -> Maps:
    parts = [program(image) for image in images]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def is_exact(expected: Maps, found: Maps) -> bool:
    """Whether maps agree within the bounds that the module's text states."""
    if set(expected) != set(found):
        return False
    for name, values in expected.items():
        if values.shape != found[name].shape or not found[name].isfinite().all():
            return False
        bound = _TOLERANCE * max(values.abs().max().item(), 1e-6)
        share = ((values - found[name]).abs() > bound).float().mean().item()
        if share > (_EXCHANGED if name == "sem_logits" else 0.0):
            return False
    return True


def loss_of(expected: Maps, found: Maps) -> Loss:
    """Return how far maps are from the expected ones."""
    (p, inside), (q, found_inside) = (_foreground(m["sem_logits"]) for m in (expected, found))
    union = (inside | found_inside).sum().item()
    common = (inside & found_inside).sum().item()
    offsets = (expected["offsets"] - found["offsets"]).square().sum(1, keepdim=True)
    step = max(1, inside.shape[2] // offsets.shape[2])
    where = inside[:, :, ::step, ::step]
    chosen = offsets[where] if where.shape == offsets.shape and where.any() else offsets
    return Loss(
        foreground_iou=common / union if union else 1.0,
        probability=(p - q).abs().mean().item(),
        centre=(expected["ctr_hmp"] - found["ctr_hmp"]).square().mean().sqrt().item(),
        offset=chosen.mean().sqrt().item(),
    )


def _foreground(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return the probability (N, 1, h, w) of being in any object, and where it is decided so."""
    if logits.shape[1] == 1:
        probability = logits.sigmoid()
        return probability, probability >= 0.5
    share = logits.softmax(1)
    return 1 - share[:, :1], share.argmax(1, keepdim=True) > 0


def _cropped(images: Sequence[Tensor], shape: tuple[int, ...]) -> list[Tensor]:
    height, width = shape
    return [image[..., :height, :width].contiguous() for image in images]


def _return_memory() -> None:
    """Give back what making a program took for a while; glibc would keep it for good."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def machine() -> str:
    """Return what the speed of engines depends on, in a few words."""
    capability = torch.backends.cpu.get_cpu_capability()
    return " ".join(
        [
            platform.machine(),
            capability,
            f"{torch.get_num_threads()} threads",
            f"torch {torch.__version__}",
            "with openvino" if openvino.is_installed() else "without openvino",
        ]
    )
