"""The tables that the web owns: sessions, shares, jobs and heartbeats, in the one database."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

import sqlalchemy as sa

from segmentation_backend.database import read, write

__all__ = ["METADATA", "instance_id", "utc_now"]

METADATA = sa.MetaData()
"""Every table that the web owns is declared on this; migrations make them."""


def utc_now() -> str:
    """Return this moment as UTC, ISO 8601, to the microsecond (so that times sort as text)."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


_instances = sa.Table("web_instance", METADATA, sa.Column("name", sa.Text, primary_key=True))


def instance_id(engine: sa.Engine) -> str:
    """Return the random name of this data directory.

    It is part of every address that browsers may cache for ever: a second data directory served
    from the same host and port must not be shown with the first one's voxels.
    """
    with read(engine) as connection:
        known = connection.scalar(sa.select(_instances.c.name))
    if known is not None:
        return str(known)
    with write(engine) as connection:
        known = connection.scalar(sa.select(_instances.c.name))
        if known is None:
            known = secrets.token_hex(4)
            connection.execute(_instances.insert().values(name=known))
    return str(known)
