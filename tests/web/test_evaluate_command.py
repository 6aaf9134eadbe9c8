"""`mitoglance evaluate` for people and scripts: scores, the table of objects, refusals."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from app.cli import main


@pytest.fixture(autouse=True)
def volumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    truth = np.zeros((4, 20, 30), np.uint64)
    truth[:, 2:8, 2:8], truth[:, 2:8, 9:15], truth[:, 12:18, 20:26] = 1, 2**60, 3
    found = np.zeros(truth.shape, np.int32)
    found[:, 2:8, 2:15] = 5
    np.savez("truth.npz", inst=truth, ignore=(truth == 3).astype(np.uint8))
    np.save("found.npy", found)
    np.save("hidden.npy", (truth == 3)[1:3])


COMMAND = ["evaluate", "found.npy", "truth.npz", "--truth-dataset", "inst", "--volumes"]


def test_every_score_is_in_the_json_under_its_old_and_new_names(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*COMMAND, "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert {
        *("foreground_iou", "f1", "precision", "recall", "mean_iou", "true_positives"),
        *("false_positives", "false_negatives", "iou_threshold", "is_per_slice"),
        *("foreground_dice", "f1_50", "f1_75", "precision_50", "precision_75", "recall_50"),
        *("recall_75", "ap_50", "ap_75", "pq", "msa", "voi_split", "voi_merge", "arand"),
        *("misses", "extras", "merges", "splits", "inexact"),
    } <= set(scores)
    assert "objects" not in scores
    assert (scores["merges"], scores["misses"], scores["voi_merge"] > 0) == (1, 1, True)


def test_the_table_of_objects_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*COMMAND, "--objects"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "kind\ttrue\tpredicted\tvoxels\tiou\tz\ty\tx" in lines
    merge = next(line for line in lines if line.startswith("merge\t")).split("\t")
    assert merge[:5] == ["merge", f"1 {2**60}", "5", "312", f"{144 / 312:.4f}"]
    assert main([*COMMAND, "--objects", "--json"]) == 0
    kinds = [row["kind"] for row in json.loads(capsys.readouterr().out)["objects"]]
    assert kinds == ["merge", "miss"]


def test_the_table_of_objects_is_written_as_csv_or_json(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*COMMAND, "--objects", "wrong.csv"]) == 0
    with Path("wrong.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["kind"] for row in rows] == ["merge", "miss"]
    assert main([*COMMAND, "--objects", "wrong.json"]) == 0
    document = json.loads(Path("wrong.json").read_text())
    assert document[1]["true_labels"] == ["3"]
    capsys.readouterr()
    assert main([*COMMAND, "--objects", "wrong.xlsx"]) == 1
    assert ".csv or .json" in capsys.readouterr().err
    assert main([*COMMAND, "--objects", "absent/wrong.csv"]) == 1
    assert "absent" in capsys.readouterr().err


def test_an_ignore_mask_may_be_a_file_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    part = [*COMMAND, "--z", "1:3", "--ignore", "hidden.npy", "--json"]
    assert main(part) == 0
    assert json.loads(capsys.readouterr().out)["misses"] == 0
    assert main([*COMMAND, "--ignore", "truth.npz", "--ignore-dataset", "ignore", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["misses"] == 0


def test_what_cannot_be_measured_is_said_to_be_so(capsys: pytest.CaptureFixture[str]) -> None:
    np.save("empty.npy", np.zeros((4, 20, 30), np.uint8))
    assert main(["evaluate", "found.npy", "empty.npy"]) == 0
    assert "arand: not defined\n" in capsys.readouterr().out


def test_a_threshold_that_makes_no_sense_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*COMMAND, "--iou", "2"]) == 1
    assert "IoU" in capsys.readouterr().err
