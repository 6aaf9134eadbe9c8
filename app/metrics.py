"""Counters of this process for Prometheus, in its text format."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping

from flask import Flask, Response, current_app, request

__all__ = ["Requests", "init_app", "render", "requests_served"]


class Requests:
    """How many requests each route has answered with each status, in this process."""

    def __init__(self) -> None:
        """Start at zero."""
        self._counts: Counter[tuple[str, str, int]] = Counter()
        self._lock = threading.Lock()

    def add(self, method: str, route: str, status: int) -> None:
        """Count one answer."""
        with self._lock:
            self._counts[method, route, status] += 1

    def samples(self) -> dict[str, float]:
        """Return the counts by their Prometheus labels."""
        with self._lock:
            return {
                f'method="{method}",route="{route}",status="{status}"': count
                for (method, route, status), count in sorted(self._counts.items())
            }


def init_app(app: Flask) -> Requests:
    """Count every answer that Flask gives; return the counters."""
    requests = app.extensions["mitoglance-requests"] = Requests()

    def count(response: Response) -> Response:
        route = request.url_rule.rule if request.url_rule else "none"
        requests.add(request.method, route, response.status_code)
        return response

    app.after_request(count)
    return requests


def requests_served() -> Mapping[str, float]:
    """Return the counts of the application that is answering."""
    requests: Requests = current_app.extensions["mitoglance-requests"]
    return requests.samples()


def render(name: str, kind: str, help_text: str, samples: Mapping[str, float]) -> str:
    """Return one metric: `samples` maps label lists (`a="b"`, or nothing) to values."""
    lines = [f"# HELP {name} {help_text}", f"# TYPE {name} {kind}"]
    lines += [
        f"{name}{{{labels}}} {value:g}" if labels else f"{name} {value:g}"
        for labels, value in samples.items()
    ]
    return "\n".join(lines) + "\n"
