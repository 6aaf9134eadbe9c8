"""Short links: a view state and the version it showed, kept for ever."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from app.storage import METADATA, utc_now
from segmentation_backend.database import read, write
from segmentation_backend.errors import ErrorKind, NotFoundError

__all__ = ["Share", "ShareStore"]

_shares = sa.Table(
    "web_shares",
    METADATA,
    sa.Column("share_id", sa.Text, primary_key=True),
    sa.Column("volume", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("view_state", sa.Text, nullable=False),
    sa.Column("user", sa.Text, nullable=False),
    sa.Column("created", sa.Text, nullable=False),
)

_ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"
"""Without the signs that are mistaken for each other when read aloud."""

_LENGTH = 10
"""About 50 bits: nobody finds a link by trying."""


@dataclass(frozen=True, slots=True)
class Share:
    """What a link shows; never changes."""

    share_id: str
    volume: str
    version: int
    view_state: str
    """Neuroglancer's JSON as text, with `{origin}` for this server's address."""
    user: str
    created: str

    def to_json(self) -> dict[str, Any]:
        """Return the share as the HTTP interface shows it (`{origin}` not yet filled in)."""
        return {
            "share_id": self.share_id,
            "volume": self.volume,
            "version": self.version,
            "view_state": json.loads(self.view_state),
            "user": self.user,
            "created": self.created,
        }


class ShareStore:
    """Shares by id."""

    def __init__(self, engine: sa.Engine) -> None:
        """Use the table in `engine`."""
        self._engine = engine

    def create(self, volume: str, version: int, view_state: Mapping[str, Any], user: str) -> Share:
        """Keep a view and return it with its new id."""
        share_id = "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
        share = Share(share_id, volume, version, json.dumps(view_state), user, utc_now())
        values = {name: getattr(share, name) for name in Share.__slots__}
        with write(self._engine) as connection:
            connection.execute(_shares.insert().values(**values))
        return share

    def get(self, share_id: str) -> Share:
        """Return a share; an unknown id is a NotFoundError."""
        with read(self._engine) as connection:
            row = connection.execute(
                sa.select(_shares).where(_shares.c.share_id == share_id)
            ).first()
        if row is None:
            raise NotFoundError(
                f"There is no share {share_id[:64]!r}; check the link, or ask for a new one.",
                ErrorKind.SHARE_NOT_FOUND,
            )
        return Share(**row._mapping)
