"""Databases of every release are brought up to date: nothing is lost, all of it happens or none."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from databases import KINDS, note_url, server, url_in
from processes import forked
from sqlalchemy import event

import app.jobs
import app.sessions
import app.shares
import app.storage
from segmentation_backend import migrations
from segmentation_backend.database import open_database, write
from segmentation_backend.database.copies import copy_sqlite
from segmentation_backend.database.engine import connect
from segmentation_backend.errors import ErrorKind, FormatError, ResourceError
from segmentation_backend.geometry import Roi
from segmentation_backend.labels import schema
from segmentation_backend.workspace import EditContext, Workspace, catalog

RELEASES = Path(__file__).parents[1] / "data"
METADATAS = [schema.METADATA, catalog.metadata, app.storage.METADATA]


def address(data_dir: Path) -> str | Path:
    return url_in(data_dir) or data_dir / "mitoglance.sqlite"


def fill_sqlite(data_dir: Path, script: str) -> None:
    connection = sqlite3.connect(data_dir / "mitoglance.sqlite")
    connection.executescript(script)
    connection.close()


def fill_postgresql(url: str, script: str) -> None:
    plain = sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain) as connection:
        connection.execute(script)


@pytest.fixture(params=["released-0001", "released-0002"])
def release(request: pytest.FixtureRequest) -> Path:
    return RELEASES / str(request.param)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def data_dir(release: Path, kind: str, tmp_path: Path) -> Iterator[Path]:
    """A data directory as a release left it, on each database."""
    folder = tmp_path / "data"
    for name, content in json.loads((release / "packs.json").read_text())[kind].items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(content))
    script = (release / f"{kind}.sql").read_text()
    if kind == "sqlite":
        fill_sqlite(folder, script)
        yield folder
        return
    url = server().create(empty=True)
    fill_postgresql(url, script)
    note_url(folder, url)
    yield folder
    server().drop(url)


@pytest.fixture
def expected(release: Path, kind: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((release / "expected.json").read_text())[kind]
    return found


def digest(workspace: Workspace, name: str, version: int | None = None) -> str:
    view = workspace.at(name, version)
    found = hashlib.sha256()
    for level in view.levels:
        found.update(view.read(Roi((0, 0, 0), level.shape), level.level).tobytes())
    return found.hexdigest()


def check_reads_the_same(data_dir: Path, expected: dict[str, Any]) -> None:
    workspace = Workspace(data_dir, url_in(data_dir))
    assert [info.name for info in workspace.volumes()] == sorted(expected)
    for name, known in expected.items():
        operations = [o.to_json() for o in workspace.operations(name, limit=1000)]
        for operation in known["operations"]:
            # Said in other words since: which roots are one now, and which came from one.
            operation.pop("merges", None)
            operation.pop("splits", None)
        old = [
            {k: o[k] for k in before}
            for o, before in zip(operations, known["operations"], strict=True)
        ]
        assert old == known["operations"]
        if "branches" not in known:  # as every release before there were any
            assert [o["parent"] for o in operations] == [o["version"] - 1 for o in operations]
            known |= {"branches": {"main": len(known["versions"]) - 1}, "tags": {}}
        assert {b.name: b.head for b in workspace.branches(name)} == known["branches"]
        assert {t.name: t.version for t in workspace.tags(name)} == known["tags"]
        for version, before in enumerate(known["versions"]):
            assert digest(workspace, name, version) == before["voxels"]
            objects = [o.to_json() for o in workspace.at(name, version).objects(sort="root")]
            # Of what these releases segmented nobody knows how sure the network was.
            assert {o.pop("probability", 0) for o in objects} <= {None}
            assert {o.pop("agreement", 0) for o in objects} <= {None}
            assert objects == before["objects"]
    workspace.close()


def dump(path: Path) -> list[str]:
    connection = sqlite3.connect(path)
    lines = list(connection.iterdump())
    connection.close()
    return lines


def test_every_version_of_a_release_reads_the_same(
    data_dir: Path, expected: dict[str, Any]
) -> None:
    check_reads_the_same(data_dir, expected)
    check_reads_the_same(data_dir, expected)


def test_what_a_release_did_can_still_be_undone_and_redone(
    data_dir: Path, expected: dict[str, Any]
) -> None:
    workspace = Workspace(data_dir, url_in(data_dir))
    versions = [version["voxels"] for version in expected["cell"]["versions"]]
    last = expected["cell"]["operations"][0]
    edit = EditContext(last["user"])
    assert workspace.undo("cell", edit).undoes == last["operation_id"]
    assert digest(workspace, "cell") == versions[-2]
    workspace.redo("cell", edit)
    assert digest(workspace, "cell") == versions[-1]
    workspace.revert("cell", 3, edit)
    assert digest(workspace, "cell") == versions[3]
    repeated = EditContext("ana", request_id="ana-cell")
    assert workspace.repository("cell").find_request(repeated.request_id).operation_id == 1
    workspace.close()


def test_the_rest_of_a_release_is_kept(data_dir: Path, expected: dict[str, Any]) -> None:
    engine = open_database(address(data_dir))
    with engine.connect() as connection:
        for table in ("web_shares", "web_sessions", "web_jobs", "web_instance"):
            assert connection.scalar(sa.text(f"SELECT COUNT(*) FROM {table}")) == 1
        branches = connection.execute(
            sa.text("SELECT name, fork_version, head, time FROM label_branches ORDER BY volume_id")
        ).all()
    mains = [row for row in branches if row.name == "main"]
    assert len(mains) == len(expected)
    assert all(row.fork_version == 0 for row in mains)
    assert all(row.head > 0 and row.time.startswith("20") for row in branches)
    engine.dispose()


def in_words(index: Any) -> str:
    options = {name: str(value) for name, value in index.get("dialect_options", {}).items()}
    return str(index | {"dialect_options": options})


def shape_of(engine: sa.Engine) -> dict[str, object]:
    """Return what `compare_metadata` does not look at: keys, and SQLite's own words."""
    inspector = sa.inspect(engine)
    names = sorted(set(inspector.get_table_names()) - {"alembic_version"})
    shape: dict[str, object] = {
        name: (
            [(c["name"], str(c["type"]), c["nullable"]) for c in inspector.get_columns(name)],
            inspector.get_pk_constraint(name),
            sorted(map(str, inspector.get_unique_constraints(name))),
            sorted(map(in_words, inspector.get_indexes(name))),
        )
        for name in names
    }
    if engine.dialect.name == "sqlite":
        query = sa.text("SELECT name, sql FROM sqlite_master WHERE tbl_name <> 'alembic_version'")
        with engine.connect() as connection:
            shape["sql"] = sorted(map(tuple, connection.execute(query).all()), key=str)
    return shape


def as_declared(kind: str, folder: Path) -> sa.Engine:
    """Return a database whose tables were made from today's declarations alone."""
    url = f"sqlite:///{folder}/declared.sqlite"
    engine = connect(url if kind == "sqlite" else server().create(empty=True))
    with engine.begin() as connection:
        for metadata in METADATAS:
            metadata.create_all(connection)
    return engine


def check_tables_are_as_declared(engine: sa.Engine, kind: str, folder: Path) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATAS) == []
    declared = as_declared(kind, folder)
    assert shape_of(engine) == shape_of(declared)
    declared.dispose()
    engine.dispose()


def test_migrated_tables_are_those_declared(data_dir: Path, kind: str, tmp_path: Path) -> None:
    check_tables_are_as_declared(open_database(address(data_dir)), kind, tmp_path)


def test_new_tables_are_those_declared(kind: str, tmp_path: Path) -> None:
    place = tmp_path / "new.sqlite" if kind == "sqlite" else server().create(empty=True)
    check_tables_are_as_declared(open_database(place), kind, tmp_path)


def test_a_database_with_some_tables_of_the_first_release_is_completed(tmp_path: Path) -> None:
    script = (RELEASES / "released-0001" / "sqlite.sql").read_text()
    start = script.index("CREATE TABLE volumes")
    fill_sqlite(tmp_path, script[start : script.index(";", start) + 1])
    check_tables_are_as_declared(open_database(tmp_path / "mitoglance.sqlite"), "sqlite", tmp_path)


def open_and_report(data_dir: Path, ready: Barrier) -> None:
    ready.wait(30)
    engine = open_database(address(data_dir))
    with engine.connect() as connection:
        (data_dir / f"opened-{os.getpid()}").write_text(
            str(connection.scalar(sa.text("SELECT version_num FROM alembic_version")))
        )


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    return forked()


def test_processes_that_start_at_once_migrate_once(
    data_dir: Path, expected: dict[str, Any], processes: ForkServerContext
) -> None:
    ready = processes.Barrier(3)
    started = [processes.Process(target=open_and_report, args=(data_dir, ready)) for _ in range(3)]
    for process in started:
        process.start()
    for process in started:
        process.join(60)
        assert process.exitcode == 0
    reports = [path.read_text() for path in data_dir.glob("opened-*")]
    assert reports == [migrations.NEWEST] * 3
    check_reads_the_same(data_dir, expected)


def open_and_die(data_dir: Path, statement: int) -> None:
    """Open a database in a process that is killed when it executes its nth statement."""
    count = 0

    def executed(*_arguments: object) -> None:
        nonlocal count
        count += 1
        if count == statement:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(sa.Engine, "after_cursor_execute", executed)
    open_database(address(data_dir))
    (data_dir / "statements").write_text(str(count))


def columns_in(data_dir: Path, kind: str) -> dict[str, list[str]]:
    place = address(data_dir)
    engine = connect(f"sqlite:///{place}" if kind == "sqlite" else str(place))
    inspector = sa.inspect(engine)
    found = {t: [c["name"] for c in inspector.get_columns(t)] for t in inspector.get_table_names()}
    engine.dispose()
    return found


@pytest.mark.crash
def test_a_kill_at_any_moment_leaves_the_old_tables_or_the_new(
    data_dir: Path,
    release: Path,
    kind: str,
    expected: dict[str, Any],
    processes: ForkServerContext,
    request: pytest.FixtureRequest,
) -> None:
    before = dump(data_dir / "mitoglance.sqlite") if kind == "sqlite" else None
    columns = columns_in(data_dir, kind)
    moments = {"released-0001": (3, 9, 20, 33, 45, 60), "released-0002": (3, 5, 7, 9, 11, 13)}
    is_long = request.config.getoption("--kills") > 5
    for statement in moments[release.name][:: 1 if is_long else 2]:
        process = processes.Process(target=open_and_die, args=(data_dir, statement))
        process.start()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
        assert columns_in(data_dir, kind) == columns
        if before is not None:
            assert dump(data_dir / "mitoglance.sqlite") == before
    open_and_die(data_dir, -1)
    assert int((data_dir / "statements").read_text()) > moments[release.name][-1]
    assert columns_in(data_dir, kind) != columns
    check_reads_the_same(data_dir, expected)


def test_a_copy_of_a_sqlite_file_is_kept_before_its_tables_change(
    release: Path, tmp_path: Path
) -> None:
    database = tmp_path / "mitoglance.sqlite"
    fill_sqlite(tmp_path, (release / "sqlite.sql").read_text())
    before = dump(database)
    open_database(database).dispose()
    copy = tmp_path / f"mitoglance.sqlite.before-{migrations.NEWEST}"
    assert dump(copy) == before
    copy.unlink()
    open_database(database).dispose()
    open_database(tmp_path / "new.sqlite").dispose()
    assert list(tmp_path.glob("*.before-*")) == []


def test_without_room_for_the_copy_nothing_changes(release: Path, tmp_path: Path) -> None:
    database = tmp_path / "mitoglance.sqlite"
    fill_sqlite(tmp_path, (release / "sqlite.sql").read_text())
    before = dump(database)

    def fail(source: Path, target: Path) -> None:
        copy_sqlite(source, tmp_path / "absent" / target.name)

    engine = connect(f"sqlite:///{database}")
    with pytest.raises(ResourceError, match="nothing was changed") as caught:
        migrations.bring_up_to_date(engine, write, fail)
    assert caught.value.kind == ErrorKind.DISK_FULL
    engine.dispose()
    assert dump(database) == before


def test_a_database_of_a_newer_program_is_refused(kind: str, tmp_path: Path) -> None:
    place = tmp_path / "new.sqlite" if kind == "sqlite" else server().create()
    engine = open_database(place)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9042'"))
    engine.dispose()
    with pytest.raises(FormatError, match=f"9042.*{migrations.NEWEST}.*newer") as caught:
        open_database(place)
    assert caught.value.kind == ErrorKind.UNSUPPORTED_FORMAT


def test_a_current_database_costs_one_statement_and_no_alembic(tmp_path: Path) -> None:
    open_database(tmp_path / "new.sqlite").dispose()
    code = (
        "import sys, sqlalchemy as sa\n"
        "from segmentation_backend.database import open_database\n"
        "seen = []\n"
        "sa.event.listen(sa.Engine, 'after_cursor_execute', lambda *a: seen.append(a[2]))\n"
        f"open_database({str(tmp_path / 'new.sqlite')!r})\n"
        "assert len(seen) == 1, seen\n"
        "assert 'alembic' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_list_of_revisions_is_complete() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.set_main_option("path_separator", "os")
    script = ScriptDirectory.from_config(config)
    known = [revision.revision for revision in script.walk_revisions()]
    assert tuple(reversed(known)) == migrations.REVISIONS
