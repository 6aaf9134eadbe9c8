"""Command line options: those of the settings are made from `Config`, so none is forgotten."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TypeAlias

from app.config import Config, field_meanings, load_config
from segmentation_backend.geometry import Roi, VoxelSize

__all__ = [
    "SERVER_SETTINGS",
    "Subparsers",
    "add_command",
    "add_settings",
    "config_of",
    "corner",
    "region",
    "sections",
    "voxel_size",
]

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

BASIC_SETTINGS = ("data_dir", "database_url", "packs", "user", "log_level")
SERVER_SETTINGS = tuple(field.name for field in fields(Config) if field.name != "cloud")


def add_command(
    subparsers: Subparsers,
    name: str,
    summary: str,
    example: str,
    run: Callable[[argparse.Namespace], int],
) -> argparse.ArgumentParser:
    """Declare a command with its one-sentence summary, an example, and what it does."""
    parser = subparsers.add_parser(
        name,
        help=summary,
        description=summary,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def add_settings(
    parser: argparse.ArgumentParser,
    names: Sequence[str] = BASIC_SETTINGS,
    default: str | None = None,
) -> None:
    """Add an option for each setting, and `--config`.

    `default` is what an option that was not given is: for a command inside a command
    `argparse.SUPPRESS`, so that what was said to the outer one holds.
    """
    meanings = field_meanings()
    group = parser.add_argument_group("settings")
    group.add_argument(
        "--config", type=Path, default=default, metavar="FILE", help="Settings file (TOML)."
    )
    for setting in fields(Config):
        if setting.name not in names:
            continue
        option = "--" + setting.name.replace("_", "-")
        text = meanings[setting.name].replace("%", "%%")
        if isinstance(setting.default, bool):
            group.add_argument(
                option, action=argparse.BooleanOptionalAction, default=default, help=text
            )
        else:
            kind = int if isinstance(setting.default, int) else str
            group.add_argument(option, type=kind, default=default, help=text)


def config_of(args: argparse.Namespace, *, default_data_dir: Path | None = None) -> Config:
    """Return the configuration with the command line's options over everything else."""
    given = vars(args)
    overrides = {name: given[name] for name in SERVER_SETTINGS if given.get(name) is not None}
    return load_config(overrides, file=args.config, default_data_dir=default_data_dir)


def voxel_size(text: str) -> VoxelSize:
    """Parse `Z,Y,X` in nm."""
    z, y, x = (float(part) for part in text.split(","))
    if not all(0 < edge < 1e9 for edge in (z, y, x)):
        raise ValueError(text)
    return (z, y, x)


def corner(text: str) -> tuple[float, float]:
    """Parse `a,b`: a position on a plane."""
    a, b = (float(part) for part in text.split(","))
    return (a, b)


def region(text: str) -> Roi:
    """Parse `z,y,x,dz,dy,dx`: the offset, then the shape, in level-0 voxels."""
    z, y, x, dz, dy, dx = (int(part) for part in text.split(","))
    return Roi.from_json({"offset": [z, y, x], "shape": [dz, dy, dx]})


def sections(text: str) -> slice:
    """Parse `BEGIN:END`, half-open."""
    begin, _, end = text.partition(":")
    wanted = slice(int(begin), int(end))
    if not 0 <= wanted.start < wanted.stop:
        raise ValueError(text)
    return wanted
