"""What must hold of the rows of a label volume; see `integrity`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from segmentation_backend.database import read
from segmentation_backend.errors import NotFoundError
from segmentation_backend.labels.chunks import CHUNK_SIDE
from segmentation_backend.labels.confidence import PARTS
from segmentation_backend.labels.findings import Finding
from segmentation_backend.labels.schema import (
    BRANCH_MERGES,
    BRANCHES,
    CHUNKS,
    EDGES,
    MEMBERS,
    OPERATIONS,
    ROOTS,
    SUPERVOXELS,
    TAGS,
    VOLUMES,
)
from segmentation_backend.labels.storage import LabelStorage

__all__ = [
    "ROW_TABLES",
    "branch_merges_name_versions",
    "branches_lead_back_to_the_first",
    "confidences_are_shares",
    "history_hangs_together",
    "ids_were_given_out",
    "request_ids_are_unique",
    "rows_belong_to_operations",
    "rows_lie_on_the_grid",
    "tags_name_versions",
]

ROW_TABLES = (CHUNKS, EDGES, MEMBERS, SUPERVOXELS, ROOTS)
"""The tables whose rows belong to an operation of a branch."""

_BACKUP = "Restore the database from a backup (mitoglance restore)."


def _branches(connection: sa.Connection, storage: LabelStorage) -> list[sa.Row[Any]]:
    b = BRANCHES.c
    query = sa.select(BRANCHES).where(b.volume_id == storage.volume_id).order_by(b.branch_id)
    return list(connection.execute(query))


def history_hangs_together(storage: LabelStorage) -> Iterator[Finding]:
    """Each operation follows the one before it on its branch, and each head is the last one."""
    here = history_hangs_together.__name__
    with read(storage.engine) as connection:
        branches = {row.branch_id: row for row in _branches(connection, storage)}
        last = {number: row.fork_version for number, row in branches.items()}
        newest = 0
        for operation_id, branch_id, parent, undoes in _operations(connection, storage):
            newest = max(newest, operation_id)
            where = f"operation {operation_id}"
            if branch_id not in last:
                yield Finding(here, where, f"Its branch {branch_id} is not there.", _BACKUP)
                continue
            if parent != last[branch_id]:
                what = f"It follows version {parent}, but should follow {last[branch_id]}."
                yield Finding(here, where, what, _BACKUP)
            if undoes is not None and not 0 < undoes < operation_id:
                yield Finding(here, where, f"It takes back {undoes}, a later one.", _BACKUP)
            last[branch_id] = operation_id
        for number, row in branches.items():
            if row.head != last[number]:
                what = f"Its head is version {row.head}, its last operation {last[number]}."
                yield Finding(here, f"branch {row.name}", what, _BACKUP)
        head = connection.scalar(
            sa.select(VOLUMES.c.head).where(VOLUMES.c.volume_id == storage.volume_id)
        )
        if head is None or head < newest:
            what = f"Its counter stands at {head}, its newest operation is {newest}."
            yield Finding(here, "the volume", what, _BACKUP)


def _operations(connection: sa.Connection, storage: LabelStorage) -> Iterator[tuple[int, ...]]:
    o = OPERATIONS.c
    query = (
        sa.select(o.operation_id, o.branch_id, o.parent, o.undoes)
        .where(o.volume_id == storage.volume_id)
        .order_by(o.operation_id)
        .execution_options(yield_per=10_000)
    )
    return (tuple(row) for row in connection.execute(query))


def branches_lead_back_to_the_first(storage: LabelStorage) -> Iterator[Finding]:
    """Each branch left an older one at a version of that one, down to the volume's first branch."""
    here = branches_lead_back_to_the_first.__name__
    with read(storage.engine) as connection:
        branches = {row.branch_id: row for row in _branches(connection, storage)}
        lost = [row for row in branches.values() if not _has_parent(row, branches)]
        for row in lost:
            what = f"It left branch {row.parent_id}, which is not there or younger."
            yield Finding(here, f"branch {row.name}", what, _BACKUP)
        for row in branches.values() if not lost else ():
            parent = branches.get(row.parent_id)
            if row.deleted is not None and row.head == row.fork_version:
                # A branch that `gc` has emptied; where it left its parent may be gone, too.
                continue
            if parent is not None and not _is_on(connection, storage, row.fork_version, parent):
                what = f"It left {parent.name} at version {row.fork_version}, which is not of it."
                yield Finding(here, f"branch {row.name}", what, _BACKUP)


def _has_parent(row: sa.Row[Any], branches: dict[int, sa.Row[Any]]) -> bool:
    if row.branch_id == min(branches):
        is_first: bool = row.parent_id is None and row.fork_version == 0
        return is_first
    return row.parent_id in branches and row.parent_id < row.branch_id


def _is_on(
    connection: sa.Connection, storage: LabelStorage, version: int, branch: sa.Row[Any]
) -> bool:
    try:
        return storage.versions.is_ancestor(connection, version, branch.head)
    except NotFoundError:
        return False


def rows_belong_to_operations(storage: LabelStorage) -> Iterator[Finding]:
    """Each row of chunks, edges, members, sizes and roots names an operation of its branch."""
    o = OPERATIONS.c
    with read(storage.engine) as connection:
        names = {row.branch_id: row.name for row in _branches(connection, storage)}
        for table in ROW_TABLES:
            known = sa.exists().where(
                o.volume_id == storage.volume_id,
                o.operation_id == table.c.operation_id,
                o.branch_id == table.c.branch_id,
            )
            query = (
                sa.select(table.c.branch_id, table.c.operation_id, sa.func.count())
                .where(table.c.branch_id.in_(sorted(names)), ~known)
                .group_by(table.c.branch_id, table.c.operation_id)
                .order_by(table.c.branch_id, table.c.operation_id)
            )
            for branch_id, operation_id, count in connection.execute(query):
                yield Finding(
                    rows_belong_to_operations.__name__,
                    f"branch {names[branch_id]}",
                    f"{count} rows of {table.name} are of operation {operation_id}, which this "
                    "branch does not have.",
                    _BACKUP,
                )


def confidences_are_shares(storage: LabelStorage) -> Iterator[Finding]:
    """A supervoxel's confidence is known or not, never half; objects are sorted by its mean."""
    s, r = SUPERVOXELS.c, ROOTS.c
    both = (s.probability.is_(None)) & (s.agreement.is_(None))
    shares = s.probability.between(0, PARTS) & s.agreement.between(0, PARTS)
    unknown = (r.known_voxels == 0) & r.probability.is_(None)
    # Whole numbers, so that there is one right answer; never divided by 0.
    voxels = sa.case((r.known_voxels > 0, r.known_voxels), else_=1)
    mean = (r.known_voxels > 0) & (r.probability == r.sum_probability // voxels)
    queries = (
        (SUPERVOXELS, s.supervoxel, both | sa.func.coalesce(shares, sa.false())),
        (ROOTS, r.root, unknown | sa.func.coalesce(mean, sa.false())),
    )
    with read(storage.engine) as connection:
        mine = [row.branch_id for row in _branches(connection, storage)]
        for table, column, is_right in queries:
            query = sa.select(column, table.c.operation_id)
            wrong = query.where(table.c.branch_id.in_(mine), ~is_right)
            for number, operation_id in connection.execute(wrong):
                what = f"{table.name} says of {number} what no confidence can be."
                where = f"operation {operation_id}"
                yield Finding(confidences_are_shares.__name__, where, what, _BACKUP)


def rows_lie_on_the_grid(storage: LabelStorage) -> Iterator[Finding]:
    """Each stored chunk is one of the label pyramid."""
    c = CHUNKS.c
    inside = [
        (c.level == level.level)
        & sa.and_(
            *(
                (axis >= 0) & (axis * CHUNK_SIDE < side)
                for axis, side in zip((c.z, c.y, c.x), level.shape, strict=True)
            )
        )
        for level in storage.levels
    ]
    with read(storage.engine) as connection:
        mine = [row.branch_id for row in _branches(connection, storage)]
        query = sa.select(c.level, c.z, c.y, c.x, c.operation_id).where(
            c.branch_id.in_(mine), ~sa.or_(*inside)
        )
        for level, z, y, x, operation_id in connection.execute(query):
            yield Finding(
                rows_lie_on_the_grid.__name__,
                f"operation {operation_id}",
                f"It wrote chunk ({z}, {y}, {x}) of level {level}, which the volume does not have.",
                _BACKUP,
            )


def tags_name_versions(storage: LabelStorage) -> Iterator[Finding]:
    """Each tag names a version that can be read."""
    t, o = TAGS.c, OPERATIONS.c
    known = sa.exists().where(o.volume_id == t.volume_id, o.operation_id == t.version)
    query = sa.select(t.name, t.version).where(
        t.volume_id == storage.volume_id, t.version != 0, ~known
    )
    with read(storage.engine) as connection:
        for name, version in connection.execute(query):
            yield Finding(
                tags_name_versions.__name__,
                f"tag {name}",
                f"It names version {version}, which is not there.",
                "Delete the tag, or restore the database from a backup.",
            )


def branch_merges_name_versions(storage: LabelStorage) -> Iterator[Finding]:
    """What was merged into a branch can be read: blame and the next merge start from there."""
    m, o = BRANCH_MERGES.c, OPERATIONS.c
    of_volume = o.volume_id == m.volume_id
    known = sa.exists().where(of_volume, o.operation_id == m.source_version)
    made = sa.exists().where(of_volume, o.operation_id == m.operation_id)
    query = sa.select(m.operation_id, m.source_version).where(
        m.volume_id == storage.volume_id, ((m.source_version != 0) & ~known) | ~made
    )
    with read(storage.engine) as connection:
        for operation_id, version in connection.execute(query):
            yield Finding(
                branch_merges_name_versions.__name__,
                f"operation {operation_id}",
                f"It brought in version {version}, but one of the two is not there.",
                _BACKUP,
            )


def request_ids_are_unique(storage: LabelStorage) -> Iterator[Finding]:
    """No request was done twice."""
    o = OPERATIONS.c
    query = (
        sa.select(o.request_id, sa.func.min(o.operation_id), sa.func.max(o.operation_id))
        .where(o.volume_id == storage.volume_id, o.request_id.is_not(None))
        .group_by(o.request_id)
        .having(sa.func.count() > 1)
    )
    with read(storage.engine) as connection:
        for request_id, first, last in connection.execute(query):
            yield Finding(
                request_ids_are_unique.__name__,
                f"operation {last}",
                f"Its request {request_id!r} was done before, by operation {first}.",
                f"Look at both, and undo operation {last} if it is a repetition.",
            )


def ids_were_given_out(storage: LabelStorage) -> Iterator[Finding]:
    """Every supervoxel id in use is below the next one to be given out."""
    with read(storage.engine) as connection:
        mine = [row.branch_id for row in _branches(connection, storage)]
        limit = connection.scalar(
            sa.select(VOLUMES.c.next_id).where(VOLUMES.c.volume_id == storage.volume_id)
        )
        for table, column in (
            (SUPERVOXELS, SUPERVOXELS.c.supervoxel),
            (MEMBERS, MEMBERS.c.supervoxel),
            (EDGES, EDGES.c.b),
        ):
            query = sa.select(sa.func.max(column)).where(table.c.branch_id.in_(mine))
            largest = connection.scalar(query)
            if largest is not None and (limit is None or largest >= limit):
                yield Finding(
                    ids_were_given_out.__name__,
                    "the volume",
                    f"Supervoxel {largest} is in use ({table.name}), but the next new id is "
                    f"{limit}: it would be given out again.",
                    "Stop editing and restore the database from a backup.",
                )
