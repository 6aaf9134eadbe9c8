"""A backup back into an empty data directory, on any database; or single packs into one in use."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from segmentation_backend import migrations
from segmentation_backend.database import read, write
from segmentation_backend.database.copies import copy_sqlite
from segmentation_backend.database.engine import connect
from segmentation_backend.database.errors import translated
from segmentation_backend.database.rows import is_empty, load_rows
from segmentation_backend.errors import (
    ConflictError,
    ErrorKind,
    FormatError,
    SegmentationError,
)
from segmentation_backend.labels import PackStore, open_packs
from segmentation_backend.labels.integrity import Progress
from segmentation_backend.sources.specs import CloudSettings
from segmentation_backend.workspace.archive import Archive
from segmentation_backend.workspace.backup import (
    Manifest,
    StoredFile,
    damaged_backup,
    load_manifest,
    read_lines,
    stored_files,
)
from segmentation_backend.workspace.workspace import Workspace

__all__ = ["Place", "Restored", "repair_packs", "restore"]

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a backup is to be restored."""

    data_dir: Path
    database_url: str | None = None
    """None: a SQLite file in the data directory."""
    packs: str | None = None
    """A folder or `s3://bucket/prefix`; None: a folder in the data directory."""
    cloud: CloudSettings | None = None

    def packs_of(self, volume: str) -> PackStore:
        """Return where the packs of a volume go."""
        location = (self.packs or str(self.data_dir / "packs")).rstrip("/")
        return open_packs(f"{location}/{volume}", self.cloud)


@dataclass(frozen=True, slots=True)
class Restored:
    """What was restored."""

    manifest: Manifest
    packs: int
    images: int
    rows: int


def restore(
    archive: Archive,
    place: Place,
    *,
    snapshot: str | None = None,
    forget: Iterable[str] = (),
    progress: Progress = lambda share, sentence: None,
) -> Restored:
    """Restore a backup, the newest without `snapshot`, and check every byte of it on the way.

    Nothing is overwritten: ConflictError NAME_TAKEN when the database has rows, or another pack
    lies where one belongs. The rows come last and all at once; interrupted before, it can be
    repeated. Tables in `forget` stay empty. Raises FormatError CORRUPT_BACKUP for a damaged backup,
    UNSUPPORTED_FORMAT for one of a newer program.
    """
    manifest = load_manifest(archive, snapshot)
    if manifest.revision not in migrations.REVISIONS:
        raise FormatError(
            f"The backup is of Mitoglance {manifest.program} (tables at revision "
            f"{manifest.revision}); this program knows revisions up to {migrations.NEWEST}. "
            "Restore it with that version or a newer one.",
            ErrorKind.UNSUPPORTED_FORMAT,
        )
    place.data_dir.mkdir(parents=True, exist_ok=True)
    engine = connect(place.database_url or f"sqlite:///{place.data_dir / 'mitoglance.sqlite'}")
    try:
        _check_is_empty(engine, place)
        files = stored_files(archive, manifest)
        counts = {"packs": 0, "images": 0}
        for number, file in enumerate(files):
            progress(number / len(files), f"Restoring {file.name.partition('/')[0]}")
            counts[_restore_file(archive, file, place)] += 1
        rows = _restore_rows(archive, manifest, engine, place, tuple(forget))
    finally:
        engine.dispose()
    progress(1.0, "")
    return Restored(manifest, counts["packs"], counts["images"], rows)


def _check_is_empty(engine: sa.Engine, place: Place) -> None:
    if not is_empty(engine):
        raise ConflictError(
            f"The database of {place.data_dir} is not empty; nothing was changed. Restore into "
            "another data directory or database, or move this one away first.",
            ErrorKind.NAME_TAKEN,
        )


def _content(archive: Archive, file: StoredFile) -> bytes:
    if archive.size(file.name) is None:
        raise damaged_backup(file.name, "it is missing")
    with archive.reading(file.name) as stream:
        content = stream.read()
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise damaged_backup(file.name, "it is not what was written")
    return content


def _restore_file(archive: Archive, file: StoredFile, place: Place) -> str:
    """Restore a file and return which kind it is."""
    kind, _, rest = file.name.partition("/")
    content = _content(archive, file)
    if kind == "images":
        _put_file(place.data_dir / file.name, content)
    else:
        volume, _, pack = _parts(rest)
        _put_pack(place.packs_of(volume), pack, content)
    return kind


def _parts(path: str) -> tuple[str, str, str]:
    """Return (volume, folder, pack) of `volume/folder/pack.pack`."""
    volume, folder, file = path.split("/")
    return volume, folder, file.removesuffix(".pack")


def _put_file(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        _check_same(path.read_bytes() == content, str(path))
        return
    temporary = path.with_name(f".{path.name}.part")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _put_pack(packs: PackStore, pack: str, content: bytes) -> None:
    try:
        there = packs.content(pack)
    except SegmentationError:  # it is not there, or cannot be read; then `put` says why
        packs.put(pack, content)
    else:
        _check_same(there == content, f"pack {pack}")


def _check_same(is_same: bool, what: str) -> None:
    if not is_same:
        raise ConflictError(
            f"There is another {what} already, and it is not overwritten. Restore into an empty "
            "place.",
            ErrorKind.NAME_TAKEN,
        )


def _restore_rows(
    archive: Archive, manifest: Manifest, engine: sa.Engine, place: Place, forget: tuple[str, ...]
) -> int:
    with (
        read_lines(archive, f"snapshots/{manifest.name}.rows.zst", manifest.rows_sha256) as lines,
        translated(),
    ):
        # The tables as they were then, so that the rows fit; then as they are now.
        migrations.upgrade(engine, write, copy_sqlite, manifest.revision)
        _check_is_empty(engine, place)
        change: dict[str, Callable[[Row], Row]] = {
            "volumes": partial(_moved, before=manifest.data_dir, now=str(place.data_dir))
        }
        counts = load_rows(engine, lines, forget=forget, change=change)
        migrations.upgrade(engine, write, copy_sqlite, migrations.NEWEST)
    expected = {name: count for name, count in manifest.rows.items() if name not in forget}
    if counts != expected:
        raise damaged_backup("rows", f"there are {counts} instead of {expected}")
    return sum(counts.values())


def _moved(row: Row, *, before: str, now: str) -> Row:
    """Return a volume whose imported image lies in the data directory that it is restored to."""
    image = str(row["image"])
    inside = image.startswith(f"{before}/images/")
    return row | {"image": now + image.removeprefix(before)} if inside else row


def repair_packs(
    archive: Archive,
    workspace: Workspace,
    *,
    snapshot: str | None = None,
    progress: Progress = lambda share, sentence: None,
) -> tuple[int, int]:
    """Bring back packs that are missing or damaged in a data directory that is in use.

    Returns how many were brought back, and how many were looked at.
    """
    files = stored_files(archive, load_manifest(archive, snapshot))
    packs = [file for file in files if file.name.startswith("packs/")]
    repaired = 0
    known = _volumes(workspace)
    for number, file in enumerate(packs):
        progress(number / len(packs), "Looking at packs")
        volume, _, pack = _parts(file.name.partition("/")[2])
        if volume in known:
            store = workspace.packs_of(volume)
            try:
                store.verify(pack)
            except SegmentationError:
                store.put(pack, _content(archive, file))
                repaired += 1
    return repaired, len(packs)


def _volumes(workspace: Workspace) -> set[str]:
    with read(workspace.engine) as connection:
        return set(connection.scalars(sa.text("SELECT name FROM label_volumes")))
