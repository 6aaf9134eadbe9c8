"""Versions that links and open pages show: they must stay readable whatever is cleaned up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

__all__ = ["pinned_versions"]

_KEEP_SESSIONS = timedelta(days=7)
"""A page that shows an old version may stay open for days; a link is kept for ever."""

_SHARES = sa.table("web_shares", sa.column("volume"), sa.column("version"))
_SESSIONS = sa.table(
    "web_sessions", sa.column("volume"), sa.column("pinned_version"), sa.column("created")
)


def pinned_versions(connection: sa.Connection) -> Mapping[str, Collection[int]]:
    """Return the versions of each volume that shares and recent sessions show.

    No share or session is made until the transaction ends.
    """
    if connection.dialect.name == "postgresql":
        # On SQLite, whoever removes something holds the write lock.
        connection.execute(sa.text("LOCK TABLE web_shares, web_sessions IN SHARE MODE"))
    shares, sessions = _SHARES.c, _SESSIONS.c
    recent = (datetime.now(UTC) - _KEEP_SESSIONS).isoformat()
    queries = (
        sa.select(shares.volume, shares.version),
        sa.select(sessions.volume, sessions.pinned_version).where(
            sessions.pinned_version.is_not(None), sessions.created > recent
        ),
    )
    found: defaultdict[str, set[int]] = defaultdict(set)
    for query in queries:
        for volume, version in connection.execute(query):
            found[volume].add(version)
    return found
