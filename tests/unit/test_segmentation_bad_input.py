"""Models and images that are not what they should be: a clear error that changes nothing, or a
right result."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from scripted_networks import Bright

from segmentation_backend.errors import ErrorKind, FormatError, ResourceError
from segmentation_backend.geometry import Roi
from segmentation_backend.labels import Operation
from segmentation_backend.models.engines import FastNetwork
from segmentation_backend.workspace import EditContext, Workspace

SHAPE = (4, 48, 48)
SECTION = Roi((1, 0, 0), (1, 48, 48))
SIZE = (10.0, 10.0, 10.0)


class NoOptions(torch.nn.Module):
    """Takes an image and nothing else."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def grey() -> np.ndarray:
    """Return 0 to 1: a bright box in grey noise."""
    em = 0.4 + 0.02 * np.random.default_rng(0).normal(size=SHAPE)
    em[:, 8:24, 8:24] = 0.9
    return em


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    opened = Workspace(tmp_path_factory.mktemp("bad") / "data")
    register(opened, "cell", (255 * grey()).astype(np.uint8))
    for name, network in {
        "bright": Bright(),
        "key": Bright(spoilt="key"),
        "shape": Bright(spoilt="shape"),
        "nan": Bright(spoilt="nan"),
        "call": NoOptions(),
    }.items():
        torch.jit.script(network.eval()).save(str(opened.models_dir / f"{name}.pth"))
    (opened.models_dir / "text.pth").write_text("no TorchScript")
    (opened.models_dir / "empty.pth").write_bytes(b"")
    yield opened
    opened.close()


def register(workspace: Workspace, name: str, em: np.ndarray) -> None:
    path: Path = workspace.data_dir.parent / f"{name}.npz"
    np.savez(path, em=em)
    workspace.register(name, str(path), dataset="em", voxel_size=SIZE)


def run(workspace: Workspace, volume: str, roi: Roi = SECTION, **options: object) -> Operation:
    options = {"model": "bright", "existing": "replace-all", **options}
    plan = workspace.plan_segmentation(volume, roi, **options)  # type: ignore[arg-type]
    return workspace.segment(plan, EditContext("ana"))


@pytest.mark.parametrize("preset", [None, "empanada-exact"])
@pytest.mark.parametrize(
    ("model", "kind", "words"),
    [
        ("text", ErrorKind.WEIGHTS_UNREADABLE, "text.pth"),
        ("empty", ErrorKind.WEIGHTS_UNREADABLE, "empty.pth"),
        ("key", ErrorKind.MODEL_OUTPUT_INVALID, "sem_logits"),
        ("shape", ErrorKind.MODEL_OUTPUT_INVALID, "shape"),
        ("nan", ErrorKind.MODEL_OUTPUT_INVALID, "not numbers"),
        ("call", ErrorKind.MODEL_OUTPUT_INVALID, "it fails"),
    ],
)
def test_a_model_that_is_none_changes_nothing(
    model: str, kind: ErrorKind, words: str, preset: str | None, workspace: Workspace
) -> None:
    before = workspace.head("cell")
    with pytest.raises(FormatError, match=words) as caught:
        run(workspace, "cell", model=model, preset=preset)
    assert caught.value.kind == kind
    assert workspace.head("cell") == before


@pytest.mark.parametrize("preset", [None, "empanada-exact"])
def test_out_of_memory_changes_nothing_and_passes(
    preset: str | None, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")

    before = workspace.head("cell")
    roi = Roi((0 if preset else 2, 0, 0), (1, 48, 48))
    with monkeypatch.context() as patched:
        patched.setattr(FastNetwork, "forward", full)
        patched.setattr(torch.jit.RecursiveScriptModule, "__call__", full)
        with pytest.raises(ResourceError, match="does not fit") as caught:
            run(workspace, "cell", roi, preset=preset)
    assert caught.value.kind == ErrorKind.OUT_OF_MEMORY
    assert workspace.head("cell") == before
    assert run(workspace, "cell", roi, preset=preset).operation_id == before + 1


@pytest.mark.parametrize(
    ("name", "em"),
    [
        ("uint16", (3000 + 100 * grey()).astype(np.uint16)),
        ("int16", (-20000 + 400 * grey()).astype(np.int16)),
        ("int32", (-50 + 900 * grey()).astype(np.int32)),
        ("shares", grey().astype(np.float32)),
        ("wide", (1e6 * grey() - 5e5).astype(np.float64)),
    ],
)
@pytest.mark.parametrize("mode", ["slice", "stack"])
def test_every_range_of_greys_gives_the_same_object(
    name: str, em: np.ndarray, mode: str, workspace: Workspace
) -> None:
    if name not in {info.name for info in workspace.volumes()}:
        register(workspace, name, em)
    roi = SECTION if mode == "slice" else Roi((0, 0, 0), SHAPE)
    assert len(run(workspace, name, roi, mode=mode).added_roots) == 1
    assert np.array_equal(workspace.cutout(name, roi) > 0, grey()[roi.slices()] > 0.8)


@pytest.mark.parametrize("value", [0, 7, 255])
def test_a_constant_image_holds_nothing(value: int, workspace: Workspace) -> None:
    register(workspace, f"flat{value}", np.full(SHAPE, value, np.uint8))
    for mode in ("slice", "stack", "orthoplane"):
        roi = SECTION if mode == "slice" else Roi((0, 0, 0), SHAPE)
        assert not run(workspace, f"flat{value}", roi, mode=mode).added_roots


def test_tiles_of_zeros_hold_nothing(workspace: Workspace) -> None:
    em = np.zeros((1, 48, 1300), np.uint8)
    em[:, :, 1200:1248] = (255 * grey()[:1]).astype(np.uint8)
    register(workspace, "masked", em)
    assert len(run(workspace, "masked", Roi((0, 0, 0), em.shape)).added_roots) == 1
    found = workspace.cutout("masked", Roi((0, 0, 0), em.shape))
    assert not found[em == 0].any()


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 48), (2, 3, 7)])
def test_a_region_or_a_volume_smaller_than_a_tile(
    shape: tuple[int, int, int], workspace: Workspace
) -> None:
    mode = "slice" if shape[0] == 1 else "stack"
    inside = Roi((1, 10, 10), shape).intersect(Roi((0, 0, 0), SHAPE))
    small = {"mode": mode, "parameters": {"min_area": 0, "min_size": 0, "min_extent": 0}}
    run(workspace, "cell", inside, **small)
    truth = grey()[inside.slices()] > 0.8
    assert np.array_equal(workspace.cutout("cell", inside) > 0, truth)
    name = "tiny" + "x".join(map(str, shape))
    em = np.zeros(shape, np.uint8)
    em[0, 0, 0] = 200
    register(workspace, name, em)
    run(workspace, name, Roi((0, 0, 0), shape), **small)
    assert workspace.cutout(name, Roi((0, 0, 0), shape)).shape == shape
