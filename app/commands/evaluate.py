"""`mitoglance evaluate PRED TRUTH`: scores of a segmentation."""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.config import cloud_settings
from app.options import Subparsers, add_command, sections
from app.terminal import say
from segmentation_backend.errors import ErrorKind, FormatError, InvalidInputError, ResourceError

__all__ = ["add", "run"]

_COLUMNS = ("kind", "true", "predicted", "voxels", "iou", "z", "y", "x")


def add(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = add_command(
        subparsers,
        "evaluate",
        "Compare labels with the truth: IoU, F1, AP, PQ, VOI, ARAND, and each object's mistakes.",
        "mitoglance evaluate found.npz truth.npz --truth-dataset inst --volumes --objects",
        run,
    )
    parser.add_argument("pred", metavar="PRED", help="Labels that were found (0 = background).")
    parser.add_argument("truth", metavar="TRUTH", help="Labels that are right.")
    parser.add_argument("--pred-dataset", help="Which array of PRED, where there are several.")
    parser.add_argument("--truth-dataset", help="Which array of TRUTH, where there are several.")
    parser.add_argument("--ignore", metavar="FILE", help="Voxels not 0 there are not scored.")
    parser.add_argument(
        "--ignore-dataset", help="Which array of the ignore file, or of TRUTH without one."
    )
    parser.add_argument(
        "--z", type=sections, metavar="BEGIN:END", help="Only these sections of TRUTH (and PRED)."
    )
    parser.add_argument("--iou", type=float, default=0.5, help="What counts as found; 0.5.")
    parser.add_argument(
        "--min-size", type=int, default=0, help="True objects below so many voxels do not count."
    )
    parser.add_argument(
        "--volumes", action="store_true", help="Score 3D objects, not their profiles per section."
    )
    parser.add_argument(
        "--objects",
        nargs="?",
        const="-",
        metavar="FILE",
        help="List misses, extras, merges, splits and inexact objects, or write .csv or .json.",
    )
    parser.add_argument("--json", action="store_true", help="Print JSON.")


def run(args: argparse.Namespace) -> int:
    """Read both, compare, and print the scores."""
    from segmentation_backend.metrics.report import compare

    _check_table(args.objects)
    truth = _cut(_read(args.truth, args.truth_dataset), args.z)
    pred = _like(_read(args.pred, args.pred_dataset), truth, args.z)
    ignore = None
    if args.ignore is not None or args.ignore_dataset is not None:
        hidden = _read(args.ignore or args.truth, args.ignore_dataset)
        ignore = _like(hidden, truth, args.z)
    report = compare(
        pred, truth, ignore, per_slice=not args.volumes, iou=args.iou, min_area=args.min_size
    )
    scores = report.to_json()
    rows = scores.pop("objects")
    if args.objects not in (None, "-"):
        _write_table(Path(args.objects), rows)
    if args.json:
        say(json.dumps({**scores, "objects": rows} if args.objects == "-" else scores))
        return 0
    for name, value in scores.items():
        say(f"{name}: {value:.4f}" if isinstance(value, float) else f"{name}: {_shown(value)}")
    if args.objects == "-":
        for row in [dict(zip(_COLUMNS, _COLUMNS, strict=True)), *map(_flat, rows)]:
            say("\t".join(str(row[column]) for column in _COLUMNS))
    return 0


def _shown(value: object) -> object:
    return "not defined" if value is None else value


def _check_table(objects: str | None) -> None:
    """Refuse a table of another kind before minutes are spent on it."""
    if objects not in (None, "-") and Path(str(objects)).suffix.lower() not in (".csv", ".json"):
        raise InvalidInputError(
            f"The table of objects is written as .csv or .json, not as {objects}.",
            ErrorKind.INVALID_PARAMETER,
        )


def _write_table(file: Path, rows: list[dict[str, Any]]) -> None:
    try:
        with file.open("w", encoding="utf-8", newline="") as out:
            if file.suffix.lower() == ".json":
                json.dump(rows, out, indent=1)
                return
            table = csv.DictWriter(out, _COLUMNS)
            table.writeheader()
            table.writerows(_flat(row) for row in rows)
    except OSError as err:
        raise ResourceError(
            f"{file} cannot be written: {err.strerror}. Name another file.",
            ErrorKind.SOURCE_UNAVAILABLE,
        ) from err


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """Return a mistake as a row of a table: several labels in one cell, with spaces between."""
    z, y, x = row["place"]
    return {
        "kind": row["kind"],
        "true": " ".join(row["true_labels"]),
        "predicted": " ".join(row["predicted_labels"]),
        "voxels": row["voxels"],
        "iou": f"{row['iou']:.4f}",
        "z": z,
        "y": y,
        "x": x,
    }


def _like(array: NDArray[Any], truth: NDArray[Any], wanted: slice | None) -> NDArray[Any]:
    """Return the wanted sections, unless the array has just those already."""
    return array if array.shape[0] == truth.shape[0] else _cut(array, wanted)


def _cut(array: NDArray[Any], wanted: slice | None) -> NDArray[Any]:
    return array if wanted is None else array[wanted]


def _read(path: str, dataset: str | None) -> NDArray[Any]:
    """Return a label array (z, y, x) from a file or a folder of chunks, whole."""
    from segmentation_backend.geometry import Roi
    from segmentation_backend.sources.readers import is_stack, open_stack

    file = Path(path)
    if "://" in path or (file.is_dir() and not is_stack(file, dataset)):
        return _read_chunked(path, dataset)
    stack = open_stack(file, dataset)
    array = np.empty(stack.shape, stack.dtype)
    whole = Roi((0, 0, 0), stack.shape)
    for begin in range(0, stack.shape[0], 64):  # straight to its place: a volume is held once
        slab = Roi((begin, 0, 0), (64, *stack.shape[1:])).intersect(whole)
        array[slab.slices()] = stack.read(slab)
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
