"""check, gc, backup and restore on the command line: nothing is lost, nothing is overwritten."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import zipfile
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
import zstandard
from databases import server, url_in
from processes import forked

from app.cli import main
from app.pinned import pinned_versions
from app.sessions import SessionStore
from app.shares import ShareStore
from app.storage import instance_id
from segmentation_backend import edits, migrations
from segmentation_backend.database import hold, read, write
from segmentation_backend.geometry import Roi
from segmentation_backend.labels.confidence import Confidence
from segmentation_backend.workspace import EditContext, Workspace
from segmentation_backend.workspace.editing import Editor

SHAPE = (20, 80, 96)
WHOLE = Roi((0, 0, 0), SHAPE)
ANA = EditContext("ana")


def bars(shift: int = 0) -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint32)
    labels[4:16, 8:20, 8:30] = 1
    labels[4:16, 8:20, 40:60] = 2
    labels[4:16, 40:52, 8:90] = 3
    return np.roll(labels, shift, axis=1)


def fill(workspace: Workspace, labels: np.ndarray, branch: str = "main") -> int:
    repository = workspace.repository("cell", branch)
    first = repository.reserve_ids(int(labels.max()))
    operation = Editor(repository).commit(
        "segment",
        {},
        EditContext("ana", branch=branch),
        lambda view: edits.import_labels(
            view, WHOLE, labels, first, "fill-empty", confidences={1: Confidence.of(0.8, 2 / 3)}
        ),
    )
    return operation.operation_id


def versions(workspace: Workspace) -> dict[int, str]:
    """Return a digest of every version that can be reached from a branch."""
    repository = workspace.repository("cell")
    found = {0}
    for branch in repository.branches():
        log = repository.branch(branch.name).operations(limit=1000)
        found.update(operation.operation_id for operation in log)
    return {version: digest(workspace, version) for version in sorted(found)}


def digest(workspace: Workspace, version: int) -> str:
    view = workspace.repository("cell").at(version)
    said = hashlib.sha256(view.read(WHOLE).tobytes())
    said.update(str([o.to_json() for o in view.objects(sort="root")]).encode())
    return said.hexdigest()


class Place:
    """A data directory and its database, as the command line names them."""

    def __init__(self, data_dir: Path, url: str | None) -> None:
        self.data_dir = data_dir
        self.url = url

    @property
    def options(self) -> list[str]:
        database = [] if self.url is None else ["--database-url", self.url]
        return ["--data-dir", str(self.data_dir), *database]

    def open(self) -> Workspace:
        return Workspace(self.data_dir, self.url)

    def versions(self) -> dict[int, str]:
        workspace = self.open()
        try:
            return versions(workspace)
        finally:
            workspace.close()


@pytest.fixture
def live(tmp_path: Path, database: str) -> Place:
    """A volume with a few operations, a branch, a tag, a share."""
    np.savez(tmp_path / "cell.npz", em=np.full(SHAPE, 7, np.uint8))
    place = Place(tmp_path / "live", url_in(tmp_path))
    workspace = place.open()
    size = (8.0, 8.0, 8.0)
    workspace.register("cell", str(tmp_path / "cell.npz"), dataset="em", voxel_size=size)
    fill(workspace, bars())
    workspace.merge("cell", ids=[1, 2], points=None, edit=ANA)
    repository = workspace.repository("cell")
    repository.create_branch("side", "bob")
    fill(workspace, bars(20), "side")
    fill(workspace, bars(30), "side")
    repository.create_tag("first", "ana", 1, "µ")
    workspace.undo("cell", ANA)
    ShareStore(workspace.engine).create("cell", 1, {"layers": []}, "ana")
    instance_id(workspace.engine)
    workspace.close()
    return place


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty place on each database, whatever the live one is on."""
    is_local = request.param == "sqlite"
    return Place(tmp_path / "restored", None if is_local else server().create(empty=True))


def grow_old(place: Place) -> None:
    for path in place.data_dir.glob("packs/*/*/*"):
        os.utime(path, times=(time.time() - 7200,) * 2)


def delete_side(place: Place) -> None:
    """Delete the branch, as if it was yesterday."""
    workspace = place.open()
    workspace.repository("cell").delete_branch("side")
    with write(workspace.engine) as connection:
        connection.execute(
            sa.text("UPDATE label_branches SET deleted = '2001' WHERE deleted IS NOT NULL")
        )
    workspace.close()


# check


def test_a_sound_directory_passes_every_check(
    live: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", *live.options]) == 0
    assert capsys.readouterr().out == "no errors, no notes\n"
    assert main(["check", "--all-versions", "--json", *live.options]) == 0
    assert capsys.readouterr().out == ""


def test_damage_is_told_to_people_and_to_scripts(
    live: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    pack = sorted(live.data_dir.glob("packs/cell/*/*.pack"))[0]
    pack.write_bytes(pack.read_bytes()[:-9])
    assert main(["check", *live.options]) == 1
    shown = capsys.readouterr().out
    assert f"error: cell, pack {pack.stem}: It is torn or altered" in shown
    assert "errors" in shown.splitlines()[-1]
    assert main(["check", "--json", *live.options]) == 1
    first = json.loads(capsys.readouterr().out.splitlines()[0])
    assert first["severity"] == "error"
    assert set(first) == {"invariant", "where", "what", "way_out", "severity"}


def test_labels_without_a_volume_are_a_note(
    live: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = live.open()
    with write(workspace.engine) as connection:
        connection.execute(sa.text("DELETE FROM volumes"))
    workspace.close()
    assert main(["check", *live.options]) == 0
    assert "note: cell: There are labels of this name" in capsys.readouterr().out


# gc


def test_gc_says_what_would_go_and_then_removes_it(
    live: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    before = live.versions()
    assert main(["gc", *live.options]) == 0
    assert capsys.readouterr().out == "Nothing to remove\n"
    delete_side(live)
    assert main(["gc", *live.options]) == 0
    shown = capsys.readouterr().out
    assert "cell: 2 operations" in shown
    assert "side" in shown
    assert "Nothing was removed" in shown
    assert main(["gc", "--delete", "--json", *live.options]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["deleted"] is True
    assert document["volumes"]["cell"]["operations"] == 2
    assert len(document["volumes"]["cell"]["pending_packs"]) == 2
    grow_old(live)
    assert main(["gc", "--delete", *live.options]) == 0
    assert "2 packs that no version names" in capsys.readouterr().out
    after = live.versions()
    assert sorted(after) == [0, 1, 2, 5]
    assert after == {version: before[version] for version in after}
    assert main(["check", "--all-versions", *live.options]) == 0


def test_what_a_share_or_an_open_page_shows_is_kept(live: Place) -> None:
    workspace = live.open()
    before = digest(workspace, 3), digest(workspace, 4)
    ShareStore(workspace.engine).create("cell", 3, {}, "ana")
    delete_side(live)
    assert main(["gc", "--delete", *live.options]) == 0
    again = live.open()
    assert digest(again, 3) == before[0]
    with read(again.engine) as connection:
        assert pinned_versions(connection)["cell"] == {1, 3}
        left = connection.scalar(sa.text("SELECT MAX(operation_id) FROM label_chunks"))
    assert left == 3
    SessionStore(workspace.engine).create("cell", "bob", {}, pinned_version=2)
    with read(again.engine) as connection:
        assert pinned_versions(connection)["cell"] == {1, 2, 3}
    again.close()
    workspace.close()


def test_expired_previews_and_left_overs_go(
    live: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    old = ["previews/00.preview", "models/x.part", "images/.half.zarr.partial/zarr.json"]
    for name in [*old, "previews/11.preview"]:
        path = live.data_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    for name in old:
        for path in (live.data_dir / name, (live.data_dir / name).parent):
            os.utime(path, times=(time.time() - 2 * 86400,) * 2)
    assert main(["gc", "--delete", *live.options]) == 0
    assert "3 expired previews and left-overs" in capsys.readouterr().out
    assert not any((live.data_dir / name).exists() for name in old)
    assert (live.data_dir / "previews/11.preview").exists()
    assert (live.data_dir / "images/cell.zarr").exists()


def test_nothing_is_removed_while_a_backup_is_made(
    live: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = live.open()
    with hold(workspace.engine, "A backup", shared=True):
        assert main(["gc", "--delete", *live.options]) == 1
        assert "A clean-up cannot begin" in capsys.readouterr().err
        assert main(["check", *live.options]) == 0
    with hold(workspace.engine, "A clean-up", shared=False):
        assert main(["backup", str(live.data_dir.parent / "b"), *live.options]) == 1
        assert "A backup cannot begin" in capsys.readouterr().err
    workspace.close()
    assert main(["gc", "--delete", *live.options]) == 0


# backup and restore


@pytest.mark.parametrize("target", ["backup", "backup.zip"])
def test_a_backup_restores_every_version_on_either_database(
    live: Place, empty: Place, target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = live.versions()
    backup = str(tmp_path / target)
    assert main(["backup", backup, "--images", *live.options]) == 0
    assert "Backup 20" in capsys.readouterr().out
    shutil.rmtree(live.data_dir / "images")
    assert main(["restore", backup, *empty.options]) == 0
    assert "3 packs" in capsys.readouterr().out
    assert empty.versions() == before
    assert main(["check", "--all-versions", *empty.options]) == 0
    workspace = empty.open()
    image = workspace.cutout("cell", WHOLE, layer="image")
    assert (image == 7).all()
    assert [tag.note for tag in workspace.repository("cell").tags()] == ["µ"]
    # It goes on: new operations, branches and ids after the old ones.
    assert workspace.redo("cell", ANA).operation_id == max(before) + 1
    assert workspace.repository("cell").create_branch("new", "ana").branch_id > 2
    assert fill(workspace, bars(15)) == max(before) + 2
    # Browsers keep what they saw for ever: this is another directory to them.
    source = live.open()
    assert instance_id(workspace.engine) != instance_id(source.engine)
    source.close()
    workspace.close()


def test_a_second_backup_copies_only_what_is_new(
    live: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backup = str(tmp_path / "backup")
    assert main(["backup", backup, "--json", *live.options]) == 0
    assert json.loads(capsys.readouterr().out)["new_files"] == 3
    first = live.versions()
    workspace = live.open()
    fill(workspace, bars(10))
    workspace.close()
    assert main(["backup", backup, "--json", *live.options]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["new_files"], document["files"]) == (1, 4)
    assert main(["restore", backup, "--list"]) == 0
    names = [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()]
    assert len(names) == 2
    for name, expected in zip(names, (live.versions(), first), strict=True):
        place = Place(tmp_path / name, None)
        assert main(["restore", backup, "--snapshot", name, *place.options]) == 0
        assert place.versions() == expected
    assert main(["restore", backup, "--snapshot", "never", *Place(tmp_path / "x", None).options])
    assert "There is no backup never" in capsys.readouterr().err


def edit_for_a_while(place: Place, name: str) -> None:
    workspace = place.open()
    edit = EditContext(name)
    stop = place.data_dir / "stop"
    while not stop.exists():
        first = fill(workspace, bars(3))
        workspace.undo("cell", edit=ANA)
        assert first
        with (place.data_dir / f"done-{name}").open("a") as log:
            log.write("x")
    workspace.close()
    assert edit


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    return forked()


def test_backups_taken_while_others_edit_are_whole(
    live: Place, tmp_path: Path, processes: ForkServerContext
) -> None:
    writers = [
        processes.Process(target=edit_for_a_while, args=(live, f"w{n}"), daemon=True)
        for n in range(2)
    ]
    for writer in writers:
        writer.start()
    deadline = time.monotonic() + 60
    while len(list(live.data_dir.glob("done-*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    for _ in range(3):
        assert main(["backup", str(tmp_path / "backup"), *live.options]) == 0
    (live.data_dir / "stop").touch()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    final = live.versions()
    manifests = sorted((tmp_path / "backup" / "snapshots").glob("*.json"))
    counts = []
    for manifest in manifests:
        place = Place(tmp_path / f"from-{manifest.stem}", None)
        backup = [str(tmp_path / "backup"), "--snapshot", manifest.stem]
        assert main(["restore", *backup, *place.options]) == 0
        restored = place.versions()
        assert restored == {version: final[version] for version in restored}
        assert main(["check", *place.options]) == 0
        counts.append(len(restored))
    assert counts == sorted(counts)
    assert counts[-1] > 6


def test_nothing_is_overwritten(
    live: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backup = str(tmp_path / "backup.zip")
    assert main(["backup", backup, *live.options]) == 0
    assert main(["backup", backup, *live.options]) == 1
    assert "not overwritten" in capsys.readouterr().err
    before = live.versions()
    assert main(["restore", backup, *live.options]) == 1
    assert "is not empty" in capsys.readouterr().err
    assert live.versions() == before
    place = Place(tmp_path / "other", None)
    with zipfile.ZipFile(backup) as file:
        pack = next(n for n in file.namelist() if n.startswith("packs/"))
    (place.data_dir / pack).parent.mkdir(parents=True)
    (place.data_dir / pack).write_bytes(b"another")
    assert main(["restore", backup, *place.options]) == 1
    assert "another pack" in capsys.readouterr().err


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("pattern", "harm"),
    [
        ("packs/*/*/*.pack", flip),
        ("packs/*/*/*.pack", Path.unlink),
        ("snapshots/*.rows.zst", flip),
        ("snapshots/*.rows.zst", Path.unlink),
        ("snapshots/*.files.zst", flip),
    ],
)
def test_a_damaged_backup_is_refused_before_any_row_is_there(
    live: Place,
    pattern: str,
    harm: Callable[[Path], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["backup", str(tmp_path / "b"), *live.options]) == 0
    assert main(["backup", str(tmp_path / "whole"), *live.options]) == 0
    harm(sorted((tmp_path / "b").glob(pattern))[0])
    place = Place(tmp_path / "restored", None)
    assert main(["restore", str(tmp_path / "b"), *place.options]) == 1
    assert "The backup is damaged" in capsys.readouterr().err
    # What was copied by then is no hindrance.
    assert main(["restore", str(tmp_path / "whole"), *place.options]) == 0
    assert place.versions() == live.versions()


def test_a_backup_of_a_newer_program_is_refused(
    live: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["backup", str(tmp_path / "b"), *live.options]) == 0
    (manifest,) = (tmp_path / "b" / "snapshots").glob("*.json")
    manifest.write_text(manifest.read_text().replace(migrations.NEWEST, "9042"))
    assert main(["restore", str(tmp_path / "b"), *Place(tmp_path / "x", None).options]) == 1
    assert "9042" in capsys.readouterr().err
    manifest.write_text("{}")
    assert main(["restore", str(tmp_path / "b"), "--list"]) == 1
    assert "manifest" in capsys.readouterr().err


def test_a_damaged_pack_is_left_out_and_named(
    live: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["backup", str(tmp_path / "good"), *live.options]) == 0
    pack = sorted(live.data_dir.glob("packs/cell/*/*.pack"))[0]
    whole = pack.read_bytes()
    flip(pack)
    assert main(["backup", str(tmp_path / "b"), *live.options]) == 1
    assert pack.stem in capsys.readouterr().err
    assert main(["backup", str(tmp_path / "good"), *live.options]) == 0  # it has it already
    assert main(["check", *live.options]) == 1
    capsys.readouterr()
    assert main(["restore", str(tmp_path / "good"), "--packs-only", *live.options]) == 0
    assert capsys.readouterr().out == "1 of 3 packs brought back\n"
    assert pack.read_bytes() == whole
    assert main(["check", *live.options]) == 0


def test_a_killed_backup_is_none(live: Place, tmp_path: Path) -> None:
    assert main(["backup", str(tmp_path / "b"), *live.options]) == 0
    for path in (tmp_path / "b" / "snapshots").glob("*.json"):
        path.unlink()
    assert main(["restore", str(tmp_path / "b"), *Place(tmp_path / "x", None).options]) == 1
    assert main(["backup", str(tmp_path / "b"), *live.options]) == 0
    place = Place(tmp_path / "y", None)
    assert main(["restore", str(tmp_path / "b"), *place.options]) == 0
    assert place.versions() == live.versions()


def test_rows_are_readable_without_this_program(live: Place, tmp_path: Path) -> None:
    assert main(["backup", str(tmp_path / "b"), *live.options]) == 0
    (path,) = (tmp_path / "b" / "snapshots").glob("*.rows.zst")
    with zstandard.open(path, "rt", encoding="utf-8") as lines:
        tables = [json.loads(line) for line in lines if line.startswith("{")]
    assert {table["table"] for table in tables} >= {"label_operations", "volumes", "web_shares"}


@pytest.mark.parametrize("source", ["nowhere", "file"])
def test_what_is_no_backup_is_refused(
    source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("x")
    assert main(["restore", str(tmp_path / source), "--data-dir", str(tmp_path / "d")]) == 1
    assert "There is no backup at" in capsys.readouterr().err
