"""The size and place of each object beside the record that an operation changed it.

They follow from the supervoxels: the operations are gone through once, the oldest first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

metadata = sa.MetaData()
_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_OPERATIONS = 1000
"""Operations that are gone through at a time."""
_BATCH = 10_000

_SIZES = ("voxels", "z0", "y0", "x0", "z1", "y1", "x1", "sum_z", "sum_y", "sum_x")

roots = sa.Table(
    "label_roots",
    metadata,
    *(
        sa.Column(name, _ID, primary_key=True, autoincrement=False)
        for name in ("branch_id", "root", "operation_id")
    ),
    *(sa.Column(name, _ID, nullable=False) for name in ("supervoxels", *_SIZES)),
    sa.Index("label_roots_by_size", "branch_id", "voxels", "root"),
    sqlite_with_rowid=False,
)


def upgrade() -> None:
    """Make the table anew, with what each of its rows lacked."""
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        # Its name is wanted for the new table.
        constraint = sa.inspect(connection).get_pk_constraint("label_roots")
        op.drop_constraint(str(constraint["name"]), "label_roots")
    op.rename_table("label_roots", "label_roots_0002")
    connection.execute(sa.schema.CreateTable(roots))
    for branch in _branches(connection):
        _insert(connection, branch)
    op.drop_table("label_roots_0002")
    for index in roots.indexes:
        index.create(connection)


class _Segment(NamedTuple):
    """Operations of one branch, from `after + 1` to `upto`."""

    branch_id: int
    after: int
    upto: int


def _branches(connection: sa.Connection) -> Iterator[list[_Segment]]:
    """Yield the way to the end of each branch, the oldest stretch first."""
    rows = connection.execute(
        sa.text("SELECT branch_id, parent_id, fork_version, head FROM label_branches")
    ).all()
    forks = {row[0]: (row[1], row[2]) for row in rows}
    for branch_id, _, _, head in rows:
        path: list[_Segment] = []
        at, upto = branch_id, head
        while at is not None:
            parent_id, fork = forks[at]
            path.insert(0, _Segment(at, fork, upto))
            at, upto = parent_id, min(upto, fork)
        yield path


def _insert(connection: sa.Connection, path: list[_Segment]) -> None:
    """Write the rows of the last stretch of a path."""
    state = _State()
    for segment in path:
        is_own = segment == path[-1]
        for after in range(segment.after, segment.upto, _OPERATIONS):
            part = segment._replace(after=after, upto=min(after + _OPERATIONS, segment.upto))
            rows = [row for row in state.played(connection, part) if is_own]
            for start in range(0, len(rows), _BATCH):
                connection.execute(roots.insert(), rows[start : start + _BATCH])


class _State:
    """Which supervoxels there are, how large, and which belong together."""

    def __init__(self) -> None:
        self._sizes: dict[int, tuple[int, ...]] = {}
        self._root: dict[int, int] = {}
        self._members: defaultdict[int, set[int]] = defaultdict(set)

    def played(self, connection: sa.Connection, part: _Segment) -> Iterator[dict[str, int]]:
        """Take the operations of a stretch in, and yield the rows of the objects they changed."""
        sizes = ", ".join(_SIZES)
        written = _by_operation(connection, "label_supervoxels", f"supervoxel, {sizes}", part)
        joined = _by_operation(connection, "label_members", "supervoxel, root", part)
        listed = _by_operation(connection, "label_roots_0002", "root", part)
        for operation_id in sorted({*written, *joined, *listed}):
            changed = {row[0] for row in listed.get(operation_id, ())}
            changed |= self._written(written.get(operation_id, ()))
            changed |= self._joined(joined.get(operation_id, ()))
            for root in sorted(changed):
                ids = {"branch_id": part.branch_id, "operation_id": operation_id, "root": root}
                yield ids | self._size(root)

    def _written(self, rows: Iterable[Sequence[int]]) -> set[int]:
        touched = set()
        for supervoxel, *size in rows:
            root = self._root.setdefault(supervoxel, supervoxel)
            self._members[root].add(supervoxel)
            self._sizes[supervoxel] = tuple(size)
            touched.add(root)
        return touched

    def _joined(self, rows: Iterable[Sequence[int]]) -> set[int]:
        touched = set()
        for supervoxel, root in rows:
            old = self._root.setdefault(supervoxel, supervoxel)
            self._members[old].discard(supervoxel)
            self._members[root].add(supervoxel)
            self._root[supervoxel] = root
            touched |= {old, root}
        return touched

    def _size(self, root: int) -> dict[str, int]:
        parts = [self._sizes[s] for s in self._members[root] if self._sizes.get(s, (0,))[0]]
        if not parts:
            return dict.fromkeys(("supervoxels", *_SIZES), 0)
        columns = list(zip(*parts, strict=True))
        numbers = (
            sum(columns[0]),
            *(min(column) for column in columns[1:4]),
            *(max(column) for column in columns[4:7]),
            *(sum(column) for column in columns[7:]),
        )
        return {"supervoxels": len(parts)} | dict(zip(_SIZES, numbers, strict=True))


def _by_operation(
    connection: sa.Connection, table: str, columns: str, part: _Segment
) -> dict[int, list[Any]]:
    """Return the rows of a table that the operations of a stretch wrote."""
    rows = connection.execute(
        sa.text(
            f"SELECT operation_id, {columns} FROM {table} WHERE branch_id = :branch_id "
            "AND operation_id > :after AND operation_id <= :upto"
        ),
        part._asdict(),
    )
    found: defaultdict[int, list[Any]] = defaultdict(list)
    for operation_id, *values in rows:
        found[operation_id].append(values)
    return found
