"""One user's viewer on one volume: its state lives in the database, so any worker can answer."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from app.storage import METADATA, utc_now
from app.viewer import show_version
from segmentation_backend.database import read, write
from segmentation_backend.errors import ErrorKind, NotFoundError, ReadOnlyError

__all__ = ["Session", "SessionStore"]

_sessions = sa.Table(
    "web_sessions",
    METADATA,
    sa.Column("token", sa.Text, primary_key=True),
    sa.Column("volume", sa.Text, nullable=False),
    sa.Column("user", sa.Text, nullable=False),
    sa.Column("pinned_version", sa.Integer),
    sa.Column("share_id", sa.Text),
    sa.Column("view_state", sa.Text, nullable=False),
    sa.Column("generation", sa.Text, nullable=False),
    sa.Column("created", sa.Text, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Session:
    """A viewer on a volume, as it is now."""

    token: str
    """The secret in the page's address: who knows it may drive the session."""
    volume: str
    user: str
    pinned_version: int | None
    """The version shown, or None for the newest."""
    share_id: str | None
    """The share it was opened from."""
    view_state: str
    """Neuroglancer's JSON as text, with `{origin}` for this server's address."""
    generation: str
    """Changes with the state; `<client>/<n>` when that client wrote it."""

    @property
    def read_only(self) -> bool:
        """Whether edits are refused: a pinned version never changes."""
        return self.pinned_version is not None


class SessionStore:
    """Every session of every worker, in one table."""

    def __init__(self, engine: sa.Engine) -> None:
        """Use the table in `engine`."""
        self._engine = engine

    def create(
        self,
        volume: str,
        user: str,
        view_state: Mapping[str, Any],
        *,
        pinned_version: int | None = None,
        share_id: str | None = None,
    ) -> Session:
        """Start a session and return it."""
        session = Session(
            token=secrets.token_hex(16),
            volume=volume,
            user=user,
            pinned_version=pinned_version,
            share_id=share_id,
            view_state=json.dumps(view_state),
            generation=_own_generation(),
        )
        row = {name: getattr(session, name) for name in Session.__slots__}
        with write(self._engine) as connection:
            connection.execute(_sessions.insert().values(**row, created=utc_now()))
        return session

    def get(self, token: str) -> Session:
        """Return a session; an unknown token is a NotFoundError."""
        with read(self._engine) as connection:
            return _found(connection.execute(_selected(token)).first(), token)

    def find(self, token: str | None) -> Session | None:
        """Return a session, or None where there is none of that token."""
        if not token:
            return None
        with read(self._engine) as connection:
            row = connection.execute(_selected(token)).first()
        return None if row is None else _session(row)

    def save_state(self, token: str, view_state: str, *, before: str, generation: str) -> bool:
        """Store a client's state, unless the session has left generation `before` meanwhile."""
        changed = (
            _sessions.update()
            .where(_sessions.c.token == token, _sessions.c.generation == before)
            .values(view_state=view_state, generation=generation)
        )
        with write(self._engine) as connection:
            return connection.execute(changed).rowcount == 1

    def show_version(self, token: str, version: int | None) -> Session:
        """Pin a session to a version, or (None) let it follow the newest and take edits again."""
        with write(self._engine) as connection:
            session = _found(connection.execute(_selected(token).with_for_update()).first(), token)
            state = show_version(json.loads(session.view_state), session.volume, version)
            values = {
                "view_state": json.dumps(state),
                "pinned_version": version,
                "generation": _own_generation(),
            }
            connection.execute(
                _sessions.update().where(_sessions.c.token == token).values(**values)
            )
        return self.get(token)

    def check_editable(self, token: str | None, volume: str) -> None:
        """Refuse an edit asked for from a page that shows a pinned version."""
        if token is None:
            return
        session = self.get(token)
        if session.volume != volume:
            raise NotFoundError(
                f"The session shows {session.volume}, not {volume}; leave `session` out, or name "
                "the session's own volume.",
                ErrorKind.SESSION_NOT_FOUND,
            )
        if session.read_only:
            raise ReadOnlyError(
                f"This page shows version {session.pinned_version} of {volume}, which never "
                'changes. Choose "edit from here" to work on the newest version.',
                ErrorKind.READ_ONLY,
            )


def _own_generation() -> str:
    return f"server/{secrets.token_hex(6)}"


def _selected(token: str) -> sa.Select[Any]:
    return sa.select(*(_sessions.c[name] for name in Session.__slots__)).where(
        _sessions.c.token == token
    )


def _session(row: sa.Row[Any]) -> Session:
    return Session(**row._mapping)


def _found(row: sa.Row[Any] | None, token: str) -> Session:
    if row is None:
        raise NotFoundError(
            f"There is no session {token[:64]!r}; open the volume again from the start page.",
            ErrorKind.SESSION_NOT_FOUND,
        )
    return _session(row)
