"""A running server, asked without a browser: what the labels really are."""

from __future__ import annotations

import io
import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil

ROOT = Path(__file__).parents[2]
FIBSEM = ROOT.parent / "shared" / "data" / "fibsem_fly_fib25"


@dataclass(frozen=True)
class Server:
    url: str
    data_dir: Path = Path()

    def wait_until_ready(self, process: subprocess.Popen[bytes], log: Path, limit_s: float) -> None:
        end = time.monotonic() + limit_s
        while "Mitoglance is ready at" not in log.read_text():
            if process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"the server did not start:\n{log.read_text()[-4000:]}")
            time.sleep(0.1)

    def request(self, method: str, path: str, body: object = None, user: str = "script") -> Any:
        """Return the JSON of an answer of the API; an error's JSON too."""
        request = urllib.request.Request(
            f"{self.url}/api/v1{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "X-Mitoglance-User": user},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            return json.load(error)

    def labels(
        self,
        volume: str,
        offset: Sequence[int],
        shape: Sequence[int],
        version: int | None = None,
    ) -> npt.NDArray[np.uint64]:
        """Return root ids of a box (z, y, x)."""
        box = f"offset={','.join(map(str, offset))}&shape={','.join(map(str, shape))}"
        at = "" if version is None else f"&version={version}"
        path = f"{self.url}/api/v1/volumes/{volume}/cutout?{box}{at}"
        with urllib.request.urlopen(path, timeout=60) as answer:
            array: npt.NDArray[np.uint64] = np.load(io.BytesIO(answer.read()))
        return array

    def root_at(self, volume: str, voxel: Sequence[int], version: int | None = None) -> int:
        return int(self.labels(volume, voxel, (1, 1, 1), version)[0, 0, 0])

    def head(self, volume: str) -> int:
        return int(self.request("GET", f"/volumes/{volume}")["version"])

    def operations(self, volume: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.request("GET", f"/volumes/{volume}/operations")[
            "operations"
        ]
        return found


@contextmanager
def workers_at_rest() -> Iterator[None]:
    """Stop every worker process that computes; they go on afterwards as if nothing had been."""
    workers = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if "MALLOC_TOP_PAD_" in process.environ():
                process.suspend()
                workers.append(process)
    try:
        yield
    finally:
        for process in workers:
            with suppress(psutil.Error):
                process.resume()
