"""A lean HTTP client in a process of its own: many kept connections, one thread, little parsing.

`python chunk_load.py PORT CONNECTIONS SECONDS PATHS_FILE [REQUESTS]` asks for the addresses in the
file (one a line), in turn, each connection one at a time; it prints one line of JSON: answers per
second, latencies in ms, statuses, and what share of a core the client itself took.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path


class Connection:
    """One kept connection, which always has one request on its way."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray(2**20)
        self._view = memoryview(self._buffer)
        self._filled = self._whole = 0
        self.asked = 0.0

    def ask(self, path: str) -> None:
        self._filled = self._whole = 0
        self.asked = time.perf_counter()
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())

    def take(self) -> int | None:
        """Take what has come; return the status when the answer is whole."""
        count = self.socket.recv_into(self._view[self._filled :])
        if not count:
            raise ConnectionError("the server closed a connection")
        self._filled += count
        if not self._whole:
            head = bytes(self._view[: min(self._filled, 2048)])
            end = head.find(b"\r\n\r\n")
            if end < 0:
                return None
            length = head[:end].lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
            self._whole = end + 4 + int(length)
        return int(self._buffer[9:12]) if self._filled >= self._whole else None


def load(
    port: int, connections: int, seconds: float, paths: Iterator[str], most: int
) -> dict[str, object]:
    selector = selectors.DefaultSelector()
    statuses: Counter[int] = Counter()
    times: list[float] = []
    everyone = [Connection(port) for _ in range(connections)]
    asked = 0
    begin, cpu = time.perf_counter(), time.process_time()
    for one in everyone:
        selector.register(one.socket, selectors.EVENT_READ, one)
        one.ask(next(paths))
        asked += 1
    open_requests = asked
    while open_requests:
        for key, _ in selector.select(60):
            one = key.data
            status = one.take()
            if status is None:
                continue
            now = time.perf_counter()
            times.append(now - one.asked)
            statuses[status] += 1
            if now - begin < seconds and asked < most:
                one.ask(next(paths))
                asked += 1
            else:
                open_requests -= 1
    wall, cpu = time.perf_counter() - begin, time.process_time() - cpu
    times.sort()
    return {
        "per_second": len(times) / wall,
        "answers": len(times),
        "statuses": dict(statuses),
        "p50_ms": times[len(times) // 2] * 1e3,
        "p99_ms": times[int(len(times) * 0.99)] * 1e3,
        "max_ms": times[-1] * 1e3,
        "client_share_of_a_core": cpu / wall,
    }


def main() -> None:
    port, connections, seconds, file, *most = sys.argv[1:]
    paths = Path(file).read_text().split()
    limit = int(most[0]) if most else sys.maxsize
    print(json.dumps(load(int(port), int(connections), float(seconds), cycle(paths), limit)))


if __name__ == "__main__":
    main()
