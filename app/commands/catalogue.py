"""`mitoglance catalogue`: which published datasets can be opened by name."""

from __future__ import annotations

import argparse
import json

from app.config import NO_CATALOGUE
from app.options import Subparsers, add_command, add_settings, config_of
from app.terminal import complain, say
from segmentation_backend.errors import ErrorKind, InvalidInputError
from segmentation_backend.workspace import Dataset, DatasetCatalogue

__all__ = ["add", "run"]


def add(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = add_command(
        subparsers,
        "catalogue",
        "List published datasets that can be opened by name.",
        "mitoglance catalogue mouse kidney",
        run,
    )
    parser.add_argument("words", nargs="*", help="Words that must all occur.")
    parser.add_argument("--refresh", action="store_true", help="Ask the live catalogue first.")
    parser.add_argument("--json", action="store_true", help="Print JSON, with every layer.")
    add_settings(parser, ("data_dir", "catalogue", "catalogue_url", "log_level"))


def run(args: argparse.Namespace) -> int:
    """Print what was found."""
    config = config_of(args)
    catalogue = DatasetCatalogue(config.data_dir / "catalogue", config.catalogue)
    if args.refresh:
        if config.catalogue_url == NO_CATALOGUE:
            raise InvalidInputError(
                "The setting catalogue_url is none: there is no live catalogue to ask.",
                ErrorKind.INVALID_PARAMETER,
            )
        catalogue.refresh(config.catalogue_url)
    found = catalogue.search(" ".join(args.words))
    known = catalogue.known()
    for problem in (*known.problems, known.unreached):
        if problem:
            complain(problem)
    if args.json:
        say(json.dumps([dataset.to_json() for dataset in found], indent=2, ensure_ascii=False))
        return 0
    for dataset in found:
        say(_line(dataset))
    say(
        f"{len(found)} of {len(catalogue.known().datasets)} datasets, as of "
        f"{catalogue.known().as_of}; open one with: mitoglance open NAME"
    )
    return 0


def _line(dataset: Dataset) -> str:
    size = (
        "x".join(f"{edge:g}" for edge in dataset.voxel_size) + " nm" if dataset.voxel_size else ""
    )
    labels = ", ".join(labels.name for labels in dataset.mitochondria)
    parts = (dataset.title, dataset.organism, size, labels and f"labels: {labels}")
    return f"{dataset.name}: " + "; ".join(part for part in parts if part)
