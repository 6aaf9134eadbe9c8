"""Write what empanada-napari 1.2.4 makes of the cases; run by hand where that is installed.

    python tests/data/write_empanada.py FOLDER

FOLDER holds the unpacked wheel, whose code is run and not copied. It needs torch, OpenCV, joblib,
networkx, numba, zarr, dask, cztile and scikit-image, but not napari: of that only a decorator is
used, and a stand-in given.
"""

import contextlib
import io
import sys
import types
from pathlib import Path

import numpy as np

FOLDER = Path(sys.argv[1])
sys.path[:0] = [str(FOLDER), str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]
threading = types.ModuleType("napari.qt.threading")
threading.thread_worker = lambda function: function
plugin = types.ModuleType("empanada_napari")
plugin.__path__ = [str(FOLDER / "empanada_napari")]  # without the windows that its __init__ opens
sys.modules.update(
    {
        "napari": types.ModuleType("napari"),
        "napari.qt": types.ModuleType("napari.qt"),
        "napari.qt.threading": threading,
        "empanada_napari": plugin,
    }
)

import empanada_napari.inference as empanada  # noqa: E402
import torch  # noqa: E402
from empanada_cases import CASES, STORED, Case, fingerprint, images, network  # noqa: E402


class Network(torch.nn.Module):
    """The cases' network behind the published models' interface; keeps what it was given."""

    def __init__(self, classes):
        super().__init__()
        self.anchor = torch.nn.Parameter(torch.zeros(1))
        self.classes = classes
        self.seen = []

    def forward(self, x, render_steps=2, interpolate_ins=True):
        self.seen.append(x[0, 0].numpy().copy())
        maps = network(self.seen[-1], render_steps, interpolate_ins, self.classes)
        return {name: torch.from_numpy(value)[None] for name, value in maps.items()}


def run(case: Case, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels of all classes and the last section that the network was given."""
    model, knobs = case.model, case.parameters
    labels = model.labels
    net = Network(1 if len(labels) == 1 else len(labels) + 1)
    empanada.load_model_to_device = lambda _url, _device: net
    config = {
        "model": "",
        "thing_list": list(model.thing_list),
        "labels": list(labels),
        "class_names": {label: str(label) for label in labels},
        "padding_factor": model.padding_factor,
        "norms": {"mean": model.mean, "std": model.std},
    }
    shared = {
        "inference_scale": knobs.downsampling,
        "label_divisor": knobs.label_divisor,
        "nms_threshold": knobs.center_confidence_thr,
        "nms_kernel": knobs.min_distance_object_centers,
        "confidence_thr": knobs.confidence_thr,
        "semantic_only": knobs.semantic_only,
        "fine_boundaries": knobs.fine_boundaries,
    }
    sizes = {"min_size": knobs.min_size, "min_extent": knobs.min_extent}
    last = (config, knobs.label_divisor)
    if case.mode == "slice":
        engine = empanada.Engine2d(config, **shared)
        engine.engine.stuff_area = knobs.stuff_area
        return engine.infer(image), net.seen[-1]
    engine = empanada.Engine3d(config, median_kernel_size=knobs.median_slices, **sizes, **shared)
    engine.engine.stuff_area = knobs.stuff_area
    planes = ["xy", "xz", "yz"] if case.mode == "orthoplane" else [case.mode]
    trackers = {plane: engine.infer_on_axis(image, plane)[1] for plane in planes}
    if case.mode == "orthoplane":
        votes = (knobs.pixel_vote_thr, knobs.cluster_iou_thr, knobs.allow_one_view)
        found = empanada.tracker_consensus(trackers, None, *last, *votes, *sizes.values(), np.int32)
    else:
        found = empanada.stack_postprocessing(trackers, None, *last, *sizes.values(), np.int32)
    return np.stack([volume for volume, _, _ in found]), net.seen[-1]


def main() -> None:
    torch.set_num_threads(1)
    given = images()
    np.savez_compressed(STORED / "images.npz", **given)
    for case in CASES:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            labels, seen = run(case, given[case.image])
        objects = len(np.unique(labels)) - 1
        assert objects > 0, case.name
        smallest = np.min_scalar_type(int(labels.max()))
        np.savez_compressed(
            STORED / f"{case.name}.npz", labels=labels.astype(smallest), seen=fingerprint(seen)
        )
        print(case.name, objects, (STORED / f"{case.name}.npz").stat().st_size)


if __name__ == "__main__":
    main()
