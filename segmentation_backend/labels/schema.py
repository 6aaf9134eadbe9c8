"""The tables of the label store: append-only, so that every version stays what it was.

Each row names the operation that wrote it and the branch it was written on; "the state at version
v" is the newest row at or before v on the way from v back through the branches it came from
(`branches.Path`). Only a volume's and a branch's counters ever change in place.
"""

from __future__ import annotations

import sqlalchemy as sa

__all__ = [
    "BASES",
    "BASE_BLOCKS",
    "BASE_MARKS",
    "BASE_STATISTICS",
    "BRANCHES",
    "BRANCH_MERGES",
    "CHUNKS",
    "CONFIDENCE",
    "CONFIDENCE_SUMS",
    "EDGES",
    "MEMBERS",
    "METADATA",
    "OPERATIONS",
    "ROOTS",
    "SIZES",
    "SUPERVOXELS",
    "TAGS",
    "VOLUMES",
]

METADATA = sa.MetaData()
_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _key(name: str) -> sa.Column[int]:
    return sa.Column(name, _ID, primary_key=True, autoincrement=False)


def _number(name: str) -> sa.Column[int]:
    return sa.Column(name, _ID, nullable=False)


SIZES = ("voxels", "z0", "y0", "x0", "z1", "y1", "x1", "sum_z", "sum_y", "sum_x")
"""Columns for the number of voxels, the box around them and the sums of their coordinates."""


def _sizes() -> list[sa.Column[int]]:
    return [_number(name) for name in SIZES]


CONFIDENCE = ("probability", "agreement")
"""Columns for how sure a network was of a supervoxel (`confidence.Confidence`); null: by hand."""

CONFIDENCE_SUMS = ("known_voxels", "sum_probability", "sum_agreement")
"""Columns for that of an object, added up (`confidence.ConfidenceSums`)."""


VOLUMES = sa.Table(
    "label_volumes",
    METADATA,
    sa.Column("volume_id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    # Shapes of the scale levels: packs made for one grid must never be read with another.
    sa.Column("shapes", sa.JSON, nullable=False),
    # The newest operation on any branch: operation ids are given out once per volume.
    _number("head"),
    _number("next_id"),
)

BRANCHES = sa.Table(
    "label_branches",
    METADATA,
    sa.Column("branch_id", sa.Integer, primary_key=True),
    _number("volume_id"),
    sa.Column("name", sa.Text, nullable=False),
    # Where it left its parent; 0 and none for the first branch.
    sa.Column("parent_id", sa.Integer),
    _number("fork_version"),
    _number("head"),
    sa.Column("user_name", sa.Text, nullable=False),
    sa.Column("time", sa.Text, nullable=False),
    # When somebody deleted it: its name is free again, its versions stay until `gc`.
    sa.Column("deleted", sa.Text),
    sa.Index("label_branches_by_volume", "volume_id", "name"),
)

OPERATIONS = sa.Table(
    "label_operations",
    METADATA,
    _key("volume_id"),
    _key("operation_id"),
    _number("branch_id"),
    # The version it was applied to: the newest of its branch at that moment.
    _number("parent"),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("user_name", sa.Text, nullable=False),
    sa.Column("time", sa.Text, nullable=False),
    sa.Column("request_id", sa.Text),
    sa.Column("request_digest", sa.Text),
    sa.Column("base_version", _ID),
    sa.Column("wrote_voxels", sa.Boolean, nullable=False),
    sa.Column("undoes", _ID),
    sa.Column("bbox", sa.JSON(none_as_null=True)),
    sa.Column("lineage", sa.JSON, nullable=False),
    sa.Column("provenance", sa.JSON, nullable=False),
    sa.UniqueConstraint("volume_id", "request_id"),
    sa.Index("label_operations_by_user", "branch_id", "user_name", "operation_id"),
    sa.Index("label_operations_by_time", "branch_id", "time"),
    sa.Index("label_operations_by_undoes", "volume_id", "undoes"),
    sqlite_with_rowid=False,
)

CHUNKS = sa.Table(
    "label_chunks",
    METADATA,
    _key("branch_id"),
    _key("level"),
    _key("z"),
    _key("y"),
    _key("x"),
    _key("operation_id"),
    # No pack: the operation took the chunk back to "never written".
    sa.Column("pack", sa.Text),
    sa.Column("start", _ID),
    sa.Column("length", _ID),
    sa.Index("label_chunks_by_operation", "branch_id", "operation_id"),
    sqlite_with_rowid=False,
)

EDGES = sa.Table(
    "label_edges",
    METADATA,
    _key("branch_id"),
    _key("operation_id"),
    _key("a"),
    _key("b"),
    sa.Column("added", sa.Boolean, nullable=False),
    sa.Index("label_edges_by_a", "branch_id", "a", "b"),
    sa.Index("label_edges_by_b", "branch_id", "b"),
    sqlite_with_rowid=False,
)

MEMBERS = sa.Table(
    "label_members",
    METADATA,
    # To which object a supervoxel belongs since an operation; without a row it is one by itself.
    # It follows from the edges, and spares every read the walk along them.
    _key("branch_id"),
    _key("supervoxel"),
    _key("operation_id"),
    _number("root"),
    sa.Index("label_members_by_root", "branch_id", "root"),
    sa.Index("label_members_by_operation", "branch_id", "operation_id"),
    sqlite_with_rowid=False,
)

SUPERVOXELS = sa.Table(
    "label_supervoxels",
    METADATA,
    _key("branch_id"),
    _key("supervoxel"),
    _key("operation_id"),
    # 0 voxels: gone since this operation; its other numbers are 0 too.
    *_sizes(),
    *(sa.Column(name, _ID) for name in CONFIDENCE),
    sa.Index("label_supervoxels_by_operation", "branch_id", "operation_id"),
    sa.Index("label_supervoxels_by_box", "branch_id", "z1", "z0", "y0", "y1", "x0", "x1"),
    sqlite_with_rowid=False,
)

ROOTS = sa.Table(
    "label_roots",
    METADATA,
    _key("branch_id"),
    _key("root"),
    _key("operation_id"),
    # Objects this operation changed, under their root ids before and after it: "has anybody touched
    # object 7 since version 41" is one look-up, however long ago 41 was.
    # What the object is since then; 0 supervoxels: there is none of this root id any more.
    _number("supervoxels"),
    *_sizes(),
    *(_number(name) for name in CONFIDENCE_SUMS),
    # Their mean, for the order; null: nothing is known.
    sa.Column("probability", _ID),
    sa.Index("label_roots_by_size", "branch_id", "voxels", "root"),
    sa.Index(
        "label_roots_by_probability",
        "branch_id",
        "probability",
        "root",
        sqlite_where=sa.text("probability IS NOT NULL"),
        postgresql_where=sa.text("probability IS NOT NULL"),
    ),
    sqlite_with_rowid=False,
)

TAGS = sa.Table(
    "label_tags",
    METADATA,
    _key("volume_id"),
    sa.Column("name", sa.Text, primary_key=True),
    _number("version"),
    sa.Column("user_name", sa.Text, nullable=False),
    sa.Column("time", sa.Text, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sqlite_with_rowid=False,
)

BRANCH_MERGES = sa.Table(
    "label_branch_merges",
    METADATA,
    # One row per operation that brought a branch's changes in: the next merge starts from there.
    _key("volume_id"),
    _key("operation_id"),
    _number("source_branch"),
    _number("source_version"),
    # Supervoxels of conflicts that were left open: the next merge asks again.
    sa.Column("skipped", sa.JSON, nullable=False),
    sqlite_with_rowid=False,
)

BASES = sa.Table(
    "label_bases",
    METADATA,
    _key("volume_id"),
    # Which labels lie under the volume's edits (`BaseDescription.identity`).
    sa.Column("identity", sa.Text, nullable=False),
    # The sides of a block, z, y, x: the unit in which the base's voxels are counted.
    sa.Column("block", sa.JSON, nullable=False),
    sqlite_with_rowid=False,
)

BASE_BLOCKS = sa.Table(
    "label_base_blocks",
    METADATA,
    # Blocks of the base that were counted, numbered from 1 in the order in which they were: what
    # was known at any time is "the blocks up to a number". Facts about an immutable base, so all
    # branches share them.
    _key("volume_id"),
    _key("number"),
    *(_number(n) for n in ("z", "y", "x")),
    sa.UniqueConstraint("volume_id", "z", "y", "x"),
    sqlite_with_rowid=False,
)

BASE_STATISTICS = sa.Table(
    "label_base_statistics",
    METADATA,
    # What a counted block holds of a supervoxel.
    _key("volume_id"),
    _key("supervoxel"),
    _key("number"),
    *(_number(n) for n in ("voxels", "z0", "y0", "x0", "z1", "y1", "x1")),
    *(_number(n) for n in ("sum_z", "sum_y", "sum_x")),
    sa.Index("label_base_statistics_by_block", "volume_id", "number"),
    sqlite_with_rowid=False,
)

BASE_MARKS = sa.Table(
    "label_base_marks",
    METADATA,
    # How many blocks were counted when an operation wrote statistics of supervoxels of the base:
    # blocks that were counted later add to them.
    _key("volume_id"),
    _key("operation_id"),
    _number("counted"),
    sqlite_with_rowid=False,
)
