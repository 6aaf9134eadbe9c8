"""The tables of the first release.

They were made without a revision, and only when first needed: those that are there are left as
they are.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

metadata = sa.MetaData()
_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _key(name: str) -> sa.Column[int]:
    return sa.Column(name, _ID, primary_key=True, autoincrement=False)


def _number(name: str) -> sa.Column[int]:
    return sa.Column(name, _ID, nullable=False)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False)


sa.Table(
    "label_volumes",
    metadata,
    sa.Column("volume_id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("shapes", sa.JSON, nullable=False),
    _number("head"),
    _number("next_id"),
)
sa.Table(
    "label_operations",
    metadata,
    _key("volume_id"),
    _key("operation_id"),
    _text("kind"),
    _text("user_name"),
    _text("time"),
    sa.Column("request_id", sa.Text),
    sa.Column("request_digest", sa.Text),
    sa.Column("base_version", _ID),
    sa.Column("wrote_voxels", sa.Boolean, nullable=False),
    sa.Column("undoes", _ID),
    sa.Column("undone_by", _ID),
    sa.Column("bbox", sa.JSON),
    sa.Column("lineage", sa.JSON, nullable=False),
    sa.Column("provenance", sa.JSON, nullable=False),
    sa.UniqueConstraint("volume_id", "request_id"),
    sa.Index("label_operations_by_user", "volume_id", "user_name", "operation_id"),
    sqlite_with_rowid=False,
)
sa.Table(
    "label_chunks",
    metadata,
    *(_key(n) for n in ("volume_id", "level", "z", "y", "x", "operation_id")),
    sa.Column("pack", sa.Text),
    sa.Column("start", _ID),
    sa.Column("length", _ID),
    sa.Index("label_chunks_by_operation", "volume_id", "operation_id"),
    sqlite_with_rowid=False,
)
sa.Table(
    "label_edges",
    metadata,
    *(_key(n) for n in ("volume_id", "operation_id", "a", "b")),
    sa.Column("added", sa.Boolean, nullable=False),
    sa.Index("label_edges_by_a", "volume_id", "a", "b"),
    sa.Index("label_edges_by_b", "volume_id", "b"),
    sqlite_with_rowid=False,
)
sa.Table(
    "label_supervoxels",
    metadata,
    *(_key(n) for n in ("volume_id", "supervoxel", "operation_id")),
    *(_number(n) for n in ("voxels", "z0", "y0", "x0", "z1", "y1", "x1")),
    *(_number(n) for n in ("sum_z", "sum_y", "sum_x")),
    sa.Index("label_supervoxels_by_operation", "volume_id", "operation_id"),
    sa.Index("label_supervoxels_by_box", "volume_id", "z1", "z0", "y0", "y1", "x0", "x1"),
    sqlite_with_rowid=False,
)
sa.Table(
    "label_roots",
    metadata,
    *(_key(n) for n in ("volume_id", "root", "operation_id")),
    sqlite_with_rowid=False,
)
sa.Table(
    "volumes",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    _text("source"),
    _text("image"),
    sa.Column("dataset", sa.Text),
    sa.Column("voxel_size", sa.Text),
    _text("about"),
    _text("created"),
)
sa.Table("web_instance", metadata, sa.Column("name", sa.Text, primary_key=True))
sa.Table(
    "web_sessions",
    metadata,
    sa.Column("token", sa.Text, primary_key=True),
    _text("volume"),
    _text("user"),
    sa.Column("pinned_version", sa.Integer),
    sa.Column("share_id", sa.Text),
    _text("view_state"),
    _text("generation"),
    _text("created"),
)
sa.Table(
    "web_shares",
    metadata,
    sa.Column("share_id", sa.Text, primary_key=True),
    _text("volume"),
    sa.Column("version", sa.Integer, nullable=False),
    _text("view_state"),
    _text("user"),
    _text("created"),
)
sa.Table(
    "web_jobs",
    metadata,
    sa.Column("job_id", sa.Text, primary_key=True),
    _text("volume"),
    _text("kind"),
    sa.Column("state", sa.Text, nullable=False, index=True),
    sa.Column("progress", sa.Float, nullable=False),
    _text("message"),
    _text("plan"),
    _text("user"),
    _text("created"),
    _text("updated"),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("cancel_requested", sa.Boolean, nullable=False),
    sa.Column("operation_id", sa.Integer),
    sa.Column("error", sa.Text),
    sa.Column("request_id", sa.Text),
    sa.Column("dispatcher", sa.Text),
    sa.UniqueConstraint("volume", "request_id"),
)
sa.Table(
    "web_dispatchers",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("seen", sa.Float, nullable=False),
)


def upgrade() -> None:
    """Make the tables that are missing."""
    metadata.create_all(op.get_bind())
