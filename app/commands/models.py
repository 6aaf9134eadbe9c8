"""`mitoglance models …`: the networks one can choose, and the models folder they lie in."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from app.config import Config
from app.options import Subparsers, add_command, add_settings, config_of
from app.terminal import complain, say
from segmentation_backend.workspace.model_library import (
    Additions,
    ModelLibrary,
    ModelSpec,
    chosen_first,
    measure_engines,
)

__all__ = ["add", "run"]

_SETTINGS = ("data_dir", "log_level")


def add(subparsers: Subparsers) -> None:
    """Declare the command and the things it can do; without one of them it lists."""
    parser = add_command(
        subparsers,
        "models",
        "List the models, the default first; add, export and remove them.",
        "mitoglance models add mito.empanada --allow-code",
        run,
    )
    _add_common(parser)
    actions = parser.add_subparsers(title="actions", metavar="ACTION")
    _add_list(actions)
    _add_info(actions)
    _add_add(actions)
    _add_export(actions)
    _add_remove(actions)


def _add_common(parser: argparse.ArgumentParser, *, again: bool = False) -> None:
    """Add what every action takes; said before the action, it holds for the action too."""
    unsaid = argparse.SUPPRESS if again else False
    parser.add_argument("--json", action="store_true", default=unsaid, help="Print JSON.")
    add_settings(parser, _SETTINGS, argparse.SUPPRESS if again else None)


def _add_list(actions: Subparsers) -> None:
    parser = add_command(
        actions, "list", "List the models, the default first.", "mitoglance models list", run
    )
    _add_common(parser, again=True)


def _add_info(actions: Subparsers) -> None:
    parser = add_command(
        actions,
        "info",
        "Say what is known of a model; with --engines, how fast it is here.",
        "mitoglance models info mitoglance_small --engines",
        _info,
    )
    parser.add_argument("name", metavar="MODEL", help="The model's name.")
    parser.add_argument(
        "--engines",
        action="store_true",
        help="Load it (its code runs), and measure the speed and the loss of every engine.",
    )
    parser.add_argument(
        "--side", type=int, default=512, metavar="PIXELS", help="Side of the measured tile; 512."
    )
    _add_common(parser, again=True)


def _add_add(actions: Subparsers) -> None:
    parser = add_command(
        actions,
        "add",
        "Register a model: TorchScript, ONNX, a description (.yaml) or an .empanada archive.",
        "mitoglance models add ./mito.empanada --allow-code",
        _add,
    )
    parser.add_argument("source", metavar="SOURCE", help="Path, or https:// address.")
    parser.add_argument("--name", help="What it is called here; after the file without it.")
    parser.add_argument("--kind", help="panoptic2d or affinity3d; as the description says.")
    parser.add_argument(
        "--voxel-size", type=float, metavar="NM", help="Edge of the voxels it likes best."
    )
    parser.add_argument("--licence", help="Under which terms it may be used.")
    parser.add_argument("--activation", help="affinity3d: none or sigmoid, put after the network.")
    parser.add_argument("--sha256", metavar="DIGEST", help="What the file must be.")
    parser.add_argument(
        "--allow-code",
        action="store_true",
        help="Allow TorchScript, which is code that will run on this machine.",
    )
    _add_common(parser, again=True)


def _add_export(actions: Subparsers) -> None:
    parser = add_command(
        actions,
        "export",
        "Write a model as an .empanada archive, which empanada-napari imports.",
        "mitoglance models export mitoglance_small mito.empanada",
        _export,
    )
    parser.add_argument("name", metavar="MODEL", help="The model's name.")
    parser.add_argument("path", metavar="FILE", type=Path, help="The archive to write.")
    _add_common(parser, again=True)


def _add_remove(actions: Subparsers) -> None:
    parser = add_command(
        actions,
        "remove",
        "Take a model from the list; its files are kept in the folder `archived`.",
        "mitoglance models remove mito",
        _remove,
    )
    parser.add_argument("name", metavar="MODEL", help="The model's name.")
    _add_common(parser, again=True)


def _library(args: argparse.Namespace) -> tuple[Config, ModelLibrary]:
    config = config_of(args)
    return config, ModelLibrary(config.data_dir / "models")


def run(args: argparse.Namespace) -> int:
    """List the models."""
    _, library = _library(args)
    specs = chosen_first(library.models_dir)
    if args.json:
        say(json.dumps([_document(spec, library, i == 0) for i, spec in enumerate(specs)]))
    else:
        for spec in specs:
            here = "" if spec.is_present(library.models_dir) else "; downloaded on first use"
            terms = "; research only" if spec.is_research_only else ""
            say(f"{spec.name}: {spec.description} ({spec.voxel_size_nm:g} nm{here}{terms})")
    return 0


def _document(spec: ModelSpec, library: ModelLibrary, is_default: bool) -> dict[str, Any]:
    here = {"is_default": is_default, "is_present": spec.is_present(library.models_dir)}
    return {**spec.to_json(), **here}


def _info(args: argparse.Namespace) -> int:
    """Print one model, and how its engines do."""
    _, library = _library(args)
    spec = library.find(args.name)
    default = chosen_first(library.models_dir)[0].name
    document = _document(spec, library, spec.name == default)
    if args.engines:
        document["engines"] = measure_engines(spec, library.models_dir, args.side)
    if args.json:
        say(json.dumps(document))
        return 0
    for name, value in document.items():
        if name != "engines":
            say(f"{name}: {_shown(value)}")
    for engine in document.get("engines", []):
        say(_engine_line(engine))
    return 0


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "-" if value is None else str(value)


def _engine_line(engine: dict[str, Any]) -> str:
    loss = engine["loss"]
    line = f"{engine['engine']}: {engine['milliseconds']:.0f} ms a tile"
    if engine["is_exact"]:
        return f"{line}, exact"
    return (
        f"{line}, not exact: foreground IoU {loss['foreground_iou']:.4f}, probability off by "
        f"{loss['probability']:.4f}, centres by {loss['centre']:.4f}, offsets by "
        f"{loss['offset']:.2f} pixels"
    )


def _add(args: argparse.Namespace) -> int:
    """Register a model."""
    _, library = _library(args)
    additions = Additions(
        name=args.name,
        kind=args.kind,
        voxel_size_nm=args.voxel_size,
        licence=args.licence,
        activation=args.activation,
        sha256=args.sha256,
        allow_code=args.allow_code,
    )
    spec = library.add(args.source, additions)
    digest = library.digest(spec)
    if args.json:
        say(json.dumps({**_document(spec, library, False), "sha256": digest}))
    else:
        say(f"{spec.name} was added to {library.models_dir} (SHA-256 {digest})")
    return 0


def _export(args: argparse.Namespace) -> int:
    """Write an archive."""
    _, library = _library(args)
    place = library.export(args.name, args.path)
    say(json.dumps({"path": str(place)}) if args.json else f"{args.name} was written to {place}")
    return 0


def _remove(args: argparse.Namespace) -> int:
    """Archive a model."""
    _, library = _library(args)
    folder = library.remove(args.name)
    if args.json:
        say(json.dumps({"archived": str(folder)}))
    else:
        say(f"{args.name} is not listed any more; its files are in {folder}")
        complain(f"To take it back: mitoglance models add {folder}/{args.name}.yaml --allow-code")
    return 0
