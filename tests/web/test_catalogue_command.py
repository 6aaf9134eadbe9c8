"""The catalogue on the command line, and who refreshes it while a server runs."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from model_server import model_server

from app.cli import main
from app.commands.open_path import is_dataset_name
from app.config import Config
from app.launcher import _tidy
from segmentation_backend.sources.catalogue_store import shipped_catalogue
from segmentation_backend.workspace import Workspace

LAB = {
    "format": "mitoglance-catalogue/1",
    "datasets": [
        {"name": "lab-1", "em": [{"name": "em", "url": "/data/x.zarr", "format": "zarr"}]}
    ],
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_datasets_are_listed_for_people_and_for_scripts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["catalogue", "mouse", "kidney", "--data-dir", "data"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "jrc_mus-kidney: Mouse Kidney; Mouse; 8x8x8 nm; labels: empanada-mito_seg"
    assert lines[-1].startswith("3 of 46 datasets, as of 2026-11-22")
    (tmp_path / "lab.json").write_text(json.dumps(LAB))
    assert main(["catalogue", "lab-1", "--json", "--catalogue", "lab.json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert listed["em"][0]["url"] == "/data/x.zarr"
    assert main(["catalogue", "--catalogue", "absent.json", "--data-dir", "data"]) == 0
    assert "absent.json" in capsys.readouterr().err


def test_the_live_catalogue_is_asked_for_when_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refresh = ["catalogue", "fresh", "--refresh", "--data-dir", "data", "--catalogue-url"]
    with model_server() as live:
        text = shipped_catalogue().to_text().replace("Mouse Kidney", "Fresh kidney")
        live.files["live.json"] = text.encode()
        assert main([*refresh, live.url("live.json")]) == 0
        assert "jrc_mus-kidney: Fresh kidney" in capsys.readouterr().out
        assert main([*refresh, live.url("absent.json")]) == 1
    assert "does not answer" in capsys.readouterr().err
    assert main([*refresh, "none"]) == 1
    assert "catalogue_url is none" in capsys.readouterr().err
    # What came first is still known, and why no more came is said.
    assert main(["catalogue", "fresh", "--data-dir", "data"]) == 0
    shown = capsys.readouterr()
    assert "Fresh kidney" in shown.out
    assert "could not be reached" in shown.err


def test_a_server_asks_once_a_day_and_goes_on_without_an_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = Workspace(tmp_path / "data")
    with model_server() as live:
        live.files["live.json"] = shipped_catalogue().to_text().encode()
        config = Config(data_dir=tmp_path / "data", catalogue_url=live.url("absent.json"))
        _tidy(workspace, config)
        assert "the one known before" in capsys.readouterr().err
        config = replace(config, catalogue_url=live.url("live.json"))
        for _ in range(2):
            _tidy(workspace, config)
        _tidy(workspace, replace(config, catalogue_url="none"))
        assert live.requests == ["absent.json", "live.json"]
    assert workspace.catalogue.known().refreshed
    workspace.close()


def test_a_bare_name_is_a_dataset_unless_a_file_is_called_so(tmp_path: Path) -> None:
    assert is_dataset_name("jrc_mus-kidney")
    assert is_dataset_name("cell.v2")
    for source in ("cell.zarr", "a.TIF", "./cell", "/data/cell", "s3://b/x", "x|zarr:", "-x", ""):
        assert not is_dataset_name(source)
    (tmp_path / "jrc_mus-kidney").mkdir()
    assert not is_dataset_name("jrc_mus-kidney")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["jrc_mus-kidny"], "Did you mean jrc_mus-kidney"),
        (["jrc_mus-kidny"], "Nor is there a file or folder jrc_mus-kidny here."),
        (["jrc_mus-kidney", "--voxel-size", "8,8,8"], "leave out --dataset and --voxel-size"),
        (["jrc_mus-kidney", "--em", "x"], "there are: fibsem-uint8, fibsem-uint8-zarr"),
        (["jrc_mus-kidney", "--labels", "x"], "there are: empanada-mito_seg"),
        (["/data/cell.zarr", "--em", "x"], "--em chooses an image of a dataset"),
    ],
)
def test_opening_what_is_not_there_says_what_is(
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def prepare_only(config: Config, prepare: object) -> int:
        workspace = Workspace(config.data_dir)
        try:
            prepare(workspace)  # type: ignore[operator]
        finally:
            workspace.close()
        return 0

    monkeypatch.setattr("app.launcher.serve", prepare_only)
    assert main(["open", *arguments, "--data-dir", "data"]) == 1
    assert message in capsys.readouterr().err
