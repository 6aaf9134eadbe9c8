"""What the figures are compared with: the least the same machine needs in the same minute."""

from __future__ import annotations

import os
import sqlite3
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


class BareCommit:
    """One row and one COMMIT that waits for the disk (SQLite, WAL, synchronous=FULL)."""

    def __init__(self, folder: Path) -> None:
        self._connection = sqlite3.connect(folder / "bare.sqlite", isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, value INTEGER)")

    def __call__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.execute("INSERT INTO rows (value) VALUES (1)")
        self._connection.execute("COMMIT")


class Timings:
    """Times of several things done in turn, so that each meets the same load."""

    def __init__(self) -> None:
        self._seconds: dict[str, list[float]] = {}

    def time(self, name: str, action: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = action()
        self._seconds.setdefault(name, []).append(time.perf_counter() - start)
        return result

    def ms(self, name: str, share: float = 0.5) -> float:
        ordered = sorted(self._seconds[name])
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1e3

    def line(self, name: str) -> str:
        values = [self.ms(name, share) for share in (0.1, 0.5, 0.95)]
        return f"{name:32s} p10 {values[0]:8.3f}  p50 {values[1]:8.3f}  p95 {values[2]:8.3f} ms"

    def report(self, title: str, *notes: str) -> None:
        load = os.getloadavg()[0]
        print(f"\n{title} (load {load:.1f})")
        for name, seconds in self._seconds.items():
            print(f"  {self.line(name)}  n={len(seconds)}")
        for note in notes:
            print(f"  {note}")

    def ratio(self, name: str, floor: str) -> str:
        """Return the ratio of medians, and the median of the ratios of neighbours in time."""
        pairs = zip(self._seconds[name], self._seconds[floor], strict=False)
        near = statistics.median(a / b for a, b in pairs)
        of_medians = self.ms(name) / self.ms(floor)
        return f"{name} / {floor}: {of_medians:.2f} (of neighbours in time: {near:.2f})"

    def store_in(self, benchmark: Any, names: Sequence[str]) -> None:
        """Have the benchmark's record say the medians, too."""
        for name in names:
            benchmark.extra_info[name] = round(self.ms(name), 4)
