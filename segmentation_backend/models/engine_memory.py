"""Which engine was the fastest here: a small file, so that it is measured once per machine."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

__all__ = ["recall", "remember"]

_log = logging.getLogger(__name__)


def recall(memory: Path | None, place: str) -> str | None:
    """Return the engine remembered for a place, or None."""
    entry = _read(memory).get(place)
    engine = entry.get("engine") if isinstance(entry, dict) else None
    return engine if isinstance(engine, str) else None


def remember(memory: Path | None, place: str, engine: str, milliseconds: dict[str, float]) -> None:
    """Keep an engine and what was measured; a file that cannot be written is measured again."""
    if memory is None:
        return
    rounded = {name: round(value, 1) for name, value in milliseconds.items()}
    known = {**_read(memory), place: {"engine": engine, "milliseconds": rounded}}
    part = memory.with_name(f"{memory.name}.{os.getpid()}.part")
    try:
        part.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
        part.replace(memory)
    except OSError as error:
        _log.info("the choice of an engine was not kept: %s", error)


def _read(memory: Path | None) -> dict[str, Any]:
    if memory is None:
        return {}
    try:
        value = json.loads(memory.read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
