"""A bucket with the labels under the edits that fails, pauses, or answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from published_bases import (
    ANA,
    BAR,
    FAR,
    IN_BAR,
    IN_FAR,
    Published,
    truth,
    write_image,
    write_zarr,
)
from s3_faults import BUSY, LOST_ANSWER, Fault, FaultProxy

from segmentation_backend.errors import ErrorKind, ResourceError
from segmentation_backend.geometry import Roi
from segmentation_backend.sources import stores
from segmentation_backend.sources.specs import CloudSettings
from segmentation_backend.workspace import Workspace


@pytest.fixture
def proxied(s3: Any, tmp_path: Path) -> Iterator[tuple[Published, FaultProxy]]:
    """Labels in a bucket, reached through a proxy that can be told to fail."""
    write_image(tmp_path / "em.zarr")
    write_zarr(tmp_path / "labels", 3)
    s3.upload(tmp_path / "labels", tmp_path.name)
    proxy = FaultProxy(s3.endpoint)
    workspace = Workspace(tmp_path / "data", cloud=CloudSettings(proxy.address))
    published = Published(
        workspace,
        s3.url(tmp_path.name),
        None,
        lambda path, data: s3.put(f"{tmp_path.name}/{path}", data),
    )
    published.register()
    assert published.root(IN_BAR) == BAR
    yield published, proxy
    published.workspace.close()
    proxy.stop()


FAULTS = {
    "busy": [BUSY] * 500,
    "dropped": [LOST_ANSWER] * 500,
    "forbidden": [Fault(forwarded=False, status=403, code="AccessDenied")] * 500,
    "slow": [Fault(delay_s=3.0)] * 500,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bucket_that_fails_changes_nothing_and_is_asked_again(
    proxied: tuple[Published, FaultProxy], fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    published, proxy = proxied
    workspace = published.workspace
    monkeypatch.setattr(stores, "_TIMEOUT_S", 1.0)
    proxy.plan("GET", *FAULTS[fault])
    view = workspace.at("cell")
    for attempt in (
        lambda: view.read(Roi((40, 100, 100), (20, 20, 20))),
        lambda: workspace.merge("cell", points=[IN_BAR, IN_FAR], edit=ANA),
        lambda: workspace.merge("cell", ids=[BAR, FAR], edit=ANA),
    ):
        with pytest.raises(ResourceError) as error:
            attempt()
        assert error.value.kind is ErrorKind.SOURCE_UNAVAILABLE
    assert workspace.head("cell") == 0
    proxy.plan("GET")
    monkeypatch.setattr(stores, "_TIMEOUT_S", 60.0)
    again(lambda: workspace.merge("cell", points=[IN_BAR, IN_FAR], edit=ANA))
    assert np.array_equal(again(lambda: published.labels(0)), truth())
    assert published.root(IN_FAR) == BAR


def again(attempt: Callable[[], Any]) -> Any:
    """Try until the requests that were refused while the bucket failed are all answered."""
    for _ in range(20):
        try:
            return attempt()
        except ResourceError:
            time.sleep(0.25)
    return attempt()


def test_a_short_pause_is_waited_for(proxied: tuple[Published, FaultProxy]) -> None:
    published, proxy = proxied
    proxy.plan("GET", BUSY, LOST_ANSWER, BUSY)
    assert np.array_equal(published.labels(), truth())


def test_each_chunk_in_a_bucket_is_fetched_once(proxied: tuple[Published, FaultProxy]) -> None:
    published, proxy = proxied
    published.reopen(CloudSettings(proxy.address))
    with proxy.counting("GET") as requests:
        published.labels()
        published.labels()
    fetched = [r.path for r in requests if "/s0/c/" in r.path]
    assert len(fetched) == len(set(fetched))
