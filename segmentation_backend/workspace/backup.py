"""A copy of a data directory as it was at one moment, made while others edit.

In an archive, by name:

    packs/<volume>/…          label packs; never change, so a later backup adds new ones only
    images/…                  imported images, when asked for
    snapshots/<time>.rows.zst all rows of the database (`database.rows`)
    snapshots/<time>.files.zst one JSON array per pack or image: name, bytes, SHA-256
    snapshots/<time>.json     the manifest, written last: without it there is no backup
"""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import sqlalchemy as sa
import zstandard

from segmentation_backend.database import hold, read
from segmentation_backend.database.copies import copy_sqlite
from segmentation_backend.database.engine import connect
from segmentation_backend.database.rows import dump_rows
from segmentation_backend.errors import ErrorKind, FormatError, NotFoundError, SegmentationError
from segmentation_backend.labels.integrity import Progress
from segmentation_backend.labels.pack_format import check_pack, relative_path
from segmentation_backend.labels.pack_integrity import named_packs
from segmentation_backend.labels.schema import VOLUMES
from segmentation_backend.workspace.archive import Archive
from segmentation_backend.workspace.workspace import Workspace

__all__ = [
    "BackupReport",
    "Manifest",
    "StoredFile",
    "back_up",
    "list_backups",
    "load_manifest",
    "pack_file",
    "read_lines",
    "stored_files",
]

FORMAT = 1
_SNAPSHOTS = "snapshots"


class StoredFile(NamedTuple):
    """A pack or an image file of a backup."""

    name: str
    """In the archive: `packs/<volume>/…` or `images/…`."""
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup holds."""

    name: str
    """Its time, UTC: 20261122T231502.417."""
    program: str
    """The version of Mitoglance that made it."""
    revision: str
    """The revision that the tables were at."""
    data_dir: str
    rows: dict[str, int]
    """Rows per table."""
    rows_sha256: str
    files_sha256: str
    damaged: list[str]
    """Packs that could not be read, and are not in the backup."""
    format: int = FORMAT


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What a backup has added."""

    manifest: Manifest
    new_files: int
    new_bytes: int
    all_files: int


def pack_file(volume: str, pack: str) -> str:
    """Return the name of a pack in an archive."""
    return f"packs/{volume}/{relative_path(pack)}"


def back_up(
    workspace: Workspace,
    archive: Archive,
    program: str,
    *,
    images: bool = False,
    progress: Progress = lambda share, sentence: None,
) -> BackupReport:
    """Copy a data directory as it is now; everybody may go on editing.

    The database is frozen first and the packs it names are copied after that: they never change,
    and nothing is removed meanwhile. A pack that cannot be read is left out and listed in the
    manifest. Raises ConflictError MAINTENANCE_RUNNING while something is being removed.
    """
    name = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")[:-3]
    at = f"{_SNAPSHOTS}/{name}"
    known = _known_files(archive)
    with hold(workspace.engine, "A backup", shared=True):
        progress(0.0, "Freezing the database")
        with _frozen(workspace.engine) as engine, read(engine) as connection:
            with _compressed(archive, f"{at}.rows.zst") as (output, rows_digest):
                revision, counts = dump_rows(engine, output)
            packs = _packs(connection)
        copy = _Copy(workspace, archive, known, progress)
        copy.packs(packs)
        if images:
            copy.images()
    with _compressed(archive, f"{at}.files.zst") as (output, files_digest):
        for file in copy.files:
            output.write(json.dumps(file).encode() + b"\n")
    manifest = Manifest(
        name,
        program,
        revision,
        str(workspace.data_dir),
        counts,
        rows_digest(),
        files_digest(),
        copy.damaged,
    )
    with archive.writing(f"{at}.json") as stream:
        stream.write(json.dumps(asdict(manifest), indent=1).encode() + b"\n")
    progress(1.0, "")
    return BackupReport(manifest, copy.new_files, copy.new_bytes, len(copy.files))


@contextmanager
def _frozen(engine: sa.Engine) -> Iterator[sa.Engine]:
    """Yield a database that holds what `engine` holds now, in one transaction or for good."""
    if engine.dialect.name != "sqlite":
        # One transaction of PostgreSQL sees one state, however long it takes.
        yield engine
        return
    # A long transaction would let SQLite's log grow; a copy is made quickly.
    with tempfile.TemporaryDirectory(prefix="mitoglance-backup-") as folder:
        copy = Path(folder) / "frozen.sqlite"
        copy_sqlite(Path(str(engine.url.database)), copy)
        frozen = connect(f"sqlite:///{copy}")
        try:
            yield frozen
        finally:
            frozen.dispose()


def _packs(connection: sa.Connection) -> list[tuple[str, str]]:
    """Return (volume, pack) of every pack that a row names, in order."""
    v = VOLUMES.c
    volumes = connection.execute(sa.select(v.volume_id, v.name).order_by(v.name)).all()
    return [
        (name, pack)
        for volume_id, name in volumes
        for pack in sorted(named_packs(connection, volume_id))
    ]


class _Copy:
    """Copies what an archive lacks, and keeps the list of what belongs to the backup."""

    def __init__(
        self,
        workspace: Workspace,
        archive: Archive,
        known: dict[str, StoredFile],
        progress: Progress,
    ) -> None:
        self.files: list[StoredFile] = []
        self.damaged: list[str] = []
        self.new_files = 0
        self.new_bytes = 0
        self._workspace = workspace
        self._archive = archive
        self._known = known
        self._progress = progress

    def packs(self, packs: list[tuple[str, str]]) -> None:
        for number, (volume, pack) in enumerate(packs):
            self._progress(number / len(packs), f"Copying packs of {volume}")
            name = pack_file(volume, pack)
            if not self._is_there(name):
                try:
                    content = self._workspace.packs_of(volume).content(pack)
                    check_pack(content, pack)
                except SegmentationError as err:
                    self.damaged.append(f"{name}: {err.message}")
                else:
                    self._add(name, content)

    def images(self) -> None:
        root = self._workspace.data_dir
        files = [p for p in sorted((root / "images").rglob("*")) if p.is_file()]
        for number, path in enumerate(files):
            relative = path.relative_to(root)
            if any(part.startswith(".") for part in relative.parts[:2]):
                continue  # an import that is under way
            self._progress(number / len(files), "Copying images")
            if not self._is_there(relative.as_posix(), path.stat().st_size):
                self._add(relative.as_posix(), path.read_bytes())

    def _is_there(self, name: str, size: int | None = None) -> bool:
        known = self._known.get(name)
        if known is None or self._archive.size(name) != known.size:
            return False
        if size is not None and size != known.size:
            return False
        self.files.append(known)
        return True

    def _add(self, name: str, content: bytes) -> None:
        with self._archive.writing(name) as output:
            output.write(content)
        self.files.append(StoredFile(name, len(content), hashlib.sha256(content).hexdigest()))
        self.new_files += 1
        self.new_bytes += len(content)


def _known_files(archive: Archive) -> dict[str, StoredFile]:
    """Return what the newest backup in an archive says it holds."""
    for manifest in list_backups(archive):
        return {file.name: file for file in stored_files(archive, manifest)}
    return {}


def list_backups(archive: Archive) -> list[Manifest]:
    """Return the backups in an archive, the newest first."""
    names = [name for name in archive.names(_SNAPSHOTS) if name.endswith(".json")]
    return [_manifest(archive, name) for name in reversed(names)]


def load_manifest(archive: Archive, name: str | None) -> Manifest:
    """Return a backup by its name, or (None) the newest; NotFoundError PATH_NOT_FOUND."""
    found = list_backups(archive)
    for manifest in found:
        if name in (None, manifest.name):
            return manifest
    known = ", ".join(manifest.name for manifest in found) or "none"
    raise NotFoundError(
        f"There is no backup {name or 'at all'} here; there are: {known}.",
        ErrorKind.PATH_NOT_FOUND,
    )


def _manifest(archive: Archive, name: str) -> Manifest:
    with archive.reading(name) as stream:
        content = stream.read()
    try:
        values = json.loads(content)
        if values["format"] == FORMAT:
            return Manifest(**values)
        why = f"its format is {values['format']}, this program reads {FORMAT}"
    except (ValueError, TypeError, KeyError):
        why = "it is not what a backup writes"
    raise FormatError(
        f"The manifest {name} of the backup cannot be read: {why}. Take another backup, or the "
        "Mitoglance that made it.",
        ErrorKind.UNSUPPORTED_FORMAT,
    )


def stored_files(archive: Archive, manifest: Manifest) -> list[StoredFile]:
    """Return the packs and images of a backup; FormatError CORRUPT_BACKUP for a damaged list."""
    name = f"{_SNAPSHOTS}/{manifest.name}.files.zst"
    with read_lines(archive, name, manifest.files_sha256) as lines:
        return [StoredFile(*json.loads(line)) for line in lines]


# Compressed streams


@contextmanager
def _compressed(archive: Archive, name: str) -> Iterator[tuple[BinaryIO, Callable[[], str]]]:
    """Yield a stream to write to, and what returns the SHA-256 of the file once it is closed."""
    with archive.writing(name) as raw:
        hashed = _Hashed(raw)
        target = cast(BinaryIO, hashed)
        with zstandard.ZstdCompressor(level=3).stream_writer(target, closefd=False) as output:
            yield cast(BinaryIO, output), hashed.hexdigest


class _Hashed(io.RawIOBase):
    """Passes bytes on and hashes them."""

    def __init__(self, output: BinaryIO) -> None:
        super().__init__()
        self._output = output
        self._digest = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:  # noqa: ANN401  (whatever has the buffer interface)
        self._digest.update(content)
        return self._output.write(content)

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


@contextmanager
def read_lines(archive: Archive, name: str, sha256: str) -> Iterator[Iterator[bytes]]:
    """Yield the lines of a compressed file after comparing it with its checksum.

    Raises FormatError CORRUPT_BACKUP.
    """
    if archive.size(name) is None:
        raise damaged_backup(name, "it is missing")
    with archive.reading(name) as raw:
        digest = hashlib.sha256()
        while part := raw.read(2**20):
            digest.update(part)
    if digest.hexdigest() != sha256:
        raise damaged_backup(name, "it is not what was written")
    with archive.reading(name) as raw, zstandard.ZstdDecompressor().stream_reader(raw) as stream:
        yield iter(io.BufferedReader(stream, 2**20))


def damaged_backup(name: str, why: str) -> FormatError:
    """Return the error for a file of a backup that is not what it was."""
    return FormatError(
        f"The backup is damaged: {name}: {why}. Take another backup of the folder (--list shows "
        "them), or the same one from another disk.",
        ErrorKind.CORRUPT_BACKUP,
    )
