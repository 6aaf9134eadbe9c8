"""The network alone, MitoNet's full layout, one 512 x 512 tile: engines beside eager PyTorch.

Targets, two threads: exact at least 1.5 times as fast as eager float32, int8 at least 2.5 times.
Eager is measured in the same run, once as it comes and once with the worker's malloc settings.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.compute import _MALLOC

ROUNDS = 7
THREADS = 2
PLACE = Path(__file__).parent / "network_engines.py"


def measured(malloc: dict[str, str]) -> dict[str, Any]:
    environment = {
        **os.environ,
        **malloc,
        "OMP_NUM_THREADS": str(THREADS),
        "MKL_NUM_THREADS": str(THREADS),
        "OMP_WAIT_POLICY": "PASSIVE",
        "PYTHONWARNINGS": "ignore",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    command = [sys.executable, str(PLACE), "512", str(ROUNDS)]
    answer = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    figures: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return figures


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("malloc", [{}, _MALLOC], ids=["plain malloc", "the worker's malloc"])
def test_engines_on_the_full_network(benchmark: Any, malloc: dict[str, str]) -> None:
    figures = benchmark.pedantic(measured, args=(malloc,), rounds=1)
    engines = figures["engines"]
    exact = {name: e for name, e in engines.items() if e["is_exact"] and name != "eager"}
    fastest = max(exact, key=lambda name: exact[name]["wall_to_eager"])
    benchmark.extra_info.update(
        figures,
        fastest_exact=fastest,
        exact_to_eager=exact[fastest]["wall_to_eager"],
        exact_target=1.5,
        int8_to_eager=engines["int8"]["wall_to_eager"],
        int8_target=2.5,
        load=[round(load, 1) for load in os.getloadavg()],
    )
    print(json.dumps(benchmark.extra_info, indent=2))
