"""Packs in a bucket are checked, cleaned up, backed up and restored like those in a folder."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from s3_writer import SHAPE, WHOLE, Place, bars, digests, edit_everything

from segmentation_backend.edits import import_labels
from segmentation_backend.errors import ConflictError
from segmentation_backend.labels import OperationMeta, open_packs
from segmentation_backend.labels.garbage import collect_garbage
from segmentation_backend.workspace.archive import create_archive, open_archive
from segmentation_backend.workspace.backup import back_up
from segmentation_backend.workspace.maintenance import check_workspace
from segmentation_backend.workspace.restore import Place as Target
from segmentation_backend.workspace.restore import repair_packs, restore


@pytest.fixture
def place(tmp_path: Path, s3: Any) -> Place:
    np.savez(tmp_path / "cell.npz", em=np.zeros(SHAPE, np.uint8))
    found = Place(tmp_path / "data", s3.url(f"labels/{tmp_path.name}"), s3.endpoint)
    workspace = found.open()
    workspace.register("cell", str(tmp_path / "cell.npz"), dataset="em", voxel_size=(8.0, 8.0, 8.0))
    found.fill(workspace, bars(), "ana")
    edit_everything(workspace, "ana")
    workspace.close()
    return found


def test_a_backup_goes_from_a_bucket_to_a_folder_and_back(place: Place, tmp_path: Path) -> None:
    workspace = place.open()
    expected = digests(workspace)
    with create_archive(tmp_path / "backup") as archive:
        first = back_up(workspace, archive, "test")
        assert first.new_files > 0
        assert back_up(workspace, archive, "test").new_files == 0
    workspace.close()
    with open_archive(tmp_path / "backup") as archive:
        restore(archive, Target(tmp_path / "local"))
        bucket = Target(tmp_path / "new", packs=f"{place.packs}-restored", cloud=place.cloud)
        restore(archive, bucket)
    for restored in (
        Place(tmp_path / "local", str(tmp_path / "local" / "packs"), place.endpoint),
        Place(tmp_path / "new", f"{place.packs}-restored", place.endpoint),
    ):
        opened = restored.open()
        assert digests(opened) == expected
        assert list(check_workspace(opened)) == []
        opened.close()


def test_damage_in_a_bucket_is_found_and_repaired(place: Place, tmp_path: Path) -> None:
    workspace = place.open()
    with create_archive(tmp_path / "backup.zip") as archive:
        back_up(workspace, archive, "test")
    packs = open_packs(f"{place.packs}/cell", place.cloud)
    name, _ = next(iter(packs.names()))
    packs.remove(name)
    found = list(check_workspace(workspace))
    assert any(f"pack {name}" in f.where and "missing" in f.what for f in found)
    with open_archive(tmp_path / "backup.zip") as archive:
        assert repair_packs(archive, workspace)[0] == 1
    workspace.close()
    again = place.open()
    assert list(check_workspace(again)) == []
    again.close()


def test_another_pack_in_the_bucket_is_not_overwritten(place: Place, tmp_path: Path) -> None:
    workspace = place.open()
    with create_archive(tmp_path / "backup") as archive:
        back_up(workspace, archive, "test")
    workspace.close()
    mine = open_packs(f"{place.packs}/cell", place.cloud)
    (first, _), (second, _) = list(mine.names())[:2]
    theirs = open_packs(f"{place.packs}-taken/cell", place.cloud)
    theirs.put(first, mine.content(second))
    target = Target(tmp_path / "new", packs=f"{place.packs}-taken", cloud=place.cloud)
    with open_archive(tmp_path / "backup") as archive, pytest.raises(ConflictError):
        restore(archive, target)


def test_packs_of_a_deleted_branch_leave_the_bucket(place: Place) -> None:
    workspace = place.open()
    repository = workspace.repository("cell")
    before = digests(workspace)
    kept = {name for name, _ in workspace.packs_of("cell").names()}
    repository.create_branch("side", "ana")
    side = repository.branch("side")
    labels = np.zeros(SHAPE, np.uint32)
    labels[0, :5, :5] = 1
    made = import_labels(side.at(), WHOLE, labels, side.reserve_ids(1), "fill-empty")
    side.commit(made, OperationMeta("segment", "ana"))
    repository.delete_branch("side")

    def tomorrow() -> datetime:
        return datetime.now(UTC) + timedelta(days=1)

    first = collect_garbage(repository, delete=True, clock=tomorrow)
    assert len(first.pending) == 1
    second = collect_garbage(repository, delete=True, clock=tomorrow, min_age_s=-1.0)
    assert second.packs == first.pending
    assert {name for name, _ in workspace.packs_of("cell").names()} == kept
    assert digests(workspace) == before
    assert list(check_workspace(workspace)) == []
    workspace.close()
