"""What a job found, where it found something to say: a rehearsal commits no operation."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


jobs = sa.Table(
    "web_jobs",
    sa.MetaData(),
    sa.Column("job_id", sa.Text, primary_key=True),
    sa.Column("volume", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False, index=True),
    sa.Column("progress", sa.Float, nullable=False),
    *(
        sa.Column(name, sa.Text, nullable=False)
        for name in ("message", "plan", "user", "created", "updated")
    ),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("cancel_requested", sa.Boolean, nullable=False),
    sa.Column("operation_id", sa.Integer),
    sa.Column("error", sa.Text),
    sa.Column("request_id", sa.Text),
    sa.Column("dispatcher", sa.Text),
    sa.Column("result", sa.Text),
    sa.UniqueConstraint("volume", "request_id"),
)


def upgrade() -> None:
    """Add the column; jobs of before have no result."""
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        op.add_column("web_jobs", sa.Column("result", sa.Text))
        return
    # SQLite would write the column down after the constraint, unlike in a new database.
    op.drop_index("ix_web_jobs_state", "web_jobs")
    op.rename_table("web_jobs", "web_jobs_0003")
    jobs.create(connection)
    names = [column.name for column in jobs.columns if column.name != "result"]
    before = sa.table("web_jobs_0003", *map(sa.column, names))
    connection.execute(jobs.insert().from_select(names, sa.select(before)))
    op.drop_table("web_jobs_0003")
