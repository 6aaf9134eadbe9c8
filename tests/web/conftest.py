"""A real application on a small real volume with known labels; copied afresh for each test."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient
from web_client import SHAPE, Api

from app import create_app
from app.config import Config
from app.dispatcher import Dispatcher
from app.services import Services
from app.worker import run_job
from segmentation_backend.edits import import_labels
from segmentation_backend.geometry import Roi
from segmentation_backend.labels import LabelRepository, OperationMeta
from segmentation_backend.labels.confidence import Confidence
from segmentation_backend.workspace import Workspace


def bars() -> np.ndarray:
    """Return two bars apart (1, 2) and one long enough to be cut (3)."""
    labels = np.zeros(SHAPE, np.uint32)
    labels[4:16, 8:20, 8:30] = 1
    labels[4:16, 8:20, 40:60] = 2
    labels[4:16, 40:52, 8:90] = 3
    return labels


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with the volume `cell` at version 1, never written to."""
    folder = tmp_path_factory.mktemp("web")
    image = np.random.default_rng(1).integers(0, 255, SHAPE, np.uint8)
    np.savez(folder / "cell.npz", em=image)
    workspace = Workspace(folder / "data")
    size = (8.0, 8.0, 8.0)
    info = workspace.register("cell", str(folder / "cell.npz"), dataset="em", voxel_size=size)
    repository = LabelRepository(
        workspace.engine, workspace.data_dir / "packs" / "cell", "cell", info.label_levels
    )
    first = repository.reserve_ids(3)
    sure = {3: Confidence.of(0.9, 2 / 3)}
    whole = Roi((0, 0, 0), SHAPE)
    delta = import_labels(repository.at(), whole, bars(), first, confidences=sure)
    repository.commit(delta, OperationMeta(kind="segment", user="setup"))
    with workspace.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    workspace.close()
    return folder / "data"


@pytest.fixture
def config(original: Path, tmp_path: Path) -> Config:
    shutil.copytree(original, tmp_path / "data")
    return Config(data_dir=tmp_path / "data")


@pytest.fixture
def app(config: Config) -> Iterator[Flask]:
    made = create_app(config)
    yield made
    made.extensions["mitoglance"].workspace.close()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def api(client: FlaskClient) -> Api:
    return Api(client)


@pytest.fixture
def parts(app: Flask) -> Services:
    services: Services = app.extensions["mitoglance"]
    return services


class _Finished:
    def done(self) -> bool:
        return True

    def failure(self) -> str | None:
        return None

    def release(self) -> None:
        pass


class _Here:
    """Runs each job in this process, to its end, when it is submitted."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def slots(self) -> int:
        return 1

    def submit(self, job_id: str, attempt: int) -> _Finished:
        config = self._config
        run_job(config.database_url, str(config.data_dir), config.packs, job_id, attempt)
        return _Finished()

    def preparing(self) -> None:
        return None


@pytest.fixture
def dispatcher(parts: Services, config: Config) -> Dispatcher:
    """A dispatcher whose `step()` runs the next job here and now."""
    return Dispatcher(parts.jobs, _Here(config))
