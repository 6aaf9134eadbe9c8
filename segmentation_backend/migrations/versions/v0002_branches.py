"""Branches, tags and base volumes: rows of the label store belong to a branch.

Each volume begins with one. Nothing is lost: `undone_by` follows from `undoes`, and
`label_members` from the edges.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import groupby
from operator import itemgetter

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

metadata = sa.MetaData()
_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_BATCH = 10_000


def _key(name: str) -> sa.Column[int]:
    return sa.Column(name, _ID, primary_key=True, autoincrement=False)


def _number(name: str) -> sa.Column[int]:
    return sa.Column(name, _ID, nullable=False)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False)


branches = sa.Table(
    "label_branches",
    metadata,
    sa.Column("branch_id", sa.Integer, primary_key=True),
    _number("volume_id"),
    _text("name"),
    sa.Column("parent_id", sa.Integer),
    _number("fork_version"),
    _number("head"),
    _text("user_name"),
    _text("time"),
    sa.Column("deleted", sa.Text),
    sa.Index("label_branches_by_volume", "volume_id", "name"),
)
sa.Table(
    "label_operations",
    metadata,
    _key("volume_id"),
    _key("operation_id"),
    _number("branch_id"),
    _number("parent"),
    _text("kind"),
    _text("user_name"),
    _text("time"),
    sa.Column("request_id", sa.Text),
    sa.Column("request_digest", sa.Text),
    sa.Column("base_version", _ID),
    sa.Column("wrote_voxels", sa.Boolean, nullable=False),
    sa.Column("undoes", _ID),
    sa.Column("bbox", sa.JSON),
    sa.Column("lineage", sa.JSON, nullable=False),
    sa.Column("provenance", sa.JSON, nullable=False),
    sa.UniqueConstraint("volume_id", "request_id"),
    sa.Index("label_operations_by_user", "branch_id", "user_name", "operation_id"),
    sa.Index("label_operations_by_time", "branch_id", "time"),
    sa.Index("label_operations_by_undoes", "volume_id", "undoes"),
    sqlite_with_rowid=False,
)
sa.Table(
    "label_chunks",
    metadata,
    *(_key(n) for n in ("branch_id", "level", "z", "y", "x", "operation_id")),
    sa.Column("pack", sa.Text),
    sa.Column("start", _ID),
    sa.Column("length", _ID),
    sa.Index("label_chunks_by_operation", "branch_id", "operation_id"),
    sqlite_with_rowid=False,
)
sa.Table(
    "label_edges",
    metadata,
    *(_key(n) for n in ("branch_id", "operation_id", "a", "b")),
    sa.Column("added", sa.Boolean, nullable=False),
    sa.Index("label_edges_by_a", "branch_id", "a", "b"),
    sa.Index("label_edges_by_b", "branch_id", "b"),
    sqlite_with_rowid=False,
)
members = sa.Table(
    "label_members",
    metadata,
    *(_key(n) for n in ("branch_id", "supervoxel", "operation_id")),
    _number("root"),
    sa.Index("label_members_by_root", "branch_id", "root"),
    sa.Index("label_members_by_operation", "branch_id", "operation_id"),
    sqlite_with_rowid=False,
)
sa.Table(
    "label_supervoxels",
    metadata,
    *(_key(n) for n in ("branch_id", "supervoxel", "operation_id")),
    *(_number(n) for n in ("voxels", "z0", "y0", "x0", "z1", "y1", "x1")),
    *(_number(n) for n in ("sum_z", "sum_y", "sum_x")),
    sa.Index("label_supervoxels_by_operation", "branch_id", "operation_id"),
    sa.Index("label_supervoxels_by_box", "branch_id", "z1", "z0", "y0", "y1", "x0", "x1"),
    sqlite_with_rowid=False,
)
sa.Table(
    "label_roots",
    metadata,
    *(_key(n) for n in ("branch_id", "root", "operation_id")),
    sqlite_with_rowid=False,
)
sa.Table(
    "label_tags",
    metadata,
    _key("volume_id"),
    sa.Column("name", sa.Text, primary_key=True),
    _number("version"),
    _text("user_name"),
    _text("time"),
    _text("note"),
    sqlite_with_rowid=False,
)
sa.Table(
    "label_branch_merges",
    metadata,
    _key("volume_id"),
    _key("operation_id"),
    _number("source_branch"),
    _number("source_version"),
    sa.Column("skipped", sa.JSON, nullable=False),
    sqlite_with_rowid=False,
)
sa.Table(
    "label_bases",
    metadata,
    _key("volume_id"),
    _text("identity"),
    sa.Column("block", sa.JSON, nullable=False),
    sqlite_with_rowid=False,
)
sa.Table(
    "label_base_blocks",
    metadata,
    _key("volume_id"),
    _key("number"),
    *(_number(n) for n in ("z", "y", "x")),
    sa.UniqueConstraint("volume_id", "z", "y", "x"),
    sqlite_with_rowid=False,
)
sa.Table(
    "label_base_statistics",
    metadata,
    *(_key(n) for n in ("volume_id", "supervoxel", "number")),
    *(_number(n) for n in ("voxels", "z0", "y0", "x0", "z1", "y1", "x1")),
    *(_number(n) for n in ("sum_z", "sum_y", "sum_x")),
    sa.Index("label_base_statistics_by_block", "volume_id", "number"),
    sqlite_with_rowid=False,
)
sa.Table(
    "label_base_marks",
    metadata,
    _key("volume_id"),
    _key("operation_id"),
    _number("counted"),
    sqlite_with_rowid=False,
)

_CHANGED = ("label_operations", "label_chunks", "label_edges", "label_supervoxels", "label_roots")
_FROM_ELSEWHERE = {"branch_id": "b.branch_id", "parent": "o.operation_id - 1"}
"""Columns that the old tables lack, and what goes into them."""


def upgrade() -> None:
    """Give every volume its first branch, and every row its branch."""
    connection = op.get_bind()
    branches.create(connection)
    _insert_branches(connection)
    for name in _CHANGED:
        _rebuild(connection, metadata.tables[name])
    metadata.create_all(connection)
    for row in connection.execute(sa.select(branches.c.branch_id)).all():
        _insert_members(connection, row[0])


def _insert_branches(connection: sa.Connection) -> None:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    connection.execute(
        sa.text(
            "INSERT INTO label_branches (volume_id, name, fork_version, head, user_name, time) "
            "SELECT v.volume_id, 'main', 0, v.head, '', COALESCE((SELECT o.time "
            "FROM label_operations o WHERE o.volume_id = v.volume_id AND o.operation_id = 1), "
            ":now) FROM label_volumes v ORDER BY v.volume_id"
        ),
        {"now": now},
    )


def _rebuild(connection: sa.Connection, new: sa.Table) -> None:
    """Make a table anew under its name, with the rows it had."""
    old = f"{new.name}_0001"
    inspector = sa.inspect(connection)
    for found in inspector.get_indexes(new.name):
        # What a constraint made goes with the constraint.
        if "duplicates_constraint" not in found:
            op.drop_index(str(found["name"]), new.name)
    if connection.dialect.name == "postgresql":
        # Their names are wanted for the new table.
        unique = inspector.get_unique_constraints(new.name)
        for constraint in (inspector.get_pk_constraint(new.name), *unique):
            op.drop_constraint(str(constraint["name"]), new.name)
    op.rename_table(new.name, old)
    connection.execute(sa.schema.CreateTable(new))
    columns = ", ".join(column.name for column in new.columns)
    values = ", ".join(_FROM_ELSEWHERE.get(c.name, f"o.{c.name}") for c in new.columns)
    order = ", ".join(str(1 + list(new.columns.keys()).index(key.name)) for key in new.primary_key)
    connection.exec_driver_sql(
        f"INSERT INTO {new.name} ({columns}) SELECT {values} FROM {old} o "
        f"JOIN label_branches b ON b.volume_id = o.volume_id ORDER BY {order}"
    )
    op.drop_table(old)
    for index in sorted(new.indexes, key=lambda index: str(index.name)):
        index.create(connection)


def _insert_members(connection: sa.Connection, branch_id: int) -> None:
    batch: list[dict[str, int]] = []
    for row in _root_changes(connection, branch_id):
        batch.append({"branch_id": branch_id} | row)
        if len(batch) == _BATCH:
            connection.execute(members.insert(), batch)
            batch = []
    if batch:
        connection.execute(members.insert(), batch)


def _root_changes(connection: sa.Connection, branch_id: int) -> Iterator[dict[str, int]]:
    """Yield which supervoxel belongs to another root by which operation, in order."""
    rows = connection.execute(
        sa.text(
            "SELECT operation_id, a, b, added FROM label_edges WHERE branch_id = :branch_id "
            "ORDER BY operation_id"
        ),
        {"branch_id": branch_id},
    ).all()
    near: defaultdict[int, set[int]] = defaultdict(set)
    roots: dict[int, int] = {}
    for operation_id, events in groupby(rows, key=itemgetter(0)):
        pending: set[int] = set()
        for _, a, b, added in events:
            for end, other in ((a, b), (b, a)):
                (near[end].add if added else near[end].discard)(other)
                pending.add(end)
        while pending:
            component = _reachable(pending.pop(), near)
            pending -= component
            root = min(component)
            for supervoxel in sorted(component):
                if roots.get(supervoxel, supervoxel) != root:
                    roots[supervoxel] = root
                    yield {"supervoxel": supervoxel, "operation_id": operation_id, "root": root}


def _reachable(start: int, near: dict[int, set[int]]) -> set[int]:
    seen = {start}
    pending = [start]
    while pending:
        fresh = near[pending.pop()] - seen
        seen |= fresh
        pending.extend(fresh)
    return seen
