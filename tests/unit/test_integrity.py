"""A check finds nothing wrong with what edits made, and finds every kind of damage."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from label_volumes import Editor, dumbbell

from segmentation_backend.database import write
from segmentation_backend.labels import PackFolder
from segmentation_backend.labels.findings import Finding, Severity
from segmentation_backend.labels.integrity import (
    STORE_INVARIANTS,
    VERSION_INVARIANTS,
    check_labels,
)

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def editor(tmp_path: Path) -> Editor:
    """Four versions on main: two imports, a merge, a split; one more on a branch; a tag."""
    made = Editor(tmp_path)
    made.boxes((0, 0, 0), (20, 60, 60), (0, 60, 60))
    made.paint(dumbbell(made.shape))
    made.merge(1, 2, user="bob")
    roi = made.repository.at().object(4).bbox
    z, y, _ = (o + s // 2 for o, s in zip(roi.offset, roi.shape, strict=True))
    made.split([(z, y, roi.offset[2] + 4)], [(z, y, roi.end[2] - 5)])
    made.repository.create_branch("side", "cy", 2)
    made.repository.create_tag("first", "cy", 1)
    side = made.repository.branch("side")
    main, made.repository = made.repository, side
    made.merge(1, 3)
    made.repository = main
    return made


def findings(editor: Editor, **options: bool) -> list[Finding]:
    return list(check_labels(editor.repository, **options))


def run(editor: Editor, statement: str, **values: object) -> None:
    with write(editor.repository._engine) as connection:
        assert connection.execute(sa.text(statement), values).rowcount > 0


def pack_file(editor: Editor) -> Path:
    return sorted((editor.folder / "packs").glob("*/*.pack"))[0]


def age(path: Path) -> None:
    os.utime(path, times=(time.time() - 7200,) * 2)


def test_nothing_is_wrong_with_what_edits_made(editor: Editor) -> None:
    assert findings(editor) == []
    assert findings(editor, all_versions=True) == []


def test_an_empty_volume_is_whole(tmp_path: Path) -> None:
    assert findings(Editor(tmp_path), all_versions=True) == []


def test_progress_goes_up_to_the_end(editor: Editor) -> None:
    seen: list[float] = []
    list(check_labels(editor.repository, progress=lambda share, _: seen.append(share)))
    assert seen == sorted(seen)
    assert 0 <= seen[0] <= seen[-1] < 1
    assert len(seen) >= 3 * len(VERSION_INVARIANTS)


def flip_a_byte(editor: Editor) -> None:
    path = pack_file(editor)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut_a_pack_short(editor: Editor) -> None:
    path = pack_file(editor)
    path.write_bytes(path.read_bytes()[:-1])


def lose_a_pack(editor: Editor) -> None:
    pack_file(editor).unlink()


def take_rows_elsewhere(editor: Editor) -> None:
    run(editor, "UPDATE label_chunks SET start = start + 1 WHERE operation_id = 1 AND level = 1")


def swap_chunks(editor: Editor) -> None:
    run(
        editor,
        "UPDATE label_chunks SET (pack, start, length) = (SELECT n.pack, n.start, n.length FROM "
        "label_chunks n WHERE n.operation_id = 1 AND n.level = 0 AND n.y = 1 AND n.x = 0 "
        "AND n.z = 0) WHERE operation_id = 1 AND level = 0 AND y = 0 AND x = 0 AND z = 0",
    )


DAMAGE: dict[str, tuple[str | Callable[[Editor], None], str, str]] = {
    "a byte of a pack": (flip_a_byte, "packs_hold_what_rows_name", "torn or altered"),
    "a pack cut short": (cut_a_pack_short, "packs_hold_what_rows_name", "torn or altered"),
    "a pack lost": (lose_a_pack, "packs_hold_what_rows_name", "missing"),
    "a row beside its record": (take_rows_elsewhere, "packs_hold_what_rows_name", "byte"),
    "a row with another's record": (swap_chunks, "packs_hold_what_rows_name", "not ChunkKey"),
    "an edge to nothing": (
        "UPDATE label_edges SET b = 3 WHERE operation_id = 3 AND a = 1",
        "members_follow_the_edges",
        "belongs to",
    ),
    "an edge to a supervoxel that is not there": (
        "UPDATE label_edges SET b = 999 WHERE operation_id = 3 AND a = 1",
        "edges_join_supervoxels_that_exist",
        "999",
    ),
    "an edge removed that never was": (
        "UPDATE label_edges SET added = (1 = 0) WHERE operation_id = 3",
        "edges_are_added_and_removed_in_turn",
        "-1 times",
    ),
    "a size": (
        "UPDATE label_supervoxels SET voxels = voxels + 1 WHERE supervoxel = 3",
        "statistics_match_the_voxels",
        "Supervoxel 3",
    ),
    "a box": (
        "UPDATE label_supervoxels SET z1 = z1 + 1 WHERE supervoxel = 1",
        "statistics_match_the_voxels",
        "Supervoxel 1",
    ),
    "a size lost": (
        "DELETE FROM label_supervoxels WHERE supervoxel = 3",
        "statistics_match_the_voxels",
        "nothing is on record",
    ),
    "a size of nothing": (
        "UPDATE label_supervoxels SET supervoxel = 4 WHERE supervoxel = 3",
        "statistics_match_the_voxels",
        "no voxel",
    ),
    "a chunk of a coarse level lost": (
        "DELETE FROM label_chunks WHERE level = 1 AND operation_id = 1",
        "levels_match_the_level_below",
        "level 1",
    ),
    "a chunk of the finest level lost": (
        "DELETE FROM label_chunks WHERE level = 0 AND z = 0 AND y = 0 AND x = 0",
        "statistics_match_the_voxels",
        "no voxel",
    ),
    "a root": (
        "UPDATE label_members SET root = 2 WHERE supervoxel = 2",
        "members_follow_the_edges",
        "object 2",
    ),
    "a root lost": ("DELETE FROM label_members", "members_follow_the_edges", "belongs to 1"),
    "an object": (
        "UPDATE label_roots SET voxels = voxels + 1 WHERE root = 1 AND operation_id = 3",
        "objects_match_their_supervoxels",
        "Object 1",
    ),
    "an object lost": (
        "DELETE FROM label_roots WHERE root = 3",
        "objects_match_their_supervoxels",
        "Object 3",
    ),
    "an object that is not one any more": (
        "DELETE FROM label_roots WHERE root = 2 AND operation_id = 3",
        "objects_match_their_supervoxels",
        "no object",
    ),
    "the head of a branch": (
        "UPDATE label_branches SET head = 3 WHERE name = 'main'",
        "history_hangs_together",
        "head is version 3",
    ),
    "a parent": (
        "UPDATE label_operations SET parent = 1 WHERE operation_id = 4",
        "history_hangs_together",
        "follows version 1",
    ),
    "a branch lost": (
        "DELETE FROM label_branches WHERE name = 'side'",
        "history_hangs_together",
        "not there",
    ),
    "the way of a branch": (
        "UPDATE label_branches SET parent_id = 77 WHERE name = 'side'",
        "branches_lead_back_to_the_first",
        "77",
    ),
    "a branch of itself": (
        "UPDATE label_branches SET parent_id = branch_id WHERE name = 'side'",
        "branches_lead_back_to_the_first",
        "younger",
    ),
    "a fork from elsewhere": (
        "UPDATE label_branches SET fork_version = 5, head = 5 WHERE name = 'side'",
        "branches_lead_back_to_the_first",
        "not of it",
    ),
    "the counter of the volume": (
        "UPDATE label_volumes SET head = 2",
        "history_hangs_together",
        "counter stands at 2",
    ),
    "an operation undoes a later one": (
        "UPDATE label_operations SET undoes = 4 WHERE operation_id = 3",
        "history_hangs_together",
        "later",
    ),
    "an operation lost": (
        "DELETE FROM label_operations WHERE operation_id = 4",
        "rows_belong_to_operations",
        "operation 4",
    ),
    "rows of no operation": (
        "INSERT INTO label_edges SELECT branch_id, 4000, a, b, added FROM label_edges LIMIT 1",
        "rows_belong_to_operations",
        "label_edges",
    ),
    "a chunk outside": (
        "UPDATE label_chunks SET z = 40 WHERE operation_id = 1 AND level = 1",
        "rows_lie_on_the_grid",
        "chunk (40",
    ),
    "half a confidence": (
        "UPDATE label_supervoxels SET probability = 9000 WHERE supervoxel = 1",
        "confidences_are_shares",
        "label_supervoxels says of 1",
    ),
    "a tag of nothing": (
        "UPDATE label_tags SET version = 99",
        "tags_name_versions",
        "version 99",
    ),
    "a merge of nothing": (
        "INSERT INTO label_branch_merges VALUES (1, 3, 2, 88, '[]')",
        "branch_merges_name_versions",
        "version 88",
    ),
    "ids to be given out again": (
        "UPDATE label_volumes SET next_id = 2",
        "ids_were_given_out",
        "given out again",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_each_kind_of_damage_is_found_and_named(editor: Editor, damage: str) -> None:
    harm, invariant, words = DAMAGE[damage]
    if isinstance(harm, str):
        run(editor, harm)
    else:
        harm(editor)
    # A process that knows nothing of before.
    fresh = Editor(editor.folder)
    found = findings(fresh, all_versions=damage.endswith("that never was"))
    matching = [f for f in found if f.invariant == invariant and words in str(f)]
    assert matching, [str(f) for f in found]
    assert all(f.severity == Severity.ERROR and f.way_out for f in matching)


def test_a_request_done_twice_is_found(editor: Editor, database: str) -> None:
    if database == "sqlite":
        statement = (
            "CREATE TABLE loose AS SELECT * FROM label_operations",
            "DROP TABLE label_operations",
            "ALTER TABLE loose RENAME TO label_operations",
        )
    else:
        name = "label_operations_volume_id_request_id_key"
        statement = (f"ALTER TABLE label_operations DROP CONSTRAINT {name}",)
    with write(editor.repository._engine) as connection:
        for part in statement:
            connection.execute(sa.text(part))
    run(editor, "UPDATE label_operations SET request_id = 'same'")
    found = [f for f in findings(editor) if f.invariant == "request_ids_are_unique"]
    assert len(found) == 1
    assert "'same'" in found[0].what


def test_a_pack_that_no_version_names_is_a_note(editor: Editor) -> None:
    packs = PackFolder(editor.folder / "packs")
    packs.put("abcd12", pack_file(editor).read_bytes())
    assert findings(editor) == []  # it may belong to a commit that is under way
    age(editor.folder / "packs" / "ab" / "abcd12.pack")
    (found,) = findings(editor)
    assert (found.severity, found.where) == (Severity.NOTE, "pack abcd12")
    assert "gc" in found.way_out


def test_every_promise_has_damage_that_breaks_it() -> None:
    broken = {invariant for _, invariant, _ in DAMAGE.values()} | {"request_ids_are_unique"}
    promises = {check.__name__ for check in (*STORE_INVARIANTS, *VERSION_INVARIANTS)}
    assert promises | {"packs_hold_what_rows_name"} == broken
