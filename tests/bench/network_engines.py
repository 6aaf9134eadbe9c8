"""Times the engines on MitoNet's full layout and prints JSON; run in an environment of its own.

Weights are random and batch norms given something to do: the published file has the same layout,
and what its numbers are changes no speed. Engines take turns, so that load meets all alike.
"""

from __future__ import annotations

import io
import json
import statistics
import sys
import time

import torch

from segmentation_backend.models import openvino
from segmentation_backend.models.engines import FastNetwork, is_exact, loss_of
from segmentation_backend.models.int8 import calibration_images
from segmentation_backend.models.mitonet import MitoNet, full_config


def full_network() -> MitoNet:
    torch.manual_seed(0)
    network = MitoNet(full_config()).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return network


def main(side: int, rounds: int) -> None:
    network = full_network()
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(network), file)
    scripted = torch.jit.load(io.BytesIO(file.getvalue())).eval()
    engines = ["fused", *(["openvino"] if openvino.is_installed() else []), "int8"]
    image = calibration_images(side, 1)[0]
    programs = {"eager": lambda x: network(x, 2, False)}
    for name in engines:
        programs[name] = FastNetwork(scripted, name).program((side, side), 2, False)[1]
    wall = {name: [] for name in programs}
    cpu = {name: [] for name in programs}
    maps = {}
    with torch.inference_mode():
        for _ in range(rounds):
            for name, program in programs.items():
                start, used = time.perf_counter(), time.process_time()
                maps[name] = program(image)
                wall[name].append(1000 * (time.perf_counter() - start))
                cpu[name].append(1000 * (time.process_time() - used))
    figures = {}
    for name in programs:
        figures[name] = {
            "wall_ms": round(min(wall[name]), 1),
            "wall_median_ms": round(statistics.median(wall[name]), 1),
            "cpu_ms": round(min(cpu[name]), 1),
            "wall_to_eager": round(min(wall["eager"]) / min(wall[name]), 2),
            "cpu_to_eager": round(min(cpu["eager"]) / min(cpu[name]), 2),
            "is_exact": is_exact(maps["eager"], maps[name]),
            "loss": loss_of(maps["eager"], maps[name]).__repr__(),
        }
    print(json.dumps({"threads": torch.get_num_threads(), "engines": figures}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
