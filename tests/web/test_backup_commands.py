"""backup and restore on the command line: nothing is lost, nothing is overwritten."""

from __future__ import annotations

import json
import shutil
import time
import zipfile
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
import zstandard
from databases import server
from kept_places import (
    ANA,
    WHOLE,
    Place,
    bars,
    fill,
    make_live,
)
from processes import forked

from app.cli import main
from app.storage import instance_id
from segmentation_backend import migrations
from segmentation_backend.workspace import EditContext


@pytest.fixture
def live(tmp_path: Path, database: str) -> Place:
    return make_live(tmp_path)


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty place on each database, whatever the live one is on."""
    is_local = request.param == "sqlite"
    return Place(tmp_path / "restored", None if is_local else server().create(empty=True))


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
