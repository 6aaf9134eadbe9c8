"""The README's notebook example runs, as it stands, and does what it says."""

import os
import re
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"


def test_the_notebook_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = re.search(
        r"<!-- notebook -->\n```python\n(.*?)```\n<!-- /notebook -->", README.read_text(), re.S
    )
    assert found is not None
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(found.group(1), str(README), "exec"), names)
    workspace, volume, plan = names["workspace"], names["volume"], names["plan"]
    assert (names["labels_before"] > 0).any()
    assert [o.kind for o in workspace.operations(volume.name)] == ["undo", "merge", "segment"]
    now = workspace.cutout(volume.name, plan.roi)
    assert (now == names["labels_before"]).all()
    assert "mitoglance-data" in os.listdir(tmp_path)
    workspace.close()
