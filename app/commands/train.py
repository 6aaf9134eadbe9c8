"""`mitoglance train`: train the models of the package, reproducibly."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from app.options import Subparsers, add_command
from app.terminal import progress_bar, say

__all__ = ["add", "run"]

_RECIPES = ("small", "research")

_CHANGES = ("start", "iterations", "learning_rate", "warm_up", "batch", "crop", "seed", "threads")
"""What may be said to be other than in the recipe."""


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
        "mitoglance train --data ../shared/data --output runs/small",
        run,
    )
    parser.add_argument("--output", type=Path, required=True, help="Folder of the run.")
    parser.add_argument(
        "--data", type=Path, help="Folder of the FIB-SEM sets; synthetic data alone without it."
    )
    parser.add_argument(
        "--recipe",
        choices=_RECIPES,
        default="small",
        help="small: on the open sets, as mitoglance_small; research: on every set, also those for "
        "non-commercial use, as mitoglance_research.",
    )
    parser.add_argument(
        "--start", type=Path, metavar="WEIGHTS", help="Weights (.pt) to begin with."
    )
    parser.add_argument(
        "--teacher",
        type=Path,
        metavar="WEIGHTS",
        help="Weights (.pt) of a network to learn from as well: what it sees from eight sides.",
    )
    parser.add_argument(
        "--trust",
        type=float,
        default=0.5,
        metavar="SHARE",
        help="How much the teacher counts beside the labels, 0 to 1; 0.5.",
    )
    parser.add_argument(
        "--unlabelled",
        type=Path,
        action="append",
        default=[],
        metavar="NPZ",
        help="Sections that nobody has labelled, to learn from as the teacher sees them; may be "
        "given several times.",
    )
    parser.add_argument("--iterations", type=int, help="Batches to learn from.")
    parser.add_argument("--learning-rate", type=float, help="The highest one; it falls to 0.")
    parser.add_argument("--warm-up", type=float, help="Share of the batches until then, 0 to 1.")
    parser.add_argument("--batch", type=int, help="Crops in a batch.")
    parser.add_argument("--crop", type=int, help="Side of a crop, pixels.")
    parser.add_argument("--seed", type=int, help="Makes the run reproducible.")
    parser.add_argument("--threads", type=int, help="CPU threads.")


def run(args: argparse.Namespace) -> int:
    """Train, writing the curve as it grows."""
    # torch costs seconds and hundreds of megabytes: only this command pays for it.
    from segmentation_backend.training.config import research_run, small_run
    from segmentation_backend.training.teaching import with_teacher
    from segmentation_backend.training.train import train

    base = (research_run if args.recipe == "research" else small_run)(args.output, args.data)
    said = {name: getattr(args, name) for name in _CHANGES if getattr(args, name) is not None}
    config = replace(base, **said)
    if args.teacher is not None or args.unlabelled:
        config = with_teacher(config, args.teacher, args.trust, args.unlabelled)
        say("The teacher looks at the sections first; that takes some seconds for each.")
    with progress_bar("Training") as progress:
        weights = train(config, _reporter(config.iterations, progress))
    say(f"Weights: {weights}")
    return 0


def _reporter(iterations: int, progress: Callable[[float, str], None]) -> Callable[[_Line], None]:
    def report(line: _Line) -> None:
        progress(line.iteration / iterations, f"Iteration {line.iteration}")
        say(json.dumps(line.to_json()))

    return report
