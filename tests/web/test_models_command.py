"""`mitoglance models`: what people and scripts see; sentences instead of tracebacks."""

import hashlib
import json
from pathlib import Path

import pytest
from model_server import model_server
from scripted_networks import save_panoptic

from app.cli import main


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_panoptic(tmp_path / "mine.pth")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["models", *arguments, "--data-dir", "data"])
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    return code, shown.out, shown.err


def test_listing_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    code, plain, _ = run(capsys)
    assert code == 0
    assert plain.splitlines()[0].startswith("mitoglance_small: ")
    assert "NucleoNet_base_v2" in plain
    assert plain.splitlines()[1].startswith("mitoglance_research: ")
    assert plain.count("; research only)") == 1
    assert "downloaded on first use" in plain
    assert run(capsys, "list") == (0, plain, "")
    documents = [json.loads(run(capsys, *words)[1]) for words in (("--json",), ("list", "--json"))]
    assert documents[0] == documents[1]
    assert [m["is_default"] for m in documents[0]] == [True] + [False] * 5


def test_the_research_models_terms_are_plain(capsys: pytest.CaptureFixture[str]) -> None:
    _, shown, _ = run(capsys, "info", "mitoglance_research")
    assert "licence: research only, non-commercial: CC BY-NC-SA 3.0" in shown
    assert "is_research_only: True" in shown


def test_settings_hold_before_and_after_the_action(capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "add", "mine.pth", "--allow-code")
    for words in (
        ["models", "--data-dir", "data", "list", "--json"],
        ["models", "--data-dir", "data", "--json", "list"],
        ["models", "--data-dir", "nowhere", "list", "--json", "--data-dir", "data"],
    ):
        assert main(words) == 0
        assert "mine" in [m["name"] for m in json.loads(capsys.readouterr().out)]


def test_a_models_life(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    digest = hashlib.sha256((tmp_path / "mine.pth").read_bytes()).hexdigest()
    code, out, err = run(capsys, "add", "mine.pth")
    assert (code, out) == (1, "")
    assert err.startswith("mitoglance: mine.pth is TorchScript, that is code")
    assert "--allow-code" in err
    code, out, _ = run(
        capsys, "add", "mine.pth", "--name", "own", "--voxel-size", "7", "--allow-code", "--json"
    )
    document = json.loads(out)
    assert (code, document["name"], document["voxel_size_nm"]) == (0, "own", 7.0)
    assert document["sha256"] == digest
    code, out, _ = run(capsys, "info", "own")
    assert code == 0
    assert "kind: panoptic2d\n" in out
    assert f"sha256: {digest}\n" in out
    code, out, _ = run(capsys, "export", "own", "out.empanada", "--json")
    assert (code, json.loads(out)) == (0, {"path": "out.empanada"})
    assert run(capsys, "export", "own", "out.empanada")[0] == 1
    code, out, err = run(capsys, "remove", "own")
    assert code == 0
    back = err.split("mitoglance models ")[1].split()
    assert run(capsys, "info", "own")[0] == 1
    assert run(capsys, *back)[0] == 0
    assert json.loads(run(capsys, "info", "own", "--json")[1])["sha256"] == digest
    assert run(capsys, "add", "out.empanada", "--name", "twin", "--allow-code")[0] == 0
    (folder,) = {json.loads(run(capsys, "remove", "twin", "--json")[1])["archived"]}
    assert (Path(folder) / "twin.pth").is_file()


def test_engines_are_measured_where_asked(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    save_panoptic(tmp_path / "mine.pth", width=32)
    run(capsys, "add", "mine.pth", "--allow-code")
    code, out, _ = run(capsys, "info", "mine", "--engines", "--side", "128")
    assert code == 0
    assert " ms a tile, exact" in out
    assert "int8: " in out
    assert "not exact: foreground IoU" in out
    code, out, _ = run(capsys, "info", "mine", "--engines", "--side", "128", "--json")
    engines = json.loads(out)["engines"]
    assert {"eager", "fused", "int8"} <= {e["engine"] for e in engines}
    code, _, err = run(capsys, "info", "mine", "--engines", "--side", "100")
    assert code == 1
    assert "multiple of 128" in err


def test_a_url_is_added_with_its_digest(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with model_server() as server:
        server.files["far.pth"] = (tmp_path / "mine.pth").read_bytes()
        url = server.url("far.pth")
        code, _, err = run(capsys, "add", url, "--allow-code", "--sha256", "0" * 64)
        assert (code, "SHA-256" in err) == (1, True)
        server.promised = 10**7
        code, _, err = run(capsys, "add", url, "--allow-code")
        assert (code, "could not be fetched" in err) == (1, True)
        server.promised = None
        assert run(capsys, "add", url, "--allow-code")[0] == 0
    assert "far" in run(capsys)[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["add", "absent.pth", "--allow-code"], "absent.pth"),
        (["add", "http://example.com/m.pth", "--allow-code"], "TLS"),
        (["add", "notes.txt"], "is no model"),
        (["add", "mine.pth", "--allow-code", "--name", "a b"], "letters"),
        (["add", "mine.pth", "--allow-code", "--name", "mitoglance_small"], "already"),
        (["add", "mine.pth", "--allow-code", "--kind", "sam"], "panoptic2d or affinity3d"),
        (["info", "nothing"], "nothing"),
        (["export", "nothing", "x"], "nothing"),
        (["export", "MitoNet_v1", "x"], "not there yet"),
        (["remove", "mitoglance_small"], "came with the program"),
        (["remove", "MitoNet_v1"], "is not here"),
    ],
)
def test_what_goes_wrong_is_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (1, "")
    assert err.startswith("mitoglance: ")
    assert message in err
    assert [m["name"] for m in json.loads(run(capsys, "--json")[1])][6:] == []


@pytest.mark.parametrize("action", ["list", "info", "add", "export", "remove"])
def test_every_action_has_help_with_an_example(
    action: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["models", action, "--help"])
    assert stopped.value.code == 0
    assert f"example:\n  mitoglance models {action}" in capsys.readouterr().out
