"""Image chunks through the server, beside a bare route and Neuroglancer's own server.

All in one run: the same gunicorn, settings, workers and threads for ours and the bare ones; the
load comes from a process of its own (`chunk_load.py`). Run:
`.venv/bin/python -m pytest tests/bench/test_chunk_route.py --benchmark-only -s`.
"""

from __future__ import annotations

import json
import os
import pickle
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore as ts
from gunicorn_server import Web, free_port, gunicorn, running
from pytest_benchmark.fixture import BenchmarkFixture

from app.storage import instance_id
from segmentation_backend.workspace import Workspace

HERE = Path(__file__).parent
pytestmark = pytest.mark.timeout(1800)

SHAPE = (256, 512, 512)
SIDE = 64
ROUNDS = 7
SECONDS = 1.0
THREADS = "16"
VOXEL_NM = (8.0, 8.0, 8.0)


@dataclass(frozen=True)
class Made:
    """A data directory with the volume `em`, and what the other servers need."""

    folder: Path
    ours: list[str]
    theirs: list[str]
    """The same chunks at Neuroglancer's addresses, `{}` for the encoding."""

    @property
    def environment(self) -> dict[str, str]:
        return {
            "MITOGLANCE_DATA_DIR": str(self.folder / "data"),
            "MITOGLANCE_CATALOGUE_URL": "none",
            "MITOGLANCE_THREADS": THREADS,
            "BARE_CHUNKS": str(self.folder / "chunks.pickle"),
        }


def write_em(path: Path) -> np.ndarray:
    """Write grey noise, which compresses like EM, as zarr chunks of 128³."""
    spec = {
        "driver": "zarr3",
        "kvstore": {"driver": "file", "path": str(path)},
        "metadata": {
            "shape": list(SHAPE),
            "data_type": "uint8",
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [128] * 3}},
            "codecs": [
                {"name": "bytes"},
                {"name": "zstd", "configuration": {"level": 3, "checksum": False}},
            ],
        },
        "create": True,
    }
    voxels = np.random.default_rng(3).normal(130, 14, SHAPE).clip(0, 255).astype(np.uint8)
    ts.open(spec).result().write(voxels).result()
    return voxels


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("chunks")
    voxels = write_em(folder / "em.zarr")
    workspace = Workspace(folder / "data")
    workspace.register("em", str(folder / "em.zarr"), voxel_size=VOXEL_NM)
    instance = instance_id(workspace.engine)
    workspace.close()
    ours, theirs, chunks = [], [], {}
    for z, y, x in product(*(range(0, side, SIDE) for side in SHAPE)):
        name = "_".join(f"{v}-{v + SIDE}" for v in (x, y, z))
        ours.append(f"/image/em/{instance}/0/{name}")
        end = f"{z + SIDE},{y + SIDE},{x + SIDE}"
        theirs.append(f"/neuroglancer/{{}}/bench.{'0' * 40}/1,1,1/{z},{y},{x}/{end}")
        chunks[ours[-1]] = voxels[z : z + SIDE, y : y + SIDE, x : x + SIDE].tobytes()
    (folder / "chunks.pickle").write_bytes(pickle.dumps(chunks))
    return Made(folder, ours, theirs)


@dataclass
class Target:
    """A server and the addresses of its chunks."""

    name: str
    web: Web
    paths: Path

    def load(self, connections: int, seconds: float, *most: int) -> dict[str, Any]:
        words = [self.web.port, connections, seconds, self.paths, *most]
        before = self.web.cpu_s()
        done = subprocess.run(
            [sys.executable, str(HERE / "chunk_load.py"), *map(str, words)],
            stdout=subprocess.PIPE,
            check=True,
        )
        answer: dict[str, Any] = json.loads(done.stdout)
        assert set(answer["statuses"]) == {"200"}, answer["statuses"]
        answer["cpu_us"] = (self.web.cpu_s() - before) / answer["answers"] * 1e6
        return answer


def serve(
    stack: ExitStack, made: Made, name: str, app: str, paths: list[str], **more: str
) -> Target:
    """Run an application in gunicorn; its chunks are those at `paths`."""
    web = stack.enter_context(
        gunicorn({**made.environment, **more}, app=app, ready=paths[0], folders=[HERE])
    )
    return target(made, name, web, paths)


def target(made: Made, name: str, web: Web, paths: list[str]) -> Target:
    file = made.folder / f"{web.port}.paths"
    file.write_text("\n".join(paths))
    return Target(name, web, file)


def serve_neuroglancer(stack: ExitStack, made: Made, encoding: str) -> Target:
    port = free_port()
    paths = [path.format(encoding) for path in made.theirs]
    zarr = str(made.folder / "em.zarr/")
    command = [sys.executable, str(HERE / "chunk_servers.py"), str(port), zarr, encoding]
    ready = f"http://127.0.0.1:{port}{paths[0]}"
    process = stack.enter_context(running(command, ready, os.environ))
    return target(made, f"neuroglancer {encoding}", Web(port, process.pid), paths)


def show(name: str, answers: list[dict[str, Any]]) -> float:
    """Print the medians of some rounds; return the answers per second."""
    middle = {
        key: statistics.median(answer[key] for answer in answers)
        for key in ("per_second", "p50_ms", "p99_ms", "cpu_us", "client_share_of_a_core")
    }
    print(
        f"  {name:24s} {middle['per_second']:8.0f}/s   p50 {middle['p50_ms']:7.2f}  "
        f"p99 {middle['p99_ms']:7.2f} ms   "
        f"server {middle['cpu_us']:6.0f} CPU us each   "
        f"client {middle['client_share_of_a_core']:.2f} cores"
    )
    return middle["per_second"]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


@pytest.mark.parametrize("workers", [1, 2])
def test_warm_chunks(
    benchmark: BenchmarkFixture, made: Made, stack: ExitStack, workers: int
) -> None:
    more = {"MITOGLANCE_WORKERS": str(workers)}
    warm = made.ours[:64]
    targets = [
        serve(stack, made, "ours", "app.wsgi:make_app()", warm, **more),
        serve(stack, made, "bare Flask route", "chunk_servers:bare_route()", warm, **more),
        serve(stack, made, "bare WSGI", "chunk_servers:bare_wsgi()", warm, **more),
        serve_neuroglancer(stack, made, "npz"),
        serve_neuroglancer(stack, made, "jpeg"),
        serve_neuroglancer(stack, made, "raw"),
    ]
    results: dict[str, list[dict[str, Any]]] = {one.name: [] for one in targets}
    for one in targets:
        one.load(16, 1.0)

    def round_() -> None:
        for one in targets:
            results[one.name].append(one.load(16, SECONDS))

    benchmark.pedantic(round_, rounds=ROUNDS)
    print(f"\nWarm chunks, 16 readers, {workers} worker(s), load {os.getloadavg()[0]:.1f}")
    speeds = {name: show(name, answers) for name, answers in results.items()}
    for name, speed in speeds.items():
        pairs = zip(results["ours"], results[name], strict=True)
        near = statistics.median(a["per_second"] / b["per_second"] for a, b in pairs)
        cpu = statistics.median(b["cpu_us"] for b in results[name]) / statistics.median(
            a["cpu_us"] for a in results["ours"]
        )
        print(
            f"  ours / {name}: {speeds['ours'] / speed:.2f} (neighbours in time {near:.2f}; "
            f"per CPU second of the server {cpu:.2f})"
        )
        benchmark.extra_info[name] = round(speed)


def test_cold_chunks(benchmark: BenchmarkFixture, made: Made, stack: ExitStack) -> None:
    """Every chunk once, by 16 readers, from a server that has read none of them."""
    answers: list[dict[str, Any]] = []
    floors: list[float] = []

    def round_() -> None:
        with ExitStack() as once:
            # The last chunk tells whether the server is there; its neighbours are left out.
            environment = {**made.environment, "MITOGLANCE_WORKERS": "2"}
            web = once.enter_context(gunicorn(environment, ready=made.ours[-1]))
            one = target(made, "ours", web, made.ours[:96])
            answers.append(one.load(16, 60.0, 96))
        floors.append(read_without_server(made, 96))

    benchmark.pedantic(round_, rounds=5)
    print(f"\nCold chunks, 16 readers, 2 workers, load {os.getloadavg()[0]:.1f}")
    show("ours", answers)
    print(f"  tensorstore alone, 16 threads: {statistics.median(floors):.0f}/s")


def read_without_server(made: Made, count: int) -> float:
    """Read the same chunks with tensorstore, in a context of its own; return chunks per second."""
    kvstore = {"driver": "file", "path": str(made.folder / "em.zarr/")}
    context = ts.Context({"cache_pool": {"total_bytes_limit": 2**28}})
    begin = time.perf_counter()
    array = ts.open({"driver": "zarr3", "kvstore": kvstore}, context=context).result()

    def read(path: str) -> None:
        x, y, z = (int(part.split("-")[0]) for part in path.rsplit("/", 1)[1].split("_"))
        array[z : z + SIDE, y : y + SIDE, x : x + SIDE].read().result().tobytes()

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(read, made.ours[:count]))
    return count / (time.perf_counter() - begin)
