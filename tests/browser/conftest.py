"""A real server, a real Chromium, and volumes with known labels."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from openorganelle_bucket import openorganelle
from playwright.sync_api import Browser, BrowserContext, Page
from serving import FIBSEM, ROOT, Server

from segmentation_backend.edits import import_labels
from segmentation_backend.geometry import Roi
from segmentation_backend.labels import LabelRepository, OperationMeta
from segmentation_backend.labels.confidence import Confidence
from segmentation_backend.sources.synthetic import synthetic_em
from segmentation_backend.workspace import Workspace

ARTIFACTS = ROOT / "test-artifacts"
SHAPE = (96, 192, 192)
READY_S = 90
MAX_VOXELS = 4_000_000
"""A box of 128³ may be segmented, the whole of the real volume may not."""

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Keep what every open page showed when a test failed."""
    outcome: Any = yield
    report = outcome.get_result()
    context = getattr(item, "funcargs", {}).get("context")
    if report.when == "call" and report.failed and context is not None:
        for number, page in enumerate(context.pages):
            ARTIFACTS.mkdir(exist_ok=True)
            page.screenshot(path=str(ARTIFACTS / f"failed-{item.name}-{number}.png"))


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, Any]:
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
    if not Path(chromium).exists():
        pytest.skip("Chromium is not installed: apt-get install chromium, or set CHROMIUM")
    return {"executable_path": chromium, "args": CHROMIUM_FLAGS}


@pytest.fixture(scope="session")
def browser_context_args() -> dict[str, Any]:
    return {"viewport": {"width": 1100, "height": 720}, "color_scheme": "dark"}


@pytest.fixture
def shot(page: Page) -> Callable[..., Path]:
    """Keep a picture of the page (or of another one) under test-artifacts/."""

    def keep(name: str, of: Page | None = None) -> Path:
        ARTIFACTS.mkdir(exist_ok=True)
        target = ARTIFACTS / f"{name}.png"
        (of or page).screenshot(path=str(target))
        return target

    return keep


@pytest.fixture
def second_context(
    browser: Browser, browser_context_args: dict[str, Any]
) -> Iterator[BrowserContext]:
    """Another browser profile: no cookies, no storage."""
    context = browser.new_context(**browser_context_args)
    yield context
    context.close()


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the volume `tissue`: synthetic EM whose true mitochondria are version 1.

    And `kinds`, the same, whose objects are of two classes.
    """
    data_dir = tmp_path_factory.mktemp("labelled")
    em = synthetic_em(SHAPE, seed=3)
    source = data_dir / "tissue.npz"
    np.savez(source, em=em.em)
    _import(source, "tissue", data_dir)
    _commit_labels(data_dir, "tissue", em.mitochondria)
    half = int(em.mitochondria.max()) // 2
    classes = [
        {"class_name": "mitochondrion", "ids": [["1", str(half)]]},
        {"class_name": "lipid droplet", "ids": [[str(half + 1), str(em.mitochondria.max())]]},
    ]
    _register(source, "kinds", data_dir)
    _commit_labels(data_dir, "kinds", em.mitochondria, "segment", {"classes": classes})
    yield from _serve(data_dir)


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the volume `tissue`: synthetic EM in which nothing was ever labelled."""
    data_dir = tmp_path_factory.mktemp("unlabelled")
    source = data_dir / "tissue.npz"
    np.savez(source, em=synthetic_em(SHAPE, seed=3).em)
    _import(source, "tissue", data_dir)
    yield from _serve(data_dir)


@pytest.fixture(scope="module")
def fibsem(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the volume `fly`: real FIB-SEM, no labels yet."""
    if not FIBSEM.is_dir():
        pytest.skip(f"no real FIB-SEM at {FIBSEM}")
    data_dir = tmp_path_factory.mktemp("fibsem")
    _import(FIBSEM / "volume_250.npz", "fly", data_dir)
    yield from _serve(data_dir)


@pytest.fixture(scope="module")
def openorganelle_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server without a volume, for which a bucket on this machine is OpenOrganelle's.

    `catalogue/own.json` has a dataset that is nowhere, with a picture that never comes.
    """
    data_dir = tmp_path_factory.mktemp("published")
    em = {"name": "em", "url": "s3://nowhere/at-all.zarr", "format": "zarr"}
    ours = {
        "name": "ours",
        "title": "Liver of ours, <b>fasted</b>",
        "organism": "Zebrafish",
        "em": [em],
        "thumbnail": "http://127.0.0.1:9/none.jpg",
    }
    (data_dir / "catalogue").mkdir()
    (data_dir / "catalogue/own.json").write_text(
        json.dumps({"format": "mitoglance-catalogue/1", "datasets": [ours]})
    )
    with openorganelle() as bucket:
        yield from _serve(data_dir, {"AWS_ENDPOINT_URL": bucket.endpoint})


def _command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "app", *map(str, arguments)]


def _import(source: Path, name: str, data_dir: Path) -> None:
    # fmt: off
    subprocess.run(
        _command("import", source, "--name", name, "--dataset", "em", "--voxel-size", "10,10,10",
                 "--data-dir", data_dir),
        cwd=ROOT, check=True, capture_output=True,
    )
    # fmt: on


def _register(source: Path, name: str, data_dir: Path) -> None:
    with closing(Workspace(data_dir)) as workspace:
        workspace.register(name, str(source), dataset="em", voxel_size=(10.0, 10.0, 10.0))


def _commit_labels(
    data_dir: Path,
    name: str,
    labels: np.ndarray[Any, Any],
    kind: str = "import",
    provenance: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    workspace = Workspace(data_dir)
    info = workspace.volume(name)
    repository = LabelRepository(
        workspace.engine, data_dir / "packs" / name, name, info.label_levels
    )
    first = repository.reserve_ids(int(labels.max()))
    roi = Roi((0, 0, 0), labels.shape)
    # Of the last one nothing is known.
    sure = {n: Confidence.of(0.97 - n % 5 / 10, 1 - n % 2 / 3) for n in range(1, labels.max())}
    delta = import_labels(repository.at(), roi, labels, first, confidences=sure)
    repository.commit(delta, OperationMeta(kind=kind, user="setup", provenance=dict(provenance)))
    workspace.close()


def _serve(data_dir: Path, environment: Mapping[str, str] | None = None) -> Iterator[Server]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = data_dir / "server.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            _command("serve", "--data-dir", data_dir, "--port", port, "--workers", 2),
            cwd=ROOT,
            env={**os.environ, "MITOGLANCE_MAX_VOXELS": str(MAX_VOXELS), **(environment or {})},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            server = Server(f"http://127.0.0.1:{port}", data_dir)
            server.wait_until_ready(process, log, READY_S)
            yield server
        finally:
            process.terminate()
            process.wait(30)
