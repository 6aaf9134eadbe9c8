"""What all tests share: their options, and the databases that the contracts are tested on."""

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from databases import KINDS, note_url, server

# A thread of torch that waits must not keep the others of a small machine from working; read when
# torch is loaded, here and in every process that a test starts.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")
# No server that a test starts asks for the live catalogue.
os.environ.setdefault("MITOGLANCE_CATALOGUE_URL", "none")
# How long an example takes says more about the machine than about the program.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--kills", type=int, default=5, help="How many processes the crash tests kill."
    )


@pytest.fixture(params=KINDS)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Run a test on each database; `databases.address_in(tmp_path)` says where it is."""
    yield from _database(request.param, tmp_path, durable=False)


@pytest.fixture(params=KINDS)
def durable_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The same, on a server that waits for its disk as one in use does."""
    yield from _database(request.param, tmp_path, durable=True)


def _database(kind: str, folder: Path, *, durable: bool) -> Iterator[str]:
    if kind == "sqlite":
        yield kind
        return
    owner = server(durable=durable)
    url = owner.create()
    note_url(folder, url)
    yield kind
    owner.drop(url)
