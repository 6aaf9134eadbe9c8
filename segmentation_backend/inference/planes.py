"""Runs a network over tiles of one shape, and over whole sections cut into such tiles.

What a tile's maps are depends on the tile alone: not on its neighbours, nor on how many others
went through the network with it.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from segmentation_backend.errors import ErrorKind, FormatError, ResourceError
from segmentation_backend.inference.grid import Tiling
from segmentation_backend.inference.mirrors import mean_of_views, views_of
from segmentation_backend.inference.panoptic import Labels, Maps, segment_maps
from segmentation_backend.inference.parameters import InferenceParameters

__all__ = [
    "GreyScale",
    "Tiling",
    "batch_size",
    "crop_maps",
    "cut_tile",
    "is_out_of_memory",
    "normalise",
    "predict_maps",
    "predict_tiles",
    "reason_of",
    "segment_slice",
    "unusable",
]

_log = logging.getLogger(__name__)

_BATCH = {"cpu": 1, "cuda": 8}
"""Tiles that go through the network at once; a CPU is busy with one."""

_NO_ROOM = ("can't allocate memory", "not enough memory", "out of memory")
"""What PyTorch says, in a RuntimeError like any other, where a machine's own memory ends."""


class GreyScale(Protocol):
    """The grey values of a whole volume; `sources.volume.Contrast` is one."""

    @property
    def mean(self) -> float:
        """The mean grey value."""

    @property
    def std(self) -> float:
        """The standard deviation of the grey values."""


def normalise(image: NDArray[Any], contrast: GreyScale) -> NDArray[np.float32]:
    """Return grey values as standard deviations from the volume's mean, float32.

    What is not a number, as outside of what a microscope saw, becomes mean grey.
    """
    values = image.astype(np.float32)
    values -= np.float32(contrast.mean)
    values /= np.float32(max(float(contrast.std), 1e-6))
    if np.issubdtype(image.dtype, np.floating):
        np.nan_to_num(values, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    return values


def segment_slice(
    image: NDArray[Any],
    network: nn.Module,
    contrast: GreyScale,
    parameters: InferenceParameters,
    tiling: Tiling | None = None,
) -> Labels:
    """Return the objects of a section (H, W) of any dtype: int32, 1..n, 0 = background."""
    section = normalise(image, contrast)
    maps = predict_maps(section, network, parameters, tiling or Tiling())
    return segment_maps(maps, parameters)


def predict_maps(
    section: NDArray[np.float32],
    network: nn.Module,
    parameters: InferenceParameters,
    tiling: Tiling,
) -> Maps:
    """Return the network's maps of a normalised section (H, W), each pixel from its own tile.

    Past the section's end the network sees zeros, which is mean grey.
    """
    height, width = section.shape
    stride = 1 if parameters.fine_boundaries else 4
    grid = (-(-height // stride), -(-width // stride))
    maps = Maps(
        probability=np.zeros((height, width), np.float32),
        centres=np.zeros(grid, np.float32),
        offsets=np.zeros((2, *grid), np.float32),
    )
    cores = [(row, column) for row in _cores(tiling, height) for column in _cores(tiling, width)]
    windows = [(tiling.window(height, y), tiling.window(width, x)) for (y, _), (x, _) in cores]
    tiles = (cut_tile(section, row, column) for row, column in windows)
    seen = predict_tiles(tiles, network, parameters)
    for core, window, tile in zip(cores, windows, seen, strict=True):
        rows, columns = (
            slice(low - start, high - start)
            for (low, high), (start, _) in zip(core, window, strict=True)
        )
        part = crop_maps(tile, rows, columns)
        _paste(maps.probability, part.probability, core, 1)
        _paste(maps.centres, part.centres, core, stride)
        _paste(maps.offsets, part.offsets, core, stride)
    return maps


def cut_tile(
    section: NDArray[np.float32], rows: tuple[int, int], columns: tuple[int, int]
) -> NDArray[np.float32]:
    """Return the window (first pixel, length) of a section, zeros past the section's end."""
    (top, height), (left, width) = rows, columns
    seen = section[top : top + height, left : left + width]
    if seen.shape == (height, width):
        return np.ascontiguousarray(seen)
    tile = np.zeros((height, width), np.float32)
    tile[: seen.shape[0], : seen.shape[1]] = seen
    return tile


def crop_maps(maps: Maps, rows: slice, columns: slice) -> Maps:
    """Return a part of a section's maps; both begin on multiples of the maps' stride."""
    stride = maps.stride
    y, x = (slice(s.start // stride, -(-s.stop // stride)) for s in (rows, columns))
    return Maps(
        np.ascontiguousarray(maps.probability[..., rows, columns]),
        np.ascontiguousarray(maps.centres[y, x]),
        np.ascontiguousarray(maps.offsets[:, y, x]),
    )


def predict_tiles(
    tiles: Iterable[NDArray[np.float32]],
    network: nn.Module,
    parameters: InferenceParameters,
    batch: int | None = None,
    on_notice: Callable[[str], None] | None = None,
    channels: int | None = None,
) -> Iterator[Maps]:
    """Return the maps of normalised tiles (H, W) of one shape, in their order, as they come.

    The network always sees `batch` tiles, the last time some empty ones: how many there are must
    not choose other kernels, and with them other roundings. Where memory does not hold them, half
    as many are tried, and so on, of which `on_notice` is told in a few words; ResourceError
    (OUT_OF_MEMORY) where one does not fit. With `test_time_augmentation` maps are the mean of what
    the network makes of a tile and of its mirror images.

    Probabilities are of everything that is not background; with `channels`, the number that a
    network with several classes must give, they are (C, H, W).
    """
    how = _Call(network, parameters.fine_boundaries, _device(network), channels)
    size = batch or batch_size(network)
    if not parameters.test_time_augmentation:
        return _predicted(tiles, size, how, on_notice)
    return mean_of_views(_predicted(views_of(tiles), size, how, on_notice))


def _predicted(
    tiles: Iterable[NDArray[np.float32]],
    size: int,
    how: _Call,
    on_notice: Callable[[str], None] | None,
) -> Iterator[Maps]:
    """Yield the network's maps of each of the tiles, as `predict_tiles` says."""
    source = iter(tiles)
    # On a GPU the next batch is computed while the caller works on this one.
    ahead = 1 if how.device.type == "cuda" else 0
    waiting: deque[list[_Answer]] = deque()
    while group := list(islice(source, size)):
        answers, fitting = _forward(group, size, how)
        if fitting < size and on_notice is not None:
            on_notice(f"batches of {fitting}, since memory is short")
        size = fitting
        waiting.append(answers)
        if len(waiting) > ahead:
            yield from _collect(waiting.popleft())
    while waiting:
        yield from _collect(waiting.popleft())


def batch_size(network: nn.Module, sections: int | None = None) -> int:
    """Return how many tiles go through a network at once, of stacks of so many sections."""
    most = _BATCH.get(_device(network).type, 1)
    return most if sections is None else min(most, sections)


@dataclass(frozen=True, slots=True)
class _Call:
    """A network, and how it is called."""

    network: nn.Module
    fine: bool
    device: torch.device
    channels: int | None


@dataclass(frozen=True, slots=True)
class _Answer:
    """The maps of some tiles, on their way to the CPU or there."""

    count: int
    maps: dict[str, Tensor]
    arrived: torch.cuda.Event | None
    """What is waited for before they are looked at."""


def _device(network: nn.Module) -> torch.device:
    return next((p.device for p in network.parameters()), torch.device("cpu"))


def _forward(group: list[NDArray[np.float32]], size: int, how: _Call) -> tuple[list[_Answer], int]:
    """Return the raw maps of a group of tiles, and how many fit into memory at a time."""
    while True:
        try:
            answers = [_call(group[at : at + size], size, how) for at in range(0, len(group), size)]
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise unusable(f"it fails ({reason_of(error)})") from error
            if size == 1:
                raise _too_large(group[0].shape, how.device) from error
        else:
            return answers, size
        # Only here: until it is forgotten, the error's traceback holds what the call had made.
        size //= 2
        _log.warning("Out of memory: going on with batches of %d tiles.", size)
        torch.cuda.empty_cache()


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that a GPU's or the machine's memory is full."""
    known = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return known or any(words in str(error) for words in _NO_ROOM)


def reason_of(error: Exception) -> str:
    """Return the last line of an error's text, where TorchScript says what is wrong."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()


def _too_large(shape: tuple[int, ...], device: torch.device) -> ResourceError:
    whose = "the GPU" if device.type == "cuda" else "this machine"
    return ResourceError(
        f"A tile of {shape[0]} × {shape[1]} pixels does not fit into the memory of {whose}; wait "
        "until others have left it, or choose a smaller model.",
        ErrorKind.OUT_OF_MEMORY,
    )


def _call(group: list[NDArray[np.float32]], size: int, how: _Call) -> _Answer:
    """Run the network once, on `size` tiles; a GPU is still at it when this returns."""
    height, width = group[0].shape
    device = how.device
    x = torch.zeros((size, 1, height, width), pin_memory=device.type == "cuda")
    for place, tile in zip(x, group, strict=False):
        place[0] = torch.from_numpy(tile)
    fast = torch.autocast(device.type, torch.float16, enabled=device.type == "cuda")
    with torch.inference_mode(), fast:
        output: dict[str, Tensor] = how.network(x.to(device, non_blocking=True), 2, how.fine)
        _check(output, size, height, width, how)
        probability = _probability(output["sem_logits"].float(), how.channels)
        centres, offsets = output["ctr_hmp"].float(), output["offsets"].float()
    maps = {"probability": probability, "centres": centres[:, 0], "offsets": offsets}
    return _sent(len(group), maps, device)


def _probability(logits: Tensor, channels: int | None) -> Tensor:
    """Return (N, H, W) of logits (N, C, H, W), or (N, C, H, W) where several are asked for."""
    # One class is a yes or no; of several, class 0 is the background.
    if logits.shape[1] == 1:
        return logits.sigmoid()[:, 0]
    shares = logits.softmax(1)
    return shares if channels is not None else 1 - shares[:, 0]


def _sent(count: int, maps: dict[str, Tensor], device: torch.device) -> _Answer:
    """Return the first `count` tiles' maps; those of a GPU are sent off before it gets more work.

    Asked for later, they would have to wait until the next batch is done.
    """
    wanted = {name: value[:count] for name, value in maps.items()}
    if device.type != "cuda":
        return _Answer(count, wanted, None)
    landing = {
        name: torch.empty(value.shape, dtype=value.dtype, pin_memory=True)
        for name, value in wanted.items()
    }
    for name, value in wanted.items():
        landing[name].copy_(value, non_blocking=True)
    arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
    arrived.record()
    return _Answer(count, landing, arrived)


def _collect(answers: Iterable[_Answer]) -> Iterator[Maps]:
    """Yield the maps of the tiles of a batch, on the CPU."""
    for answer in answers:
        if answer.arrived is not None:
            answer.arrived.synchronize()
        arrays = {name: value.numpy() for name, value in answer.maps.items()}
        for name, values in arrays.items():
            if not np.isfinite(values).all():
                raise unusable(f"its {name} hold values that are not numbers")
        yield from map(Maps, arrays["probability"], arrays["centres"], arrays["offsets"])


def _check(output: object, size: int, height: int, width: int, how: _Call) -> None:
    """Refuse what is not a panoptic network's answer to `size` tiles of that height and width."""
    coarse = (height, width) if how.fine else (height // 4, width // 4)
    expected = {"sem_logits": (height, width), "ctr_hmp": coarse, "offsets": coarse}
    found = output if isinstance(output, dict) else {}
    for name, shape in expected.items():
        value = found.get(name)
        if not isinstance(value, Tensor):
            raise unusable(f"it does not answer with {name}")
        if value.ndim != 4 or (value.shape[0], *value.shape[2:]) != (size, *shape):
            raise unusable(f"its {name} have shape {tuple(value.shape)}, not ({size}, _, *{shape})")
    given = found["sem_logits"].shape[1]
    if how.channels is not None and given != how.channels:
        raise unusable(
            f"its sem_logits have {given} channels, not the {how.channels} of the classes that its "
            "description names"
        )


def unusable(reason: str) -> FormatError:
    """Return the error for a network that cannot be used, for a reason."""
    return FormatError(
        f"The network's answer cannot be used: {reason}; choose another model, or export this one "
        "again.",
        ErrorKind.MODEL_OUTPUT_INVALID,
    )


def _cores(tiling: Tiling, length: int) -> list[tuple[int, int]]:
    axis = tiling.axis(length)
    return [axis.span(index) for index in range(axis.count)]


def _paste(
    target: NDArray[np.float32],
    part: NDArray[np.float32],
    core: tuple[tuple[int, int], tuple[int, int]],
    stride: int,
) -> None:
    """Write the maps of a core at their place in those of the section; both end with axes y, x."""
    y, x = (low // stride for low, _ in core)
    target[..., y : y + part.shape[-2], x : x + part.shape[-1]] = part
