"""No question about one object or one chunk looks through a whole table, however it is asked."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest
from label_volumes import Editor
from sqlalchemy import event

from segmentation_backend.database import open_database
from segmentation_backend.geometry import Roi
from segmentation_backend.labels import LabelRepository, blame, lineage, object_changes
from segmentation_backend.workspace.editing import EditContext
from segmentation_backend.workspace.editing import Editor as Edits

_WHOLE = re.compile(r"SCAN (?!\d+ CONSTANT|CONSTANT|k$)|SEARCH .*\((branch|volume)_id=\?\)$")
"""What a plan says that goes through all rows of a table, or of a branch."""

_FROM_THE_START = re.compile(r"SEARCH .*\((branch|volume)_id=\? AND operation_id[<>]")
"""What a plan says that goes through a stretch of operations: all, when it begins at 0."""

_SHORT = ("label_volumes", "label_branches", "label_tags", "label_branch_merges", "ORDER BY r.root")
"""Tables of few rows, and the list of all objects in the order of their key."""


@pytest.fixture
def seen(tmp_path: Path) -> list[str]:
    """The statements of a session with a label store, as they were executed."""
    editor = Editor(tmp_path)
    editor.boxes((0, 0, 0), (0, 0, 20), (0, 80, 0), (20, 60, 60))
    editor.repository._engine.dispose()
    engine = open_database(tmp_path / "labels.sqlite")
    statements: list[str] = []

    def connected(connection: sqlite3.Connection, _record: object) -> None:
        connection.set_trace_callback(statements.append)

    event.listen(engine, "connect", connected)
    repository = LabelRepository(engine, tmp_path / "packs", "v", editor.levels)
    statements.clear()
    use(repository)
    engine.dispose()
    return statements


def use(repository: LabelRepository) -> None:
    edits = Edits(repository)
    edits.merge([1, 3], None, EditContext("ann", request_id="first"))
    edits.merge([2, 4], None, EditContext("bob", base_version=1))
    edits.merge([1, 2], None, EditContext("ann"))
    edits.split([[(0, 0, 0)], [(0, 0, 9)]], EditContext("ann"))
    for _ in range(2):
        edits.undo(EditContext("ann"), None)
    edits.redo(EditContext("ann"), None)
    repository.create_branch("side", "ann")
    other = repository.branch("side")
    Edits(other).undo(EditContext("ann"), 2)
    for version in (1, 4, None):
        view = other.at(version)
        view.read(Roi((0, 0, 0), (40, 64, 64)))
        view.etag(Roi((0, 0, 0), (40, 64, 64)))
        view.members(1)
        view.edges_of(1)
        view.objects(Roi((0, 0, 0), (10, 10, 10)))
        for sort in ("voxels", "-root", "probability", "-probability"):
            view.objects(sort=sort)
            view.objects(sort=sort, limit=1, after=view.objects()[0].root)
        lineage(view.storage, 1, view.version)
        blame(view.storage, (0, 0, 0), view.version)
    object_changes(repository.at().storage, 3, repository.head)
    repository.operations(user="ann")


def test_every_statement_finds_its_rows_by_an_index(seen: list[str], tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "labels.sqlite")
    asked = {text for text in seen if text.startswith(("SELECT", "WITH")) and "label_" in text}
    assert len(asked) > 50
    slow = {}
    for text in asked:
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {text}")]
        whole = [step for step in plan if _WHOLE.search(step)]
        if re.search(r"operation_id > 0\b", text) and "LIMIT" not in text:
            whole += [step for step in plan if _FROM_THE_START.search(step)]
        if whole and not any(name in text for name in _SHORT):
            slow[text] = plan
    assert slow == {}
