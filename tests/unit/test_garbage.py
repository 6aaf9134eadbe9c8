"""What nothing reaches is removed; what a branch, tag or share reaches reads the same for ever."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from databases import address_in, note_url, server
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from label_volumes import Editor

from segmentation_backend.database import open_database, read
from segmentation_backend.edits import import_labels, revert
from segmentation_backend.errors import NotFoundError
from segmentation_backend.geometry import Roi, plan_levels
from segmentation_backend.labels import (
    ChunkChange,
    ChunkKey,
    Delta,
    LabelRepository,
    OperationMeta,
)
from segmentation_backend.labels.garbage import Garbage, collect_garbage
from segmentation_backend.labels.integrity import check_labels
from segmentation_backend.labels.integrity_rows import ROW_TABLES
from segmentation_backend.labels.operations import BranchMerge

KEYS = [ChunkKey(1, 0, 0, 0)]
NEXT_DAY = timedelta(days=1)


def tomorrow() -> datetime:
    return datetime.now(UTC) + NEXT_DAY


def collect(repository: LabelRepository, *pinned: int, **options: object) -> Garbage:
    """Collect as if it was tomorrow for branches; packs have the age they have."""
    return collect_garbage(
        repository,
        pinned=lambda connection: pinned,
        clock=tomorrow,
        **({"delete": True} | options),  # type: ignore[arg-type]
    )


def rows_in(repository: LabelRepository) -> list[int]:
    with read(repository._engine) as connection:
        return [
            connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0
            for table in ROW_TABLES
        ]


def packs_in(folder: Path) -> set[str]:
    return {path.stem for path in (folder / "packs").glob("*/*.pack")}


def grow_old(folder: Path) -> None:
    for path in (folder / "packs").glob("*/*"):
        os.utime(path, times=(time.time() - 7200,) * 2)


def paint_on(editor: Editor, branch: str, corner: tuple[int, int, int]) -> int:
    """Import a box on a branch and return the version."""
    main, editor.repository = editor.repository, editor.repository.branch(branch)
    operation = editor.boxes(corner)
    editor.repository = main
    return operation.operation_id


@pytest.fixture
def editor(tmp_path: Path, database: str) -> Editor:
    """Version 1 on main, 2 and 3 on `side`, which left at 1; 4 on main."""
    made = Editor(tmp_path)
    made.boxes((0, 0, 0))
    made.repository.create_branch("side", "cy")
    paint_on(made, "side", (20, 60, 60))
    paint_on(made, "side", (20, 20, 20))
    made.boxes((0, 60, 60))
    return made


def test_without_deleted_branches_there_is_nothing_to_remove(editor: Editor) -> None:
    grow_old(editor.folder)
    before = rows_in(editor.repository), packs_in(editor.folder)
    assert collect(editor.repository) == Garbage()
    assert (rows_in(editor.repository), packs_in(editor.folder)) == before


def test_a_dry_run_says_what_a_real_one_removes(editor: Editor) -> None:
    editor.repository.delete_branch("side")
    before = rows_in(editor.repository), packs_in(editor.folder)
    said = collect(editor.repository, delete=False)
    assert said.branches == ("side",)
    assert said.operations == 2
    assert len(said.pending) == 2
    assert (rows_in(editor.repository), packs_in(editor.folder)) == before
    assert collect(editor.repository) == said
    after = rows_in(editor.repository)
    assert said.rows == sum(before[0]) - sum(after)
    assert collect(editor.repository) == Garbage()


def test_a_deleted_branch_goes_and_nothing_else_changes(editor: Editor) -> None:
    seen = editor.repository.at(3)
    main = editor.voxels(1), editor.voxels(4)
    assert seen.read(seen.bounds).any()
    editor.repository.delete_branch("side")
    collect(editor.repository)
    assert np.array_equal(editor.voxels(1), main[0])
    assert np.array_equal(editor.voxels(4), main[1])
    assert list(check_labels(editor.repository, all_versions=True)) == []
    assert editor.boxes((20, 0, 0)).operation_id == 5
    # Also where it was known before: gone is an error, not background.
    fresh = Editor(editor.folder).repository
    with pytest.raises(NotFoundError):
        fresh.at(3)
    with pytest.raises(NotFoundError):
        seen.read(seen.bounds)


def test_a_branch_deleted_a_moment_ago_stays(editor: Editor) -> None:
    editor.repository.delete_branch("side")
    assert collect_garbage(editor.repository, delete=True) == Garbage()
    assert editor.repository.at(3).object(2)


@pytest.mark.parametrize("how", ["tag", "share", "branch", "merge"])
def test_what_something_reaches_stays_up_to_there(editor: Editor, how: str) -> None:
    repository = editor.repository
    pinned: tuple[int, ...] = ()
    if how == "tag":
        repository.create_tag("paper", "ann", 2)
    elif how == "share":
        pinned = (2,)
    elif how == "branch":
        repository.create_branch("child", "ann", 2)
    else:
        side = repository.branch("side")._branch_id
        meta = OperationMeta("merge-branch", "ann", merges=BranchMerge(side, 2))
        repository.commit(Delta(base_version=4), meta)
    before = editor.voxels(2)
    repository.delete_branch("side")
    found = collect(repository, *pinned)
    assert (found.branches, found.operations) == (("side",), 1)
    assert np.array_equal(Editor(editor.folder).voxels(2), before)
    with pytest.raises(NotFoundError):
        Editor(editor.folder).voxels(3)
    assert list(check_labels(repository, all_versions=True)) == []
    # When that is gone as well, so is the rest.
    if how == "tag":
        repository.delete_tag("paper")
    if how == "branch":
        repository.delete_branch("child")
    assert collect(repository).operations == (0 if how == "merge" else 1)


def test_packs_go_an_hour_after_the_rows_that_named_them(editor: Editor) -> None:
    grow_old(editor.folder)
    packs = packs_in(editor.folder)
    editor.repository.delete_branch("side")
    first = collect(editor.repository)
    assert len(first.pending) == 2
    assert first.packs == ()
    assert packs_in(editor.folder) == packs
    assert collect(editor.repository).packs == ()
    grow_old(editor.folder)
    assert collect(editor.repository).packs == first.pending
    assert packs_in(editor.folder) == packs - set(first.pending)
    assert list(check_labels(editor.repository, all_versions=True)) == []


def test_an_edit_under_way_may_still_name_a_pack_of_a_removed_version(editor: Editor) -> None:
    places = editor.repository.at().storage.places(KEYS, 3)
    delta = Delta(4, chunks={key: ChunkChange(None, place) for key, place in places.items()})
    editor.repository.delete_branch("side")
    collect(editor.repository)
    operation = editor.repository.commit(delta, OperationMeta("restore", "ann"))
    grow_old(editor.folder)
    collect(editor.repository)
    view = Editor(editor.folder).repository.at(operation.operation_id)
    assert view.storage.load(view.storage.places(KEYS, view.version).values())


def test_a_merge_of_what_was_removed_meanwhile_is_refused(editor: Editor) -> None:
    source = editor.repository.branch("side")._branch_id
    meta = OperationMeta("merge-branch", "ann", merges=BranchMerge(source, 3))
    editor.repository.delete_branch("side")
    collect(editor.repository)
    with pytest.raises(NotFoundError):
        editor.repository.commit(Delta(base_version=4), meta)
    assert editor.repository.head == 4
    assert list(check_labels(editor.repository)) == []


def test_left_overs_of_a_crash_go(editor: Editor) -> None:
    for name in ("abcd.pack", "ab77.tmp"):
        path = editor.folder / "packs" / "ab" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"torn")
    assert collect(editor.repository).packs == ()
    grow_old(editor.folder)
    assert collect(editor.repository, delete=False).packs == ("ab77.tmp", "abcd")
    assert collect(editor.repository).packs == ("ab77.tmp", "abcd")
    assert list(check_labels(editor.repository)) == []


def test_nothing_can_be_tied_to_a_version_that_was_just_removed(editor: Editor) -> None:
    slow = Editor(editor.folder).repository
    assert slow.at(3)  # it knows the version, and does not look again
    editor.repository.delete_branch("side")
    collect(editor.repository)
    with pytest.raises(NotFoundError):
        slow.create_tag("late", "ann", 3)
    with pytest.raises(NotFoundError):
        slow.create_branch("late", "ann", 3)
    assert list(check_labels(editor.repository)) == []


def test_branch_numbers_are_never_given_out_again(editor: Editor) -> None:
    number = editor.repository.branch("side")._branch_id
    editor.repository.delete_branch("side")
    collect(editor.repository)
    assert editor.repository.create_branch("side", "dee").branch_id > number


def test_removing_while_others_edit_harms_nothing(editor: Editor) -> None:
    done = threading.Event()
    failures: list[BaseException] = []

    def keep_removing() -> None:
        try:
            repository = Editor(editor.folder).repository
            while not done.is_set():
                collect(repository)
        except BaseException as err:  # noqa: BLE001  (told to the test's own thread)
            failures.append(err)

    remover = threading.Thread(target=keep_removing)
    remover.start()
    for number in range(8):
        editor.repository.create_branch(f"b{number}", "ann")
        paint_on(editor, f"b{number}", (number, 0, 30))
        editor.boxes((20, number * 5, 80), side=4)
        editor.repository.delete_branch(f"b{number}")
    done.set()
    remover.join(60)
    assert failures == []
    collect(editor.repository)
    assert editor.repository.at().version == editor.repository.head
    assert list(check_labels(editor.repository, all_versions=True)) == []
    alive = [o.operation_id for o in editor.repository.operations(limit=100)]
    with read(editor.repository._engine) as connection:
        kept = connection.scalar(sa.text("SELECT COUNT(*) FROM label_operations"))
    assert kept == len(alive) + 2  # and the two on `side`


# At random

SHAPE = (2, 66, 9)
LEVELS = plan_levels(SHAPE, (8.0, 8.0, 8.0), min_side=4)
WHOLE = Roi((0, 0, 0), SHAPE)


class World:
    """A store with branches made at random, and what each version reads like."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.main = self.reopened()
        self.voxels = {0: np.zeros(SHAPE, dtype=np.uint64)}
        self.parent: dict[int, int] = {}
        self.source: dict[int, int] = {}
        self.heads = {"main": 0}
        self.tags: dict[str, int] = {}
        self.shares: list[int] = []

    def reopened(self) -> LabelRepository:
        engine = open_database(address_in(self.folder))
        return LabelRepository(engine, self.folder / "packs", "v", LEVELS)

    def paint(self, branch: str, place: int) -> None:
        repository = self.main.branch(branch)
        labels = np.zeros(SHAPE, dtype=np.uint32)
        labels[place % 2, place % 60 : place % 60 + 5, place % 7 : place % 7 + 2] = 1
        first = repository.reserve_ids(1)
        delta = import_labels(repository.at(), WHOLE, labels, first, "replace-unedited")
        self.committed(repository, branch, delta, OperationMeta("segment", "ann"))

    def go_back(self, branch: str, far: int) -> None:
        repository = self.main.branch(branch)
        line = [self.heads[branch]]
        while line[-1] in self.parent:
            line.append(self.parent[line[-1]])
        delta = revert(repository.at(), line[far % len(line)])
        self.committed(repository, branch, delta, OperationMeta("revert", "ann"))

    def bring_in(self, branch: str, other: str) -> None:
        if branch == other:
            return
        repository, source = self.main.branch(branch), self.main.branch(other)
        meta = OperationMeta("merge", "ann", merges=BranchMerge(source._branch_id, source.head))
        version = self.committed(repository, branch, Delta(repository.head), meta)
        self.source[version] = self.heads[other]

    def committed(
        self, repository: LabelRepository, branch: str, delta: Delta, meta: OperationMeta
    ) -> int:
        version = repository.commit(delta, meta).operation_id
        self.parent[version], self.heads[branch] = self.heads[branch], version
        self.voxels[version] = repository.at().read(WHOLE)
        return version

    def branch(self, name: str, version: int) -> None:
        self.main.create_branch(name, "ann", version)
        self.heads[name] = version

    def tag(self, name: str, version: int) -> None:
        self.main.create_tag(name, "ann", version)
        self.tags[name] = version

    def collect(self) -> None:
        grow_old(self.folder)
        collect(self.main, *self.shares)
        self.check()

    def delete(self, branch: str, which: int) -> None:
        if branch != "main":
            self.main.delete_branch(branch)
            del self.heads[branch]
        elif self.tags:
            name = sorted(self.tags)[which % len(self.tags)]
            self.main.delete_tag(name)
            del self.tags[name]

    def reachable(self) -> set[int]:
        """Return the versions that must be kept, by walking."""
        pending = {*self.heads.values(), *self.tags.values(), *self.shares}
        seen: set[int] = set()
        while pending:
            version = pending.pop()
            seen.add(version)
            before: Collection[int] = {
                *([self.parent[version]] if version in self.parent else []),
                *([self.source[version]] if version in self.source else []),
            }
            pending |= set(before) - seen
        return seen | {0}

    def check(self) -> None:
        """Everything reachable reads the same, and the rest is gone."""
        kept = self.reachable()
        fresh = self.reopened()
        for version, voxels in self.voxels.items():
            if version in kept:
                assert np.array_equal(fresh.at(version).read(WHOLE), voxels)
            else:
                with pytest.raises(NotFoundError):
                    fresh.at(version).read(WHOLE)
        assert [str(finding) for finding in check_labels(fresh, all_versions=True)] == []
        self.voxels = {version: self.voxels[version] for version in kept}


STEPS = st.tuples(
    st.sampled_from(["paint", "paint", "back", "branch", "bring", "tag", "share", "delete", "gc"]),
    st.integers(0, 1000),
    st.integers(0, 1000),
)


def step(world: World, number: int, what: str, one: int, other: int) -> None:
    """Do one thing, to a branch and a version that the two numbers choose."""
    names = sorted(world.heads)
    branch = names[one % len(names)]
    known = sorted(world.reachable())
    version = known[other % len(known)]
    name = f"n{number}"
    actions: dict[str, Callable[[], None]] = {
        "paint": lambda: world.paint(branch, other),
        "back": lambda: world.go_back(branch, other),
        "branch": lambda: world.branch(name, version),
        "bring": lambda: world.bring_in(branch, names[other % len(names)]),
        "tag": lambda: world.tag(name, version),
        "share": lambda: world.shares.append(version),
        "delete": lambda: world.delete(branch, other),
        "gc": world.collect,
    }
    actions[what]()


def start_and_play(folder: Path, steps: list[tuple[str, int, int]]) -> None:
    world = World(folder)
    first = [("paint", 0, 1), ("branch", 0, 1), ("paint", 1, 7)]
    for number, (what, one, other) in enumerate([*first, *steps, ("gc", 0, 0), ("gc", 0, 0)]):
        step(world, number, what, one, other)
    # Nobody edits now, so packs need not wait: exactly the named ones are left.
    collect(world.main, *world.shares, min_age_s=0.0)
    world.check()
    with read(world.main._engine) as connection:
        named = connection.scalars(sa.text("SELECT DISTINCT pack FROM label_chunks")).all()
    assert packs_in(folder) == set(named) - {None}
    world.main._engine.dispose()


RANDOM = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))


@RANDOM
@given(st.lists(STEPS, max_size=25))
def test_what_is_reachable_survives_any_history(steps: list[tuple[str, int, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        start_and_play(Path(folder), steps)


@settings(RANDOM, max_examples=4)
@given(st.lists(STEPS, min_size=10, max_size=25))
def test_what_is_reachable_survives_any_history_on_postgresql(
    steps: list[tuple[str, int, int]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        url = server().create()
        note_url(Path(folder), url)
        start_and_play(Path(folder), steps)
        server().drop(url)
