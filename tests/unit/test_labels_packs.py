"""Packs hold what was put in, notice damage, and leave nothing visible when a write fails."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from label_volumes import Editor

from segmentation_backend.database import open_database
from segmentation_backend.edits import import_labels
from segmentation_backend.errors import ErrorKind, FormatError, ResourceError
from segmentation_backend.geometry import Roi
from segmentation_backend.labels import (
    ChunkKey,
    InlineChunk,
    LabelRepository,
    OperationMeta,
    PackFolder,
    StoredChunk,
)

CHUNKS = {ChunkKey(0, 1, 2, 3): InlineChunk(b"some"), ChunkKey(1, 0, 1, 1): InlineChunk(b"bytes")}


def test_chunks_read_back_in_any_order(tmp_path: Path) -> None:
    packs = PackFolder(tmp_path)
    places = packs.write(CHUNKS)
    found = dict(packs.read(reversed(list(places.values()))))
    assert {key: found[place] for key, place in places.items()} == {
        key: chunk.data for key, chunk in CHUNKS.items()
    }
    (pack,) = {place.pack for place in places.values()}
    assert packs.verify(pack) == 2
    assert [name for name, _ in packs.names()] == [pack]


def test_every_write_makes_a_pack_of_its_own(tmp_path: Path) -> None:
    packs = PackFolder(tmp_path)
    names = {next(iter(packs.write(CHUNKS).values())).pack for _ in range(3)}
    assert len(names) == 3


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_chunk_is_an_error_not_zeros(tmp_path: Path, damage: str) -> None:
    packs = PackFolder(tmp_path)
    places = list(packs.write(CHUNKS).values())
    (file,) = tmp_path.glob("*/*.pack")
    content = bytearray(file.read_bytes())
    content[-30] ^= 1
    cut = bytes(content[: len(content) - 25])
    file.write_bytes({"flip": bytes(content), "cut": cut, "empty": b""}[damage])
    with pytest.raises(FormatError) as caught:
        list(packs.read(places))
    assert caught.value.kind == ErrorKind.CORRUPT_CHUNK
    with pytest.raises(FormatError):
        packs.verify(places[0].pack)


def test_every_torn_length_of_a_pack_is_noticed(tmp_path: Path) -> None:
    packs = PackFolder(tmp_path)
    name = next(iter(packs.write(CHUNKS).values())).pack
    (file,) = tmp_path.glob("*/*.pack")
    content = file.read_bytes()
    for length in range(len(content)):
        file.write_bytes(content[:length])
        with pytest.raises(FormatError):
            packs.verify(name)
    file.write_bytes(content)
    assert packs.verify(name) == 2


def test_a_missing_pack_is_unavailable_not_empty(tmp_path: Path) -> None:
    with pytest.raises(ResourceError) as caught:
        list(PackFolder(tmp_path).read([StoredChunk("ab" * 12, 8, 40)]))
    assert caught.value.kind == ErrorKind.SOURCE_UNAVAILABLE


def test_a_pack_and_its_folders_are_synced_and_an_old_one_before_it_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log: list[object] = []
    sync = os.fsync

    def note(descriptor: int) -> None:
        log.append(os.fstat(descriptor).st_ino)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    packs = PackFolder(tmp_path / "new" / "packs", log.append)
    name = next(iter(packs.write(CHUNKS).values())).pack
    file = tmp_path / "new" / "packs" / name[:2] / f"{name}.pack"
    made = [file.parent.parent, file.parent.parent.parent, tmp_path]
    folders, after = log[:3], log[3:]
    assert sorted(folders) == sorted(folder.stat().st_ino for folder in made)  # type: ignore[type-var]
    folder = file.parent.stat().st_ino
    assert after[:3] == ["pack-opened", "pack-written", "pack-renamed"]
    # At once: nobody knows the name yet.
    assert set(after[3:5]) == {file.stat().st_ino, folder}
    assert after[5:] == ["pack-synced", "pack-durable"]
    log.clear()
    packs.put(name, packs.content(name))
    synced = file.stat().st_ino
    assert log == [*after[:2], synced, "pack-renamed", folder, "pack-synced", "pack-durable"]


class FailingPacks(PackFolder):
    """A store on a disk that fails at a step."""

    def __init__(self, folder: Path, step: str, code: int) -> None:
        super().__init__(folder, self.fail)
        self.step, self.code, self.broken = step, code, True

    def fail(self, step: str) -> None:
        if self.broken and step == self.step:
            raise OSError(self.code, os.strerror(self.code))


@pytest.mark.parametrize("step", ["pack-opened", "pack-written", "pack-synced", "pack-renamed"])
@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.ENOSPC, ErrorKind.DISK_FULL),
        (errno.EDQUOT, ErrorKind.DISK_FULL),
        (errno.EROFS, ErrorKind.SOURCE_UNAVAILABLE),
        (errno.EIO, ErrorKind.SOURCE_UNAVAILABLE),
    ],
)
def test_a_failing_disk_changes_nothing_and_the_edit_can_be_repeated(
    tmp_path: Path, step: str, code: int, kind: ErrorKind
) -> None:
    editor = Editor(tmp_path)
    editor.boxes((0, 0, 0))
    before = editor.voxels()
    packs = FailingPacks(tmp_path / "packs", step, code)
    engine = open_database(tmp_path / "labels.sqlite")
    repository = LabelRepository(engine, tmp_path / "packs", "v", editor.levels, packs=packs)
    roi = Roi((20, 20, 20), (5, 5, 5))
    labels = np.ones(roi.shape, dtype=np.uint32)
    meta = OperationMeta("segment", "ann", request_id="r")
    delta = import_labels(repository.at(), roi, labels, repository.reserve_ids(1))
    with pytest.raises(ResourceError) as caught:
        repository.commit(delta, meta)
    assert caught.value.kind == kind
    assert "nothing was changed" in str(caught.value)
    assert repository.head == 1
    assert np.array_equal(editor.voxels(), before)
    assert not list((tmp_path / "packs").glob("*/*.tmp"))
    packs.broken = False
    assert repository.commit(delta, meta).operation_id == 2
    assert editor.repository.at().root_at((22, 22, 22)) == 2


def test_a_failure_inside_the_transaction_changes_nothing(tmp_path: Path) -> None:
    editor = Editor(tmp_path)
    editor.boxes((0, 0, 0), (0, 0, 20))

    def fail(step: str) -> None:
        if step == "rows-written":
            raise KeyboardInterrupt

    repository = LabelRepository(
        open_database(tmp_path / "labels.sqlite"),
        tmp_path / "packs",
        "v",
        editor.levels,
        hook=fail,
    )
    delta = import_labels(
        repository.at(), Roi((20, 20, 20), (2, 2, 2)), np.ones((2, 2, 2), np.uint32), 50
    )
    with pytest.raises(KeyboardInterrupt):
        repository.commit(delta, OperationMeta("segment", "ann", request_id="r"))
    assert editor.repository.head == 1
    assert editor.repository.find_request("r") is None
    assert editor.repository.at().root_at((20, 20, 20)) == 0
    assert editor.merge(1, 2).operation_id == 2


def test_a_damaged_chunk_leaves_other_versions_readable(tmp_path: Path) -> None:
    editor = Editor(tmp_path)
    editor.boxes((0, 0, 0))
    first = set((tmp_path / "packs").glob("*/*.pack"))
    editor.boxes((0, 0, 20))
    (second,) = set((tmp_path / "packs").glob("*/*.pack")) - first
    second.write_bytes(second.read_bytes()[:40])
    reopened = Editor(tmp_path)
    assert reopened.voxels(1).any()
    with pytest.raises(FormatError) as caught:
        reopened.voxels(2)
    assert caught.value.kind == ErrorKind.CORRUPT_CHUNK
