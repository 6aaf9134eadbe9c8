"""The label store with a million edges, objects and operations: edits and reads.

Targets of the issue, each beside a floor that is measured in turn with it. Run:
`.venv/bin/python -m pytest tests/bench/test_label_store.py --benchmark-only -s`. Making the stores
takes one to three minutes and 1.5 GB of temporary disk.
"""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import astuple
from functools import partial
from pathlib import Path
from typing import Any

import large_labels
import many_versions
import pytest
from floors import BareCommit, Timings
from large_labels import Cubes
from pytest_benchmark.fixture import BenchmarkFixture

from segmentation_backend.geometry import Roi
from segmentation_backend.labels import LabelRepository, StoredChunk
from segmentation_backend.labels.chunks import keys_over
from segmentation_backend.workspace.editing import EditContext, Editor
from segmentation_backend.workspace.encoding import encode_labels

pytestmark = pytest.mark.timeout(1800)

BIG = Cubes(side=16, merges=2**20)
"""2^21 supervoxels, and 2^20 each of edges, objects and (some more) operations."""
SMALL = Cubes(side=8, merges=488)
"""1000 operations in all."""

ROUNDS = 200
_requests = itertools.count()


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    large_labels.check_bulk(tmp_path_factory.mktemp("checked"))
    folder = tmp_path_factory.mktemp("big")
    large_labels.make(BIG, folder)
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    large_labels.make(SMALL, folder)
    return folder


@pytest.fixture
def bare(tmp_path: Path) -> BareCommit:
    return BareCommit(tmp_path)


def context() -> EditContext:
    return EditContext("ann", request_id=f"bench-{next(_requests)}")


class Merges:
    """Merges of two objects nobody merged before, as a web process gets them: by points' ids."""

    def __init__(self, repository: LabelRepository, cubes: Cubes, seed: int = 1) -> None:
        self.editor = Editor(repository)
        roots = random.Random(seed).sample(range(1, cubes.supervoxels + 1, 2), 4000)
        self._pairs = zip(roots[::2], roots[1::2], strict=True)

    def __call__(self) -> None:
        self.editor.merge(list(next(self._pairs)), None, context())


def run(benchmark: BenchmarkFixture, round_: Callable[[], Any], rounds: int = ROUNDS) -> None:
    """Let pytest-benchmark count the rounds; what they do is timed one by one (`Timings`)."""
    benchmark.pedantic(round_, rounds=rounds, warmup_rounds=10)


def test_merge(benchmark: BenchmarkFixture, big: Path, bare: BareCommit) -> None:
    timings = Timings()
    merge = Merges(BIG.open(big), BIG)

    def round_() -> None:
        timings.time("bare commit", bare)
        timings.time("merge", merge)

    run(benchmark, round_)
    timings.store_in(benchmark, ["bare commit", "merge"])
    timings.report(
        "Merge acknowledged, after 10^6 operations: at most 8 ms, 3 x the bare commit",
        timings.ratio("merge", "bare commit"),
    )


def test_undo_of_a_merge(benchmark: BenchmarkFixture, big: Path, bare: BareCommit) -> None:
    timings = Timings()
    merge = Merges(BIG.open(big), BIG, seed=2)

    def round_() -> None:
        timings.time("bare commit", bare)
        merge()
        timings.time("undo of a merge", lambda: merge.editor.undo(context(), None))

    run(benchmark, round_)
    timings.store_in(benchmark, ["bare commit", "undo of a merge"])
    timings.report("Undo of a merge: at most 8 ms", timings.ratio("undo of a merge", "bare commit"))


def test_merges_do_not_slow_down(
    benchmark: BenchmarkFixture, big: Path, small: Path, bare: BareCommit
) -> None:
    timings = Timings()
    merges = {
        "after 10^3 operations": Merges(SMALL.open(small), SMALL),
        "after 10^6 operations": Merges(BIG.open(big), BIG, seed=3),
    }

    def round_() -> None:
        for name, merge in merges.items():
            timings.time(name, merge)

    run(benchmark, round_)
    timings.store_in(benchmark, list(merges))
    timings.report(
        "Merges after 10^6 operations / after 10^3: at most 1.3",
        timings.ratio("after 10^6 operations", "after 10^3 operations"),
    )


def test_chunk_not_in_the_cache(benchmark: BenchmarkFixture, big: Path) -> None:
    repository = BIG.open(big, cache_bytes=0)
    packs = repository._storage.packs
    chunks = itertools.cycle(random.Random(4).sample(range(BIG.chunks), 400))
    timings = Timings()

    def round_() -> None:
        roi = BIG.roi(next(chunks))
        view = repository.at()
        (place,) = view.storage.places(list(keys_over(roi, 0)), view.version).values()
        stored = StoredChunk(*astuple(place))  # type: ignore[arg-type]
        timings.time("bytes from the pack", lambda: list(packs.read([stored])))
        labels = timings.time("at() and read", lambda: repository.at().read(roi))
        timings.time("encode", lambda: encode_labels(labels))
        roi = BIG.roi(next(chunks))
        timings.time("all of it", lambda: encode_labels(repository.at().read(roi)))

    run(benchmark, round_, 150)
    timings.store_in(benchmark, ["at() and read", "encode", "all of it"])
    timings.report("One live 64^3 chunk, not in the cache, 10^6 edges: at most 8 ms")


def test_unchanged_chunk(benchmark: BenchmarkFixture, big: Path) -> None:
    repository = BIG.open(big)
    merge = Merges(repository, BIG, seed=5)
    roi = BIG.roi(77)
    timings = Timings()
    repository.at().etag(roi)

    def round_() -> None:
        timings.time("304", lambda: repository.at().etag(roi))
        merge()
        timings.time("304 after a merge elsewhere", lambda: repository.at().etag(roi))

    run(benchmark, round_)
    timings.store_in(benchmark, ["304", "304 after a merge elsewhere"])
    timings.report("304 of an unchanged 64^3 chunk of 512 supervoxels: at most 1 ms")


def test_objects_page(benchmark: BenchmarkFixture, big: Path) -> None:
    repository = BIG.open(big)
    timings = Timings()

    def round_() -> None:
        for sort in ("-voxels", "voxels", "root"):
            timings.time(f"1000 by {sort}", partial(repository.at().objects, sort=sort))
        timings.time(
            "1000 in 128^3", lambda: repository.at().objects(Roi((64, 64, 64), (128, 128, 128)))
        )

    run(benchmark, round_, 10)
    timings.report("One page of 10^6 objects")


def test_random_versions(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    many_versions.make(tmp_path)
    timings = Timings()
    rng = random.Random(8)

    def read(version: int) -> None:
        repository.at(version).read(many_versions.chunk_of(version))

    repository = many_versions.open_store(tmp_path, cache_bytes=0)

    def round_() -> None:
        among = {
            "a random one of the first 100": (1, 100),
            "a random one of 100,000": (1, many_versions.VERSIONS),
        }
        for name, (first, last) in among.items():
            timings.time(name, partial(read, rng.randint(first, last)))

    run(benchmark, round_)
    timings.store_in(benchmark, ["a random one of 100,000"])
    timings.report(
        "Open a version and read a chunk of it, not in the cache: at most 15 ms, early or late",
        timings.ratio("a random one of 100,000", "a random one of the first 100"),
    )


READER = """
import json, random, resource, sys
from pathlib import Path
import psutil
from segmentation_backend.database import open_database
from segmentation_backend.geometry import Roi, ScaleLevel
from segmentation_backend.labels import LabelRepository, StoredChunk
from segmentation_backend.labels.chunks import keys_over
me = psutil.Process()
at_start = me.memory_info().rss
folder, side = Path(sys.argv[1]), int(sys.argv[2])
levels = (ScaleLevel(0, (8.0, 8.0, 8.0), (side * 64,) * 3),)
engine = open_database(folder / "labels.sqlite")
repository = LabelRepository(engine, folder / "packs", "cubes", levels)
opened = me.memory_info().rss
random.seed(6)
for _ in range(100):
    corner = [64 * random.randrange(side) for _ in range(3)]
    repository.at().read(Roi(tuple(corner), (64, 64, 64)))
read = me.memory_info().rss
page = repository.at().objects()
assert len(page) == 1000
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"libraries": at_start, "opened": opened, "100 chunks": read,
                  "and a page": me.memory_info().rss, "peak": peak}))
"""


def test_memory_of_a_reader(benchmark: BenchmarkFixture, big: Path) -> None:
    def read() -> str:
        command = [sys.executable, "-c", READER, str(big), str(BIG.side)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    found = {name: size / 2**20 for name, size in json.loads(benchmark.pedantic(read)).items()}
    print("\nMemory of a reader, 10^6 edges, 10^6 objects: at most 300 MB resident")
    print("  " + ", ".join(f"{name} {size:.0f} MB" for name, size in found.items()))
