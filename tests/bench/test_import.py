"""`mitoglance import` of a 2 GB volume: bytes of the file per second, memory, and after a kill -9.

Each import is the real command in a process of its own, from a file that is not in the page cache
to a volume that is on the disk. Floors of the same run: reading that file and writing as many
bytes as the volume has, both in plain large pieces. Run by hand, with about 8 GB free:

`python -m pytest tests/bench/test_import.py --benchmark-only -s --basetemp=FOLDER`
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from scipy.ndimage import uniform_filter

from segmentation_backend.geometry import Roi
from segmentation_backend.sources.volume import open_volume

pytestmark = pytest.mark.timeout(1800)

SHAPE = (1024, 1024, 2048)
PIECE = 2**25
MEGABYTE = 1e6


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a NPY file, uint8 (1024, 1024, 2048): soft shapes and the noise of a detector."""
    random = np.random.default_rng(0)
    slab = (64, *SHAPE[1:])
    soft = uniform_filter(random.standard_normal(slab, np.float32), 7, mode="wrap")
    grey = 128 + soft * (30 / soft.std()) + 12 * random.standard_normal(slab, np.float32)
    part = np.clip(grey, 0, 255).astype(np.uint8)
    path = tmp_path_factory.mktemp("stack") / "em.npy"
    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": SHAPE}
        np.lib.format.write_array_header_1_0(file, header)
        for index in range(SHAPE[0] // slab[0]):
            np.roll(part, 37 * index, axis=1).tofile(file)
        file.flush()
        os.fsync(file.fileno())
    yield path
    path.unlink()


def forget(path: Path) -> None:
    """Have the next read of a file come from the disk."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_plainly(path: Path) -> None:
    piece = bytearray(PIECE)
    with path.open("rb", buffering=0) as file:
        while file.readinto(piece):
            pass


def write_plainly(path: Path, size: int) -> None:
    piece = os.urandom(PIECE)
    with path.open("wb", buffering=0) as file:
        for _ in range(-(-size // PIECE)):
            file.write(piece)
        os.fsync(file.fileno())
    path.unlink()


def timed(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def command(stack: Path, folder: Path) -> "subprocess.Popen[bytes]":
    arguments = ["import", str(stack), "--name", "em", "--voxel-size", "8,8,8"]
    return subprocess.Popen(
        [sys.executable, "-m", "app", *arguments, "--data-dir", str(folder)],
        stdout=subprocess.DEVNULL,
        cwd=Path(__file__).parents[2],
    )


def finished(process: "subprocess.Popen[bytes]") -> tuple[float, float]:
    """Return the peak resident memory (MB) and the CPU seconds of a process that did its work."""
    peak, cpu = 0.0, 0.0
    watched = psutil.Process(process.pid)
    while process.poll() is None:
        with contextlib.suppress(psutil.Error, StopIteration, OSError):
            # What `wait4` gives begins with the memory of the process that forked.
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            line = next(line for line in lines if line.startswith("VmHWM"))
            peak = int(line.split()[1]) * 1024 / MEGABYTE
            cpu = sum(watched.cpu_times()[:2])
        time.sleep(0.05)
    assert process.returncode == 0
    return peak, cpu


def size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def made_in(folder: Path) -> Path:
    (path,) = folder.rglob("em.zarr")
    return path


def check(stack: Path, folder: Path) -> None:
    """Compare level 0 with the file, and a part of level 1 with its means, rounded to even."""
    volume = open_volume(str(made_in(folder)))
    truth = np.load(stack, mmap_mode="r")
    for begin in range(0, SHAPE[0], 128):
        part = truth[begin : begin + 128]
        fine = volume.read(Roi((begin, 0, 0), part.shape))
        np.testing.assert_array_equal(fine, part)
        means = part[:, :64, :128].reshape(64, 2, 32, 2, 64, 2).mean((1, 3, 5))
        coarse = volume.read(Roi((begin // 2, 0, 0), (64, 32, 64)), 1)
        np.testing.assert_array_equal(coarse, np.rint(means))


def test_import(stack: Path, tmp_path: Path, benchmark: BenchmarkFixture) -> None:
    megabytes = stack.stat().st_size / MEGABYTE
    forget(stack)
    reading = timed(lambda: read_plainly(stack))
    forget(stack)
    used: list[tuple[float, float]] = []
    load = os.getloadavg()[0]
    benchmark.pedantic(lambda: used.append(finished(command(stack, tmp_path))), rounds=1)
    seconds = benchmark.stats.stats.max
    written = size_of(made_in(tmp_path))
    check(stack, tmp_path)
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    writing = timed(lambda: write_plainly(tmp_path / "plain", written))
    ((peak, cpu),) = used
    benchmark.extra_info.update(mb_per_s=megabytes / seconds, peak_mb=peak, cpu_s=cpu)
    print(
        f"\n{megabytes:.0f} MB in {seconds:.1f} s: {megabytes / seconds:.0f} MB/s (150 wanted), "
        f"{cpu:.1f} CPU s, {peak:.0f} MB resident (1000 allowed), load before {load:.1f}\n"
        f"floors: reading {megabytes / reading:.0f} MB/s ({reading:.1f} s), writing "
        f"{written / MEGABYTE:.0f} MB {written / MEGABYTE / writing:.0f} MB/s ({writing:.1f} s); "
        f"import / both floors: {seconds / (reading + writing):.2f}"
    )


def test_import_after_a_kill(stack: Path, tmp_path: Path, benchmark: BenchmarkFixture) -> None:
    process = command(stack, tmp_path)
    start = time.perf_counter()
    while done_of(tmp_path) < SHAPE[0] // 128:
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before, done = time.perf_counter() - start, done_of(tmp_path)
    benchmark.pedantic(lambda: finished(command(stack, tmp_path)), rounds=1)
    check(stack, tmp_path)
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    print(
        f"\nkilled after {before:.1f} s with {done} blocks of level 0 on record; the rest took "
        f"{benchmark.stats.stats.max:.1f} s"
    )


def done_of(folder: Path) -> int:
    """Return how many blocks of level 0 an unfinished import has on record."""
    for record in folder.rglob("import.json"):
        return int(json.loads(record.read_bytes())["done"].get("0", 0))
    return 0
