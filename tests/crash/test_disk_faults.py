"""A disk that is full or read-only: a clear answer, nothing half done, the edit can be repeated.

On a small disk of its own where root may mount one; everywhere else with what makes the same calls
fail: a limit on the size of files, and SQLite's own limits.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy import event
from store_writer import LEVELS, SHAPE

from segmentation_backend.database import open_database
from segmentation_backend.edits import import_labels, merge
from segmentation_backend.errors import ErrorKind, ResourceError
from segmentation_backend.geometry import Roi
from segmentation_backend.labels import LabelRepository, Operation, OperationMeta, open_packs

pytestmark = pytest.mark.crash

WHOLE = Roi((0, 0, 0), SHAPE)
FIRST, SECOND = 0, 6
"""The planes that the two imports of a test write."""
NOTE = {"note": "of several pages " * 500}
"""An operation with it finds no room in the pages that a database already has."""


def commit(
    repository: LabelRepository, kind: str, request_id: str, plane: int = SECOND
) -> Operation:
    """Import noise that compresses badly, or merge the first two objects."""
    meta = OperationMeta(kind, "ann", request_id=request_id, provenance=NOTE)
    if kind == "merge":
        roots = [found.root for found in repository.at().objects(sort="root", limit=2)]
        return repository.commit(merge(repository.at(), roots), meta)
    roi = Roi((plane, 0, 0), (4, *SHAPE[1:]))
    labels = np.random.default_rng(plane).integers(1, 30, roi.shape).astype(np.uint32)
    delta = import_labels(repository.at(), roi, labels, repository.reserve_ids(30))
    return repository.commit(delta, meta)


class Witness:
    """What a store was before something failed; afterwards it must be that, then one step on."""

    def __init__(self, repository: LabelRepository, packs: Path, request_id: str = "r") -> None:
        self.request_id = request_id
        self.repository = repository
        self.packs = packs
        self.head = repository.head
        self.voxels = repository.at().read(WHOLE)

    def sees_nothing_new(self) -> None:
        assert self.repository.head == self.head
        assert self.repository.find_request(self.request_id) is None
        assert np.array_equal(self.repository.at().read(WHOLE), self.voxels)
        assert not list(self.packs.rglob("*.tmp"))

    def sees_one_step(self, kind: str) -> None:
        """Repeat the edit, twice: it is there once."""
        operation = commit(self.repository, kind, self.request_id)
        assert operation.operation_id == self.head + 1
        assert commit(self.repository, kind, self.request_id) == operation
        assert self.repository.head == self.head + 1
        after = self.repository.at().read(WHOLE)
        assert not np.array_equal(after, self.voxels)
        self.repository.sweep_orphans(min_age_s=0.0)
        packs = open_packs(self.packs)
        assert all(packs.verify(name) for name, _ in packs.names())
        fresh = open_store(self.repository._engine.url, self.packs)
        assert np.array_equal(fresh.at().read(WHOLE), after)
        assert np.array_equal(fresh.at(self.head).read(WHOLE), self.voxels)


def open_store(database: Path | sa.URL, packs: Path) -> LabelRepository:
    where = database if isinstance(database, Path) else database.render_as_string()
    return LabelRepository(open_database(where), packs, "v", LEVELS)


# A real disk


class Disk:
    """A file system of a few megabytes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def fill(self) -> None:
        with self._ballast.open("ab", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                return

    def free(self) -> None:
        self._ballast.unlink()

    def remount(self, how: str) -> None:
        # Files that were open a moment ago may keep the disk busy for another one.
        for _ in range(50):
            done = subprocess.run(["mount", "-o", f"remount,{how}", self.path], check=False)
            if done.returncode == 0:
                return
            time.sleep(0.1)
        pytest.fail(f"the disk could not be made {how}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root may mount a disk")
    path = tmp_path / "disk"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode:
        pytest.skip(f"no disk may be mounted here: {done.stderr.strip()}")
    yield Disk(path)
    subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.mark.parametrize(
    ("on_disk", "kind"),
    [("packs", "segment"), ("database", "segment"), ("database", "merge"), ("both", "segment")],
)
def test_a_full_disk(disk: Disk, tmp_path: Path, on_disk: str, kind: str) -> None:
    database = (tmp_path if on_disk == "packs" else disk.path) / "labels.sqlite"
    packs = (tmp_path if on_disk == "database" else disk.path) / "packs"
    repository = open_store(database, packs)
    commit(repository, "segment", "first", FIRST)
    witness = Witness(repository, packs)
    disk.fill()
    for _ in range(2):
        with pytest.raises(ResourceError) as caught:
            commit(repository, kind, "r")
        assert caught.value.kind == ErrorKind.DISK_FULL
        assert "nothing was changed" in str(caught.value)
        witness.sees_nothing_new()
    disk.free()
    witness.sees_one_step(kind)


def test_a_merge_needs_no_room_for_packs(disk: Disk, tmp_path: Path) -> None:
    repository = open_store(tmp_path / "labels.sqlite", disk.path / "packs")
    commit(repository, "segment", "first", FIRST)
    disk.fill()
    assert commit(repository, "merge", "r").operation_id == 2


def test_packs_on_a_read_only_disk(disk: Disk, tmp_path: Path) -> None:
    repository = open_store(tmp_path / "labels.sqlite", disk.path / "packs")
    commit(repository, "segment", "first", FIRST)
    witness = Witness(repository, disk.path / "packs")
    name, _ = next(open_packs(disk.path / "packs").names())
    for number in range(256):  # so that it fails at the file and not at its folder
        (disk.path / "packs" / f"{number:02x}").mkdir(exist_ok=True)
    disk.remount("ro")
    readers = open_store(tmp_path / "labels.sqlite", disk.path / "packs")
    assert np.array_equal(readers.at().read(WHOLE), witness.voxels)
    for call in (
        lambda: commit(repository, "segment", "r"),
        lambda: open_packs(disk.path / "packs").remove(name),
        lambda: open_packs(disk.path / "packs").check(),
        lambda: open_packs(disk.path / "other").write({}),
    ):
        with pytest.raises(ResourceError, match="Read-only file system") as caught:
            call()
        assert caught.value.kind == ErrorKind.SOURCE_UNAVAILABLE
    witness.sees_nothing_new()
    disk.remount("rw")
    witness.sees_one_step("segment")


def test_a_database_on_a_read_only_disk(disk: Disk, tmp_path: Path) -> None:
    repository = open_store(disk.path / "labels.sqlite", tmp_path / "packs")
    commit(repository, "segment", "first", FIRST)
    witness = Witness(repository, tmp_path / "packs")
    repository._engine.dispose()
    disk.remount("ro")
    for kind in ("segment", "merge"):
        with pytest.raises(ResourceError, match="nothing was changed") as caught:
            commit(repository, kind, "r")
        assert caught.value.kind == ErrorKind.SOURCE_UNAVAILABLE
    disk.remount("rw")
    witness.sees_nothing_new()
    witness.sees_one_step("segment")


# Any disk


def commit_where_files_may_not_grow(folder: Path, kind: str) -> None:
    """Commit with files limited to what they are, then again without."""
    repository = open_store(folder / "labels.sqlite", folder / "packs")
    witness = Witness(repository, folder / "packs")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The index of SQLite's log is 32 KiB from its start on; nothing else may grow beyond.
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000 if kind == "segment" else 33_000, before[1]))
    with pytest.raises(ResourceError) as caught:
        commit(repository, kind, "r")
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.kind in (ErrorKind.SOURCE_UNAVAILABLE, ErrorKind.DISK_FULL)
    assert "disk" in caught.value.message
    witness.sees_nothing_new()
    witness.sees_one_step(kind)


@pytest.mark.parametrize("kind", ["segment", "merge"])
def test_files_that_may_not_grow(tmp_path: Path, kind: str) -> None:
    repository = open_store(tmp_path / "labels.sqlite", tmp_path / "packs")
    commit(repository, "segment", "first", FIRST)
    repository._engine.dispose()
    # In a process of its own: the limit holds for everything that a process writes.
    context = multiprocessing.get_context("forkserver")
    child = context.Process(target=commit_where_files_may_not_grow, args=(tmp_path, kind))
    child.start()
    child.join(60)
    assert child.exitcode == 0


@pytest.mark.parametrize(
    ("pragma", "undone", "error", "words"),
    [
        ("max_page_count=1", "max_page_count=1000000", ErrorKind.DISK_FULL, "full"),
        ("query_only=ON", "query_only=OFF", ErrorKind.SOURCE_UNAVAILABLE, "readonly"),
    ],
    ids=["full", "read-only"],
)
@pytest.mark.parametrize("kind", ["segment", "merge"])
def test_a_database_that_takes_nothing_more(
    tmp_path: Path, kind: str, pragma: str, undone: str, error: ErrorKind, words: str
) -> None:
    repository = open_store(tmp_path / "labels.sqlite", tmp_path / "packs")
    commit(repository, "segment", "first", FIRST)
    state = [pragma]

    def obey(connection: object, *_rest: object) -> None:
        connection.execute(f"PRAGMA {state[0]}")  # type: ignore[attr-defined]

    event.listen(repository._engine, "checkout", obey)
    witness = Witness(repository, tmp_path / "packs")
    with pytest.raises(ResourceError) as caught:
        commit(repository, kind, witness.request_id)
    assert caught.value.kind == error
    assert words in caught.value.message
    assert "nothing was changed" in caught.value.message
    state[0] = undone
    witness.sees_nothing_new()
    witness.sees_one_step(kind)
