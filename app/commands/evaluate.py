"""`mitoglance evaluate PRED TRUTH`: scores of a segmentation."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.config import cloud_settings
from app.options import Subparsers, add_command, sections
from app.terminal import say
from segmentation_backend.errors import ErrorKind, FormatError

__all__ = ["add", "run"]


def add(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = add_command(
        subparsers,
        "evaluate",
        "Compare labels with the truth: foreground IoU, instance F1, precision, recall.",
        "mitoglance evaluate found.npz truth.npz --truth-dataset inst --z 100:120 --json",
        run,
    )
    parser.add_argument("pred", metavar="PRED", help="Labels that were found (0 = background).")
    parser.add_argument("truth", metavar="TRUTH", help="Labels that are right.")
    parser.add_argument("--pred-dataset", help="Which array of PRED, where there are several.")
    parser.add_argument("--truth-dataset", help="Which array of TRUTH, where there are several.")
    parser.add_argument("--ignore-dataset", help="Array of TRUTH: voxels not 0 are not scored.")
    parser.add_argument(
        "--z", type=sections, metavar="BEGIN:END", help="Only these sections of TRUTH (and PRED)."
    )
    parser.add_argument("--iou", type=float, default=0.5, help="What counts as found; 0.5.")
    parser.add_argument(
        "--volumes", action="store_true", help="Score 3D objects, not their profiles per section."
    )
    parser.add_argument("--json", action="store_true", help="Print JSON.")


def run(args: argparse.Namespace) -> int:
    """Read both, compare, and print the scores."""
    from segmentation_backend.metrics.matching import evaluate

    truth = _cut(_read(args.truth, args.truth_dataset), args.z)
    pred = _read(args.pred, args.pred_dataset)
    if args.z is not None and pred.shape[0] != truth.shape[0]:
        pred = _cut(pred, args.z)
    ignore = None
    if args.ignore_dataset is not None:
        ignore = _cut(_read(args.truth, args.ignore_dataset), args.z)
    scores = evaluate(pred, truth, ignore, per_slice=not args.volumes, iou=args.iou).to_json()
    if args.json:
        say(json.dumps(scores))
    else:
        for name, value in scores.items():
            say(f"{name}: {value:.4f}" if isinstance(value, float) else f"{name}: {value}")
    return 0


def _cut(array: NDArray[Any], wanted: slice | None) -> NDArray[Any]:
    return array if wanted is None else array[wanted]


def _read(path: str, dataset: str | None) -> NDArray[Any]:
    """Return a label array (z, y, x) from a file or a folder of chunks, whole."""
    from segmentation_backend.sources.readers import open_stack

    file = Path(path)
    if "://" in path or (file.is_dir() and not any(file.glob("*.tif*"))):
        return _read_chunked(path, dataset)
    with open_stack(file, dataset) as stack:
        array = np.concatenate(list(stack.slabs(64)))
    return _as_labels(array, path)


def _read_chunked(path: str, dataset: str | None) -> NDArray[Any]:
    from segmentation_backend.sources.discovery import find_image
    from segmentation_backend.sources.specs import locate
    from segmentation_backend.sources.stores import open_array, open_context, wait

    location = locate(path, cloud_settings())
    context = open_context()
    finest = find_image(location.child(dataset or ""), context).levels[0]
    store = open_array(finest.location, finest.driver, context, dict(finest.extra))
    array = np.asarray(wait(lambda: store.read(), path))
    if finest.is_transposed:
        array = array.T
    lengths = [side for side in array.shape if side != 1] if array.ndim > 3 else array.shape
    return _as_labels(array.reshape(lengths), path)


def _as_labels(array: NDArray[Any], path: str) -> NDArray[Any]:
    if array.ndim != 3:
        raise FormatError(
            f"{path} has {array.ndim} axes; labels have three, z, y, x.", ErrorKind.UNSUPPORTED_RANK
        )
    if array.dtype.kind not in "uib":
        raise FormatError(
            f"{path} holds {array.dtype}; labels are whole numbers.", ErrorKind.UNSUPPORTED_DTYPE
        )
    return array.astype(np.uint8) if array.dtype.kind == "b" else array
