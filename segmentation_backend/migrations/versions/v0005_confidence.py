"""How sure the network was of each supervoxel, and of each object; of those of before nobody knows.

Columns at the end of two tables. SQLite would write them down after the key, unlike in a new
database, so there both tables are made anew.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

metadata = sa.MetaData()
_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_SIZES = ("voxels", "z0", "y0", "x0", "z1", "y1", "x1", "sum_z", "sum_y", "sum_x")
_SUMS = ("known_voxels", "sum_probability", "sum_agreement")
_OLD = "_0004"


def _keys(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, _ID, primary_key=True, autoincrement=False) for name in names]


def _numbers(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, _ID, nullable=False) for name in names]


supervoxels = sa.Table(
    "label_supervoxels",
    metadata,
    *_keys("branch_id", "supervoxel", "operation_id"),
    *_numbers(*_SIZES),
    sa.Column("probability", _ID),
    sa.Column("agreement", _ID),
    sa.Index("label_supervoxels_by_operation", "branch_id", "operation_id"),
    sa.Index("label_supervoxels_by_box", "branch_id", "z1", "z0", "y0", "y1", "x0", "x1"),
    sqlite_with_rowid=False,
)

by_probability = sa.Index(
    "label_roots_by_probability",
    "branch_id",
    "probability",
    "root",
    sqlite_where=sa.text("probability IS NOT NULL"),
    postgresql_where=sa.text("probability IS NOT NULL"),
)

roots = sa.Table(
    "label_roots",
    metadata,
    *_keys("branch_id", "root", "operation_id"),
    *_numbers("supervoxels", *_SIZES),
    *_numbers(*_SUMS),
    sa.Column("probability", _ID),
    sa.Index("label_roots_by_size", "branch_id", "voxels", "root"),
    by_probability,
    sqlite_with_rowid=False,
)


def upgrade() -> None:
    """Add the columns; what is there stays without confidence."""
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        for name in ("probability", "agreement"):
            op.add_column("label_supervoxels", sa.Column(name, _ID))
        for name in _SUMS:
            op.add_column("label_roots", sa.Column(name, _ID, nullable=False, server_default="0"))
            op.alter_column("label_roots", name, server_default=None)
        op.add_column("label_roots", sa.Column("probability", _ID))
        by_probability.create(connection)
        return
    for table, added in ((supervoxels, {}), (roots, dict.fromkeys(_SUMS, 0))):
        _make_anew(connection, table, added)


def _make_anew(connection: sa.Connection, table: sa.Table, added: dict[str, int]) -> None:
    """Copy a table into one with more columns; those that are not in `added` are null."""
    old = f"{table.name}{_OLD}"
    names = [c["name"] for c in sa.inspect(connection).get_columns(table.name)]
    op.rename_table(table.name, old)
    connection.execute(sa.schema.CreateTable(table))
    before = sa.table(old, *map(sa.column, names))
    values = [*before.columns, *(sa.literal(value) for value in added.values())]
    copied = table.insert().from_select([*names, *added], sa.select(*values))
    connection.execute(copied)
    op.drop_table(old)
    for index in sorted(table.indexes, key=lambda index: str(index.name)):
        index.create(connection)
