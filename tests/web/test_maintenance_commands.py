"""check and gc on the command line: what is wrong is named, and nothing that is in use goes."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from kept_places import (
    Place,
    delete_side,
    digest,
    grow_old,
    make_live,
)

from app.cli import main
from app.pinned import pinned_versions
from app.sessions import SessionStore
from app.shares import ShareStore
from segmentation_backend.database import hold, read, write


@pytest.fixture
def live(tmp_path: Path, database: str) -> Place:
    return make_live(tmp_path)


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
