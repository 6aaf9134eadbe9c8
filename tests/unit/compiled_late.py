"""Print which compiled loops a first segmentation calls that were not got ready before it.

A program of its own: what other tests have called is loaded in their process.
"""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path

import numpy as np
import torch
from numba.core.dispatcher import Dispatcher
from scripted_networks import Bright

from segmentation_backend.geometry import Roi
from segmentation_backend.models.registry import default_model
from segmentation_backend.workspace import READY_STEPS, EditContext, Workspace
from segmentation_backend.workspace.getting_ready import get_ready

ANA = EditContext("ana")
SHAPE = (12, 64, 64)
WHOLE, SECTION = Roi((0, 0, 0), SHAPE), Roi((3, 0, 0), (1, 64, 64))


def called() -> set[str]:
    """Return the loops that are in memory, with what they were called with."""
    ours = (d for d in gc.get_objects() if isinstance(d, Dispatcher))
    ours = (d for d in ours if d.py_func.__module__.startswith("segmentation_backend"))
    return {f"{d.py_func.__module__}.{d.py_func.__name__}{s}" for d in ours for s in d.signatures}


def opened(folder: Path) -> Workspace:
    em = np.full(SHAPE, 128, np.uint8)
    em[:, 8:24, 8:24] = em[2:9, 8:24, 26:42] = em[:5, 40:56, 8:24] = em[7:, 40:56, 8:24] = 230
    em[:, 14:18, 14:18] = 128
    np.savez(folder / "cell.npz", em=em)
    workspace = Workspace(folder / "data")
    workspace.register(
        "cell", str(folder / "cell.npz"), dataset="em", voxel_size=(10.0, 10.0, 10.0)
    )
    torch.jit.script(Bright().eval()).save(str(workspace.models_dir / "bright.pth"))
    (workspace.models_dir / "bright.yaml").write_text("model: bright.pth\npadding_factor: 16\n")
    return workspace


def use(workspace: Workspace) -> None:
    """Do what first users do."""
    small = {"min_size": 10, "min_extent": 1}
    shaped = {"fill_holes_in_segmentation": True, "label_erosion": 1, "label_dilation": 1}
    for mode, roi, more in (
        ("slice", SECTION, {}),
        ("slice", SECTION, shaped),
        ("stack", WHOLE, {}),
        ("orthoplane", WHOLE, {}),
    ):
        plan = workspace.plan_segmentation(
            "cell", roi, mode=mode, model="bright", parameters=small | more
        )
        workspace.segment(plan, ANA)
        assert workspace.cutout("cell", roi).any()
    groups = [[(3, 9, 9)], [(3, 22, 22)]]
    workspace.split_preview("cell", groups)
    workspace.split("cell", groups, ANA)


if __name__ == "__main__":
    workspace = opened(Path(sys.argv[1]))
    for step in READY_STEPS[1:]:  # the network is another one here
        get_ready(step, default_model(workspace.models_dir), workspace.models_dir, [])
    ready = called()
    use(workspace)
    workspace.close()
    print(json.dumps({"ready": len(ready), "late": sorted(called() - ready)}))
