"""The walls of the house, as tests: sizes, public names, what may import what."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*ROOT.glob("app/**/*.py"), *ROOT.glob("segmentation_backend/**/*.py")])
BROWSER = sorted([*ROOT.glob("static/**/*.js"), *ROOT.glob("static/**/*.css")])


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", [*SOURCES, *BROWSER], ids=relative)
def test_a_file_stays_below_400_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize("path", sorted(ROOT.glob("app/templates/*.html")), ids=relative)
def test_a_template_is_short_and_has_no_inline_script(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 80
    for tag in re.findall(r"<script\b[^>]*>", text):
        assert "src=" in tag or 'type="application/json"' in tag, tag
    assert not re.search(r"\son[a-z]+=", text)


def test_every_package_states_its_public_names() -> None:
    for package in sorted(ROOT.glob("segmentation_backend/**/__init__.py")):
        names = [
            target.id
            for node in ast.parse(package.read_text()).body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        ]
        assert "__all__" in names, relative(package)


def test_the_front_door_is_a_short_list() -> None:
    import segmentation_backend

    assert segmentation_backend.__all__ == [
        "ConflictError",
        "Coordinate",
        "ErrorKind",
        "FormatError",
        "InvalidInputError",
        "NotFoundError",
        "ReadOnlyError",
        "ResourceError",
        "Roi",
        "ScaleLevel",
        "SegmentationError",
        "VoxelSize",
    ]


def test_the_backend_answers_without_torch_and_without_flask() -> None:
    code = (
        "import sys, segmentation_backend.workspace as w;"
        "bad = {'torch', 'flask', 'neuroglancer', 'distributed'} & set(sys.modules);"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_the_web_never_imports_torch() -> None:
    code = (
        "import sys, app, app.routes.edits, app.routes.segment;"
        "bad = {'torch', 'distributed', 'tornado'} & set(sys.modules);"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_two_broad_excepts_and_no_more() -> None:
    broad = [
        f"{relative(path)}:{node.lineno}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or (isinstance(node.type, ast.Name) and node.type.id == "Exception"))
    ]
    assert len(broad) <= 2, broad


def test_every_error_kind_is_documented() -> None:
    from segmentation_backend.errors import ErrorKind

    text = (ROOT / "docs" / "errors.md").read_text()
    missing = [kind.value for kind in ErrorKind if f"`{kind.value}`" not in text]
    assert missing == []


def test_the_check_runs_every_test() -> None:
    words = (ROOT / ".ci" / "check").read_text().split()
    paths = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    assert [path for path in paths["testpaths"] if path not in words] == []
    folders = {path.parent for path in ROOT.glob("tests/**/test_*.py")} - {ROOT / "tests"}
    known = {ROOT / path for path in paths["testpaths"]} | {ROOT / "tests" / "bench"}
    assert folders <= known
