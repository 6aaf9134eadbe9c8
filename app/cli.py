"""The command line: parse, run one command, turn what went wrong into a line and an exit code."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib.metadata import version

from app.commands import (
    backup,
    catalogue,
    check,
    demo,
    evaluate,
    gc,
    import_image,
    index,
    models,
    open_path,
    restore,
    segment,
    serve,
    train,
)
from app.terminal import complain
from segmentation_backend.errors import SegmentationError

__all__ = ["main"]

_COMMANDS = (
    demo,
    open_path,
    serve,
    catalogue,
    import_image,
    segment,
    index,
    evaluate,
    train,
    models,
    check,
    gc,
    backup,
    restore,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 done, 1 failed, 2 misused, 130 interrupted."""
    args = _parser().parse_args(arguments)
    try:
        code: int = args.run(args)
    except SegmentationError as err:
        complain(f"mitoglance: {err.message}")
        return 1
    except KeyboardInterrupt:
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mitoglance",
        description="Proofread the mitochondria of any EM volume, together, in a browser.",
        epilog="example:\n  mitoglance demo",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version", action="version", version=f"mitoglance {version('mitoglance')}"
    )
    subparsers = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add(subparsers)
    return parser
