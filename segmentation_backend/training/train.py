"""The training loop: reproducible by config, resumable at any checkpoint."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.models.mitonet import MitoNet
from segmentation_backend.models.weights import read_network, write_network
from segmentation_backend.training.config import TrainingConfig
from segmentation_backend.training.dataset import (
    LabelledVolume,
    draw_batch,
    load_validation,
    load_volumes,
)
from segmentation_backend.training.losses import losses
from segmentation_backend.training.teaching import taught

__all__ = ["Progress", "train"]

_LINE_EVERY = 50
"""Iterations between two lines of the curve."""


@dataclass(frozen=True, slots=True)
class Progress:
    """One line of the training curve."""

    iteration: int
    losses: dict[str, float]
    """Mean since the last line, by name."""
    validation: dict[str, float]
    """Foreground IoU of the held-out sections, by volume; empty between checkpoints."""
    seconds: float
    """Mean time of an iteration since the last line."""

    def to_json(self) -> dict[str, Any]:
        """Return the line as JSON."""
        return {
            "iteration": self.iteration,
            "losses": {k: round(v, 5) for k, v in self.losses.items()},
            "validation": {k: round(v, 4) for k, v in self.validation.items()},
            "seconds": round(self.seconds, 3),
        }


class _Run:
    """Network, optimiser and schedule, which are stored and restored together."""

    def __init__(self, config: TrainingConfig) -> None:
        torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        self.config = config
        network = MitoNet(config.network)
        if config.start is not None:
            begun = read_network(config.start.read_bytes(), config.start.name)
            network.load_state_dict(begun.state_dict())
        self.norms = [one for one in network.modules() if isinstance(one, nn.BatchNorm2d)]
        for norm in self.norms:
            norm.momentum = config.norm_momentum
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimiser = torch.optim.AdamW(
            _parameter_groups(self.network, config.weight_decay), lr=config.learning_rate
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser,
            config.learning_rate,
            total_steps=config.iterations,
            pct_start=config.warm_up,
        )
        self.iteration = 0

    @property
    def path(self) -> Path:
        """Where the checkpoint lies."""
        return self.config.output / "checkpoint.pt"

    def save(self) -> None:
        """Write the state whole or not at all."""
        state = {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "iteration": self.iteration,
            "config": json.dumps(self.config.to_json()),
        }
        part = self.path.with_suffix(".part")
        torch.save(state, part)
        part.replace(self.path)

    def restore(self) -> None:
        """Go on from the checkpoint where there is one."""
        if not self.path.is_file():
            return
        state = torch.load(self.path, weights_only=True)
        if state["config"] != json.dumps(self.config.to_json()):
            raise InvalidInputError(
                f"{self.path} belongs to another run than the one asked for; choose an empty "
                "output folder, or the run's own config to go on with it.",
                ErrorKind.INVALID_PARAMETER,
            )
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        self.iteration = int(state["iteration"])

    def step(self, volumes: Sequence[LabelledVolume]) -> dict[str, float]:
        """Learn from one batch and return its losses."""
        # Seeding each iteration anew makes a resumed run equal an uninterrupted one.
        torch.manual_seed(self.config.seed * 1_000_003 + self.iteration)
        batch = draw_batch(volumes, self.config, self.iteration)
        self.network.train()
        if self.config.norm_momentum == 0:
            for norm in self.norms:
                norm.eval()
        images = batch.images.contiguous(memory_format=torch.channels_last)
        parts = losses(self.network(images), batch, self.config.loss_weights)
        self.optimiser.zero_grad(set_to_none=True)
        parts["total"].backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimiser.step()
        self.schedule.step()
        self.iteration += 1
        return {name: float(value.detach()) for name, value in parts.items()}


def train(
    config: TrainingConfig,
    on_progress: Callable[[Progress], None] | None = None,
    stop_after: int | None = None,
) -> Path:
    """Train, or go on training, and return the file of the weights.

    Checkpoints, the curve (`curve.json`) and the weights (`weights.pt`) are written to
    `config.output`. `on_progress` gets a line every 50 iterations; an error it raises stops the
    run, which goes on from its last checkpoint when called again. `stop_after` ends this call at
    a checkpoint after that iteration. InvalidInputError where the folder holds another run.
    """
    config.output.mkdir(parents=True, exist_ok=True)
    run = _Run(config)
    run.restore()
    volumes, validation = load_volumes(taught(config)), load_validation(config)
    curve = _read_curve(config, run.iteration)
    end = config.iterations if stop_after is None else min(stop_after, config.iterations)
    recent: list[dict[str, float]] = []
    began = time.perf_counter()
    while run.iteration < end:
        recent.append(run.step(volumes))
        at_checkpoint = run.iteration % config.checkpoint_every == 0 or run.iteration == end
        if run.iteration % _LINE_EVERY == 0 or at_checkpoint:
            seconds = (time.perf_counter() - began) / len(recent)
            means = {k: sum(line[k] for line in recent) / len(recent) for k in recent[0]}
            scores = _validate(run.network, validation) if at_checkpoint else {}
            curve.append(Progress(run.iteration, means, scores, seconds))
            if at_checkpoint:
                run.save()
                _write_curve(config, curve)
            if on_progress is not None:
                on_progress(curve[-1])
            recent, began = [], time.perf_counter()
    weights = config.output / "weights.pt"
    write_network(weights, run.network, config.network)
    return weights


def _parameter_groups(network: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Return the parameters, weight decay on kernels only, not on norms and biases."""
    kernels = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    return [
        {"params": kernels, "weight_decay": decay},
        {"params": others, "weight_decay": 0.0},
    ]


def _validate(network: nn.Module, volumes: Sequence[LabelledVolume]) -> dict[str, float]:
    """Return the foreground IoU of every fourth held-out section, by volume."""
    network.eval()
    scores: dict[str, float] = {}
    for volume in volumes:
        both = either = 0
        for index in range(0, len(volume.image), 4):
            section = volume.slice_at(0, index)
            predicted = _foreground(network, torch.from_numpy(section.image))
            known = torch.from_numpy(~section.ignore)
            truth = torch.from_numpy(section.labels > 0)
            both += int((predicted & truth & known).sum())
            either += int(((predicted | truth) & known).sum())
        scores[volume.name] = both / max(either, 1)
    return scores


def _foreground(network: nn.Module, image: Tensor) -> Tensor:
    """Return where the network sees mitochondria in a section (H, W)."""
    height, width = image.shape
    padding = (0, -width % 16, 0, -height % 16)
    padded = nn.functional.pad(image[None, None], padding)
    with torch.inference_mode():
        logits = network(padded)["sem_logits"][0, 0]
    found: Tensor = logits[:height, :width] > 0
    return found


def _read_curve(config: TrainingConfig, iteration: int) -> list[Progress]:
    """Return the lines of an interrupted run up to its checkpoint."""
    path = config.output / "curve.json"
    if iteration == 0 or not path.is_file():
        return []
    lines = json.loads(path.read_text())["lines"]
    return [Progress(**line) for line in lines if line["iteration"] <= iteration]


def _write_curve(config: TrainingConfig, curve: Sequence[Progress]) -> None:
    value = {"config": config.to_json(), "lines": [line.to_json() for line in curve]}
    (config.output / "curve.json").write_text(json.dumps(value, indent=1))
