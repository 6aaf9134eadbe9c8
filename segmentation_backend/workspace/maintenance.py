"""Looking after a data directory: is everything as promised, and what can go."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import sqlalchemy as sa

from segmentation_backend.database import hold, read
from segmentation_backend.errors import SegmentationError
from segmentation_backend.labels.findings import Finding, Severity
from segmentation_backend.labels.garbage import Garbage, collect_garbage
from segmentation_backend.labels.integrity import Progress, check_labels
from segmentation_backend.labels.pack_integrity import ORPHAN_AGE_S
from segmentation_backend.labels.schema import VOLUMES
from segmentation_backend.workspace.previews import KEEP_S
from segmentation_backend.workspace.workspace import Workspace

__all__ = [
    "ORPHAN_AGE_S",
    "Finding",
    "Garbage",
    "Pinned",
    "Severity",
    "WorkspaceGarbage",
    "check_workspace",
    "collect_workspace_garbage",
]

Pinned = Callable[[sa.Connection], Mapping[str, Collection[int]]]
"""Returns the versions of each volume that something outside the label store shows, and keeps more
from coming until the transaction ends."""

_LEFT_OVERS = ("*.part", "images/.*", "models/*.part", "previews/.*")
"""What is written under another name first, and stays when its writer is killed."""

_LEFT_OVER_AGE_S = 24 * 3600.0
"""Younger ones may belong to an import that is under way."""


def check_workspace(
    workspace: Workspace,
    *,
    all_versions: bool = False,
    progress: Progress = lambda share, sentence: None,
) -> Iterator[Finding]:
    """Yield what is wrong with a data directory's database, volumes and packs.

    Others may go on editing; nothing is removed meanwhile. Raises ConflictError
    MAINTENANCE_RUNNING while something is being removed.
    """
    with hold(workspace.engine, "A check", shared=True):
        yield from _database(workspace.engine)
        names = [info.name for info in workspace.volumes()]
        yield from _strangers(workspace.engine, names)
        for number, name in enumerate(names):

            def show(share: float, sentence: str, done: int = number) -> None:
                progress((done + share) / len(names), sentence)

            repository = workspace.repository(name)
            for finding in check_labels(repository, all_versions=all_versions, progress=show):
                yield replace(finding, where=f"{name}, {finding.where}")
    progress(1.0, "")


def _database(engine: sa.Engine) -> Iterator[Finding]:
    """The database file itself is sound (SQLite)."""
    if engine.dialect.name != "sqlite":
        return
    way_out = "Stop the server and restore the newest backup (mitoglance restore)."
    try:
        with read(engine) as connection:
            lines = connection.scalars(sa.text("PRAGMA integrity_check")).all()
    except SegmentationError as err:
        lines = [err.message]
    if lines != ["ok"]:
        yield Finding("database_is_sound", "the database", "; ".join(lines[:5]), way_out)


def _strangers(engine: sa.Engine, names: Collection[str]) -> Iterator[Finding]:
    """Each label volume has an image in the catalogue."""
    with read(engine) as connection:
        known = connection.scalars(sa.select(VOLUMES.c.name).order_by(VOLUMES.c.name)).all()
    for name in known:
        if name not in names:
            yield Finding(
                "labels_have_a_volume",
                name,
                "There are labels of this name, but no such volume is registered.",
                "Register its image again under this name to see and check them.",
                Severity.NOTE,
            )


@dataclass(frozen=True, slots=True)
class WorkspaceGarbage:
    """What a data directory holds that nothing needs."""

    volumes: Mapping[str, Garbage]
    files: tuple[Path, ...]
    """Expired previews, and what killed processes left."""


def collect_workspace_garbage(
    workspace: Workspace,
    pinned: Pinned,
    *,
    min_age_s: float = ORPHAN_AGE_S,
    delete: bool = False,
    progress: Progress = lambda share, sentence: None,
) -> WorkspaceGarbage:
    """Return what nothing needs any more and, with `delete`, remove it; others may go on editing.

    See `collect_garbage` for what is kept. Raises ConflictError MAINTENANCE_RUNNING while a backup
    or a check is under way.
    """
    with hold(workspace.engine, "A clean-up", shared=not delete):
        names = [info.name for info in workspace.volumes()]
        volumes: dict[str, Garbage] = {}
        for number, name in enumerate(names):
            progress(number / len(names), name)

            def of_volume(connection: sa.Connection, volume: str = name) -> Collection[int]:
                return pinned(connection).get(volume, ())

            volumes[name] = collect_garbage(
                workspace.repository(name), pinned=of_volume, min_age_s=min_age_s, delete=delete
            )
        files = tuple(_left_overs(workspace.data_dir))
        if delete:
            for path in files:
                _remove(path)
    progress(1.0, "")
    return WorkspaceGarbage(volumes, files)


def _left_overs(data_dir: Path) -> Iterator[Path]:
    now = time.time()
    for path in sorted((data_dir / "previews").glob("*.preview")):
        if now - _newest(path) > KEEP_S:
            yield path
    for pattern in _LEFT_OVERS:
        for path in sorted(data_dir.glob(pattern)):
            if now - _newest(path) > _LEFT_OVER_AGE_S:
                yield path


def _newest(path: Path) -> float:
    """Return when a file, or anything in a folder, was last written to."""
    times = [0.0]
    for part in (path, *path.rglob("*")):
        with suppress(FileNotFoundError):
            times.append(part.stat().st_mtime)
    return max(times)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
