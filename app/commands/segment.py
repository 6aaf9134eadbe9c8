"""`mitoglance segment VOLUME`: run the network here and now, without a server."""

from __future__ import annotations

import argparse
import json

from app.options import Subparsers, add_command, add_settings, config_of, corner, region
from app.terminal import complain, progress_bar, say
from segmentation_backend.workspace import (
    FIRST_TIME,
    EditContext,
    Workspace,
    on_compiling,
    parse_sections,
)
from segmentation_backend.workspace.model_library import chosen_first

__all__ = ["add", "run"]


def add(subparsers: Subparsers) -> None:
    """Declare the command."""
    parser = add_command(
        subparsers,
        "segment",
        "Segment a region of a volume and commit what is found as one operation.",
        "mitoglance segment cell --roi 0,0,0,64,512,512 --mode stack",
        run,
    )
    parser.add_argument("volume", help="The volume's name.")
    parser.add_argument(
        "--roi", type=region, metavar="z,y,x,dz,dy,dx", help="Offset and shape; all without it."
    )
    parser.add_argument("--mode", default="stack", help="stack (3D; without it) or slice.")
    parser.add_argument("--plane", default="xy", help="xy (without it), xz or yz.")
    parser.add_argument(
        "--sections",
        metavar="LIST",
        help='Sections of the plane, such as "10, 20-30, 45"; mode slice segments each for itself.',
    )
    parser.add_argument(
        "--polygon",
        nargs="+",
        type=corner,
        metavar="a,b",
        help="Corners in level-0 voxels along the plane's two axes (y,x for xy, z,x for xz, z,y "
        "for yz): what lies outside stays as it is.",
    )
    parser.add_argument("--model", help="The model; the default one without it.")
    parser.add_argument("--level", type=int, help="Image level; the model's best without it.")
    parser.add_argument(
        "--engine",
        default="exact",
        help="What runs the network: exact (the fastest exact one; without it) or int8, among "
        "others; see `mitoglance models info MODEL --engines`.",
    )
    parser.add_argument(
        "--class",
        dest="class_name",
        help="Class to look for, of a model with several: name or id, several with commas between, "
        "or all; its first thing without it.",
    )
    parser.add_argument(
        "--preset", help="empanada-exact: as empanada-napari 1.2.4 computes it, for comparison."
    )
    parser.add_argument("--request-id", help="A repeated id commits nothing and answers again.")
    parser.add_argument("--json", action="store_true", help="Print the operation as JSON.")
    add_settings(parser, ("data_dir", "database_url", "packs", "user", "max_voxels", "log_level"))


def run(args: argparse.Namespace) -> int:
    """Segment, and say which operation it became."""
    config = config_of(args)
    workspace = Workspace(
        config.data_dir,
        config.database_url,
        config.cloud,
        max_voxels=config.max_voxels,
        packs=config.packs,
    )
    try:
        plan = workspace.plan_segmentation(
            args.volume,
            args.roi or workspace.volume(args.volume).bounds,
            mode=args.mode,
            plane=args.plane,
            polygon=args.polygon,
            sections=None if args.sections is None else parse_sections(args.sections),
            model=args.model,
            level=args.level,
            engine=args.engine,
            class_name=args.class_name,
            preset=args.preset,
        )
        with (
            progress_bar(f"Segmenting {args.volume}") as progress,
            on_compiling(lambda: progress(0.0, FIRST_TIME)),
        ):
            operation = workspace.segment(plan, EditContext(config.user, args.request_id), progress)
    finally:
        workspace.close()
    if any(m.is_research_only for m in chosen_first(workspace.models_dir) if m.name == plan.model):
        complain(f"{plan.model} is for research only, not for commercial use; so is what it finds.")
    document = operation.to_json()
    found = len(document["added_roots"])
    summary = f"Operation {operation.operation_id}: {found} objects in {plan.roi}"
    say(json.dumps(document) if args.json else summary)
    return 0
