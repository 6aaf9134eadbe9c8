"""One state while reading, all or nothing when writing, and sentences when the world fails."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa
from databases import address_in, server
from sqlalchemy import event

from segmentation_backend.database import confirm, hold, locks, open_database, read, write
from segmentation_backend.errors import ConflictError, ErrorKind, FormatError, ResourceError

INSERT = sa.text("INSERT INTO web_instance (name) VALUES (:name)")
NAMES = sa.text("SELECT name FROM web_instance ORDER BY name")


@pytest.fixture
def engine(tmp_path: Path, database: str) -> sa.Engine:
    return open_database(address_in(tmp_path))


def names(engine: sa.Engine) -> list[str]:
    with read(engine) as connection:
        return list(connection.scalars(NAMES))


def put(engine: sa.Engine, name: str) -> None:
    with write(engine) as connection:
        connection.execute(INSERT, {"name": name})


def test_a_read_sees_one_state_whatever_others_write(engine: sa.Engine, tmp_path: Path) -> None:
    other = open_database(address_in(tmp_path))
    put(engine, "a")
    with read(engine) as connection:
        assert list(connection.scalars(NAMES)) == ["a"]
        put(other, "b")
        assert list(connection.scalars(NAMES)) == ["a"]
        assert names(engine) == ["a"]  # inside, too
    assert names(engine) == ["a", "b"]
    other.dispose()


def test_a_read_inside_a_write_sees_what_it_wrote(engine: sa.Engine) -> None:
    with write(engine) as connection:
        connection.execute(INSERT, {"name": "a"})
        assert names(engine) == ["a"]


def test_a_write_that_fails_leaves_nothing(engine: sa.Engine) -> None:
    def fail() -> None:
        with write(engine) as connection:
            connection.execute(INSERT, {"name": "a"})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert names(engine) == []
    put(engine, "b")
    assert names(engine) == ["b"]


def test_writers_that_are_shut_out_are_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_database(tmp_path / "x.sqlite")
    monkeypatch.setattr(locks, "BUSY_TIMEOUT_S", 0.1)
    line = os.open(tmp_path / "x.sqlite-writers", os.O_RDWR | os.O_CREAT)
    fcntl.flock(line, fcntl.LOCK_EX)
    with pytest.raises(ResourceError, match="have been writing for 0 s; nothing was changed"):
        put(engine, "a")
    os.close(line)
    put(engine, "b")
    assert names(engine) == ["b"]


def test_the_line_of_writers_is_a_courtesy(tmp_path: Path) -> None:
    engine = open_database(tmp_path / "x.sqlite")
    (tmp_path / "x.sqlite-writers").unlink()
    (tmp_path / "x.sqlite-writers").mkdir()
    put(engine, "a")
    assert names(engine) == ["a"]


def test_maintenance_keeps_out_what_would_be_in_the_way(engine: sa.Engine, tmp_path: Path) -> None:
    other = open_database(address_in(tmp_path))
    with hold(engine, "A backup", shared=True):
        with hold(other, "Another backup", shared=True):
            pass
        with (
            pytest.raises(ConflictError, match="A clean-up cannot begin") as caught,
            hold(other, "A clean-up", shared=False),
        ):
            pass
        put(other, "people may edit")
    assert caught.value.kind == ErrorKind.MAINTENANCE_RUNNING
    with (
        hold(other, "A clean-up", shared=False),
        pytest.raises(ConflictError),
        hold(engine, "A backup", shared=True),
    ):
        pass
    with hold(engine, "A backup", shared=True):
        pass
    other.dispose()


# What goes wrong


def test_a_full_disk_is_told_from_other_failures(tmp_path: Path) -> None:
    engine = open_database(tmp_path / "x.sqlite")
    with engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    with pytest.raises(ResourceError, match="full; nothing was changed") as caught:
        put(engine, "x" * 100_000)
    assert caught.value.kind == ErrorKind.DISK_FULL
    assert names(engine) == []


def test_a_database_that_cannot_be_written_to(tmp_path: Path) -> None:
    engine = open_database(tmp_path / "x.sqlite")

    @event.listens_for(engine, "checkout")
    def _forbid(connection: sqlite3.Connection, *_: object) -> None:
        connection.execute("PRAGMA query_only=ON")

    with pytest.raises(ResourceError, match=r"cannot be written to.*mounted for writing"):
        put(engine, "a")


@pytest.mark.parametrize("damage", ["text", "pages"])
def test_a_damaged_database_names_the_way_out(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "x.sqlite"
    if damage == "text":
        path.write_text("this is no database, but long enough to look like one" * 100)
    else:
        open_database(path).dispose()
        content = bytearray(path.read_bytes())
        content[100:4096] = bytes(3996)
        path.write_bytes(content)
    with pytest.raises(FormatError, match="mitoglance restore") as caught:
        open_database(path)
    assert caught.value.kind == ErrorKind.CORRUPT_DATABASE


def test_a_folder_in_the_place_of_the_database(tmp_path: Path) -> None:
    (tmp_path / "x.sqlite").mkdir()
    with pytest.raises(ResourceError, match="cannot be written to"):
        open_database(tmp_path / "x.sqlite")


def test_a_lost_connection_is_told_and_replaced() -> None:
    url = server().create()
    engine = open_database(url)

    def lose() -> None:
        with write(engine) as connection:
            process = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
            server().execute(f"SELECT pg_terminate_backend({process})")
            connection.execute(INSERT, {"name": "a"})

    with pytest.raises(ResourceError, match=r"was lost.*same request id"):
        lose()
    put(engine, "b")
    assert names(engine) == ["b"]
    engine.dispose()
    server().drop(url)


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(ResourceError) as caught:
        open_database(f"postgresql+psycopg://mitoglance:secret@/none?host={tmp_path}")
    assert caught.value.kind == ErrorKind.SOURCE_UNAVAILABLE
    assert "secret" not in caught.value.message


def test_a_standby_takes_no_changes() -> None:
    url = server().create()
    engine = open_database(url)

    def change() -> None:
        with write(engine) as connection:
            connection.exec_driver_sql("SET TRANSACTION READ ONLY")
            connection.execute(INSERT, {"name": "a"})

    with pytest.raises(ResourceError, match="cannot be written to"):
        change()
    engine.dispose()
    server().drop(url)


def test_a_change_on_postgresql_is_flushed_before_the_answer() -> None:
    url = server().create()
    engine = open_database(url)
    seen: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *args: seen.append(str(args[2])))
    put(engine, "a")
    assert "synchronous_commit = off" in seen[-2]
    assert "pg_logical_emit_message" in seen[-1]
    with write(engine, durable=False) as connection:
        connection.execute(INSERT, {"name": "b"})
    assert "pg_logical_emit_message" not in seen[-1]
    confirm(engine)
    assert "pg_logical_emit_message" in seen[-1]
    with engine.connect() as connection:
        lag = sa.text("SELECT pg_current_wal_flush_lsn() >= pg_current_wal_insert_lsn()")
        assert connection.execute(lag).scalar_one()
    engine.dispose()
    server().drop(url)
