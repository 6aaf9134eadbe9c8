"""A workspace whose label packs are in a bucket does what any workspace does, in two processes."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from s3_faults import BUSY, LOST_ANSWER, LOST_REQUEST, Fault, FaultProxy
from s3_writer import (
    SHAPE,
    WHOLE,
    Place,
    add_rows,
    bars,
    digests,
    edit_everything,
    edit_in_child,
    fill_and_die,
    row,
)

from segmentation_backend.errors import ErrorKind, ResourceError
from segmentation_backend.labels import ChunkKey, InlineChunk, open_packs
from segmentation_backend.workspace import EditContext, Workspace

ANA = EditContext("ana")


@pytest.fixture
def place(tmp_path: Path, s3: Any) -> Place:
    np.savez(tmp_path / "cell.npz", em=np.zeros(SHAPE, np.uint8))
    found = Place(tmp_path / "data", s3.url(f"labels/{tmp_path.name}"), s3.endpoint)
    workspace = found.open()
    workspace.register("cell", str(tmp_path / "cell.npz"), dataset="em", voxel_size=(8.0, 8.0, 8.0))
    workspace.close()
    return found


@pytest.fixture
def workspace(place: Place) -> Iterator[Workspace]:
    opened = place.open()
    yield opened
    opened.close()


def run(*calls: tuple[Callable[..., None], tuple[object, ...]], exitcode: int = 0) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["s3_writer"])
    processes = [context.Process(target=call, args=args) for call, args in calls]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == exitcode


def test_two_processes_see_every_version_alike(
    place: Place, workspace: Workspace, tmp_path: Path
) -> None:
    place.fill(workspace, bars(), "ana")
    edit_everything(workspace, "ana")
    seen = digests(workspace)
    assert len(seen) == 10
    assert len(set(seen)) < len(seen)  # undone and done again: alike, bit for bit
    run((edit_in_child, (place, tmp_path / "answer")))
    told = (tmp_path / "answer").read_text().splitlines()
    assert told[: len(seen)] == seen
    assert digests(workspace) == told
    assert len(told) == 13
    fresh = place.open()
    assert digests(fresh) == told
    assert np.count_nonzero(fresh.cutout("cell", WHOLE)) == np.count_nonzero(bars())
    fresh.close()
    assert not (place.data_dir / "packs").exists()


def test_two_processes_writing_into_the_same_chunks_lose_nothing(
    place: Place, workspace: Workspace
) -> None:
    run((add_rows, (place, list(range(12)))), (add_rows, (place, list(range(12, 24)))))
    assert workspace.head("cell") == 24
    expected = sum(row(number) for number in range(24))
    assert np.array_equal(workspace.cutout("cell", WHOLE) > 0, expected > 0)
    assert len(workspace.objects("cell")) == 24
    # Packs of commits that were moved onto newer voxels are left over; the rest is in use.
    later = time.time() + 7200
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: later)
        workspace.sweep_orphans()
        assert workspace.sweep_orphans() == 0
    before = digests(workspace)
    fresh = place.open()
    assert digests(fresh) == before
    fresh.close()


@pytest.mark.crash
@pytest.mark.parametrize(
    ("step", "heads", "orphans"),
    [
        ("pack-opened", 1, 0),
        ("pack-durable", 1, 1),
        ("rows-written", 1, 1),
        ("committed", 2, 0),
    ],
)
def test_a_kill_at_any_step_leaves_all_or_nothing(
    place: Place, workspace: Workspace, step: str, heads: int, orphans: int
) -> None:
    place.fill(workspace, bars(), "ana")
    run((fill_and_die, (place, step, "r")), exitcode=-9)
    assert workspace.head("cell") == heads
    # The client never got an answer and asks again.
    run((fill_and_die, (place, "no such step", "r")))
    assert workspace.head("cell") == 2
    before = digests(workspace)
    later = time.time() + 7200
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: later)
        assert workspace.sweep_orphans() == orphans
    fresh = place.open()
    assert digests(fresh) == before
    fresh.close()


def test_edits_get_through_a_bad_network_exactly_once(
    place: Place, s3: Any, workspace: Workspace
) -> None:
    place.fill(workspace, bars(), "ana")
    bad = FaultProxy(s3.endpoint)
    fine = Fault()
    bad.plan("PUT", *[BUSY, fine, LOST_ANSWER, fine, LOST_REQUEST, fine] * 20)
    bad.plan(
        "GET", *[Fault(cut=20), fine, BUSY, fine, Fault(short=9), fine, LOST_ANSWER, fine] * 50
    )
    shaken = replace(place, endpoint=bad.address).open()
    edit_everything(shaken, "ana")
    seen = digests(shaken)
    shaken.close()
    bad.stop()
    assert workspace.head("cell") == 9
    assert digests(workspace) == seen
    assert seen[9] == seen[7]  # the version that was taken back to, taken back


def test_only_old_packs_that_nobody_names_are_swept(place: Place, workspace: Workspace) -> None:
    place.fill(workspace, bars(), "ana")
    packs = open_packs(f"{place.packs}/cell", place.cloud)
    used = {name for name, _ in packs.names()}
    packs.write({ChunkKey(0, 0, 0, 0): InlineChunk(b"left by a crash")})
    assert workspace.sweep_orphans() == 0
    later = time.time() + 7200
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: later)
        assert workspace.sweep_orphans() == 1
    assert {name for name, _ in packs.names()} == used


def test_a_bucket_that_is_gone_is_an_outage_and_changes_nothing(
    place: Place, s3: Any, workspace: Workspace
) -> None:
    place.fill(workspace, bars(), "ana")
    elsewhere = Workspace(place.data_dir, cloud=place.cloud, packs="s3://no-such-bucket/labels")
    for call in (
        elsewhere.check_packs,
        lambda: elsewhere.cutout("cell", WHOLE),
        lambda: elsewhere.split("cell", [[(10, 45, 10)], [(10, 45, 88)]], ANA),
        elsewhere.sweep_orphans,
    ):
        with pytest.raises(ResourceError, match="no such bucket") as caught:
            call()
        assert caught.value.kind == ErrorKind.SOURCE_UNAVAILABLE
    assert elsewhere.head("cell") == 1
    assert elsewhere.merge("cell", ids=[1, 2], edit=ANA).operation_id == 2  # needs no voxels
    elsewhere.close()
    assert workspace.cutout("cell", WHOLE)[10, 10, 50] == 1


def test_packs_in_the_wrong_place_are_missed_not_empty(
    place: Place, workspace: Workspace, tmp_path: Path
) -> None:
    place.fill(workspace, bars(), "ana")
    local = Workspace(place.data_dir, packs=str(tmp_path / "other"))
    with pytest.raises(ResourceError):
        local.cutout("cell", WHOLE)
    moved = Workspace(place.data_dir, cloud=place.cloud, packs=f"{place.packs}/moved")
    with pytest.raises(ResourceError, match="copy the packs"):
        moved.cutout("cell", WHOLE)
    # Copied as any tool would do it, they are there.
    origin, target = open_packs(f"{place.packs}/cell", place.cloud), tmp_path / "other" / "cell"
    for name, _ in origin.names():
        open_packs(target).put(name, origin.content(name))
    assert np.array_equal(local.cutout("cell", WHOLE), bars())
    for opened in (local, moved):
        opened.close()
