"""Networks on a GPU: where there is one, they say what they say on a CPU, but for rounding."""

from __future__ import annotations

import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from scripted_networks import Bright, tiny_network
from stand_in_network import Blobs, Grey, Source, cloudy
from torch import nn

from segmentation_backend.geometry import Roi
from segmentation_backend.inference import planes
from segmentation_backend.inference.exact_region import segment_exact
from segmentation_backend.inference.parameters import InferenceParameters
from segmentation_backend.inference.planes import predict_tiles
from segmentation_backend.inference.runner import segment_region
from segmentation_backend.models import mitonet
from segmentation_backend.models.engines import FastNetwork
from segmentation_backend.models.registry import default_model

ON_A_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
PARAMETERS = InferenceParameters()


def tiles(count: int, side: int = 128) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=(side, side)).astype(np.float32) for _ in range(count)]


def test_points_are_placed_in_float32_whatever_the_maps_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As under a GPU's autocast, which makes maps of 16 bits: their places must not be."""
    seen: list[torch.dtype] = []
    sample = mitonet._sample

    def noted(maps: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        seen.append(points.dtype)
        return sample(maps.float(), points)

    monkeypatch.setattr(mitonet, "_sample", noted)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        found = tiny_network()(torch.from_numpy(tiles(1)[0])[None, None])
    assert set(seen) == {torch.float32}
    assert found["sem_logits"].dtype == torch.bfloat16
    assert found["sem_logits"].isfinite().all()


def test_what_a_failed_batch_holds_is_let_go_before_a_smaller_one_is_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held: list[weakref.ref[torch.Tensor]] = []
    alive: list[int] = []

    class Hungry(Blobs):
        def forward(
            self, x: torch.Tensor, render_steps: int = 2, interpolate_ins: bool = True
        ) -> dict[str, torch.Tensor]:
            if len(x) > 1:
                activations = x + 1
                held.append(weakref.ref(activations))
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
            answer: dict[str, torch.Tensor] = super().forward(x, render_steps, interpolate_ins)
            return answer

    def emptied() -> None:
        alive.append(sum(tensor() is not None for tensor in held))

    monkeypatch.setattr(torch.cuda, "empty_cache", emptied)
    told: list[str] = []
    found = list(predict_tiles(tiles(5, 64), Hungry(), PARAMETERS, 4, told.append))
    assert len(found) == 5
    assert alive == [0, 0]
    assert told[0] == "batches of 1, since memory is short"


@ON_A_GPU
@pytest.mark.parametrize("fine", [False, True])
def test_maps_are_those_of_a_cpu_but_for_rounding(fine: bool) -> None:
    network, images = tiny_network(), tiles(11)
    parameters = InferenceParameters(fine_boundaries=fine)
    expected = list(predict_tiles(images, FastNetwork(network, "eager"), parameters))
    found = list(predict_tiles(images, FastNetwork(network.to("cuda")), parameters))
    assert len(found) == len(expected) == 11
    for one, other in zip(found, expected, strict=True):
        assert one.probability.dtype == one.centres.dtype == one.offsets.dtype == np.float32
        assert np.abs(one.probability - other.probability).mean() < 0.01
        assert np.abs(one.centres - other.centres).max() < 0.05 * np.abs(other.centres).max()
        assert np.abs(one.offsets - other.offsets).max() < 0.05 * np.abs(other.offsets).max()


@ON_A_GPU
def test_a_tile_is_the_same_in_any_company() -> None:
    network, images = FastNetwork(tiny_network().to("cuda")), tiles(11)
    together = list(predict_tiles(images, network, PARAMETERS, 8))
    alone = [next(predict_tiles([image], network, PARAMETERS, 8)) for image in images]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_array_equal(one.probability, other.probability)
        np.testing.assert_array_equal(one.offsets, other.offsets)


@ON_A_GPU
def test_a_region_has_the_objects_of_a_cpu_and_the_memory_is_given_back(tmp_path: Path) -> None:
    bounds = Roi((0, 0, 0), (12, 200, 200))
    source = Source(cloudy(bounds.shape, 1, 6.0), bounds)

    def found(network: nn.Module) -> np.ndarray:
        return segment_region(
            source.read, bounds, network, default_model(tmp_path), Grey(), "xy", "stack",
            InferenceParameters(min_size=40, min_extent=2), lambda share, text: None,
        ).labels  # fmt: skip

    expected = found(Bright())
    on_gpu = Bright().to("cuda")
    labels = found(on_gpu)
    held = torch.cuda.memory_allocated()
    np.testing.assert_array_equal(found(on_gpu), labels)
    assert torch.cuda.memory_allocated() <= held
    both = ((labels > 0) & (expected > 0)).sum() / ((labels > 0) | (expected > 0)).sum()
    assert both > 0.99


@ON_A_GPU
def test_a_batch_that_does_not_fit_is_halved_on_the_gpu_too() -> None:
    class Narrow(Bright):
        def forward(
            self, x: torch.Tensor, render_steps: int = 2, interpolate_ins: bool = True
        ) -> dict[str, torch.Tensor]:
            if len(x) > 2:
                torch.empty(2**50, device=x.device)
            answer: dict[str, torch.Tensor] = super().forward(x, render_steps, interpolate_ins)
            return answer

    told: list[str] = []
    found = list(predict_tiles(tiles(9), Narrow().to("cuda"), PARAMETERS, 8, told.append))
    assert (len(found), told[0]) == (9, "batches of 2, since memory is short")


@ON_A_GPU
def test_the_preset_computes_in_full_float32(tmp_path: Path) -> None:
    image = cloudy((1, 96, 96), 2, 6.0)
    spec, network = default_model(tmp_path), tiny_network()

    def found(network: nn.Module) -> np.ndarray:
        return segment_exact(
            image, network, spec, "xy", "slice", PARAMETERS, lambda share, text: None
        ).labels

    expected, labels = found(network), found(network.to("cuda"))
    assert ((expected > 0) == (labels > 0)).mean() > 0.999


def test_a_gpu_is_counted_in_batches_and_a_cpu_in_tiles() -> None:
    assert planes._BATCH["cuda"] > planes._BATCH["cpu"] == planes.batch_size(tiny_network()) == 1
