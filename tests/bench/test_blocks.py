"""What fixed tiles and blocks cost over the network alone, for one 512 x 512 slice and for a stack.

CPU seconds of one thread (`--benchmark-only`), so that a busy machine changes little. Floors are
measured in the same run: the network on the tiles that are needed, and on the region alone with a
margin of 32 pixels, which is what a design that follows the view would run.
"""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from segmentation_backend.geometry import Roi
from segmentation_backend.inference.cache import BlockCache
from segmentation_backend.inference.grid import BlockGrid, Mode, tiling_for
from segmentation_backend.inference.parameters import InferenceParameters
from segmentation_backend.inference.planes import normalise, predict_tiles
from segmentation_backend.inference.runner import BlockOptions, segment_region, warm_up
from segmentation_backend.models.registry import ModelSpec, default_model
from segmentation_backend.models.weights import load
from segmentation_backend.sources.synthetic import synthetic_em

SHAPE = (8, 1536, 1536)
ROUNDS = 5
PARAMETERS = InferenceParameters()


class Grey:
    mean = 128.0
    std = 40.0


@pytest.fixture(scope="module")
def em() -> np.ndarray:
    part = synthetic_em((SHAPE[0], 512, 512), 3, (10.0, 10.0, 10.0)).em
    return np.tile(part, (1, 3, 3))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, ModelSpec]:
    torch.set_num_threads(1)
    models = Path(tmp_path_factory.mktemp("models"))
    spec = default_model(models)
    return load(spec, models), spec


def seconds(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Return the median CPU seconds of some work."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return statistics.median(times)


def tiles_alone(network: nn.Module, side: tuple[int, int], count: int) -> float:
    """Return the CPU seconds of the network on so many tiles."""
    tile = np.random.default_rng(0).normal(size=side).astype(np.float32)
    return seconds(lambda: list(predict_tiles([tile] * count, network, PARAMETERS)))


@pytest.mark.parametrize(
    ("place", "roi"),
    [
        ("on the grid", Roi((2, 512, 512), (1, 512, 512))),
        ("anywhere", Roi((2, 300, 417), (1, 512, 512))),
        ("all of a small volume", Roi((2, 0, 0), (1, 512, 512))),
    ],
)
def test_a_visible_slice(
    place: str,
    roi: Roi,
    em: np.ndarray,
    model: tuple[nn.Module, ModelSpec],
    benchmark: Any,
    tmp_path: Path,
) -> None:
    network, spec = model
    bounds = Roi((0, 0, 0), (8, 512, 512) if place.startswith("all") else SHAPE)
    warm_up(network, spec)
    first: list[float] = []

    def run(cache: BlockCache | None = None) -> None:
        start = time.process_time()
        first.clear()
        segment_region(
            lambda box: em[box.slices()], roi, network, spec, Grey(), "xy", "slice", PARAMETERS,
            lambda share, text: first.append(time.process_time() - start), bounds=bounds,
            options=BlockOptions(cache=cache, identity={}),
        )  # fmt: skip

    blocks = BlockGrid.plan(bounds, "slice", "xy").blocks(roi)
    floor = tiles_alone(network, blocks[0].tile.shape[1:], len(blocks))
    margin = roi.grow((0, 32, 32)).snap_out((1, 16, 16)).intersect(bounds)
    view = tiles_alone(network, margin.shape[1:], 1)
    benchmark.pedantic(run, rounds=ROUNDS, warmup_rounds=1)
    total = seconds(run)
    earliest = first[0]
    kept = BlockCache(tmp_path)
    run(kept)
    again = seconds(lambda: run(kept))
    note(
        benchmark,
        place=place,
        tiles=len(blocks),
        network_on_view_ms=round(1000 * view),
        network_on_tiles_ms=round(1000 * floor),
        region_ms=round(1000 * total),
        over_the_network_ms=round(1000 * (total - floor)),
        first_block_ms=round(1000 * earliest),
        from_cache_ms=round(1000 * again),
    )


def test_the_cost_of_a_voxel_by_core(model: tuple[nn.Module, ModelSpec], benchmark: Any) -> None:
    """Network time for a 512 x 512 view anywhere, and for large regions, by the tiles' core."""
    network, _ = model
    table = {}
    for core, halo in ((128, 64), (256, 32), (256, 64), (384, 64), (512, 32), (512, 64)):
        side = core + 2 * halo
        tile = tiles_alone(network, (side, side), 1)
        table[f"core {core}, halo {halo}"] = {
            "tile_ms": round(1000 * tile),
            "view_anywhere_ms": round(1000 * tile * (1 + 511 / core) ** 2),
            "large_region_ns_per_pixel": round(1e9 * tile / core**2),
        }
    tile = np.zeros((640, 640), np.float32)
    benchmark.pedantic(
        lambda: list(predict_tiles([tile], network, PARAMETERS)), rounds=ROUNDS, warmup_rounds=1
    )
    note(benchmark, **table)


@pytest.mark.parametrize("mode", ["stack", "orthoplane"])
def test_what_a_block_costs_besides_the_network(mode: Mode, benchmark: Any) -> None:
    """A network that costs nothing, so that all the time is tiles, objects and stitching."""

    class Bright(nn.Module):
        def forward(
            self, x: torch.Tensor, render_steps: int = 2, interpolate_ins: bool = True
        ) -> dict[str, torch.Tensor]:
            coarse = nn.functional.avg_pool2d(x, 4)
            offsets = torch.zeros_like(torch.cat([coarse, coarse], 1))
            return {"sem_logits": 4 * x, "ctr_hmp": coarse.clamp(0, 1), "offsets": offsets}

    rng = np.random.default_rng(0)
    bounds = Roi((0, 0, 0), (96, 600, 600) if mode == "stack" else (300, 300, 300))
    image = np.full(bounds.shape, 60, np.uint8)
    for z, y, x in rng.integers(0, np.array(bounds.shape) - 24, (150, 3)):
        image[z : z + 24, y : y + 24, x : x + 24] = 220
    spec = default_model(Path("no such folder"))

    def run() -> None:
        segment_region(
            lambda box: image[box.slices()], bounds, Bright(), spec, Grey(), "xy", mode,
            PARAMETERS, lambda share, text: None, bounds=bounds,
        )  # fmt: skip

    run()
    grid = BlockGrid.plan(bounds, mode, "xy")
    blocks = grid.blocks(bounds)
    tiles = [t for b in blocks for t in [b.tile.shape[1:]] * b.sections]
    ready = normalise(np.zeros(tiles[0], np.uint8), Grey())
    floor = seconds(lambda: list(predict_tiles([ready] * len(tiles), Bright(), PARAMETERS)), 2)
    total = seconds(run, 2)
    benchmark.pedantic(run, rounds=1)
    note(
        benchmark,
        mode=mode,
        blocks=len(blocks),
        tile=tiling_for(mode, 16).side,
        sections=len(tiles),
        cpu_s=round(total, 2),
        without_the_network_s=round(total - floor, 2),
        per_megavoxel_ms=round(1000 * (total - floor) / (bounds.size / 1e6), 1),
    )


def note(benchmark: Any, **values: Any) -> None:
    benchmark.extra_info.update(values)
    print(json.dumps(values, indent=2))
