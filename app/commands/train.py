"""`mitoglance train`: train the embedded model, reproducibly."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from app.options import Subparsers, add_command
from app.terminal import progress_bar, say

__all__ = ["add", "run"]


class _Line(Protocol):
    @property
    def iteration(self) -> int: ...

    def to_json(self) -> dict[str, Any]: ...


def add(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = add_command(
        subparsers,
        "train",
        "Train a network; goes on from its last checkpoint when called again.",
        "mitoglance train --data ../shared/data --output runs/small --iterations 4500",
        run,
    )
    parser.add_argument("--output", type=Path, required=True, help="Folder of the run.")
    parser.add_argument(
        "--data", type=Path, help="Folder of the FIB-SEM sets; synthetic data alone without it."
    )
    parser.add_argument("--iterations", type=int, default=4500, help="Batches to learn from.")
    parser.add_argument("--batch", type=int, default=6, help="Crops in a batch.")
    parser.add_argument("--crop", type=int, default=192, help="Side of a crop, pixels.")
    parser.add_argument("--seed", type=int, default=0, help="Makes the run reproducible.")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads.")


def run(args: argparse.Namespace) -> int:
    """Train, writing the curve as it grows."""
    # torch costs seconds and hundreds of megabytes: only this command pays for it.
    from segmentation_backend.training.config import TrainingConfig, fibsem_volumes
    from segmentation_backend.training.train import train

    config = TrainingConfig(
        output=args.output,
        volumes=fibsem_volumes(args.data) if args.data is not None else (),
        seed=args.seed,
        iterations=args.iterations,
        batch=args.batch,
        crop=args.crop,
        threads=args.threads,
    )
    with progress_bar("Training") as progress:
        weights = train(config, _reporter(config.iterations, progress))
    say(f"Weights: {weights}")
    return 0


def _reporter(iterations: int, progress: Callable[[float, str], None]) -> Callable[[_Line], None]:
    def report(line: _Line) -> None:
        progress(line.iteration / iterations, f"Iteration {line.iteration}")
        say(json.dumps(line.to_json()))

    return report
