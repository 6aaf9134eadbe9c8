"""The command line: import, segment, evaluate, models; messages and exit codes fit for scripts."""

import json
from pathlib import Path

import numpy as np
import pytest

from app.cli import main
from app.commands.open_path import absolute_source, volume_name
from segmentation_backend.geometry import Roi
from segmentation_backend.workspace import Workspace


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    em = np.random.default_rng(2).integers(0, 255, (6, 70, 80), np.uint8)
    np.savez(tmp_path / "my stack.npz", em=em, other=np.zeros((2, 2, 2), np.uint8))
    return tmp_path / "my stack.npz"


def test_an_imported_file_is_a_volume(
    stack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--name", "cell", "--dataset", "em", "--voxel-size", "40,8,8", "--data-dir", "data"]
    assert main(["import", stack.name, *options]) == 0
    assert "cell: 6 x 70 x 80 voxels" in capsys.readouterr().out
    workspace = Workspace(tmp_path / "data")
    info = workspace.volume("cell")
    assert info.voxel_size == (40.0, 8.0, 8.0)
    with np.load(stack) as file:
        voxels = workspace.cutout("cell", Roi((0, 0, 0), (6, 70, 80)), layer="image")
        np.testing.assert_array_equal(voxels, file["em"])
    workspace.close()
    assert main(["import", stack.name, *options]) == 0


def test_a_name_made_from_the_path_gives_way_to_another_volume(
    stack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / stack.name).write_bytes(stack.read_bytes())
    for source in (stack, other / stack.name):
        assert main(["import", str(source), "--dataset", "em", "--data-dir", "data"]) == 0
    shown = capsys.readouterr().out
    assert "my-stack: " in shown
    assert "my-stack-2: " in shown
    taken = ["import", str(stack), "--name", "my-stack-2", "--dataset", "em", "--data-dir", "data"]
    assert main(taken) == 1
    assert "my-stack-2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["import", "absent.npz"], "absent.npz"),
        (["segment", "nothing"], "nothing"),
        (["evaluate", "absent.npz", "absent.npz"], "absent.npz"),
        (["models", "--log-level", "loud"], "log_level"),
        (["models", "--config", "absent.toml"], "absent.toml"),
        (["train", "--output", "run", "--crop", "33"], "crop"),
        (["train", "--output", "run", "--warm-up", "2"], "warm_up"),
        (["train", "--output", "run", "--recipe", "research"], "--data"),
        (["train", "--output", "run", "--start", "absent.pt"], "absent.pt"),
        (["train", "--output", "run", "--teacher", "absent.pt"], "--unlabelled"),
        (["train", "--output", "run", "--unlabelled", "absent.npz"], "absent.npz"),
    ],
)
def test_what_goes_wrong_is_one_line_and_exit_code_1(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    place = [] if arguments[0] in ("evaluate", "train") else ["--data-dir", "data"]
    assert main([*arguments, *place]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("mitoglance: ")
    assert message in shown.err
    assert "Traceback" not in shown.err


@pytest.mark.parametrize(
    "arguments",
    [[], ["fly"], ["import"], ["import", "x", "--voxel-size", "8,8"], ["serve", "--port", "x"]],
)
def test_misuse_is_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_models_are_listed_for_people_and_for_scripts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--data-dir", "data"]) == 0
    assert "mitoglance_small" in capsys.readouterr().out
    assert main(["models", "--data-dir", "data", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [m["is_default"] for m in listed][:2] == [True, False]


def test_segmenting_commits_once(stack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["import", str(stack), "--name", "cell", "--dataset", "em", "--data-dir", "data"])
    capsys.readouterr()
    command = ["segment", "cell", "--roi", "1,0,0,1,64,64", "--mode", "slice", "--user", "ana"]
    command += ["--request-id", "r1", "--json", "--data-dir", "data"]
    assert main(command) == 0
    first = json.loads(capsys.readouterr().out)
    assert (first["operation_id"], first["kind"], first["user"]) == (1, "segment", "ana")
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["operation_id"] == 1
    listed = ["segment", "cell", "--mode", "slice", "--json", "--data-dir", "data"]
    drawn = ["--sections", "0, 2", "--polygon", "0,0", "60,0", "0,60"]
    assert main([*listed, *drawn]) == 0
    second = json.loads(capsys.readouterr().out)
    assert second["operation_id"] == 2
    assert second["provenance"]["sections"] == [0, 2]
    assert second["provenance"]["polygon"] == [[0, 0], [60, 0], [0, 60]]
    assert main([*listed, "--sections", "4-"]) != 0
    assert "such as 10, 20-30, 45" in capsys.readouterr().err
    # Terms are said where the model is used, and never into what a script reads.
    research = ["--request-id", "r3", "--model", "mitoglance_research"]
    assert main([*command, *research]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["provenance"]["model"] == "mitoglance_research"
    assert "research only, not for commercial use" in printed.err


def test_scores_are_printed_for_people_and_for_scripts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = np.zeros((10, 20, 20), np.uint64)
    truth[:, 2:8, 2:8], truth[:, 12:18, 12:18] = 1, 2**60
    found = np.where(truth == 1, 5, 0).astype(np.int32)
    ignore = (truth > 1).astype(np.uint8)
    np.savez(tmp_path / "truth.npz", inst=truth, ignore=ignore)
    np.save(tmp_path / "found.npy", found)
    np.save(tmp_path / "part.npy", found[4:6])
    command = ["evaluate", "found.npy", "truth.npz", "--truth-dataset", "inst"]
    assert main([*command, "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["foreground_iou"] == 0.5
    assert scores["recall"] == 0.5
    assert main([*command, "--volumes"]) == 0
    assert "true_positives: 1\n" in capsys.readouterr().out
    assert main([*command, "--ignore-dataset", "ignore", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["f1"] == 1.0
    part = ["evaluate", "part.npy", "truth.npz", "--truth-dataset", "inst", "--z", "4:6", "--json"]
    assert main(part) == 0
    assert json.loads(capsys.readouterr().out)["true_positives"] == 2
    assert main(["evaluate", "part.npy", "truth.npz", "--truth-dataset", "inst"]) == 1


def test_chunked_label_arrays_are_scored_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    zarr = pytest.importorskip("zarr")
    truth = np.zeros((4, 20, 24), np.uint64)
    truth[:, 2:8, 2:8] = 2**60
    store = zarr.create_array(
        tmp_path / "truth.zarr", shape=truth.shape, dtype="u8", chunks=(4, 8, 8)
    )
    store[:] = truth
    np.save(tmp_path / "found.npy", (truth > 0).astype(np.uint8))
    assert main(["evaluate", "found.npy", "truth.zarr", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["f1"] == 1.0


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("s3://bucket/jrc_mus-kidney/jrc_mus-kidney.n5/em/fibsem-uint8", "jrc_mus-kidney"),
        ("/data/my stack (1).TIFF", "my-stack-1"),
        ("zarr3://https://server/x.zarr/", "x"),
        ("https://server/em.zarr?token=1", "em"),
        ("/data/cell", "cell"),
        ("/", "volume"),
        ("/data/___.h5", "volume"),
    ],
)
def test_a_volume_is_named_after_its_container(source: str, name: str) -> None:
    assert volume_name(source) == name


def test_a_path_is_kept_absolute_and_a_url_as_it_is(tmp_path: Path) -> None:
    assert absolute_source("x.zarr") == str(tmp_path / "x.zarr")
    assert absolute_source("n5:///x") == "n5:///x"
    assert absolute_source("/x|zarr3:") == "/x|zarr3:"
