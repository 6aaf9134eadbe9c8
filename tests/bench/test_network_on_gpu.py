"""The network on a GPU, MitoNet's full layout, tiles of 640 x 640 pixels, beside eager on a CPU.

Skipped where there is no GPU. Figures are for `docs/benchmarks.md`: milliseconds for each tile
(transfers in both directions counted), the ratio to a CPU in the same run, and the GPU's memory.
"""

import json
import time
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from segmentation_backend.inference.parameters import InferenceParameters
from segmentation_backend.inference.planes import predict_tiles
from segmentation_backend.models.engines import FastNetwork
from segmentation_backend.models.mitonet import MitoNet, full_config

SIDE = 640
TILES = 64


def seconds(network: torch.nn.Module, tiles: list[NDArray[np.float32]]) -> float:
    began = time.perf_counter()
    count = sum(1 for _ in predict_tiles(tiles, network, InferenceParameters()))
    assert count == len(tiles)
    return time.perf_counter() - began


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.timeout(900)
def test_tiles_through_a_gpu(benchmark: Any) -> None:
    torch.manual_seed(0)
    plain = MitoNet(full_config()).eval()
    rng = np.random.default_rng(0)
    tiles = [rng.normal(size=(SIDE, SIDE)).astype(np.float32) for _ in range(TILES)]
    on_cpu = seconds(FastNetwork(plain, "eager"), tiles[:2]) / 2
    network = FastNetwork(plain.to("cuda"))
    seconds(network, tiles[:16])
    torch.cuda.reset_peak_memory_stats()
    best = min(
        benchmark.pedantic(seconds, args=(network, tiles), rounds=1), seconds(network, tiles)
    )
    benchmark.extra_info.update(
        gpu=torch.cuda.get_device_name(),
        milliseconds_per_tile=1000 * best / TILES,
        times_a_cpu=on_cpu / (best / TILES),
        peak_gib=torch.cuda.max_memory_allocated() / 2**30,
    )
    print(json.dumps(benchmark.extra_info, indent=2))
