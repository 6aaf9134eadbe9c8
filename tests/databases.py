"""Databases for tests: SQLite in the test's folder, or one of a throw-away PostgreSQL server."""

from __future__ import annotations

import atexit
import functools
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg
import pytest

from segmentation_backend.database import open_database

KINDS = ("sqlite", "postgresql")
_NOTE = "database-url"
_TEMPLATE = "current"


def binaries() -> Path | None:
    """Return where PostgreSQL's server programs are; Debian keeps them off the PATH."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    versions = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = max(versions, key=lambda p: float(p.parts[-3]), default=None)
    return None if newest is None else newest.parent


class Server:
    """A PostgreSQL server in a temporary folder, reached by a socket in it."""

    def __init__(self, bin_dir: Path, *, durable: bool) -> None:
        self.bin_dir = bin_dir
        self.folder = Path(tempfile.mkdtemp(prefix="mitoglance-pg-"))
        self.user: int | None = None
        if os.getuid() == 0:  # the server refuses to run as root
            names = {entry.pw_name: entry for entry in pwd.getpwall()}
            account = names.get("postgres") or names["nobody"]
            self.user = account.pw_uid
            os.chown(self.folder, account.pw_uid, account.pw_gid)
        self.durable = durable
        self._numbers = itertools.count(1)
        command = ["initdb", "-D", "data", "-A", "trust", "-U", "mitoglance", "-E", "UTF8"]
        self._spawn([*command, "--locale=C", "--no-sync"], "initdb").wait(60)
        self.start()
        self.execute(f"CREATE DATABASE {_TEMPLATE}")
        open_database(self.url(_TEMPLATE)).dispose()

    def _spawn(self, command: list[str], log: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{log}.log").open("ab") as output:
            return subprocess.Popen(
                [self.bin_dir / command[0], *command[1:]],
                cwd=self.folder,
                user=self.user,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def start(self) -> None:
        """Start the server, also after a crash, and wait until it answers."""
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.folder),
            "max_connections": "200",
            "fsync": "on" if self.durable else "off",
        }
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        self.process = self._spawn(["postgres", "-D", "data", *options], "server")
        deadline = time.monotonic() + 60
        while True:
            try:
                self.execute("SELECT 1")
            except psycopg.OperationalError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    log = (self.folder / "server.log").read_text()
                    raise RuntimeError(f"PostgreSQL did not start:\n{log[-2000:]}") from None
                time.sleep(0.05)
            else:
                return

    def crash(self) -> None:
        """Kill every process of the server at once."""
        processes = [psutil.Process(self.process.pid)]
        processes += processes[0].children(recursive=True)
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(processes, timeout=60)
        self.process.wait(60)

    def stop(self) -> None:
        """Stop the server and forget everything it held."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(60)
        shutil.rmtree(self.folder, ignore_errors=True)

    def execute(self, statement: str) -> None:
        with psycopg.connect(
            host=str(self.folder), user="mitoglance", dbname="postgres", autocommit=True
        ) as connection:
            connection.execute(statement)

    def url(self, name: str) -> str:
        return f"postgresql+psycopg://mitoglance@/{name}?host={self.folder}"

    def create(self, *, empty: bool = False) -> str:
        """Return the URL of a new database, with today's tables or (`empty`) without any."""
        name = f"test_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {'template0' if empty else _TEMPLATE}")
        return self.url(name)

    def drop(self, url: str) -> None:
        """Delete a database, whoever is connected to it."""
        name = url.partition("?")[0].rpartition("/")[2]
        self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@functools.cache
def server(*, durable: bool = False) -> Server:
    """Return the session's server; skips the test where PostgreSQL is not installed."""
    bin_dir = binaries()
    if bin_dir is None:
        pytest.skip("PostgreSQL's server is not installed (apt-get install postgresql)")
    started = Server(bin_dir, durable=durable)
    atexit.register(started.stop)
    return started


def note_url(folder: Path, url: str) -> None:
    """Let everything that is opened in a folder use a database elsewhere, in any process."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _NOTE).write_text(url)


def url_in(folder: Path) -> str | None:
    """Return the URL noted in a folder; None: a SQLite file of the folder's own."""
    note = folder / _NOTE
    return note.read_text() if note.exists() else None


def address_in(folder: Path) -> str | Path:
    """Return where the label database of a test's folder is, for `open_database`."""
    url = url_in(folder)
    return _with_tables(folder / "labels.sqlite") if url is None else url


@functools.cache
def _tables() -> bytes:
    """Return a SQLite file that has today's tables and nothing in them."""
    with tempfile.TemporaryDirectory() as folder:
        engine = open_database(Path(folder) / "empty.sqlite")
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        engine.dispose()
        return (Path(folder) / "empty.sqlite").read_bytes()


def _with_tables(path: Path) -> Path:
    """Save a test the making of the tables; another process may do the same at once."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent) as file:
            file.write(_tables())
            file.flush()
            with suppress(FileExistsError):
                os.link(file.name, path)
    return path
