"""What all tests share: their options, and the databases that the contracts are tested on."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from databases import KINDS, note_url, server


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--kills", type=int, default=10, help="How many processes the crash tests kill."
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
