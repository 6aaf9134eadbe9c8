"""100,000 image chunks of a 107 GB volume, one server: the memory of its processes stays flat.

The volume is zarr of which all but 268 MB were never written. Half of the requests are for what is
written (more than the cache holds), the others anywhere, two in a hundred for a level that is
computed when read. Takes some minutes. Run:
`.venv/bin/python -m pytest tests/bench/test_chunk_soak.py --benchmark-only -s`.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore as ts
from gunicorn_server import Web, gunicorn
from pytest_benchmark.fixture import BenchmarkFixture

from app.storage import instance_id
from segmentation_backend.workspace import Workspace

HERE = Path(__file__).parent
pytestmark = pytest.mark.timeout(3600)

SHAPE = (4096, 5120, 5120)
WRITTEN = (256, 1024, 1024)
SIDE = 64
STEPS = (1_000, 10_000, 25_000, 50_000, 75_000, 100_000)
"""After how many requests the memory is read."""


def write_volume(path: Path) -> None:
    spec = {
        "driver": "zarr3",
        "kvstore": {"driver": "file", "path": str(path)},
        "metadata": {
            "shape": list(SHAPE),
            "data_type": "uint8",
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [128] * 3}},
            "codecs": [{"name": "bytes"}, {"name": "zstd", "configuration": {"level": 1}}],
            "fill_value": 128,
        },
        "create": True,
    }
    store = ts.open(spec).result()
    generator = np.random.default_rng(9)
    for z in range(0, WRITTEN[0], 128):
        slab = generator.integers(90, 170, (128, *WRITTEN[1:]), np.uint8)
        store[z : z + 128, : WRITTEN[1], : WRITTEN[2]].write(slab).result()


def address(instance: str, generator: random.Random) -> str:
    level = 1 if generator.random() < 0.02 else 0
    extent = WRITTEN if generator.random() < 0.5 else SHAPE
    begin = [generator.randrange(0, side >> level, SIDE) for side in extent]
    name = "_".join(f"{v}-{v + SIDE}" for v in reversed(begin))
    return f"/image/huge/{instance}/{level}/{name}"


def memory_mb(web: Web) -> list[int]:
    return [round(one.memory_info().rss / 2**20) for one in web.workers()]


def test_memory_stays_flat(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    write_volume(tmp_path / "huge.zarr")
    workspace = Workspace(tmp_path / "data")
    workspace.register("huge", str(tmp_path / "huge.zarr"), voxel_size=(8.0, 8.0, 8.0))
    instance = instance_id(workspace.engine)
    workspace.close()
    environment = {
        "MITOGLANCE_DATA_DIR": str(tmp_path / "data"),
        "MITOGLANCE_CATALOGUE_URL": "none",
        "MITOGLANCE_WORKERS": "2",
    }
    generator = random.Random(1)
    rows: list[str] = []

    def run() -> None:
        with gunicorn(environment, ready="/image/huge/info") as web:
            rows.append(f"{0:8d} requests   {memory_mb(web)} MB")
            before = 0
            for step in STEPS:
                answer = load(web, step - before, tmp_path, instance, generator)
                rows.append(
                    f"{step:8d} requests   {memory_mb(web)} MB   {answer['per_second']:.0f}/s  "
                    f"p50 {answer['p50_ms']:.1f}  p99 {answer['p99_ms']:.1f} ms"
                )
                before = step

    benchmark.pedantic(run, rounds=1)
    print(f"\nA volume of 107 GB, 16 readers, 2 workers, load {os.getloadavg()[0]:.1f}")
    print("\n".join(rows))


def load(
    web: Web, count: int, folder: Path, instance: str, generator: random.Random
) -> dict[str, Any]:
    file = folder / "paths"
    file.write_text("\n".join(address(instance, generator) for _ in range(count)))
    words = [web.port, 16, 3000, file, count]
    done = subprocess.run(
        [sys.executable, str(HERE / "chunk_load.py"), *map(str, words)],
        stdout=subprocess.PIPE,
        check=True,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    assert answer["statuses"] == {"200": count}, answer["statuses"]
    return answer
