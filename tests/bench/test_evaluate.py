"""Scoring a large pair of volumes, as a ratio to reading it once; run by hand.

`python -m pytest tests/bench/test_evaluate.py --benchmark-only`
"""

import time
import tracemalloc

import numpy as np
import pytest

from segmentation_backend.metrics import compare

SIDE = 512


@pytest.fixture(scope="module")
def pair():
    """Return blobs on a grid and the same ones shifted: uint32 (512, 512, 512), 4,096 objects."""
    z, y, x = (np.arange(SIDE, dtype=np.int32) for _ in range(3))
    cell = (z[:, None, None] // 32 * 16 + y[None, :, None] // 32) * 16 + x[None, None, :] // 32 + 1
    truth = np.zeros((SIDE,) * 3, np.uint32)
    for begin in range(0, SIDE, 32):
        part = slice(begin, begin + 32)
        far = [(axis % 32 - 16) ** 2 for axis in (z[part], y, x)]
        ball = far[0][:, None, None] + far[1][None, :, None] + far[2][None, None, :] < 14**2
        truth[part] = np.where(ball, cell[part], 0)
    return np.roll(truth, 2, (0, 1, 2)), truth


@pytest.mark.parametrize("per_slice", [False, True], ids=["objects", "profiles"])
def test_scoring_a_512_cube(pair, per_slice, benchmark):
    pred, truth = pair
    compare(pred[:1], truth[:1], per_slice=per_slice)  # compiled before it is measured
    begin = time.process_time()
    np.unique(pred[:64])
    floor = (time.process_time() - begin) * SIDE / 64
    spent = []

    def work():
        begin = time.process_time()
        compare(pred, truth, per_slice=per_slice)
        spent.append(time.process_time() - begin)

    benchmark.pedantic(work, rounds=2)
    tracemalloc.start()
    compare(pred, truth, per_slice=per_slice)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    benchmark.extra_info.update(
        cpu_s=min(spent),
        of_one_np_unique=min(spent) / floor,
        memory_of_the_pair=peak / (pred.nbytes + truth.nbytes),
    )
    print(benchmark.extra_info)
