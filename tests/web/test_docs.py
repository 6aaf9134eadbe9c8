"""The README says what the code does."""

import argparse
import shlex
from pathlib import Path

import pytest

from app.cli import _parser
from app.config import settings_table

ROOT = Path(__file__).parents[2]


def test_the_table_of_settings_in_the_readme_is_the_true_one() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    table = readme.split("<!-- settings -->")[1].split("<!-- /settings -->")[0]
    assert table.strip() == settings_table().strip(), (
        "Put this between the markers:\n" + settings_table()
    )


def commands() -> dict[str, argparse.ArgumentParser]:
    (choices,) = (
        action.choices
        for action in _parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    return dict(choices)


def test_every_command_has_help_with_an_example_that_parses(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert {"demo", "open", "serve", "import", "segment", "evaluate", "train", "models"} <= set(
        commands()
    )
    for name, parser in commands().items():
        with pytest.raises(SystemExit) as stopped:
            parser.parse_args(["--help"])
        assert stopped.value.code == 0
        shown = capsys.readouterr().out
        example = shown.split("example:\n")[1].strip()
        words = shlex.split(example)
        assert words[:2] == ["mitoglance", name]
        parser.parse_args(words[2:])


def test_every_command_in_the_readme_parses() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = readme.split("```bash")[1:]
    lines = [line for block in blocks for line in block.split("```")[0].splitlines()]
    found = [shlex.split(line, comments=True) for line in lines if line.startswith("mitoglance ")]
    assert len(found) >= 5
    for words in found:
        _parser().parse_args(words[1:])
